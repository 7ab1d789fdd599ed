"""Jumps of the clock: noticed, followed, and told to everything that waits in the store.

The process counts time by the monotonic clock. Once a second that is held against the clock of the machine (of the database
server, where there is one: all nodes then agree, and a node's own clock may be wrong). Small differences are followed. A
jump moves what waits for a moment that is relative (retries, leases, waits for a late receipt or for
the other parts of an inbound message, calls of webhooks) by as
much, so that nothing waits a day longer, is sent a day early, or loses its lease. What names a time itself (`send_at`,
`valid_until`, and `valid_for_s`, which is one from the moment of acceptance on) keeps it.
"""

import asyncio
import logging
from typing import Final

from tidings.domain.errors import StoreError
from tidings.kit.clock import SteadyClock
from tidings.kit.ids import ids
from tidings.kit.limits import CLOCK_STEP_MS
from tidings.store.clock import StoreClock

_log = logging.getLogger(__name__)
LOOK_S: Final = 1.0
NOTE_S: Final = 10.0  # how often the time is noted, for the next start
STRAGGLERS_S: Final = 2.0  # what was begun by the clock of before is stored by then


class Timekeeper:
    """One for each process that has a steady clock."""

    def __init__(self, store: StoreClock, clock: SteadyClock) -> None:
        self._store, self._clock = store, clock
        self._noted_ms = 0

    async def start(self) -> None:
        """Takes the time, before anything is due by it; where it went back since the last run, the store follows.

        Ids go on behind those of the last run, whatever the clock says: a sequence is sent in their order.
        """
        last = await self._store.last_id()
        if last is not None:
            ids.go_on_behind(last)
        now_ms = await self._read()
        self._clock.follow(now_ms)
        seen_ms = await self._store.seen_ms()
        if seen_ms is not None and seen_ms - now_ms > CLOCK_STEP_MS and await self._store.claim(seen_ms, now_ms):
            _tell(now_ms - seen_ms)
            await self._store.shift(now_ms - seen_ms, now_ms)
        await self._note()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
            except StoreError as error:
                _log.warning("the time cannot be looked after: %s", error)
            except Exception:
                _log.exception("the time cannot be looked after")

    async def look(self) -> None:
        """Follows the clock. Raises StoreError."""
        began_ms = self._clock()
        new_ms = await self._read()
        old_ms = self._clock()
        jump_ms = new_ms - old_ms
        if old_ms - began_ms > CLOCK_STEP_MS / 2:  # the answer is old
            return
        if abs(jump_ms) <= CLOCK_STEP_MS:
            self._clock.follow(new_ms)
            if abs(new_ms - self._noted_ms) >= NOTE_S * 1000:
                await self._note()
            return
        ours = await self._store.claim(old_ms, new_ms)
        _tell(jump_ms)
        if jump_ms > 0:  # first what waits, then the clock: nothing is due too early in between
            await (self._store.shift(jump_ms, old_ms) if ours else asyncio.sleep(STRAGGLERS_S))
        self._clock.follow(self._clock() + jump_ms)
        if jump_ms < 0 and ours:
            await asyncio.sleep(STRAGGLERS_S)
            await self._store.shift(jump_ms, self._clock())
        await self._note()

    async def _read(self) -> int:
        server_ms = await self._store.server_ms()
        return self._clock.system() if server_ms is None else server_ms

    async def _note(self) -> None:
        self._noted_ms = self._clock()
        await self._store.note(self._noted_ms)


def _tell(jump_ms: int) -> None:
    _log.warning(
        "the clock went %s by %.1f s; what waits moves with it", "on" if jump_ms > 0 else "back", abs(jump_ms) / 1000
    )
