"""Phone numbers, for every channel that has them as addresses."""

from functools import lru_cache

import phonenumbers


@lru_cache(maxsize=65_536)
def phone_problem(number: str) -> str | None:
    """What is wrong with `number` as E.164, or None. Sandbox numbers (`+1500555…`) are always good."""
    if number.startswith("+1500555") and len(number) == 12 and number.isascii() and number[1:].isdigit():
        return None
    if not number.startswith("+") or not number[1:].isdigit() or not number.isascii():
        return "must be in E.164 form: a plus, the country code and the number, digits only, for example +14155550123"
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return "is not a phone number of any country; check the country code"
    if not phonenumbers.is_possible_number(parsed):
        return f"cannot be a phone number of country code +{parsed.country_code}: check the number of digits"
    return None
