"""The store's operations behind the API: messages and events as lists, keys, suppressions, webhooks."""

from tidings.domain.event import Event
from tidings.domain.view import StoredAttempt, StoredMessage
from tidings.kit.secrets import KeyRing
from tidings.store.accounts import (
    Claim,
    First,
    NewKey,
    NewProject,
    NewSuppression,
    StoredKey,
    StoredProject,
    Suppression,
)
from tidings.store.engine import Aggregate
from tidings.store.hooks import DeliveryRow, Done, Due, EndpointRow, Followed, NewEndpoint, News
from tidings.store.lists import EventFilter, MessageFilter, StoredInbound, StoredReceipt, Subjects


class Messages(Aggregate):
    """Messages with their personal data unsealed, by project."""

    module = "messages"

    async def load(self, ring: KeyRing, project: str, ids: list[str]) -> dict[str, StoredMessage]:
        """Those of these ids that are there."""
        return await self._engine.read(lambda c: self._sql.load(c, ring, project, ids))

    async def with_attempts(
        self, ring: KeyRing, project: str, message: str
    ) -> tuple[StoredMessage | None, list[StoredAttempt]]:
        """The message and all its attempts, in order."""
        return await self._engine.read(lambda c: self._sql.with_attempts(c, ring, project, message))


class Lists(Aggregate):
    """What customers read page by page."""

    module = "queries"

    async def messages(self, ring: KeyRing, wanted: MessageFilter) -> tuple[list[StoredMessage], str | None]:
        """One page, newest first, and the id to go on behind (None at the end)."""
        return await self._engine.read(lambda c: self._sql.messages(c, ring, wanted))

    async def events(self, wanted: EventFilter) -> tuple[list[Event], int | None]:
        """One page of the log, newest first, and the sequence number to go on behind."""
        return await self._engine.read(lambda c: self._sql.events(c, wanted))

    async def timeline(self, project: str, message: str, after: int, limit: int) -> list[Event] | None:
        """Events of one message, oldest first; None if there is no such message."""
        return await self._engine.read(lambda c: self._sql.timeline(c, project, message, after, limit))

    async def log_end(self) -> int:
        """The last sequence number."""
        return await self._engine.read(self._sql.log_end)

    async def follow(self, ring: KeyRing, project: str, after: int, limit: int) -> tuple[list[Event], Subjects]:
        """The log behind `after`, oldest first, with what the events are about."""
        return await self._engine.read(lambda c: self._sql.follow(c, ring, project, after, limit))

    async def inbound(self, ring: KeyRing, project: str, before: str | None, limit: int) -> list[StoredInbound]:
        """What came in, newest first."""
        return await self._engine.read(lambda c: self._sql.inbound(c, ring, project, before, limit))

    async def inbound_by_id(self, ring: KeyRing, project: str, ids: list[str]) -> dict[str, StoredInbound]:
        """Those of these ids that belong to the project."""
        return await self._engine.read(lambda c: self._sql.inbound_by_id(c, ring, project, ids))

    async def receipts(self, project: str | None, before: int | None, limit: int) -> list[StoredReceipt]:
        """Unmatched receipts of the project's own providers (None: of all), newest first."""
        return await self._engine.read(lambda c: self._sql.receipts(c, project, before, limit))


class Keys(Aggregate):
    """Projects, API keys and idempotency records of what is no message."""

    module = "keys"

    async def by_hash(self, hashed: str) -> tuple[StoredKey, str] | None:
        """The key with this hash that is not revoked, and the id of the first project."""
        return await self._engine.read(lambda c: self._sql.by_hash(c, hashed))

    async def revoked(self, hashes: list[str]) -> list[str]:
        """Those of these hashes whose key is revoked."""
        return await self._engine.read(lambda c: self._sql.revoked(c, hashes))

    async def claim(self, item: Claim) -> tuple[str, str]:
        """Claims an idempotency key: ("new" | "replay" | "reused", resource)."""
        return (await self._engine.write(self._sql.claim, [item]))[0]

    async def first(self, item: First) -> bool:
        """Makes the first project and its keys, if there is no project; says whether it did."""
        return (await self._engine.write(self._sql.first, [item]))[0]

    async def create(self, item: NewKey) -> tuple[str, str]:
        """Stores a key: ("new" | "replay" | "reused", id of the key)."""
        return (await self._engine.write(self._sql.create, [item]))[0]

    async def revoke(self, project: str, id: str, now_ms: int) -> StoredKey | None:
        """The key, revoked now or before; None if there is no such key."""
        return (await self._engine.write(self._sql.revoke, [(project, id, now_ms)]))[0]

    async def get(self, project: str, id: str) -> StoredKey | None:
        """One key of the project."""
        return await self._engine.read(lambda c: self._sql.get(c, project, id))

    async def page(self, project: str, before: str | None, limit: int) -> list[StoredKey]:
        """Keys of the project, newest first."""
        return await self._engine.read(lambda c: self._sql.page(c, project, before, limit))

    async def create_project(self, item: NewProject) -> tuple[str, str]:
        """Stores a project: ("new" | "replay" | "reused", id)."""
        return (await self._engine.write(self._sql.create_project, [item]))[0]

    async def projects(self, only: str | None, before: str | None, limit: int) -> list[StoredProject]:
        """Projects, newest first; only the one called `only`, if given."""
        return await self._engine.read(lambda c: self._sql.projects(c, only, before, limit))


