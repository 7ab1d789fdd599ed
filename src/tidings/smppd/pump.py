"""One key's receipts and inbound messages on their way to its receivers.

It follows the log with a cursor of its own, only while a receiver is bound: what happens meanwhile waits in the log. The
cursor passes an event when every deliver_sm of it was acknowledged, so a crash repeats some and loses none. One process at
a time delivers to a key, by a lease.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence

from tidings.bus.contract import Bus
from tidings.domain.errors import StoreError
from tidings.kit.clock import Clock
from tidings.kit.limits import WEBHOOK_SCAN_EVENTS
from tidings.kit.secrets import KeyRing
from tidings.protocols.smpp.concat import Alphabet
from tidings.protocols.smpp.constants import Status
from tidings.smppd.account import Account
from tidings.smppd.config import (
    GATHER_S,
    GIVE_UP_S,
    HELD,
    IDLE_S,
    LEASE_S,
    RENEW_S,
    RETRY_FIRST_S,
    RETRY_LAST_S,
    SAVE_S,
)
from tidings.smppd.deliver import TYPES, Delivery, deliveries
from tidings.smppd.progress import Progress
from tidings.smppd.session import Session
from tidings.store.customers import Customers
from tidings.store.store import Store

_log = logging.getLogger(__name__)
_READ_EVENTS = 200
#: Answers that say "not now"; all others but ESME_ROK are the client's last word. Source: SMPP 3.4 §5.1.3
_LATER = frozenset(
    {Status.ESME_RX_T_APPN, Status.ESME_RTHROTTLED, Status.ESME_RMSGQFUL, Status.ESME_RSYSERR, Status.ESME_RUNKNOWNERR}
)


class Pump:
    """One key's pump. `owner` names this process."""

    def __init__(
        self, account: Account, sessions: Sequence[Session], store: Store, customers: Customers, ring: KeyRing, bus: Bus,
        owner: str, now: Clock, alphabet: Alphabet, monotonic: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """`sessions`: those bound with the key, at any time."""
        self._sessions = sessions
        self._account, self._store, self._customers, self._ring, self._bus = account, store, customers, ring, bus
        self._owner, self._now, self._monotonic = owner, now, monotonic
        self._alphabet: Alphabet = alphabet
        self._bell = bus.subscribe("events")
        self._queue: deque[Delivery] = deque()
        self._later: list[Delivery] = []
        self._progress: Progress | None = None
        self._turn = 0
        self._saved, self._saved_s, self._leased_s = 0, 0.0, 0.0
        self.refused = 0  # deliver_sm that the client refused for good

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            while True:
                try:
                    await self._turns()
                except StoreError as error:
                    _log.warning("receipts of %s wait: %s", self._account.id, error)
                await self._bell.wait(IDLE_S)
        finally:
            self._bus.unsubscribe("events", self._bell)
            with contextlib.suppress(StoreError):
                await asyncio.shield(self._give_back())

    def wake(self) -> None:
        """A receiver is bound."""
        self._bell.ring()

    def acknowledged(self, delivery: Delivery, status: int) -> None:
        """The client answered."""
        if self._progress is None or delivery.era is not self._progress:
            return
        now_s = self._monotonic()
        if status in _LATER and now_s - delivery.first_s < GIVE_UP_S:
            delivery.due_s = now_s + min(RETRY_LAST_S, RETRY_FIRST_S * 2 ** min(delivery.tries, 10))
            self._later.append(delivery)
            return
        if status:
            self.refused += 1
            _log.warning("a deliver_sm to %s was refused: 0x%08X", self._account.id, status)
        self._progress.done(delivery.seq)
        if len(self._queue) < HELD // 2:
            self._bell.ring()
        self.feed()

    def returned(self, left: list[Delivery]) -> None:
        """A session ended before it acknowledged these."""
        ours = [delivery for delivery in left if self._progress is not None and delivery.era is self._progress]
        self._queue.extendleft(reversed(ours))
        self._bell.ring()

    def feed(self) -> None:
        """Hands out what waits, to the receivers in turn."""
        if not self._queue:
            return
        able = [session for session in self._receivers() if session.room > 0]
        now_s, used = self._monotonic(), able[:]
        while self._queue and able:
            self._turn += 1
            session = able[self._turn % len(able)]
            delivery = self._queue.popleft()
            delivery.tries += 1
            delivery.first_s = delivery.first_s or now_s
            session.deliver(delivery)
            if session.room <= 0:
                able.remove(session)
        for session in used:
            session.flush()

    # -- inside

    def _receivers(self) -> list[Session]:
        return [session for session in self._sessions if session.receives]

    async def _turns(self) -> None:
        """While there are receivers, and no other process has the key."""
        while self._receivers():
            progress = self._progress or await self._claim()
            if progress is None:
                await asyncio.sleep(IDLE_S)
                continue
            self._take_due()
            more = progress.open < HELD and await self._read(progress)
            self.feed()
            if not await self._keep(progress):
                continue
            if not more:
                await asyncio.sleep(GATHER_S)
                await self._bell.wait(IDLE_S)
        await self._give_back()

    async def _claim(self) -> Progress | None:
        now_ms = self._now()
        cursor = await self._customers.claim(self._account.id, self._owner, now_ms, now_ms + int(LEASE_S * 1000))
        if cursor is None:
            return None
        self._progress = Progress(cursor)
        self._saved, self._saved_s = cursor, self._monotonic()
        self._leased_s = self._saved_s
        return self._progress

    async def _read(self, progress: Progress) -> bool:
        """Reads further; whether the log goes on behind that."""
        batch = await self._store.webhooks.follow(
            self._ring, self._account.project, progress.read, TYPES, (WEBHOOK_SCAN_EVENTS, _READ_EVENTS), True
        )
        if self._progress is not progress:
            return False
        for event in batch.events:
            found = deliveries(self._account, event, batch.subjects, self._alphabet)
            progress.add(event.seq, len(found))
            for delivery in found:
                delivery.era = progress
            self._queue.extend(found)
        progress.reach(batch.upto)
        return batch.more

    def _take_due(self) -> None:
        now_s = self._monotonic()
        due = [delivery for delivery in self._later if delivery.due_s <= now_s]
        if due:
            self._later = [delivery for delivery in self._later if delivery.due_s > now_s]
            self._queue.extendleft(reversed(due))

    async def _keep(self, progress: Progress) -> bool:
        """Writes the cursor and renews the lease, where it is time. False: the key is another process's now."""
        now_s = self._monotonic()
        moved = progress.cursor > self._saved and now_s - self._saved_s >= SAVE_S
        if not moved and now_s - self._leased_s < RENEW_S:
            return True
        cursor = progress.cursor
        if not await self._customers.save(self._account.id, self._owner, cursor, self._now() + int(LEASE_S * 1000)):
            _log.warning("another process delivers to %s now", self._account.id)
            self._forget()
            return False
        self._saved, self._saved_s, self._leased_s = cursor, now_s, now_s
        return True

    async def _give_back(self) -> None:
        """No receiver is left: another process may have the key. What was not acknowledged is read again."""
        progress = self._progress
        self._forget()
        if progress is not None:
            await self._customers.save(self._account.id, self._owner, progress.cursor, 0)

    def _forget(self) -> None:
        self._progress = None
        self._queue.clear()
        self._later.clear()
