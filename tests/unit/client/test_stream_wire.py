"""The live stream over servers and proxies that are not ours: no chunks, other line ends, no stream at all."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from listening import Listening
from tidings_client import UnexpectedAnswer
from tidings_client.stream import SseParser

EVENT = b'id: 1\ndata: {"type":"message.sent","timestamp":"2026-01-01T00:00:00Z","data":{}}\n\n'


@pytest.fixture
async def plain_url() -> AsyncIterator[str]:
    """A server as old proxies are: the body has no length and no chunks, and the connection stays open."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n" + EVENT)
        await writer.drain()
        await reader.read()

    async with Listening(serve) as port:
        yield f"http://127.0.0.1:{port}"


async def test_an_event_does_not_wait_for_the_next_ones(client: Any, plain_url: str) -> None:
    """Nothing follows it, nor does the connection end: a client that waited for more would wait for ever."""
    async with asyncio.timeout(30):
        (event,) = await client.take(plain_url, lambda c: c.stream(), 1)
    assert event.seq == 1


@pytest.mark.parametrize("kind", ["text/html", "application/json", "text/event-streams"])
async def test_a_page_in_place_of_the_stream_is_no_endless_silence(client: Any, script: Any, kind: str) -> None:
    script.steps = [(200, "<html>console</html>", {"Content-Type": kind}), (403, {"code": "asked_again"})]
    with pytest.raises(UnexpectedAnswer, match=r"/v1/stream answered"):
        await client.take(script.url, lambda c: c.stream(), 1)
    assert len(script.seen) == 1


@pytest.mark.parametrize("data", ["{}", "nothing", '{"type": 5, "timestamp": "2026-01-01T00:00:00Z"}'])
async def test_an_event_of_something_else(client: Any, script: Any, data: str) -> None:
    script.steps = [
        (200, f"id: 1\ndata: {data}\n\n", {"Content-Type": "text/event-stream"}),
        (403, {"code": "asked_again"}),
    ]
    with pytest.raises(UnexpectedAnswer, match="event 1"):
        await client.take(script.url, lambda c: c.stream(), 1)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("piece", [1, 2, 3, 1000])
def test_every_line_end_of_the_standard(end: bytes, piece: int) -> None:
    """Source: WHATWG HTML §9.2.5, `end-of-line`."""
    body = json.dumps({"text": "x"}).encode()
    wire = b": hello\nid: 7\ndata: 1\ndata:2\n\nid: 8\ndata: ".replace(b"\n", end) + body + end + end
    parser, found = SseParser(), []
    for start in range(0, len(wire), piece):
        found += parser.feed(wire[start : start + piece])
    assert found == [("7", b"1\n2"), ("8", body)]
