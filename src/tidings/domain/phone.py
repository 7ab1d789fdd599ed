"""Phone numbers in E.164 form. Most of them are judged by their length alone, a twentieth of the time of a whole parse."""

import re
from functools import cache, lru_cache

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


@lru_cache(maxsize=65_536)
def phone_problem(number: str) -> str | None:
    """What is wrong with `number` as E.164, or None. Sandbox numbers (`+1500555…`) are always good."""
    if number.startswith("+1500555") and len(number) == 12 and number.isascii() and number[1:].isdigit():
        return None
    if not number.startswith("+") or not number[1:].isdigit() or not number.isascii():
        return "must be in E.164 form: a plus, the country code and the number, digits only, for example +14155550123"
    return None if _plainly_possible(number) else parsed_problem(number)


def parsed_problem(number: str) -> str | None:
    """The same after a whole parse."""
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return "is not a phone number of any country; check the country code"
    if not phonenumbers.is_possible_number(parsed):
        return f"cannot be a phone number of country code +{parsed.country_code}: check the number of digits"
    return None
