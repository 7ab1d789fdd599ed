"""Time, passed in so that tests can move it."""

import time
from collections.abc import Callable

#: Milliseconds since the Unix epoch.
Clock = Callable[[], int]


def wall_ms() -> int:
    """The system's clock, in milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


def rfc3339(ms: int | None) -> str | None:
    """`ms` as an RFC 3339 UTC time with milliseconds: `2026-11-24T01:02:03.004Z`; None stays None."""
    if ms is None:
        return None
    seconds, rest = divmod(ms, 1000)
    day = time.gmtime(seconds)
    return (
        f"{day.tm_year:04}-{day.tm_mon:02}-{day.tm_mday:02}T{day.tm_hour:02}:{day.tm_min:02}:{day.tm_sec:02}.{rest:03}Z"
    )
