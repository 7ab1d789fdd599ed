"""Rates, places, overload and failures: what the edge does when there is too much, or something breaks."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from http_inside import Inside, inside, serving
from tidings.domain.errors import InvalidRequest, Overloaded, StoreAway, StoreError, StoreFull
from tidings.http import ratelimit
from tidings.http.app import create_app
from tidings.http.auth import Keys, expand
from tidings.http.edge import Load, request_id_of
from tidings.http.failures import FailureLog
from tidings.http.metrics import Meter
from tidings.http.paging import decode_cursor, decode_number, encode_cursor
from tidings.http.ratelimit import Bucket
from tidings.kit import log
from tidings.kit.clock import wall_ms
from tidings.kit.limits import FAILURES_TOLD_S, REQUESTS_IN_FLIGHT

GOOD = {"to": "+15005550001", "text": "hello"}


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Inside]:
    async with inside(tmp_path) as running:
        yield running


def test_a_bucket_gives_its_rate_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]
    monkeypatch.setattr(ratelimit.time, "monotonic", lambda: now_s[0])
    bucket = Bucket(10)
    bucket.take(10)
    with pytest.raises(Overloaded) as refused:
        bucket.take()
    assert (refused.value.status, refused.value.code, refused.value.retry_after_s) == (429, "rate_limited", 1)
    assert bucket.header() == b'"default";r=0;t=1'
    now_s[0] = 0.5
    bucket.take(5)
    with pytest.raises(Overloaded):
        bucket.take()
    now_s[0] = 100.0
    bucket.take(10)
    with pytest.raises(Overloaded):
        bucket.take()


def test_places_are_bounded_and_given_back() -> None:
    load = Load()
    places = load.enter(b"1048576", chunked=False)
    assert (places, load.enter(None, chunked=True)) == (17, 16)
    load.leave(places)
    load.leave(16)
    for _ in range(REQUESTS_IN_FLIGHT):
        load.enter(b"100", chunked=False)
    with pytest.raises(Overloaded) as refused:
        load.enter(None, chunked=False)
    assert refused.value.status == 503


async def test_an_answer_that_waits_to_be_read_holds_no_place(running: Inside) -> None:
    load, taken = running.app.litestar.state["load"], list[tuple[str, int]]()

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        async def sent(message: Any) -> None:
            taken.append((message["type"], load.taken))
            await send(message)

        taken.append(("before", load.taken))
        await running.app(scope, receive, sent)

    assert (await running.call("GET", "/openapi.json", app=watched)).status == 200
    assert set(taken) == {("before", 0), ("http.response.start", 0), ("http.response.body", 0)}
    assert load.taken == 0


FAILURES: list[tuple[Exception, int, str]] = [
    (Overloaded("full", status=503, retry_after_s=7), 503, "overloaded"),
    (StoreFull("full"), 507, "store_full"),
    (StoreError("disk I/O error at /secret/path"), 503, "store_unavailable"),
    (RuntimeError("tk_live_secret at /secret/path"), 500, "internal"),
]


@pytest.mark.parametrize(("error", "status", "code"), FAILURES)
@pytest.mark.parametrize("pieces", [1, 2])  # the hot route, and the ordinary way
async def test_failures_are_problems_that_tell_nothing(
    running: Inside, error: Exception, status: int, code: str, pieces: int
) -> None:
    class Broken:
        async def accept(self, *_: Any) -> Any:
            raise error

    written = io.StringIO()
    log.configure("INFO", written)
    app = create_app(replace(running.services, acceptor=Broken()))  # type: ignore[arg-type]
    await running.call("GET", "/v1/messages", key=running.test_key, app=app)
    headers = {"Authorization": f"Bearer {running.test_key}", "X-Request-Id": "r-1"}
    async with serving(app) as wire:
        answer = await wire.post("/v1/messages", GOOD, headers, pieces)
    assert (answer.status, answer.json["code"]) == (status, code)
    assert "secret" not in answer.body.decode()
    assert ("retry-after" in answer.headers) == (status == 503)
    if status == 500:
        line = json.loads(written.getvalue().splitlines()[-1])
        assert (line["request_id"], line["level"]) == ("r-1", "error")
        assert "RuntimeError" in line["exception"]
        assert "tk_live_secret" not in written.getvalue()


@pytest.mark.parametrize("error", [StoreFull("no space"), StoreAway("gone")])
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/batch"])
async def test_a_store_that_fails_every_request_is_told_in_a_line(running: Inside, error: Exception, path: str) -> None:
    class Broken:
        async def accept(self, *_: Any) -> Any:
            raise error

    written = io.StringIO()
    log.configure("INFO", written)
    app = create_app(replace(running.services, acceptor=Broken()))  # type: ignore[arg-type]
    body = GOOD if path == "/v1/messages" else {"messages": [GOOD]}
    for _ in range(10):
        assert (await running.call("POST", path, body, key=running.test_key, app=app)).status in (503, 507)
    assert "Traceback" not in written.getvalue()
    assert "requests_not_accepted" in written.getvalue()


def test_how_often_a_failing_store_is_told() -> None:
    now_s, written = [100.0], io.StringIO()
    log.configure("INFO", written)
    failures = FailureLog(lambda: now_s[0])
    for at_s in (0.0, 0.1, FAILURES_TOLD_S - 0.01, FAILURES_TOLD_S, FAILURES_TOLD_S + 0.1):
        now_s[0] = 100 + at_s
        failures.tell(StoreFull("no space"), "r-1", "/")
    failures.tell(InvalidRequest("the caller's mistake"), "r-1", "/")
    told = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [(line["event"], line["reason"], line["count"]) for line in told] == [
        ("requests_not_accepted", "no space", 1), ("requests_not_accepted", "no space", 3),
    ]  # fmt: skip


async def test_a_spent_bucket_refuses_before_anything_is_done(running: Inside) -> None:
    keys: Keys = running.app.keys
    caller = await keys.caller(f"Bearer {running.test_key}".encode())
    caller.bucket = Bucket(1)
    assert (await running.call("POST", "/v1/messages", GOOD, key=running.test_key)).status == 202
    refused = await running.call("POST", "/v1/messages", GOOD, key=running.test_key)
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert (await running.call("GET", "/v1/messages", key=running.test_key)).status == 429
    caller.bucket = Bucket(3)
    batch = {"messages": [GOOD] * 4}
    assert (await running.call("POST", "/v1/messages/batch", batch, key=running.test_key)).status == 429


async def until_streams(running: Inside, count: int) -> None:
    async with asyncio.timeout(30):
        while running.app.litestar.state["clients"].count != count:
            await asyncio.sleep(0.01)


async def test_streams_are_bounded_and_end_with_their_key(running: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidings.http.v1.events.STREAM_CLIENTS", 1)
    monkeypatch.setattr("tidings.http.v1.events.STREAM_HEARTBEAT_S", 0.05)
    body = {"name": "x", "mode": "test", "scopes": ["events:read"]}
    made = (await running.call("POST", "/v1/keys", body, key=running.test_key)).json
    first = asyncio.create_task(running.call("GET", "/v1/stream", key=made["key"]))
    await until_streams(running, 1)
    second = await running.call("GET", "/v1/stream", key=running.test_key, patience_s=1)
    assert second.status == 503
    assert (await running.call("DELETE", f"/v1/keys/{made['id']}", key=running.test_key)).status == 204
    ended = await asyncio.wait_for(first, 30)
    assert b": still here\n\n" in ended.body
    third = await running.call("GET", "/v1/stream", key=running.test_key, patience_s=0.1)
    assert (third.status, third.headers["content-type"].split(";")[0]) == (200, "text/event-stream")


async def test_streams_end_when_the_server_drains(running: Inside) -> None:
    stream = asyncio.create_task(running.call("GET", "/v1/stream", key=running.test_key))
    await until_streams(running, 1)
    running.app.close()
    assert (await asyncio.wait_for(stream, 30)).status == 200


async def test_a_key_revoked_while_it_is_being_read_is_not_kept(
    running: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = running.services.store
    body = {"name": "x", "mode": "test", "scopes": ["messages:read"]}
    made = (await running.call("POST", "/v1/keys", body, key=running.test_key)).json
    keys, read = Keys(store, wall_ms), store.keys.by_hash
    racing = True

    async def slow(hashed: str) -> Any:
        nonlocal racing
        found = await read(hashed)
        if racing:  # the key is revoked between the read and its keeping
            racing = False
            await running.call("DELETE", f"/v1/keys/{made['id']}", key=running.test_key)
            keys.forget("whatever")
        return found

    monkeypatch.setattr(store.keys, "by_hash", slow)
    with pytest.raises(Exception, match="unknown or was revoked"):
        await keys.caller(f"Bearer {made['key']}".encode())


async def test_an_expired_key_is_refused(running: Inside) -> None:
    keys = Keys(running.services.store, lambda: wall_ms() + 10_000)
    from_now = "2099-01-01T00:00:00Z"
    body = {"name": "x", "mode": "test", "scopes": ["messages:read"], "expires_at": from_now}
    made = (await running.call("POST", "/v1/keys", body, key=running.test_key)).json
    assert (await keys.caller(f"Bearer {made['key']}".encode())).scopes == {"messages:read"}
    late = Keys(running.services.store, lambda: 4_102_444_800_000)
    with pytest.raises(Exception, match="expired"):
        await late.caller(f"Bearer {made['key']}".encode())


SCOPES = [
    (["messages:read"], {"messages:read"}),
    (["messages:*"], {"messages:read", "messages:write"}),
    (["keys:write", "receipts:*"], {"keys:write", "receipts:read"}),
    ([], set[str]()),
]


@pytest.mark.parametrize(("granted", "single"), SCOPES)
def test_scopes_expand(granted: list[str], single: set[str]) -> None:
    assert expand(granted) == single
    assert single < expand(["*"])


@pytest.mark.parametrize("text", ["msg_0193", "17", "sms/abc"])
def test_cursors_come_back(text: str) -> None:
    assert decode_cursor(encode_cursor(text)) == text


@pytest.mark.parametrize("cursor", ["", "%", "abc", "dDE6", encode_cursor("x" * 200), encode_cursor("abc"), "é"])
def test_other_cursors_are_refused(cursor: str) -> None:
    with pytest.raises(Exception, match="cursor is not one"):
        decode_number(cursor)


@pytest.mark.parametrize("given", [None, b"", b"a b", b"\xff", b"x" * 129, b"a\nb", b"a\n"])
def test_odd_request_ids_are_replaced(given: bytes | None) -> None:
    assert request_id_of(given).startswith("req_")
    assert request_id_of(b"abc-1") == "abc-1"


def test_metrics_are_prometheus_text() -> None:
    meter = Meter()
    for taken_s in (0.0005, 0.003, 99.0):
        meter.observe("GET", "/v1/messages", 200, taken_s)
    meter.observe("BREW", "unmatched", 405, 0.1)
    text = meter.text(lambda: {'tidings_x{of="a"}': 1, 'tidings_x{of="b"}': 2, "tidings_y": 3}).decode()
    for line in (
        'tidings_http_requests_total{method="GET",route="/v1/messages",status="200"} 3.0',
        'tidings_http_requests_total{method="other",route="unmatched",status="405"} 1.0',
        'tidings_http_request_seconds_bucket{le="0.001",method="GET",route="/v1/messages"} 1.0',
        'tidings_http_request_seconds_bucket{le="0.005",method="GET",route="/v1/messages"} 2.0',
        'tidings_http_request_seconds_bucket{le="+Inf",method="GET",route="/v1/messages"} 3.0',
        'tidings_x{of="a"} 1.0', 'tidings_x{of="b"} 2.0', "tidings_y 3.0",
    ):  # fmt: skip
        assert line in text
