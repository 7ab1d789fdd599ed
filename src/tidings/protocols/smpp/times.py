"""Times of SMPP: `YYMMDDhhmmsstnnp`. Source: SMPP 3.4 §7.1.1"""

import datetime as dt
from typing import Final


class SmppTimeError(ValueError):
    """Not a time of §7.1.1."""


#: The longest relative time: the field of days goes on to the month, and how long a month is nobody says.
RELATIVE_MAX_S: Final = 30 * 86_400


def relative(seconds: float) -> str:
    """A relative time (`…000R`) of whole seconds, at least one. Raises SmppTimeError over 30 days; use `absolute` there."""
    left = max(1, int(seconds))
    if left > RELATIVE_MAX_S:
        raise SmppTimeError(f"{left} s: a relative time of at most 30 days says the same to everyone")
    days, left = divmod(left, 86_400)
    hours, left = divmod(left, 3_600)
    minutes, secs = divmod(left, 60)
    return f"0000{days:02}{hours:02}{minutes:02}{secs:02}000R"


def absolute(when: dt.datetime) -> str:
    """An absolute time in UTC (`…t00+`); `t` is tenths of a second."""
    utc = when.astimezone(dt.UTC)
    return f"{utc:%y%m%d%H%M%S}{utc.microsecond // 100_000}00+"


def parse(text: str, now: dt.datetime) -> dt.datetime:
    """The moment that an absolute or relative time names; `now` is where a relative one begins. Raises SmppTimeError."""
    if len(text) != 16 or not (text.isascii() and text[:15].isdigit()) or text[15] not in "+-R":
        raise SmppTimeError(f"{text!r} does not have the form YYMMDDhhmmsstnnp")
    year, month, day, hour, minute, second = (int(text[n : n + 2]) for n in range(0, 12, 2))
    if text[15] == "R":
        days = year * 365 + month * 30 + day
        return now + dt.timedelta(days=days, hours=hour, minutes=minute, seconds=second)
    try:
        local = dt.datetime(2000 + year, month, day, hour, minute, second, int(text[12]) * 100_000, dt.UTC)
    except ValueError as error:
        raise SmppTimeError(f"{text!r}: {error}") from error
    quarters = dt.timedelta(minutes=15 * int(text[13:15]))
    return local - quarters if text[15] == "+" else local + quarters
