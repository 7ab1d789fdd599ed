"""Time that costs nothing: an event loop whose clock jumps to the next timer, a wall clock that can be set, seeded ids.

The loop has no sockets and no threads; between two turns nothing happens but what was scheduled. A run on it is a pure
function of what its coroutines draw from their seeded generators.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any


class Deadlock(Exception):
    """Nothing is scheduled any more, and the main coroutine is not done."""


class _Selector:
    """Never sleeps: waiting is moving the clock."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise Deadlock("everything waits for something that nobody will do")
        if timeout > 0:
            self._loop.clock_s += timeout
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    """`clock_s` is what `time()` gives: virtual seconds since the run began."""

    def __init__(self) -> None:
        super().__init__()
        self.clock_s = 0.0
        self._selector = _Selector(self)
        self._clock_resolution = 1e-6  # timers less than this apart fire in one turn: sums of floats are not exact
        self.set_exception_handler(lambda loop, context: None)  # what a crash leaves behind is not reported

    def time(self) -> float:
        return self.clock_s

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody else runs beside this loop."""


class WallClock:
    """Milliseconds since the epoch, as the node sees them: `step` is what an operator or a bad NTP server does."""

    def __init__(self, loop: VirtualLoop, start_ms: int) -> None:
        self._loop, self._start_ms = loop, start_ms

    def __call__(self) -> int:
        return self._start_ms + int(self._loop.clock_s * 1000)

    def step(self, by_ms: int) -> None:
        """Sets the clock forward or back."""
        self._start_ms += by_ms


class _Id:
    __slots__ = ("hex",)

    def __init__(self, text: str) -> None:
        self.hex = text


class Uuid7:
    """Stands in for `uuid7`: monotonic within one life of the process even where the clock goes back, as the library's are.

    Source: RFC 9562 §5.7, §6.2 (method 1: a counter behind the time).
    """

    def __init__(self, clock: WallClock, rng: random.Random) -> None:
        self._clock, self._rng = clock, rng
        self.new_process()

    def new_process(self) -> None:
        """What a process remembers of its last id is gone with it."""
        self._last_ms, self._count = 0, 0

    def __call__(self) -> _Id:
        now_ms = self._clock()
        if now_ms > self._last_ms:
            self._last_ms, self._count = now_ms, self._rng.getrandbits(20)
        self._count += 1
        return _Id(f"{self._last_ms:012x}7000a{self._count:07x}{self._rng.getrandbits(32):08x}")
