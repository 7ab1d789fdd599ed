"""Heads of requests are bounded in time and size; honest callers notice nothing."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from tidings.http import wire
from tidings.http.wire import PatientProtocol

LIMIT_S = 0.5
PATIENCE_S = 30
BIG_BYTES = 16_000_000  # more than the kernel keeps for a connection that is not read
HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"


async def _app(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.sleep(LIMIT_S * 1.5 if scope["path"] == "/slow" else 0)
    body = b"x" * BIG_BYTES if scope["path"] == "/big" else b"ok"
    head = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(wire, "HEAD_TIMEOUT_S", LIMIT_S)
    monkeypatch.setattr(wire, "UNREAD_TIMEOUT_S", LIMIT_S)
    config = uvicorn.Config(_app, http=PatientProtocol, lifespan="off", log_level="critical", ws="none")
    config.load()
    state = uvicorn.server.ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: PatientProtocol(config, state, {}), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for connection in list(state.connections):
        connection.transport.close()  # type: ignore[union-attr]
    await asyncio.sleep(0.01)


async def _talk(port: int, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """What comes back until the server closes, which it must."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = b""
    try:
        async with asyncio.timeout(PATIENCE_S):
            for part in parts:
                writer.write(part)
                await asyncio.sleep(pause_s)
            while chunk := await reader.read(1000):
                got += chunk
    except ConnectionError:
        pass
    finally:
        writer.close()
    return got


@pytest.mark.parametrize("parts", [(), (b"GET",), (HEAD,), (HEAD + b"\r\n", HEAD)])
async def test_a_head_that_does_not_end_in_time_ends_the_connection(port: int, parts: tuple[bytes, ...]) -> None:
    got = await _talk(port, *parts, pause_s=0.02)
    assert got.count(b"200 OK") == (1 if len(parts) == 2 else 0)


async def test_a_head_that_grows_without_end_is_cut_off(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its size: its time would not be up."""
    monkeypatch.setattr(wire, "HEAD_TIMEOUT_S", PATIENCE_S * 10)
    assert await _talk(port, HEAD, *[b"X: " + b"y" * 8_000 + b"\r\n"] * 20) == b""


async def test_a_slow_answer_and_an_idle_connection_are_left_alone(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for path in (b"/slow", b"/", b"/"):
        writer.write(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await asyncio.wait_for(reader.readuntil(b"ok"), 30)).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(LIMIT_S * 1.5)  # idle between requests: keep-alive's business
    writer.close()
    await writer.wait_closed()


async def test_an_answer_that_is_not_read_ends_the_connection(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)  # it stops reading at once
    writer.write(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(PATIENCE_S):
        while True:  # a server that has cut us off answers what we write with a reset
            await asyncio.sleep(0.05)
            writer.write(b"\r\n")
            try:
                await writer.drain()
            except ConnectionError:
                break
    assert len(reader._buffer) < BIG_BYTES  # type: ignore[attr-defined]


async def test_an_answer_that_is_read_slowly_comes_whole(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=65_536)
    writer.write(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    size = 0
    while chunk := await asyncio.wait_for(reader.read(2_000_000), PATIENCE_S):
        size += len(chunk)
        await asyncio.sleep(LIMIT_S / 100)
    writer.close()
    assert size > BIG_BYTES
