"""Verifications whose time is over: ended by themselves, so that their event comes though nobody checks any more, and
forgotten after a while, with the address that they hold.
"""

from tidings.bus.contract import Bus
from tidings.delivery.turns import Turns
from tidings.kit.clock import Clock
from tidings.kit.ids import new_id
from tidings.kit.limits import EXPIRE_BATCH, VERIFY_FORGET_ROWS, VERIFY_KEEP_DEFAULT_DAYS, VERIFY_SWEEP_S
from tidings.policy.velocity import WINDOW_S
from tidings.store.store import Store

_DAY_MS = 86_400_000


class Expiry(Turns):
    """A duty of one process."""

    name = "end of verifications"

    def __init__(self, store: Store, bus: Bus, now: Clock, keep_days: int = VERIFY_KEEP_DEFAULT_DAYS) -> None:
        """`keep_days`: how long one that has ended is kept."""
        super().__init__()
        self._keep_ms = keep_days * _DAY_MS
        self._kept, self._bus, self._now = store.verifications, bus, now

    def pause_s(self) -> float:
        """See `Turns`."""
        return VERIFY_SWEEP_S

    async def turn(self) -> bool:
        """One look; writes only where something is due. Says whether there is more to do at once."""
        now_ms = self._now()
        before_ms = now_ms - WINDOW_S * 1000
        ended_ms = now_ms - self._keep_ms
        past, old, done = await self._kept.overdue(now_ms, before_ms, ended_ms, EXPIRE_BATCH)
        if past and await self._kept.expire(now_ms, [new_id("evt") for _ in range(past)]):
            self._bus.ring("events")
        if old:
            await self._kept.forget_marks(before_ms, EXPIRE_BATCH)
        if done:  # one batch a turn: nobody waits for it, and years of them must not hold up what is said now
            await self._kept.forget(ended_ms, VERIFY_FORGET_ROWS)
        return EXPIRE_BATCH in (past, old)
