"""Servers that go away, disks that are full, transactions that have to be run again: what the engine makes of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from listening import Listening
from postgres_server import Server
from store_nodes import node, session, url
from store_world import execute
from tidings.domain.errors import StoreError, StoreFull
from tidings.store.postgres.engine import CommitUnknown

__all__ = ["url"]


ERRORS = {"40P01": "deadlock", "40001": "serialization"}


@pytest.mark.parametrize("code", ERRORS)
async def test_transactions_in_each_others_way_are_run_again(url: str, code: str) -> None:
    async with node(url) as world:
        tries: list[int] = []

        async def crossed(session: Any, items: list[int]) -> list[int]:
            tries.append(1)
            await session.execute("insert into cursors values ('x', 1)")
            if len(tries) < 3:
                await session.execute(f"do $$ begin raise sqlstate '{code}'; end $$")
            return items

        assert await world.store.engine.write(crossed, [7]) == [7]
        assert len(tries) == 3

        async def always(session: Any, items: list[int]) -> list[int]:
            await session.execute(f"do $$ begin raise sqlstate '{code}'; end $$")
            return items

        with pytest.raises(StoreError):
            await world.store.engine.write(always, [1])


async def test_a_full_disk_is_told_and_recovers_unaided(url: str) -> None:
    """The server's own error code for a full disk, raised where the rows go in."""
    async with node(url) as world:
        await execute(
            world.store,
            "create function full_disk() returns trigger language plpgsql as"
            " $$ begin raise 'No space left on device' using errcode = '53100'; end $$;",
        )
        await execute(world.store, "create trigger t before insert on personal execute function full_disk()")
        answers = await asyncio.gather(*(world.accept(world.message()) for _ in range(4)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [StoreFull] * 4
        assert await world.waiting() == 0
        await execute(world.store, "drop trigger t on personal")
        await world.accept(world.message())
        assert await world.waiting() == 1


async def test_a_value_that_no_column_takes_fails_alone(url: str) -> None:
    async with node(url) as world:
        bad = [world.message(reference="a\x00b"), world.message(created_ms=2**70), world.message(lane="x")]
        answers = await asyncio.gather(
            *(world.accept(item) for item in (*bad, *(world.message() for _ in range(3)))), return_exceptions=True
        )
        assert [isinstance(answer, StoreError) for answer in answers] == [True] * 3 + [False] * 3
        assert await world.waiting() == 3


async def test_a_server_that_restarts_loses_nothing(postgres_server: Server, url: str) -> None:
    """Fast and immediate shutdowns while callers write and read: all that was answered is there, once."""
    async with node(url, patience_s=90) as world:
        accepted: list[str] = []
        stop = asyncio.Event()

        async def write() -> None:
            while not stop.is_set():
                accepted.extend(await world.accept(world.message()))

        async def read() -> None:
            while not stop.is_set():
                await world.store.lists.log_end()

        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(write())
            group.create_task(read())
            for end in (postgres_server.stop, postgres_server.kill, None):
                before = len(accepted)
                async with asyncio.timeout(90):
                    while len(accepted) < before + 20:
                        await asyncio.sleep(0.01)
                if end is not None:
                    await asyncio.to_thread(end)
                    await asyncio.to_thread(postgres_server.start)
            stop.set()
        assert len(accepted) == len(set(accepted))
        async with session(url) as raw:
            stored = {row[0] for row in await raw.fetch("select id from messages")}
            assert await raw.fetchval("select count(*) from jobs") == len(stored)
            assert await raw.fetchval("select count(*) from events") == len(stored)
        assert stored == set(accepted), "nothing lost; nothing stored that nobody was told of, either"


async def test_a_server_that_stays_away_is_told(postgres_server: Server, url: str) -> None:
    async with node(url, patience_s=1.5) as world:
        await world.accept(world.message())
        await asyncio.to_thread(postgres_server.stop)
        try:
            for call in (world.accept(world.message()), world.store.lists.log_end()):
                with pytest.raises(StoreError, match="cannot be reached"):
                    await call
            assert world.store.engine.pending == 0
        finally:
            await asyncio.to_thread(postgres_server.start)
        await world.accept(world.message())
        assert await world.waiting() == 2


class Cutting:
    """A way to the server that breaks at a commit: before the server gets it, or before the answer comes back."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.cut: str | None = None
        self.stays_down = False
        self.cuts = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.stays_down and self.cuts:
            return
        server = await asyncio.open_connection("127.0.0.1", self._port)
        back = asyncio.create_task(self._back(server[0], writer))
        try:
            while data := await reader.read(65_536):
                if self.cut is not None and data[:1] == b"Q" and b"commit" in data:
                    how, self.cut = self.cut, None
                    self.cuts += 1
                    back.cancel()
                    await asyncio.gather(back, return_exceptions=True)
                    if how == "after":
                        server[1].write(data)
                        await server[0].read(1)
                    return
                server[1].write(data)
        finally:
            server[1].close()
            back.cancel()
            await asyncio.gather(back, return_exceptions=True)

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()


@contextlib.asynccontextmanager
async def cutting(server: Server, url: str) -> AsyncIterator[tuple[Cutting, str]]:
    way = Cutting(server.port)
    async with Listening(way.serve) as port:
        yield way, url.replace(f":{server.port}/", f":{port}/")


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_commit_without_an_answer_is_looked_up(postgres_server: Server, url: str, when: str) -> None:
    """The message is there exactly once, and the caller is told so, whichever side of the commit the cut is on."""
    async with cutting(postgres_server, url) as (way, through), node(through) as world:
        message = world.message()
        way.cut = when
        assert await world.accept(message) == [message.id]
        assert way.cuts == 1
        assert await world.waiting() == 1
        assert await world.log(message) == ["message.accepted"]


async def test_a_commit_that_cannot_be_looked_up_is_unknown(postgres_server: Server, url: str) -> None:
    async with cutting(postgres_server, url) as (way, through), node(through, patience_s=1.5) as world:
        way.cut, way.stays_down = "after", True
        message = world.message(key_hash="k", body_hash="b")
        with pytest.raises(CommitUnknown):
            await world.accept(message)
        way.stays_down = False
        again = await world.store.accepting.accept([world.message(key_hash="k", body_hash="b")])
        assert [(a.kind, a.id) for a in again] == [("replay", message.id)], "the idempotency key makes repeating safe"


async def test_a_caller_who_goes_away_leaves_the_engine_whole(url: str) -> None:
    async with node(url) as world:
        for _ in range(8):
            reading = asyncio.create_task(world.store.engine.read(lambda s: s.fetchval("select pg_sleep(5)")))
            await asyncio.sleep(0.02)
            reading.cancel()
        writing = [asyncio.create_task(world.accept(world.message())) for _ in range(5)]
        await asyncio.sleep(0)
        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)
        await world.accept(world.message())
        assert await world.store.lists.log_end() > 0
        assert world.store.engine.pending == 0


async def test_closing_finishes_what_is_queued(url: str) -> None:
    async with node(url) as world:
        calls = [asyncio.create_task(world.accept(world.message())) for _ in range(50)]
        await asyncio.sleep(0)
        await world.store.engine.close()  # pyright: ignore
        assert sum([len(await call) for call in calls]) == 50
        with pytest.raises(StoreError, match="closed"):
            await world.accept(world.message())
