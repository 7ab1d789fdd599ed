"""Half-open connections to the SMPP server for customers: who is bound goes on, and newcomers can still bind.

The same as `test_hostile_connections.py` for HTTP. Every other healthy submit is over a session that was bound before the
crowd came, the rest each over a new connection with a bind of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from conftest import find_free_port
from tidings.protocols.smpp import constants as c
from tidings.protocols.smpp.pdu import HEADER, Sm, encode_sm, pdu

from .crowd import RSS_MB, crowd, line, memory_mb
from .rig import KEY, Server, listens

CAMPAIGN = os.environ.get("TIDINGS_CAMPAIGN") == "1"
CROWD = 10_000 if CAMPAIGN else 600
REQUESTS, AFTER = (3_000, 1_500) if CAMPAIGN else (200, 100)
HEALTHY_PER_S = 100
ANSWER_S = 30.0
#: The whole key as password, which is longer than SMPP's field and taken all the same. Source: SMPP 3.4 §4.1.1.
BIND = b"healthy\0" + KEY.encode() + b"\0\0\x34\0\0\0"


class Client:
    """One session of a customer: requests in flight by their sequence numbers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._sequence = 0
        self._reading = asyncio.create_task(self._read())

    async def ask(self, command: int, body: bytes) -> int:
        """The status of the answer."""
        self._sequence += 1
        answer = self._waiting[self._sequence] = asyncio.get_running_loop().create_future()
        self._writer.write(pdu(command, 0, self._sequence, body))
        return await asyncio.wait_for(answer, ANSWER_S)

    async def submit(self, n: int) -> None:
        """One message that must be taken."""
        sm = Sm(destination_addr=b"14155550123", dest_addr_ton=1, dest_addr_npi=1, short_message=b"n%d" % n)
        assert await self.ask(c.SUBMIT_SM, encode_sm(sm)) == 0

    def close(self) -> None:
        """Without a goodbye."""
        self._reading.cancel()
        self._writer.transport.abort()

    async def _read(self) -> None:
        try:
            while True:
                length, command, status, sequence = HEADER.unpack(await self._reader.readexactly(16))
                await self._reader.readexactly(length - 16)
                if command & c.RESP:
                    self._waiting.pop(sequence).set_result(status)
                else:
                    self._writer.write(pdu(command | c.RESP, 0, sequence, b"\0" if command == c.DELIVER_SM else b""))
        except (OSError, asyncio.IncompleteReadError) as error:
            for answer in [answer for answer in self._waiting.values() if not answer.done()]:
                answer.set_exception(ConnectionResetError(f"the server has closed: {error}"))


@contextlib.asynccontextmanager
async def bound(port: int) -> AsyncIterator[Client]:
    """A session that is bound."""
    client = Client(*await asyncio.open_connection("127.0.0.1", port))
    try:
        assert await client.ask(c.BIND_TRANSMITTER, BIND) == 0
        yield client
    finally:
        client.close()


async def healthy(old: Client, port: int, count: int) -> list[float]:
    """Latencies in seconds from the scheduled time, of submits that must all be taken."""
    latencies: list[float] = []

    async def one(n: int, due_s: float) -> None:
        if n % 2:
            async with bound(port) as new:
                await new.submit(n)
        else:
            await old.submit(n)
        latencies.append(time.monotonic() - due_s)

    began_s = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for n in range(count):
            due_s = began_s + n / HEALTHY_PER_S
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            group.create_task(one(n, due_s))
    return latencies


@pytest.mark.timeout(0 if CAMPAIGN else 400)
async def test_healthy_sessions_beside_a_hostile_crowd(tmp_path: Path) -> None:
    port = find_free_port()
    server = Server(tmp_path, smsc_port=1, unknown_wait_s=1, provider=f'[smpp_server]\nlisten = "127.0.0.1:{port}"\n')
    await server.start()
    assert server.process is not None
    try:
        await listens(server.process, port, tmp_path / "server.log")
        async with bound(port) as old:
            await healthy(old, port, 100)
            before, (rss_before_mb, _) = await healthy(old, port, REQUESTS), memory_mb(server)
            async with crowd(port, CROWD, "smpp", once="opened") as said:
                assert said, "the crowd never came"
                under = await healthy(old, port, REQUESTS)
                rss_mb, fds = memory_mb(server)
            after = await healthy(old, port, AFTER)
        assert server.process.returncode is None
    finally:
        await server.end()
    print(line("smpp", said[-1], (before, under, after), (rss_before_mb, rss_mb), fds))
    assert len(under) == REQUESTS
    assert len(after) == AFTER
    assert rss_mb <= RSS_MB