class Suppressions(Aggregate):
    """Who must not be written to."""

    module = "suppressions"

    async def add(self, item: NewSuppression) -> tuple[str, str]:
        """One that is there stays as it is: ("new" | "replay" | "reused", to_hash)."""
        return (await self._engine.write(self._sql.add, [item]))[0]

    async def remove(self, project: str, channel: str, to_hash: str) -> bool:
        """Whether there was one."""
        return (await self._engine.write(self._sql.remove, [(project, channel, to_hash)]))[0]

    async def get(self, ring: KeyRing, project: str, channel: str, to_hash: str) -> Suppression | None:
        """One suppression."""
        return await self._engine.read(lambda c: self._sql.get(c, ring, project, channel, to_hash))

    async def among(self, project: str, channel: str, hashes: list[str]) -> list[str]:
        """Those of these hashes that are suppressed."""
        return await self._engine.read(lambda c: self._sql.among(c, project, channel, hashes))

    async def page(self, ring: KeyRing, project: str, after: tuple[str, str], limit: int) -> list[Suppression]:
        """Suppressions of the project by (channel, to_hash), behind `after`."""
        return await self._engine.read(lambda c: self._sql.page(c, ring, project, after, limit))


class Webhooks(Aggregate):
    """Endpoints and deliveries."""

    module = "webhooks"

    async def all_endpoints(self) -> list[EndpointRow]:
        """Every enabled endpoint."""
        return await self._engine.read(self._sql.all_endpoints)

    async def endpoints(self, project: str, before: str | None, limit: int) -> list[EndpointRow]:
        """A page of a project's endpoints, newest first."""
        return await self._engine.read(lambda c: self._sql.endpoints(c, project, before, limit))

    async def endpoint(self, project: str, endpoint_id: str) -> EndpointRow | None:
        """One endpoint."""
        return await self._engine.read(lambda c: self._sql.endpoint(c, project, endpoint_id))

    async def create(self, item: NewEndpoint) -> tuple[str, str]:
        """("new" | "replay" | "reused" | "full", id). A new endpoint hears of what happens from now on."""
        return (await self._engine.write(self._sql.create, [item]))[0]

    async def change(self, row: EndpointRow) -> bool:
        """Writes what a customer may change; the cursor is its pump's alone. False: there is no such endpoint."""
        return (await self._engine.write(self._sql.change, [row]))[0]

    async def delete_deliveries(self, project: str, endpoint_id: str, most: int) -> int:
        """Removes up to so many deliveries of an endpoint; how many it was."""
        return (await self._engine.write(self._sql.delete_deliveries, [(project, endpoint_id, most)]))[0]

    async def delete(self, project: str, endpoint_id: str) -> bool:
        """Removes an endpoint whose deliveries are gone. False: there is none."""
        return (await self._engine.write(self._sql.delete, [(project, endpoint_id)]))[0]

    async def news(self, cursor: int, limit: int) -> tuple[dict[str, News], int]:
        """What happened since the cursor, by project, and the cursor now."""
        return await self._engine.glance(lambda c: self._sql.news(c, cursor, limit))

    async def wanted(self, project: str, after: int, upto: int, types: list[str], limit: int) -> list[Event]:
        """The project's events in (after, upto], in order; of these types, or all if there are none."""
        return await self._engine.read(lambda c: self._sql.wanted(c, project, after, upto, types, limit))

    async def seq_since(self, project: str, from_ms: int) -> int:
        """The sequence number behind which all of the project's events from a time on are found."""
        return await self._engine.read(lambda c: self._sql.seq_since(c, project, from_ms))

    async def follow(
        self, ring: KeyRing, project: str, cursor: int, types: list[str], limits: tuple[int, int], subjects: bool,
        near: bool = False,
    ) -> Followed:  # fmt: skip
        """Events behind an endpoint's cursor. `limits`: how many to look at, and to give; `subjects`: what they are
        about, too; `near`: the cursor is near the end of the log."""
        read = self._engine.glance if near else self._engine.read
        return await read(lambda c: self._sql.follow(c, ring, project, cursor, types, limits, subjects))

    async def due(self, ring: KeyRing, project: str, endpoint_id: str, now_ms: int, limit: int) -> Due:
        """Deliveries whose retry is due, oldest first, with their events; else when the next one is."""
        return await self._engine.read(lambda c: self._sql.due(c, ring, project, endpoint_id, now_ms, limit))

    async def record(self, done: Done) -> None:
        """Deliveries and cursor, together."""
        await self._engine.write(self._sql.record, [done])

    async def queue(self, items: list[DeliveryRow]) -> None:
        """Deliveries that wait for a call."""
        await self._engine.write(self._sql.queue, items)

    async def deliveries(self, project: str, endpoint_id: str, before: str | None, limit: int) -> list[DeliveryRow]:
        """A page of an endpoint's deliveries, newest first."""
        return await self._engine.read(lambda c: self._sql.deliveries(c, project, endpoint_id, before, limit))

    async def delivery(self, project: str, delivery_id: str) -> DeliveryRow | None:
        """One delivery."""
        return await self._engine.read(lambda c: self._sql.delivery(c, project, delivery_id))
