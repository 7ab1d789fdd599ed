"""A store and the nouns that its tests write into it: engine-neutral, with a clock that stands still unless it is moved."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

import sqlite_plans
from postgres_server import Server
from tidings.domain.address import address_key
from tidings.domain.message import Personal
from tidings.kit.ids import new_id
from tidings.kit.secrets import KeyRing
from tidings.store.accounts import First, StoredKey
from tidings.store.contract import (
    Begin,
    Begun,
    End,
    InboundRow,
    LeaseAsk,
    NewMessage,
    ReceiptRow,
    Row,
    Settlement,
)
from tidings.store.lists import EventFilter
from tidings.store.postgres import migrate as postgres_steps
from tidings.store.postgres.engine import PostgresEngine
from tidings.store.sqlite import migrate as sqlite_steps
from tidings.store.sqlite.engine import Engine as SqliteEngine
from tidings.store.store import Store

ENGINES = ("sqlite", "postgres")
NOW = 1_790_000_000_000
MINUTE = 60_000
DAY = 86_400_000
PROJECT = "prj_a"
NODE = "node-1"


@contextlib.asynccontextmanager
async def opened(dialect: str, folder: Path, server: Server | None) -> AsyncIterator[Store]:
    """A Store on an empty database of that engine: a new file, or the emptied one of the server."""
    if dialect == "sqlite":
        lite = SqliteEngine(folder / "tidings.db")
        lite.open()
        sqlite_steps.migrate(lite.writer)
        lite.start()
        try:
            yield Store(lite)
        finally:
            lite.close()
        sqlite_plans.judge(folder / "tidings.db")
        return
    assert server is not None
    url = await server.emptied(postgres_steps.migrate)
    engine = await PostgresEngine.open(url)
    try:
        yield Store(engine)
    finally:
        await engine.close()


async def execute(store: Store, sql: str) -> None:
    """A statement that no operation of the store makes."""

    async def later(session: Any, items: list[Any]) -> list[None]:
        await session.execute(sql)
        return [None] * len(items)

    def at_once(connection: Any, items: list[Any]) -> list[None]:
        connection.execute(sql)
        return [None] * len(items)

    await store.engine.write(later if store.engine.dialect == "postgres" else at_once, [None])


class World:
    """Short ways to do what the delivery path does."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.ring = KeyRing({"k1": b"s" * 32}, "k1", b"l" * 32)
        self.epoch = 0

    async def found(self) -> None:
        """The first project, and this node as the owner of provider `p1`; a second World finds both there."""
        key = StoredKey(
            id="key_1", project="", name="first", mode="live", scopes=["*"], hash="h1", hint="abcd", created_ms=NOW
        )
        if await self.store.keys.first(First(project=PROJECT, keys=[key], preset=False, now_ms=NOW)):
            self.epoch = await self.store.attempts.acquire("p1", NODE, NOW + DAY)

    def message(self, to: str = "+4917000001", **fields: Any) -> NewMessage:
        """A message due now; `fields` replace those of NewMessage."""
        id = fields.pop("id", None) or new_id("msg")
        at = fields.get("created_ms", NOW)
        due = fields.pop("due", at)
        personal = msgspec.json.encode(Personal(to=to, text="hello"))
        row: dict[str, Any] = {
            "project": PROJECT, "id": id, "mode": "live", "channel": "sms", "lane": 1, "status": "accepted",
            "created_ms": at, "due_ms": due, "valid_until_ms": None, "sequence": None, "on_unknown": "resend",
            "template": None, "locale": None, "reference": None, "tags": None, "retry_of": None, "key_id": "k1",
            "to_hash": address_key(self.ring, to), "sealed": self.ring.seal(personal, id), "provider": "",
            "event": new_id("evt"), "owner": None, "job_due_ms": due,
        }  # fmt: skip
        return NewMessage(**(row | fields))

    async def accept(self, *messages: NewMessage) -> list[str]:
        """Their ids."""
        return [accepted.id for accepted in await self.store.accepting.accept(list(messages))]

    async def lease(self, **fields: Any) -> list[Row]:
        """What `p1` may have now, at most 100 of each lane."""
        ask: dict[str, Any] = {
            "provider": "p1", "routed_only": False, "room": (100, 100, 100), "owner": "w1", "now_ms": NOW,
            "until_ms": NOW + MINUTE, "after": ("", "", ""),
        }  # fmt: skip
        return await self.store.jobs.lease(LeaseAsk(**(ask | fields)))

    async def leased_ids(self, **fields: Any) -> list[str]:
        """Ids of the leased, in their order."""
        return [row[1] for row in await self.lease(**fields)]

    def attempt(self, message: NewMessage, **fields: Any) -> Begin:
        """An attempt by `p1` under this node's epoch."""
        row: dict[str, Any] = {
            "project": message.project, "message": message.id, "attempt": new_id("att"), "provider": "p1",
            "channel": "sms", "parts": 1, "node": NODE, "epoch": self.epoch, "to_hash": message.to_hash,
            "sender": "Shop", "user_ref": None, "encoding": "gsm7", "at_ms": NOW, "owner": "w1", "event": new_id("evt"),
        }  # fmt: skip
        return Begin(**(row | fields))

    async def begin(self, message: NewMessage, **fields: Any) -> Begin:
        """Begun, and that it was allowed."""
        attempt = self.attempt(message, **fields)
        answer = await self.store.attempts.begin([attempt])
        assert [begun.kind for begun in answer] == ["ok"], answer
        return attempt

    async def begun(self, message: NewMessage, **fields: Any) -> Begun:
        """The answer."""
        return (await self.store.attempts.begin([self.attempt(message, **fields)]))[0]

    async def started(self, to: str = "+4917000001", **fields: Any) -> tuple[NewMessage, Begin]:
        """A message accepted, leased and under way; `parts`, `user_ref`, `sender`, `at_ms` are the attempt's."""
        of_attempt = {k: fields.pop(k) for k in ("parts", "user_ref", "sender", "at_ms") if k in fields}
        message = self.message(to, owner="w1", job_due_ms=NOW + MINUTE, **fields)
        await self.accept(message)
        return message, await self.begin(message, **of_attempt)

    def settlement(self, begin: Begin, kind: str, **fields: Any) -> Settlement:
        """How the attempt ended; the status that belongs to it unless given."""
        status = {"sent": "sent", "refused": "failed", "retry": "queued", "unknown": None}[kind]
        row: dict[str, Any] = {
            "project": begin.project, "message": begin.message, "attempt": begin.attempt, "provider": begin.provider,
            "to_hash": begin.to_hash, "kind": kind, "at_ms": NOW + 10, "status": status, "event": new_id("evt"),
        }  # fmt: skip
        return Settlement(**(row | fields))

    async def settle(self, begin: Begin, kind: str, **fields: Any) -> None:
        """Settles one."""
        await self.store.attempts.settle([self.settlement(begin, kind, **fields)])

    async def sent(self, to: str = "+4917000001", refs: tuple[str, ...] = ("r1",), **fields: Any) -> NewMessage:
        """A message that the carrier took under these ids."""
        message, begin = await self.started(to, parts=len(refs), **fields)
        await self.settle(begin, "sent", refs=refs)
        return message

    def receipt(self, ref: str, to: str | None = "+4917000001", state: str = "delivered", **fields: Any) -> ReceiptRow:
        """A receipt of `p1`."""
        row: dict[str, Any] = {
            "provider": "p1", "refs": (ref,), "to_hash": None if to is None else address_key(self.ring, to), "sender": None,
            "state": state, "carrier_state": state, "error_code": None, "user_ref": None, "submit_at_ms": None,
            "received_ms": NOW + 100, "event": new_id("evt"),
        }  # fmt: skip
        return ReceiptRow(**(row | fields))

    async def receive(self, ref: str, to: str | None = "+4917000001", state: str = "delivered", **fields: Any) -> bool:
        """Whether it was matched."""
        return (await self.store.receipts.receive([self.receipt(ref, to, state, **fields)]))[0]

    def inbound(self, sender: str = "+4917000001", text: str = "hi", **fields: Any) -> InboundRow:
        """A whole message from a person."""
        id = new_id("rec")
        sealed = self.ring.seal(msgspec.json.encode(Personal(to="12345", sender=sender, text=text)), id)
        row: dict[str, Any] = {
            "id": id, "provider": "p1", "provider_project": "", "from_hash": address_key(self.ring, sender),
            "to_hash": self.ring.lookup("12345"), "parts": 1, "missing": 0, "received_ms": NOW + 200, "key_id": "k1",
            "sealed": sealed, "stop": None, "dedup": id, "events": (new_id("evt"), new_id("evt"), new_id("evt")),
        }  # fmt: skip
        return InboundRow(**(row | fields))

    def end(self, message: NewMessage, status: str, **fields: Any) -> End:
        """The end of a message without an attempt."""
        return End(
            project=message.project, message=message.id, status=status, at_ms=NOW + 5, event=new_id("evt"), **fields
        )

    async def status(self, message: NewMessage) -> str:
        """What the message's status is now."""
        return (await self.store.messages.load(self.ring, message.project, [message.id]))[message.id].message.status

    async def log(self, message: NewMessage) -> list[str]:
        """The types of the message's events, in order."""
        events = await self.store.lists.timeline(message.project, message.id, 0, 100)
        return [event.type for event in events or []]

    async def types(self, project: str = PROJECT) -> list[str]:
        """The types of all events of a project, newest first."""
        return [e.type for e in (await self.store.lists.events(EventFilter(project=project, limit=500)))[0]]

    async def waiting(self) -> int:
        """Jobs that there are."""
        return sum((await self.store.jobs.queued(10_000)).values())
