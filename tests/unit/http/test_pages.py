"""Pages that never change are answered without the framework, byte for byte as with it, and only to those who read."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from http_inside import Inside, Wire, inside, serving
from tidings.http.wire import HotExchange

ASSETS = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
PAGES = ("/openapi.json", "/docs", *(f"/docs/assets/{name}" for name in ASSETS))
MANY = 30
_ID = re.compile(r"req_[0-9a-f]{32}")


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Inside]:
    async with inside(tmp_path) as running:
        yield running


@pytest.fixture
async def wire(running: Inside) -> AsyncIterator[Wire]:
    await running.call("GET", "/openapi.json")  # it is built
    async with serving(running.app) as wire:
        yield wire


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("headers", [{}, {"X-Request-Id": "mine"}, {"Authorization": "Bearer tk_test_wrong"}])
async def test_both_ways_answer_alike(wire: Wire, page: str, headers: dict[str, str]) -> None:
    fixed, framework = [
        (await wire.talk([wire.request("GET", path, None, headers)], 1))[0] for path in (page, f"{page}?")
    ]
    assert fixed.status == framework.status == 200
    assert fixed.body == framework.body
    both = [{k: _ID.sub("…", v) for k, v in answer.headers.items()} for answer in (fixed, framework)]
    assert both[0] == both[1]


async def test_it_is_answered_without_the_framework(
    running: Inside, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running.app, "app", None)
    for page in PAGES:
        assert (await wire.talk([wire.request("GET", page, None, {})], 1))[0].status == 200


async def _ask_without_reading(running: Inside, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """How often the framework was at work for a caller that asked MANY times and read nothing; and how many answers came then."""
    calls, framework = 0, running.app.app

    async def counted(*call: Any) -> None:
        nonlocal calls
        calls += 1
        await framework(*call)

    monkeypatch.setattr(running.app, "app", counted)
    reader, writer = await asyncio.open_connection("127.0.0.1", wire.port, limit=1_024)
    for _ in range(MANY):
        writer.write(wire.request("GET", "/openapi.json", None, {}))
        await asyncio.sleep(0.01)
    unread, got = calls, b""
    async with asyncio.timeout(30):
        while got.count(b"HTTP/1.1 200") < MANY:
            got += await reader.read(1_000_000)
    writer.close()
    return unread, got.count(b"HTTP/1.1 200")


async def test_nothing_is_done_for_who_does_not_read(
    running: Inside, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await _ask_without_reading(running, wire, monkeypatch) == (0, MANY)


async def test_the_check_goes_red_when_an_answer_counts_as_gone_at_once(
    running: Inside, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reply(self: HotExchange, status: int, head: bytes, body: bytes) -> None:
        self._connection.transport.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + body)
        self.complete()

    monkeypatch.setattr(HotExchange, "reply", reply)
    calls, _ = await _ask_without_reading(running, wire, monkeypatch)
    assert calls
