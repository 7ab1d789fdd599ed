"""The delivery path's operations on the store: accepting, leasing, attempts, receipts, inbound, sweeps."""

import math
import time
from collections.abc import Sequence

from tidings.domain.errors import StoreFull
from tidings.kit.secrets import KeyRing
from tidings.store.chain import Advance, Pending
from tidings.store.contract import (
    Accepted,
    Begin,
    Begun,
    End,
    InboundPartRow,
    InboundRow,
    Late,
    LeaseAsk,
    NewMessage,
    PartKey,
    ReceiptRow,
    Release,
    Row,
    Settlement,
)
from tidings.store.engine import Aggregate


class Accepting(Aggregate):
    """Messages on their way in."""

    module = "accept"
    full_s = (
        -math.inf
    )  # monotonic: when the last one found no space; others, smaller or luckier, may have found some since

    async def accept(self, items: list[NewMessage]) -> list[Accepted]:
        """Stores those whose idempotency key is new; one caller's conflict never touches the others."""
        try:
            return await self._engine.write(self._sql.accept, items)
        except StoreFull:
            self.full_s = time.monotonic()
            raise


class Jobs(Aggregate):
    """What still has to be handed over."""

    module = "jobs"

    async def lease(self, ask: LeaseAsk) -> list[Row]:
        """The leased rows (`sealed.stored` and what follows it), tenants of a lane served in turn."""
        return (await self._engine.write(self._sql.lease, [ask]))[0]

    async def renew(self, items: list[tuple[str, str, str, int]]) -> None:
        """(project, message, owner, until_ms): a longer lease, where it is still this owner's."""
        await self._engine.write(self._sql.renew, items)

    async def release(self, items: list[Release]) -> None:
        """Gives leased jobs back, due at `due_ms`; a `status` is written with its event."""
        await self._engine.write(self._sql.release, items)

    async def strike(self, project: str, message: str, by: int = 1) -> None:
        """Noted before a job is worked on alone, so that the next worker knows of it; taken back (-1) after it."""
        await self._engine.write(self._sql.strike, [(project, message, by)])

    async def end(self, items: list[End]) -> list[bool]:
        """Ends messages that have no attempt under way, and removes their jobs."""
        return await self._engine.write(self._sql.end, items)

    async def cancel(self, project: str, message: str, event: str, at_ms: int) -> str:
        """`canceled`, `gone` (no job: too late) or `in_flight` (leased)."""
        return (await self._engine.write(self._sql.cancel, [(project, message, event, at_ms)]))[0]

    async def expired(self, now_ms: int, limit: int) -> list[tuple[str, str]]:
        """Jobs at rest whose validity has passed: (project, message)."""
        return await self._engine.read(lambda c: self._sql.expired(c, now_ms, limit))

    async def expire(self, items: list[End]) -> list[bool]:
        """Ends those that are still at rest; a job leased meanwhile is left to its worker."""
        return await self._engine.write(self._sql.expire, items)

    async def take_over(self, now_ms: int) -> int:
        """At the start of the only process: every lease of the one before is over now. How many there were."""
        return (await self._engine.write(self._sql.take_over, [now_ms]))[0]

    async def queued(self, most: int) -> dict[int, int]:
        """Waiting jobs by lane, counted up to `most` each."""
        return await self._engine.read(lambda c: self._sql.queued(c, most))


class Attempts(Aggregate):
    """Stored before the wire, settled after it."""

    module = "attempts"

    async def begin(self, items: list[Begin]) -> list[Begun]:
        """Stores attempts. Consent, ownership and cancellation are looked at once more, inside this transaction."""
        return await self._engine.write(self._sql.begin, items)

    async def settle(self, items: list[Settlement]) -> None:
        """Attempt, message, job, event and the carrier's ids, together; then receipts that came too early."""
        await self._engine.write(self._sql.settle, items)

    async def acquire(self, provider: str, node: str, until_ms: int) -> int:
        """The epoch under which this node now owns the provider's binds."""
        return (await self._engine.write(self._sql.acquire, [(provider, node, until_ms)]))[0]


