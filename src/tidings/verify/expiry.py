"""Verifications whose time is over: ended by themselves, so that their event comes though nobody checks any more."""

import asyncio
import contextlib
import logging

from tidings.bus.contract import Bus
from tidings.domain.errors import StoreError
from tidings.kit.clock import Clock
from tidings.kit.ids import new_id
from tidings.kit.limits import EXPIRE_BATCH, VERIFY_SWEEP_S
from tidings.policy.velocity import WINDOW_S
from tidings.store.store import Store

_log = logging.getLogger(__name__)


class Expiry:
    """One task, a duty of one process (`delivery.keeper.Duty`)."""

    def __init__(self, store: Store, bus: Bus, now: Clock) -> None:
        self._kept, self._bus, self._now = store.verifications, bus, now
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """See `keeper.Duty`."""
        self._task = asyncio.create_task(self.run(), name="verifications")

    async def stop(self) -> None:
        """See `keeper.Duty`."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                busy = await self.turn()
            except Exception as error:  # whatever it was: without this loop no verification would end by itself
                told = not isinstance(error, StoreError)
                _log.warning("verifications could not be ended and will be tried again: %s", error, exc_info=told)
                busy = False
            if not busy:
                await asyncio.sleep(VERIFY_SWEEP_S)

    async def turn(self) -> bool:
        """One look; writes only where something is due. Says whether there is more to do at once."""
        now_ms = self._now()
        before_ms = now_ms - WINDOW_S * 1000
        past, old = await self._kept.overdue(now_ms, before_ms, EXPIRE_BATCH)
        if past and await self._kept.expire(now_ms, [new_id("evt") for _ in range(past)]):
            self._bus.ring("events")
        if old:
            await self._kept.forget_marks(before_ms, EXPIRE_BATCH)
        return EXPIRE_BATCH in (past, old)
