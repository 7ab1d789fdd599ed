"""Sweeps: what comes due by itself. Messages past their validity or due on their next channel, parts whose siblings never
came, overdue receipts."""

import asyncio
import logging
from collections.abc import Callable

import msgspec

from tidings.bus.contract import Bus
from tidings.delivery.fallback import Fallback
from tidings.delivery.inquire import Inquiry
from tidings.delivery.receive import Receiver
from tidings.delivery.roster import Strays
from tidings.delivery.turns import Turns
from tidings.domain.message import MessageError
from tidings.kit.clock import Clock
from tidings.kit.ids import new_id
from tidings.kit.limits import EXPIRE_BATCH, FALLBACK_BATCH, INBOUND_PARTS_WAIT_S, RECEIPT_OVERDUE_S, SWEEP_S
from tidings.store.contract import End
from tidings.store.store import Store

_log = logging.getLogger(__name__)
_EXPIRED = msgspec.json.encode(
    MessageError(code="expired", detail="valid_until passed before a carrier could take the message")
).decode()


class Sweeper(Turns):
    """A duty of one process."""

    name = "sweep"

    def __init__(
        self, store: Store, receiver: Receiver, inquiry: Inquiry, bus: Bus, now: Clock, strays: Strays,
        fallback: Fallback, wake: Callable[[str], None],
    ) -> None:  # fmt: skip
        """`wake`: told that there are jobs for any provider."""
        super().__init__()
        self._wake = wake
        self._inquiry, self._strays, self._fallback = inquiry, strays, fallback
        self._asking: asyncio.Task[int] | None = None
        self._store, self._receiver, self._bus, self._now = store, receiver, bus, now

    async def start(self) -> None:
        """See `keeper.Duty`."""
        self._strays.changed()
        await super().start()

    def pause_s(self) -> float:
        """See `Turns`."""
        return SWEEP_S

    async def turn(self) -> bool:
        """One sweep. Says whether there is more to do at once."""
        now_ms = self._now()
        due = await self._store.jobs.expired(now_ms, EXPIRE_BATCH)
        ends = [
            End(project=project, message=message, status="expired", at_ms=now_ms, event=new_id("evt"), error=_EXPIRED)
            for project, message in due
        ]
        expired = await self._store.jobs.expire(ends)
        gone_on = await self._fallback.turn()
        flushed = await self._receiver.flush_stale(now_ms - INBOUND_PARTS_WAIT_S * 1000)
        before_ms = now_ms - RECEIPT_OVERDUE_S * 1000
        late = await self._store.overdue.find(before_ms, now_ms)
        if late.upto > late.cursor:
            await self._store.overdue.record(late)
        if late.messages and (self._asking is None or self._asking.done()):
            self._asking = asyncio.create_task(self._inquiry.ask(late.messages), name="ask for overdue receipts")
            self._asking.add_done_callback(_asked)
        again = await self._store.routes.overdue(now_ms, EXPIRE_BATCH)
        if again:
            self._wake("")
        if any(expired) or gone_on or flushed or late.messages or again:
            self._bus.ring("events")
        await self._strays.turn()
        return len(due) == EXPIRE_BATCH or gone_on == FALLBACK_BATCH


def _asked(task: asyncio.Task[int]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.warning("cannot ask for overdue receipts: %s", task.exception())