class Receipts(Aggregate):
    """What carriers say of messages."""

    module = "receipts"

    async def receive(self, items: list[ReceiptRow]) -> list[bool]:
        """Applies receipts; says which were matched. The others are kept and listed."""
        return await self._engine.write(self._sql.receive, items)


class Inbound(Aggregate):
    """What people send to us."""

    module = "inbound"

    async def receive(self, items: list[InboundRow]) -> list[str | None]:
        """Stores whole messages with their events; the project of each, None for one that was here already."""
        return await self._engine.write(self._sql.receive, items)

    async def keep_parts(self, items: list[InboundPartRow]) -> list[list[Row]]:
        """Stores parts; for the item that completes its message, the rows (part, key_id, sealed, received_ms)."""
        return await self._engine.write(self._sql.keep_parts, items)

    async def parts_of(self, key: PartKey) -> list[Row]:
        """(part, key_id, sealed, received_ms) of what is there, in order."""
        return await self._engine.read(lambda c: self._sql.parts_of(c, key))

    async def stale_parts(self, before_ms: int) -> list[PartKey]:
        """Incomplete messages whose first part came before `before_ms`."""
        return await self._engine.read(lambda c: self._sql.stale_parts(c, before_ms))


class Fallbacks(Aggregate):
    """Messages that wait for their next channel."""

    module = "fallback"

    async def due(self, ring: KeyRing, now_ms: int, limit: int) -> list[Pending]:
        """Those whose next channel is due."""
        return await self._engine.read(lambda c: self._sql.due(c, ring, now_ms, limit))

    async def advance(self, items: list[Advance]) -> list[bool]:
        """They go on to another channel; False where somebody was faster."""
        return await self._engine.write(self._sql.advance, items)

    async def stop(self, items: list[tuple[str, str]]) -> None:
        """(project, message): no other channel is tried."""
        await self._engine.write(self._sql.stop, items)


class Overdue(Aggregate):
    """Receipts that never came."""

    module = "overdue"

    async def find(self, before_ms: int, now_ms: int) -> Late:
        """Sent before `before_ms` and still without a final receipt."""
        return await self._engine.read(lambda c: self._sql.find(c, before_ms, now_ms))

    async def questions(self, messages: Sequence[tuple[str, str]]) -> list[tuple[str, str, str | None]]:
        """(provider, its id, sender) of every part of these (project, message) that no receipt has ended."""
        return await self._engine.read(lambda c: self._sql.questions(c, messages))

    async def record(self, late: Late) -> None:
        """Writes a `receipt_overdue` event for each, with the cursor."""
        await self._engine.write(self._sql.record, [late])


class Providers(Aggregate):
    """Providers declared over the API, and which ones an operator has paused."""

    module = "providers"

    async def load(self) -> list[tuple[str, str, str, str, str, str]]:
        """(project, id, name, type, key_id, sealed configuration) of all."""
        return await self._engine.read(self._sql.load)

    async def states(self) -> dict[str, tuple[bool, int]]:
        """By name: whether it is paused, and how often it was paused or resumed. Absent: never."""
        return await self._engine.read(self._sql.states)

    async def paused(self) -> set[str]:
        """The names of paused ones."""
        return {name for name, (paused, _) in (await self.states()).items() if paused}

    async def reroute(self, names: list[str]) -> int:
        """Jobs that wait for a provider which is not of these names wait for any; how many there were."""
        return (await self._engine.write(self._sql.reroute, [names]))[0]

    async def insert(self, item: tuple[str, str, str, str, str, str, int]) -> None:
        """(project, id, name, type, key_id, sealed, created_ms)."""
        await self._engine.write(self._sql.insert, [item])

    async def delete(self, project: str, provider: str, name: str) -> None:
        """Forgets it; jobs routed to it are unrouted again."""
        await self._engine.write(self._sql.delete, [(project, provider, name)])

    async def set_paused(self, name: str, paused: bool) -> None:
        """What was routed to a provider that is paused may go to another."""
        await self._engine.write(self._sql.set_paused, [(name, int(paused))])
