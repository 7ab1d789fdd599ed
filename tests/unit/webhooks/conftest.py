"""The webhooks room with a real store, and receivers that answer as a test wants."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from listening import Listening
from tidings.bus.local import LocalBus
from tidings.domain.message import Personal
from tidings.kit.clock import wall_ms
from tidings.kit.ids import new_id
from tidings.kit.secrets import KeyRing
from tidings.store.sealed import encode_personal
from tidings.store.sqlite import transitions
from tidings.store.sqlite.engine import Engine
from tidings.store.sqlite.link import Connection
from tidings.store.sqlite.migrate import migrate
from tidings.store.store import Store
from tidings.webhooks.service import WebhookService

PROJECT = "prj_" + "0" * 32
OTHER = "prj_" + "1" * 32
HANG = 0


class Call:
    """A request that a receiver got."""

    def __init__(self, path: str, headers: dict[str, str], body: bytes) -> None:
        self.path, self.headers, self.body = path, headers, body

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Sink:
    """A receiver. `status` answers each call: an HTTP status, or HANG for none ever; `delay_s` comes before it."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.status: Callable[[Call], int] = lambda call: 200
        self.answer = b"ok"
        self.delay_s = 0.0
        self.open = self.most = 0  # calls that wait for their answer, and the most there ever were
        self.connections = 0
        self._server = Listening(self._serve)

    async def start(self) -> None:
        self.port = await self._server.start()
        self.url = f"http://127.0.0.1:{self.port}/hook"

    async def stop(self) -> None:
        await self._server.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            call = await self._read(reader)
            await self._reply(call, writer)

    async def _read(self, reader: asyncio.StreamReader) -> Call:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)}
        return Call(head[0].split()[1], headers, await reader.readexactly(int(headers.get("content-length", 0))))

    async def _reply(self, call: Call, writer: asyncio.StreamWriter) -> None:
        self.calls.append(call)
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await asyncio.sleep(self.delay_s)
            status = self.status(call)
            if status == HANG:
                await asyncio.Event().wait()
            where = f"location: {self.url}/elsewhere\r\n" if 300 <= status < 400 else ""
            writer.write(
                f"HTTP/1.1 {status} X\r\n{where}content-length: {len(self.answer)}\r\n\r\n".encode() + self.answer
            )
            await writer.drain()
        finally:
            self.open -= 1


def _rows(connection: Connection, items: list[tuple[Any, ...]]) -> list[None]:
    for sql, *values in items:
        connection.execute(sql, values)
    return [None] * len(items)


def _events(connection: Connection, items: list[tuple[Any, ...]]) -> list[None]:
    transitions.add_events(connection, items)
    return [None] * len(items)


class Room:
    """A store, a bus and the service; time stands where `at_ms` says, or is the system's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.at_ms: int | None = None

    def now(self) -> int:
        return wall_ms() if self.at_ms is None else self.at_ms

    async def open(self, **guard: Any) -> None:
        self.engine = Engine(self.folder / "tidings.db")
        self.engine.open()
        migrate(self.engine.writer)
        self.engine.start()
        self.ring = KeyRing.load(self.folder / "keys.json")
        self.bus = LocalBus()
        self.service = self.make_service(**guard)
        await self.service.start()

    def make_service(self, *, allow_private: bool = True, allow: tuple[str, ...] = ()) -> WebhookService:
        return WebhookService(Store(self.engine), self.ring, self.bus, self.now, allow_private, allow)

    async def restart(self) -> None:
        await self.service.stop()
        self.service = self.make_service()
        await self.service.start()

    async def close(self) -> None:
        await self.service.stop()
        self.engine.close()

    async def endpoint(self, url: str, *types: str, project: str = PROJECT) -> dict[str, Any]:
        made, _ = await self.service.create(project, url, list(types), "")
        return made

    async def emit(self, *types: str, project: str = PROJECT, message: str | None = None, at_ms: int = 0) -> list[str]:
        """Events in one commit, as the delivery path writes them; their ids."""
        ids = [new_id("evt") for _ in types]
        at_ms = at_ms or self.now()
        await self.engine.write(
            _events, [(project, id, kind, message, at_ms, None) for id, kind in zip(ids, types, strict=True)]
        )
        self.bus.ring("events")
        return ids

    async def message(self, **personal: Any) -> str:
        """A stored message."""
        id = new_id("msg")
        sealed = self.ring.seal(encode_personal(Personal(**{"to": "+15005550001", "text": "hello"} | personal)), id)
        await self.run(
            "insert into messages (project, id, mode, channel, lane, status, created_ms, due_ms, on_unknown)"
            " values (?, ?, 'live', 'sms', 1, 'delivered', 0, 0, 'resend')",
            PROJECT, id,
        )  # fmt: skip
        await self.run("insert into personal values (?, ?, ?, 'x', ?)", PROJECT, id, self.ring.current, sealed)
        return id

    async def run(self, sql: str, *values: Any) -> None:
        await self.engine.write(_rows, [(sql, *values)])

    async def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return await self.engine.read(lambda connection: list(connection.execute(sql, values)))

    async def deliveries(self) -> list[dict[str, Any]]:
        names = ("id", "event_id", "status", "tries", "http_status", "error", "next_ms", "endpoint")
        found = await self.rows(f"select {', '.join(names)} from deliveries order by event_seq, id")
        return [dict(zip(names, row, strict=True)) for row in found]

    async def cursor(self, endpoint: dict[str, Any]) -> int:
        return int((await self.rows("select cursor from endpoints where id = ?", endpoint["id"]))[0][0])

    async def until(self, check: Callable[[], Any], deadline_s: float = 30) -> None:
        """Waits until `check` (which may be async) is true."""
        async with asyncio.timeout(deadline_s):
            while True:
                found = check()
                if isinstance(found, Awaitable):
                    found = await found
                if found:
                    return
                await asyncio.sleep(0.01)

    async def count(self, status: str | None = None) -> int:
        """How many deliveries there are, with this status or any."""
        return sum(status in (None, row["status"]) for row in await self.deliveries())

    async def until_deliveries(self, number: int, status: str | None = None, deadline_s: float = 30) -> None:
        async def enough() -> bool:
            return await self.count(status) >= number

        await self.until(enough, deadline_s)


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    made = Room(tmp_path)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def new_sink() -> AsyncIterator[Callable[[], Awaitable[Sink]]]:
    sinks: list[Sink] = []

    async def make() -> Sink:
        sink = Sink()
        sinks.append(sink)
        await sink.start()
        return sink

    yield make
    for sink in sinks:
        await sink.stop()


@pytest.fixture
async def sink(new_sink: Callable[[], Awaitable[Sink]]) -> Sink:
    return await new_sink()
