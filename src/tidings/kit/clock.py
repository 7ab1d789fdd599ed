"""Time, passed in so that tests can move it, and steady where the system's clock is set.

`wall_ms` does not follow a jump of the system's clock by itself: it goes on at the pace of the monotonic clock until it is
told to `follow` (delivery/timekeeper.py), so that what waits in the store can be moved with it.
"""

import time
from collections.abc import Callable
from functools import lru_cache

#: Milliseconds since the Unix epoch.
Clock = Callable[[], int]


def system_ms() -> int:
    """The system's clock, in milliseconds since the Unix epoch, jumps and all."""
    return time.time_ns() // 1_000_000


class SteadyClock:
    """Counts on from where it was last set."""

    def __init__(self, system: Clock = system_ms, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.system, self._monotonic = system, monotonic
        self._base_s = 0.0
        self.follow(system())

    def __call__(self) -> int:
        """Milliseconds since the Unix epoch."""
        return int((self._base_s + self._monotonic()) * 1000)

    def follow(self, now_ms: int) -> None:
        """It is `now_ms` now."""
        self._base_s = now_ms / 1000 - self._monotonic()


#: The clock of this process, in milliseconds since the Unix epoch.
wall_ms = SteadyClock()


def rfc3339(ms: int | None) -> str | None:
    """`ms` as an RFC 3339 UTC time with milliseconds: `2026-11-24T01:02:03.004Z`; None stays None."""
    if ms is None:
        return None
    seconds, rest = divmod(ms, 1000)
    return f"{_second(seconds)}.{rest:03}Z"


@lru_cache(maxsize=256)  # a busy second is asked for thousands of times
def _second(seconds: int) -> str:
    day = time.gmtime(seconds)
    return f"{day.tm_year:04}-{day.tm_mon:02}-{day.tm_mday:02}T{day.tm_hour:02}:{day.tm_min:02}:{day.tm_sec:02}"
