"""Phone numbers in E.164 form. Most of them are judged by their length alone, a twentieth of the time of a whole parse."""

import re
from functools import cache, lru_cache
from typing import Final, NamedTuple

import phonenumbers
from phonenumbers.phonemetadata import PhoneMetadata


class _Plan:
    """A country code's numbering plan, as far as `phonenumbers.is_possible_number` looks at it."""

    __slots__ = ("lengths", "prefix")

    def __init__(self, lengths: frozenset[int], prefix: "re.Pattern[str] | None") -> None:
        self.lengths, self.prefix = lengths, prefix


@cache
def _plan(code: str) -> _Plan | None:
    """The plan of a country code; None if there is no such code."""
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(code))
    if regions is None:
        return None
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(int(code), regions[0])
    if metadata is None or metadata.general_desc is None:
        return None
    prefix = metadata.national_prefix_for_parsing
    return _Plan(frozenset(metadata.general_desc.possible_length), re.compile(prefix) if prefix else None)


def _plainly_possible(number: str) -> bool:
    """Whether its length says that it is possible, and nothing of it could be a prefix that a parse takes off."""
    for end in (2, 3, 4):
        plan = _plan(number[1:end]) if end <= len(number) else None
        if plan is not None:
            national = number[end:]
            return len(national) in plan.lengths and (plan.prefix is None or plan.prefix.match(national) is None)
    return False


class _Judged(NamedTuple):
    """What one look at a number tells. `written` and `person`: how it is written, and the one spelling of it, if otherwise."""

    problem: str | None
    written: str | None = None
    person: str | None = None


_GOOD: Final = _Judged(None)


def phone_problem(number: str) -> str | None:
    """What is wrong with `number` as E.164, or None. Sandbox numbers (`+1500555…`) are always good."""
    return _judged(number).problem


def written(number: str) -> str:
    """The number as it is written today: carriers pass over a national prefix behind the country code, so we must, too."""
    return _judged(number).written or number


def one_person(number: str) -> str:
    """One spelling for each telephone, by which its owner is known: everything that counts or stops people goes by it."""
    return _judged(number).person or number


def as_of_today(number: str) -> str:
    """The digits that its plan has today: carriers and WhatsApp report both the old ones and the new.

    Mexico has dropped the 1 behind 52 (Plan Técnico Fundamental de Numeración, 2019), Brazil has put a 9 before mobile
    numbers of eight digits (Anatel, Resolução 553/2010).
    """
    if number.startswith("+521") and len(number) == 14:
        return "+52" + number[4:]
    if number.startswith("+55") and len(number) == 13 and number[5] in "6789":
        return f"{number[:5]}9{number[5:]}"
    return number


@lru_cache(maxsize=65_536)
def _judged(number: str) -> _Judged:
    if number.startswith("+1500555") and len(number) == 12 and number.isascii() and number[1:].isdigit():
        return _GOOD
    if not number.startswith("+") or not number[1:].isdigit() or not number.isascii():
        detail = "must be in E.164 form: a plus, the country code and the number, digits only, for example +14155550123"
        return _Judged(detail)
    found = _GOOD if _plainly_possible(number) else _parsed(number)
    person = as_of_today(found.written or number)
    return found if person == number else found._replace(person=person)


def _parsed(number: str) -> _Judged:
    """The same after a whole parse."""
    try:
        found = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return _Judged("is not a phone number of any country; check the country code")
    if not phonenumbers.is_possible_number(found):
        return _Judged(f"cannot be a phone number of country code +{found.country_code}: check the number of digits")
    return _Judged(None, phonenumbers.format_number(found, phonenumbers.PhoneNumberFormat.E164))
