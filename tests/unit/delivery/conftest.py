"""The delivery path as it runs in the server, against the sandbox's real SMPP: no HTTP, everything else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tidings.channels.contract import ProviderSpec
from tidings.delivery.accept import Accepted, Want
from tidings.delivery.node import Node
from tidings.delivery.settle import UnknownWait
from tidings.domain.request import SendRequest
from tidings.kit.clock import wall_ms
from tidings.kit.secrets import KeyRing
from tidings.sandbox.sms import SandboxSmsc
from tidings.store.sqlite.engine import Engine
from tidings.store.sqlite.migrate import migrate
from tidings.store.store import Store

PROJECT = "prj_" + "0" * 32
OTHER = "prj_" + "1" * 32


class Bench:
    """A node with its store and a carrier. Its clock is the system's, `ahead_ms` ahead."""

    def __init__(self, folder: Path, wait: UnknownWait) -> None:
        self.folder, self.wait = folder, wait
        self.smsc = SandboxSmsc(receipt_delay_s=0.01)
        self.ahead_ms = 0

    def now(self) -> int:
        return wall_ms() + self.ahead_ms

    async def open(self, **config: Any) -> None:
        self.engine = Engine(self.folder / "tidings.db")
        self.engine.open()
        migrate(self.engine.writer)
        for project in (PROJECT, OTHER):
            self.engine.writer.execute("insert or ignore into projects values (?, 'test', 0)", (project,))
        self.engine.start()
        self.node = Node(Store(self.engine), KeyRing.load(self.folder / "keys.json"), now=self.now, wait=self.wait)
        settings = {"host": "127.0.0.1", "port": self.smsc.port, "system_id": "sandbox", "password": "sandbox"}
        spec = ProviderSpec(name="carrier", type="sms.smpp", config=settings | config)
        await self.node.start([spec])

    async def close(self) -> None:
        await self.node.stop(1)
        self.engine.close()

    async def linked(self) -> None:
        await self.until(lambda: self.node.fleet.members()[0].provider.credit("otp") > 0)

    async def send(self, *, project: str = PROJECT, **request: Any) -> str:
        request = {"to": "+14155550100", "text": "hello"} | request
        answer = (await self.node.acceptor.accept(project, "live", [Want(SendRequest(**request))]))[0]
        assert isinstance(answer, Accepted), answer
        return answer.id

    async def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return await self.engine.read(lambda connection: list(connection.execute(sql, values)))

    async def status(self, message: str) -> str:
        return str((await self.rows("select status from messages where id = ?", message))[0][0])

    async def events(self, message: str) -> list[str]:
        found = await self.rows("select type from events where message = ? order by seq", message)
        return [str(row[0]).removeprefix("message.") for row in found]

    async def until(self, check: Callable[[], Any], deadline_s: float = 30) -> None:
        async with asyncio.timeout(deadline_s):
            while not check():
                await asyncio.sleep(0.01)

    async def until_status(self, message: str, *wanted: str, deadline_s: float = 30) -> str:
        async with asyncio.timeout(deadline_s):
            while (status := await self.status(message)) not in wanted:
                await asyncio.sleep(0.01)
        return status


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path, UnknownWait(0.3, 0.3))
    await made.smsc.start()
    yield made
    await made.close()
    await made.smsc.stop()
