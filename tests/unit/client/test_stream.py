"""The live stream: cut anywhere, broken anywhere, nothing lost."""

import itertools
import json
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from tidings_client import ConnectionFailed, Forbidden
from tidings_client.stream import SseParser


def body(n: int) -> str:
    data = {"id": f"msg_{n}", "event_id": f"evt_{n}", "text": "é🎉"}
    return json.dumps({"type": "message.sent", "timestamp": "2026-01-01T00:00:00Z", "data": data}, ensure_ascii=False)


def frame(n: int) -> bytes:
    return f"id: {n}\nevent: message.sent\ndata: {body(n)}\n\n".encode()


WIRE = b": welcome\n\nid: 4\n\n" + frame(5) + b": still here\n\n" + frame(6).replace(b"\n", b"\r\n")


@given(st.lists(st.integers(0, len(WIRE)), max_size=8))
def test_wherever_it_is_cut(cuts: list[int]) -> None:
    parser, found = SseParser(), []
    at = [0, *sorted(cuts), len(WIRE)]
    for start, end in itertools.pairwise(at):
        found += parser.feed(WIRE[start:end])
    assert found == [("5", body(5).encode()), ("6", body(6).encode())]


@pytest.mark.parametrize("kept", range(len(frame(7))))
def test_an_event_that_is_cut_off_does_not_move_the_cursor(kept: int) -> None:
    parser = SseParser("6")
    assert parser.feed(frame(7)[:kept]) == []
    assert parser.last_id == "6"


def test_an_id_alone_moves_the_cursor() -> None:
    parser = SseParser()
    assert parser.feed(b"id: 4\n\n") == []
    assert parser.last_id == "4"


def pieces(*parts: bytes, drop: bool = True) -> Any:
    """A stream of these parts; then the connection ends, not as it should (`drop`) or as it should."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for part in parts:
            await response.write(part)
        if drop:
            assert request.transport is not None
            request.transport.close()
        return response

    return answer


async def test_it_goes_on_behind_the_last_whole_event(client: Any, script: Any) -> None:
    script.steps = [
        pieces(b": welcome\n\n", frame(5), frame(6)[:-1]),
        (503, {"code": "overloaded"}),
        "drop",
        pieces(frame(6), frame(7), drop=False),
        pieces(frame(8)),
    ]
    found = await client.take(script.url, lambda c: c.stream(types=["message.sent", "message.failed"], after=4), 4)
    assert [(event.seq, event.id, event.data["id"]) for event in found] == [
        (n, f"evt_{n}", f"msg_{n}") for n in (5, 6, 7, 8)
    ]
    assert all(seen.query == {"types": "message.sent,message.failed", "after": "4"} for seen in script.seen)
    assert [seen.headers.get("last-event-id") for seen in script.seen] == [None, "5", "5", "5", "7"]


async def test_a_long_event_comes_whole(client: Any, script: Any) -> None:
    data = {"type": "x", "timestamp": "2026-01-01T00:00:00Z", "data": {"text": "x" * 1_000_000}}
    script.steps = [pieces(b"id: 1\ndata: " + json.dumps(data).encode() + b"\n\n", drop=False)]
    (event,) = await client.take(script.url, lambda c: c.stream(), 1)
    assert len(event.data["text"]) == 1_000_000


async def test_a_refusal_is_raised_at_once(client: Any, script: Any) -> None:
    script.steps = [(403, {"code": "forbidden", "detail": "needs events:read"})]
    with pytest.raises(Forbidden, match="events:read"):
        await client.take(script.url, lambda c: c.stream(), 1)
    assert len(script.seen) == 1


async def test_a_server_that_was_never_there_does_not_hang(client: Any, free_port: int) -> None:
    with pytest.raises(ConnectionFailed, match=str(free_port)):
        await client.take(f"http://127.0.0.1:{free_port}", lambda c: c.stream(), 1)
