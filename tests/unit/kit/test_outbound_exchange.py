"""`Outbound.exchange`: a whole answer, or a value that says whether anything can have been written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from listening import Listening, Serve
from tidings.kit.outbound import Guard, NoReply, NotSent, Outbound, Reply


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[str]:
    """A server of raw TCP; its base URL."""
    async with Listening(serve) as port:
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def client(**more: Any) -> AsyncIterator[Callable[..., Awaitable[Reply | NotSent | NoReply]]]:
    outbound = Outbound(Guard(allow=("127.0.0.0/8",), **more))

    async def call(
        url: str, method: str = "POST", body: bytes | None = b"a=1", **limits: Any
    ) -> Reply | NotSent | NoReply:
        asked = {"connect_s": 30, "timeout_s": 30, "most_bytes": 1_000, **limits}
        return await outbound.exchange(method, url, {"X-A": "b"}, body, **asked)

    try:
        yield call
    finally:
        await outbound.close()


def answering(text: bytes, heads: list[bytes] | None = None) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if heads is not None:
            heads.append(head)
        writer.write(text)
        await writer.drain()
        writer.close()

    return serve


async def test_a_whole_answer() -> None:
    heads: list[bytes] = []
    text = b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nno"
    async with listening(answering(text, heads)) as url, client() as call:
        found = await call(f"{url}/a%2Fb?c=%20+%27")
    assert isinstance(found, Reply)
    assert (found.status, found.headers["retry-after"], found.body) == (429, "7", b"no")
    assert heads[0].startswith(b"POST /a%2Fb?c=%20+%27 HTTP/1.1\r\n")  # as it stands


async def test_no_redirect_is_followed() -> None:
    text = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"
    async with listening(answering(text)) as url, client() as call:
        assert (await call(url, "GET", None)).status == 302  # type: ignore[union-attr]


async def test_a_long_answer_is_cut() -> None:
    text = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5_000
    async with listening(answering(text)) as url, client() as call:
        assert (await call(url)).body == b"x" * 1_000  # type: ignore[union-attr]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "http://10.0.0.1/", "http://no-such-host.invalid/", "nonsense"])
async def test_nothing_was_sent(url: str) -> None:
    async with client() as call:
        assert isinstance(await call(url, timeout_s=3, connect_s=2.5), NotSent)


async def test_no_connection_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr("aiohttp.TCPConnector._resolve_host", never)
    async with client() as call:
        assert await call("http://slow.example/", connect_s=0.1) == NotSent("no connection in time")


async def test_a_cut_line_may_have_carried_it() -> None:
    async with listening(answering(b"")) as url, client() as call:
        found = await call(url)
    assert isinstance(found, NoReply)
    assert not found.timed_out


async def test_half_an_answer_is_none() -> None:
    async with listening(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf")) as url, client() as call:
        assert isinstance(await call(url), NoReply)


async def test_silence() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(silent) as url, client() as call:
        assert await call(url, timeout_s=1) == NoReply("no answer in time", timed_out=True)
