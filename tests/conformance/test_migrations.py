"""A filled database of the first schema is brought to today's, and everything in it is there: on both engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import msgspec
import pytest

from postgres_server import Server, running
from store_world import ENGINES, MINUTE, NOW, PROJECT, World
from tidings.domain.errors import StoreError
from tidings.domain.message import Personal
from tidings.store.contract import LeaseAsk
from tidings.store.hooks import EndpointRow
from tidings.store.lists import EventFilter, MessageFilter
from tidings.store.postgres import migrate as postgres_steps
from tidings.store.postgres.engine import PostgresEngine
from tidings.store.sqlite import migrate as sqlite_steps
from tidings.store.sqlite.engine import Engine as SqliteEngine
from tidings.store.store import Store

Steps = list[tuple[int, str, str]]


class Old:
    """A database that can be brought to a list of steps, filled, and then opened."""

    def __init__(self, dialect: str, where: str) -> None:
        self.dialect = dialect
        self.where = where
        self.module = sqlite_steps if dialect == "sqlite" else postgres_steps

    async def migrate(self, steps: Steps | None = None) -> list[str]:
        """Applies what is missing of these (None: of all) steps."""
        with pytest.MonkeyPatch.context() as patch:
            if steps is not None:
                patch.setattr(self.module, "steps", lambda: steps)
            if self.dialect == "postgres":
                return await postgres_steps.migrate(self.where)
            engine = SqliteEngine(Path(self.where))
            engine.open()
            try:
                return sqlite_steps.migrate(engine.writer)
            finally:
                engine.close()

    async def run(self, *statements: str) -> None:
        """Raw statements."""
        if self.dialect == "postgres":
            raw = await asyncpg.connect(self.where)
            for sql in statements:
                await raw.execute(sql)
            await raw.close()
            return
        engine = SqliteEngine(Path(self.where))
        engine.open()
        for sql in statements:
            engine.writer.execute(sql)
        engine.close()

    async def open(self) -> PostgresEngine | SqliteEngine:
        """The engine, as a server would open it."""
        if self.dialect == "postgres":
            return await PostgresEngine.open(self.where)
        engine = SqliteEngine(Path(self.where))
        engine.open()
        engine.start()
        return engine


@pytest.fixture(params=ENGINES)
async def old(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Old]:
    """An empty database without a schema."""
    if request.param == "sqlite":
        yield Old("sqlite", str(tmp_path / "tidings.db"))
        return
    server: Server = request.getfixturevalue("postgres_server")
    yield Old("postgres", await server.database())


def filled(world: World) -> list[str]:
    """Rows of every kind, by statements that both engines understand and that name no column of a later step."""
    ring = world.ring

    def sealed(owner: str, **fields: str) -> str:
        return ring.seal(msgspec.json.encode(Personal(**fields)), owner)

    to, sender = ring.lookup("+491"), ring.lookup("12345")
    messages = [
        f"insert into messages (project, id, mode, channel, lane, status, created_ms, due_ms, on_unknown, tags, provider,"
        f" parts) values ('{PROJECT}', 'msg_{n}', 'live', 'sms', 1, '{status}', {NOW}, {NOW}, 'resend', '[\"x\"]', 'p1', 1)"
        for n, status in enumerate(("accepted", "sent", "sending"))
    ]
    personal = [
        f"insert into personal values ('{PROJECT}', 'msg_{n}', 'k1', '{to}', '{sealed(f'msg_{n}', to='+491', text='old')}')"
        for n in range(3)
    ]
    return [
        f"insert into projects values ('{PROJECT}', 'default', {NOW})",
        "insert into keys (id, project, name, mode, scopes, hash, hint, created_ms)"
        f" values ('key_0123456789abcde', '{PROJECT}', 'old', 'live', '[\"*\"]', 'h', 'wxyz', {NOW})",
        *messages,
        *personal,
        f"insert into jobs (project, message, lane, due_ms, ready_ms) values ('{PROJECT}', 'msg_0', 1, {NOW}, {NOW})",
        "insert into jobs (project, message, lane, due_ms, ready_ms, owner, tries, kind, provider)"
        f" values ('{PROJECT}', 'msg_2', 1, {NOW + MINUTE}, {NOW}, 'dead', 1, 'deliver', 'p1')",
        *(
            "insert into attempts (project, id, message, n, provider, channel, status, parts, part_states, node, epoch,"
            f" to_hash, created_ms) values ('{PROJECT}', 'att_{n}', 'msg_{n}', 1, 'p1', 'sms', '{status}', 1, '{states}',"
            f" 'n', 1, '{to}', {NOW})"
            for n, status, states in ((1, "sent", "s"), (2, "sending", ""))
        ),
        f"insert into refs values ('p1', 'r1', '{to}', '{PROJECT}', 'att_1', 0)",
        "insert into receipts (provider, ref, to_hash, receipt, received_ms)"
        f' values (\'p1\', \'lost\', null, \'{{"state":"delivered","carrier_state":"delivered"}}\', {NOW})',
        *(
            "insert into events (seq, project, id, type, message, at_ms)"
            f" values ({n + 1}, '{PROJECT}', 'evt_{n}', 'message.accepted', 'msg_{n}', {NOW})"
            for n in range(3)
        ),
        f"insert into suppressions values ('{PROJECT}', 'sms', '{to}', 'manual', {NOW})",
        f"insert into inbound values ('{PROJECT}', 'rec_1', 'p1', 'sms', 'msg_1', 1, 0, {NOW})",
        f"insert into personal values ('{PROJECT}', 'rec_1', 'k1', '{sender}',"
        f" '{sealed('rec_1', to='12345', sender='+492', text='in')}')",
        f"insert into inbound_parts values ('p1', 'f', 't', 1, 2, 1, 'k1', 'sealed', {NOW})",
        "insert into endpoints (project, id, key_id, sealed, types, description, status, cursor, created_ms)"
        f" values ('{PROJECT}', 'end_1', 'k1', 'sealed', '[]', '', 'enabled', 1, {NOW})",
        "insert into deliveries (project, id, endpoint, event_seq, event_id, type, status, tries, next_ms, created_ms,"
        f" updated_ms) values ('{PROJECT}', 'dlv_1', 'end_1', 1, 'evt_0', 'message.accepted', 'pending', 1, {NOW}, {NOW},"
        f" {NOW})",
        f"insert into providers values ('{PROJECT}', 'prv_1', 'own', 'sms.smpp', 'k1', 'sealed', {NOW})",
        "insert into provider_states values ('own', 1)",
        f"insert into provider_leases values ('p1', 0, 'n', 4, 1.0, {NOW})",
    ]


async def test_upgrading_a_filled_database(old: Old) -> None:
    steps = old.module.steps()
    assert len(steps) > 1, "there is nothing to upgrade to"
    assert await old.migrate(steps[:1]) == [steps[0][1]]
    engine = SqliteEngine(Path("unused"))  # the world's key ring is all that is needed before the upgrade
    await old.run(*filled(World(Store(engine))))
    assert await old.migrate() == [name for _, name, _ in steps[1:]]
    assert await old.migrate() == []
    opened = await old.open()
    try:
        await everything_is_readable(World(Store(opened)))
    finally:
        closing = opened.close()
        if closing is not None:
            await closing


async def everything_is_readable(world: World) -> None:
    store, ring = world.store, world.ring
    page, _ = await store.lists.messages(ring, MessageFilter(project=PROJECT, limit=10, tag="x"))
    assert [(m.message.id, m.message.status, m.message.personal.text) for m in page] == [
        ("msg_2", "sending", "old"),
        ("msg_1", "sent", "old"),
        ("msg_0", "accepted", "old"),
    ]
    events, _ = await store.lists.events(EventFilter(project=PROJECT, limit=10))
    assert [e.seq for e in events] == [3, 2, 1]
    found = await store.keys.by_hash("h")
    assert found is not None
    assert found[1] == PROJECT
    assert [r.ref for r in await store.lists.receipts(None, None, 9)] == ["lost"]
    assert [i.text for i in await store.lists.inbound(ring, PROJECT, None, 9)] == ["in"]
    assert await store.inbound.stale_parts(NOW + 1) == [("p1", "f", "t", 1, 2)]
    assert [s.reason for s in await store.suppressions.page(ring, PROJECT, ("", ""), 9)] == ["manual"]
    endpoints: list[EndpointRow] = await store.webhooks.all_endpoints()
    assert [(e.id, e.cursor) for e in endpoints] == [("end_1", 1)]
    assert [d.id for d in (await store.webhooks.due(ring, PROJECT, "end_1", NOW, 9)).rows] == ["dlv_1"]
    assert await store.providers.paused() == {"own"}
    # and the work goes on where it stood
    rows = await store.jobs.lease(ASK)
    assert {row[1]: row[34] for row in rows} == {"msg_0": None, "msg_2": "att_2"}
    assert await world.receive("r1", "+491")
    assert await store.attempts.acquire("p1", "n2", NOW) == 5
    await world.accept(world.message(id="msg_3"))
    assert await store.lists.log_end() > 3
    follow = await store.webhooks.follow(ring, PROJECT, 3, [], (9, 9), False)
    assert [e.type for e in follow.events] == ["message.delivered", "message.accepted"]


ASK = LeaseAsk("p1", False, (9, 9, 9), "w", NOW + MINUTE, NOW + 2 * MINUTE, ("", "", ""))


async def test_a_failing_step_leaves_the_step_before(old: Old) -> None:
    steps = old.module.steps()
    last = steps[-1][0]
    broken = [*steps, (last + 1, "9001_broken.sql", "create table fresh (id text); insert into missing values (1);")]
    with pytest.raises(Exception, match="missing"):
        await old.migrate(broken)
    assert await old.migrate() == []
    mended = [*steps, (last + 1, "9001_mended.sql", "create table fresh (id text)")]
    assert await old.migrate(mended) == ["9001_mended.sql"]


async def test_a_newer_database_is_refused(old: Old) -> None:
    steps = old.module.steps()
    await old.migrate([*steps, (steps[-1][0] + 1, "9001_later.sql", "create table later (id text)")])
    with pytest.raises(StoreError, match="newer Tidings"):
        await old.migrate()


async def test_versions_that_start_at_once_apply_each_step_once(postgres_server: Server) -> None:
    url = await postgres_server.database()
    done = await asyncio.gather(*(postgres_steps.migrate(url) for _ in range(4)))
    assert sorted(name for names in done for name in names) == [name for _, name, _ in postgres_steps.steps()]


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
async def test_a_server_that_would_lose_data_is_refused(setting: str) -> None:
    with running(f"{setting}=off") as server:
        with pytest.raises(StoreError, match=f"{setting}=off"):
            await postgres_steps.migrate(server.url())
        with pytest.raises(StoreError, match=f"{setting}=off"):
            await PostgresEngine.open(server.url())


async def test_no_server(unused_tcp_port_url: str) -> None:
    with pytest.raises(StoreError, match="cannot be reached"):
        await postgres_steps.migrate(unused_tcp_port_url, patience_s=0.1)
    with pytest.raises(StoreError, match="cannot be reached"):
        await PostgresEngine.open(unused_tcp_port_url, patience_s=0.1)


@pytest.fixture
def unused_tcp_port_url(free_port: int) -> str:
    """Where no server is."""
    return f"postgresql://postgres@127.0.0.1:{free_port}/none"
