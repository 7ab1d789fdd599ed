"""What `engine` counts with: places for requests, one timer for many moments, and how many answers came lately."""

import asyncio
from collections.abc import Callable


class Window:
    """Places for requests without an answer; a fifth of them only for `otp`."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._bulk_size = size if size < 2 else min(size - 1, size * 4 // 5)
        self._bulk = self.taken = 0

    def take(self, otp: bool) -> None:
        """One more request is on its way."""
        self.taken += 1
        self._bulk += not otp

    def leave(self, otp: bool) -> None:
        """One has its answer, or will have none."""
        self.taken -= 1
        self._bulk -= not otp

    def room(self, otp: bool) -> int:
        """Free places."""
        free = self._size - self.taken
        return free if otp else min(free, self._bulk_size - self._bulk)


class Alarm:
    """One timer, for the earliest moment at which there may be something to do. Moments are monotonic seconds."""

    def __init__(self, monotonic: Callable[[], float], ring: Callable[[], None]) -> None:
        self._monotonic, self._ring = monotonic, ring
        self._handle: asyncio.TimerHandle | None = None

    def at(self, moment: float) -> None:
        """Rings at `moment`, or earlier if it was set so."""
        loop = asyncio.get_running_loop()
        delay_s = max(0.0005, moment - self._monotonic())
        if self._handle is not None:
            if self._handle.when() <= loop.time() + delay_s:
                return
            self._handle.cancel()
        self._handle = loop.call_later(delay_s, self._now)

    def cancel(self) -> None:
        """Does not ring."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _now(self) -> None:
        self._handle = None
        self._ring()


class Tally:
    """How many answers came in this second or in the one before: the rate that a carrier takes."""

    def __init__(self) -> None:
        self._now, self._before, self._since = 0, 0, 0.0

    def count(self, now: float) -> None:
        """One answer at `now` (monotonic seconds)."""
        if now - self._since >= 1.0:
            self._now, self._before, self._since = 0, self._now if now - self._since < 2.0 else 0, now
        self._now += 1

    @property
    def per_s(self) -> int:
        """The greater of the two."""
        return max(self._now, self._before)
