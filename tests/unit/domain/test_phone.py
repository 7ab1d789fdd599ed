"""Numbers that are judged by their length are judged as a whole parse would."""

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidings.domain.phone import _parsed, _plainly_possible, one_person, phone_problem, written

CODES = sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)


@given(st.sampled_from(CODES), st.text("0123456789", min_size=1, max_size=17))
@settings(max_examples=3_000, deadline=None)
def test_what_passes_by_its_length_passes_a_parse(code: int, national: str) -> None:
    number = f"+{code}{national}"
    if _plainly_possible(number):
        assert _parsed(number)[:2] == (None, number), "nor does a parse write it another way"


@pytest.mark.parametrize("code", CODES)
def test_every_country_s_example_passes_and_most_of_them_without_a_parse(code: int) -> None:
    region = phonenumbers.COUNTRY_CODE_TO_REGION_CODE[code][0]
    example = phonenumbers.example_number(region) or phonenumbers.example_number_for_non_geo_entity(code)
    if example is not None:
        number = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
        assert phone_problem(number) is None


@given(st.sampled_from(CODES), st.text("0123456789", min_size=1, max_size=17))
@settings(max_examples=3_000, deadline=None)
def test_the_one_spelling_of_a_number_stays_as_it_is(code: int, national: str) -> None:
    one = one_person(f"+{code}{national}")
    assert one_person(one) == one


@pytest.mark.parametrize("code", CODES)
def test_no_country_s_example_is_taken_for_another_number(code: int) -> None:
    for region in phonenumbers.COUNTRY_CODE_TO_REGION_CODE[code]:
        for kind in (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE):
            example = phonenumbers.example_number_for_type(region, kind)
            if example is not None:
                number = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
                assert written(number) == number
                assert one_person(number) == number


@pytest.mark.parametrize(
    "number",
    [
        "",
        "+",
        "+1",
        "1415555",
        "+0123456789",
        "+9991234567",
        "+1415555012",
        "+141555501234",
        "+1 4155550123",
        "+４４20",
    ],
)
def test_what_is_no_number_has_a_problem(number: str) -> None:
    assert phone_problem(number)
