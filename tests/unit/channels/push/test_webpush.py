"""Provider `push.webpush`: npm `web-push-testing` decrypts what it sends; a plain server gives every other answer."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import http_ece
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from peers.carriers import RecordingSink, until
from peers.push_services import WebPushService, web_push_testing
from tidings.channels.contract import ProviderSpec
from tidings.channels.push.parts import topic_of
from tidings.channels.push.webpush import WebPushProvider, check
from tidings.channels.push.webpush_wire import ORIGINS, VapidHeaders
from tidings.domain.attempt import PartRefused, PartRetry, PartSent, PartUnknown, Submission
from tidings.domain.errors import SettingsError
from tidings.domain.push import PushContent, address_problem
from tidings.protocols.jwt import b64url, un_b64url
from tidings.protocols.webpush import message, vapid

SCALAR = b64url(b"\x01" * 32)
KEY = vapid.private_key(SCALAR)
LOOPBACK = ["127.0.0.0/8"]
CONFIG: dict[str, Any] = {
    "vapid_private_key": SCALAR, "subject": "mailto:ops@example.com", "allow_networks": LOOPBACK, "reconnect_min_s": 0.02,
    "reconnect_max_s": 0.1, "response_timeout_s": 5.0, "requeue_s": 0.3,
}  # fmt: skip


class Browser:
    """A subscription whose keys we hold."""

    def __init__(self, endpoint: str) -> None:
        self.key, self.auth = ec.generate_private_key(ec.SECP256R1()), os.urandom(16)
        point = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        keys = {"p256dh": b64url(point), "auth": b64url(self.auth)}
        self.token = json.dumps({"endpoint": endpoint, "expirationTime": None, "keys": keys})

    def read(self, body: bytes) -> dict[str, Any]:
        """What the service worker would see."""
        found: dict[str, Any] = json.loads(http_ece.decrypt(body, private_key=self.key, auth_secret=self.auth))
        return found


class Service:
    """A push service that answers what a test says, by the path of the endpoint."""

    def __init__(self) -> None:
        self.url = ""
        self.answers: dict[str, list[web.Response | None]] = {}
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.never = asyncio.Event()

    async def handle(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        self.headers.append(dict(request.headers))
        queued = self.answers.get(request.path, [])
        answer = queued.pop(0) if queued else web.Response(status=201, headers={"Location": f"/m/{len(self.bodies)}"})
        if answer is None:
            await self.never.wait()
        return answer or web.Response(status=500)


@asynccontextmanager
async def serving() -> AsyncIterator[Service]:
    service = Service()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", service.handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    service.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield service
    finally:
        service.never.set()
        await runner.cleanup()


@asynccontextmanager
async def sending(**more: Any) -> AsyncIterator[tuple[WebPushProvider, RecordingSink]]:
    sink = RecordingSink()
    provider = WebPushProvider(ProviderSpec(name="acme", type="push.webpush", config=CONFIG | more), sink)
    await provider.start()
    try:
        yield provider, sink
    finally:
        await provider.stop(0)


def push(name: str, *tokens: str, valid_until_ms: int | None = None, **content: Any) -> Submission:
    return Submission(
        attempt_id=name, message_id=f"msg_{name}", lane="transactional", to=tokens[0], sender=None, channel="push",
        content=PushContent(**content or {"body": "Hi"}), parts=(b"",) * len(tokens), each=tokens if len(tokens) > 1 else (),
        valid_until_ms=valid_until_ms,
    )  # fmt: skip


@pytest.fixture(scope="module")
def peer() -> Iterator[WebPushService]:
    with web_push_testing() as service:
        yield service


async def test_the_peer_decrypts(peer: WebPushService) -> None:
    browser = await asyncio.to_thread(peer.subscribe, vapid.public_key(KEY))
    token = json.dumps({"endpoint": browser["endpoint"], "keys": browser["keys"]})
    assert address_problem(token) is None
    async with sending() as (provider, sink):
        provider.submit(
            [push("a", token, title="Größe 😀", body="Hi", data={"id": "7"}), push("b", token, body="x" * 3_900)]
        )
        await until(lambda: len(sink.done) == 2)
        assert isinstance(sink.outcome("a")[0], PartSent)
        got = await asyncio.to_thread(peer.messages, browser["clientHash"])
        assert {"title": "Größe 😀", "body": "Hi", "data": {"id": "7"}} in got
        assert {"body": "x" * 3_900} in got
        await asyncio.to_thread(peer.expire, browser["clientHash"])
        provider.submit([push("c", token)])
        await until(lambda: len(sink.done) == 3)
        (part,) = sink.outcome("c")
        assert isinstance(part, PartRefused)
        assert (part.error.code, part.suppress) == ("unregistered", "unregistered")


async def test_the_peer_refuses_another_senders_signature(peer: WebPushService) -> None:
    """Otherwise it would not have checked ours."""
    other = vapid.public_key(ec.generate_private_key(ec.SECP256R1()))
    browser = await asyncio.to_thread(peer.subscribe, other)
    async with sending() as (provider, sink):
        provider.submit([push("a", json.dumps({"endpoint": browser["endpoint"], "keys": browser["keys"]}))])
        await until(lambda: sink.done)
        assert isinstance(sink.outcome("a")[0], PartRefused)


async def test_everything_that_is_said() -> None:
    async with serving() as service, sending() as (provider, sink):
        browser = Browser(f"{service.url}/p/1")
        content: dict[str, Any] = {
            "title": "T", "body": "B", "image": "https://x.example/1.png", "data": {"k": "v"}, "collapse_key": "order 7",
            "ttl_s": 60, "priority": "normal", "badge": 2, "sound": "ping", "click_action": "https://x.example/7",
        }  # fmt: skip
        provider.submit([push("a", browser.token, **content)])
        await until(lambda: sink.done)
        assert sink.outcome("a") == (PartSent("/m/1"),)
        (headers,) = service.headers
        assert headers["TTL"] == "60"
        assert headers["Urgency"] == "normal"
        assert headers["Topic"] == topic_of("order 7")
        assert headers["Content-Encoding"] == "aes128gcm"
        assert headers["Content-Type"] == "application/octet-stream"
        claims = json.loads(un_b64url(headers["Authorization"].split(".")[1]))
        assert claims["aud"] == service.url
        assert browser.read(service.bodies[0]) == {
            "title": "T", "body": "B", "image": "https://x.example/1.png", "badge": 2, "sound": "ping",
            "click_action": "https://x.example/7", "tag": "order 7", "data": {"k": "v"},
        }  # fmt: skip


async def test_life_is_what_remains() -> None:
    async with serving() as service, sending(ttl_s=100) as (provider, sink):
        browser = Browser(f"{service.url}/p")
        now_ms = time.time_ns() // 1_000_000
        provider.submit([push("a", browser.token), push("b", browser.token, valid_until_ms=now_ms + 30_900)])
        await until(lambda: len(sink.done) == 2)
        assert sorted(headers["TTL"] for headers in service.headers) in (["100", "30"], ["100", "29"])


@pytest.mark.parametrize(
    ("status", "code", "suppress"),
    [
        (400, "invalid_content", None), (401, "bad_credentials", None), (403, "wrong_sender", None),
        (404, "unregistered", "unregistered"), (410, "unregistered", "unregistered"), (413, "message_too_long", None),
        (301, "refused", None), (418, "refused", None),
    ],
)  # fmt: skip
async def test_refused(status: int, code: str, suppress: str | None) -> None:
    async with serving() as service, sending() as (provider, sink):
        service.answers["/p"] = [web.Response(status=status, headers={"Location": f"{service.url}/elsewhere"})]
        provider.submit([push("a", Browser(f"{service.url}/p").token), push("b", Browser(f"{service.url}/q").token)])
        await until(lambda: len(sink.done) == 2)
        (part,) = sink.outcome("a")
        assert isinstance(part, PartRefused)
        assert (part.error.code, part.suppress, part.error.provider_code) == (code, suppress, f"HTTP {status}")
        assert isinstance(sink.outcome("b")[0], PartSent)  # whatever one service says, the provider goes on
        assert len(service.bodies) == 2


@pytest.mark.parametrize(
    ("status", "headers", "after_s"),
    [(429, {"Retry-After": "60"}, 60.0), (503, {"Retry-After": "7"}, 7.0), (429, {}, None)],
)
async def test_asked_for_patience(status: int, headers: dict[str, str], after_s: float | None) -> None:
    async with serving() as service, serving() as other, sending() as (provider, sink):
        service.answers["/p"] = [web.Response(status=status, headers=headers)]
        provider.submit([push("a", Browser(f"{service.url}/p").token)])
        await until(lambda: sink.done)
        (part,) = sink.outcome("a")
        assert isinstance(part, PartRetry)
        assert part.after_s == after_s
        provider.submit([push("b", Browser(f"{service.url}/q").token), push("c", Browser(f"{other.url}/p").token)])
        await until(lambda: len(sink.done) == 3)
        assert isinstance(sink.outcome("c")[0], PartSent)
        if after_s is None:
            assert isinstance(sink.outcome("b")[0], PartSent)
        else:  # this service is left alone until then
            (held,) = sink.outcome("b")
            assert isinstance(held, PartRetry)
            assert held.after_s is not None
            assert after_s - 2 < held.after_s <= after_s
            assert len(service.bodies) == 1


async def test_a_short_wait_is_waited_out() -> None:
    async with serving() as service, sending() as (provider, sink):
        service.answers["/p"] = [web.Response(status=429, headers={"Retry-After": "0"}) for _ in range(3)]
        provider.submit([push("a", Browser(f"{service.url}/p").token)])
        await until(lambda: sink.done)
        assert isinstance(sink.outcome("a")[0], PartSent)
        assert len(service.bodies) == 4


async def test_a_service_that_asks_for_patience_for_ever_has_a_deadline() -> None:
    async with serving() as service, sending(response_timeout_s=0.3) as (provider, sink):
        service.answers["/p"] = [web.Response(status=429, headers={"Retry-After": "0"}) for _ in range(1_000)]
        provider.submit([push("a", Browser(f"{service.url}/p").token)])
        await until(lambda: sink.done)
        assert isinstance(sink.outcome("a")[0], PartRetry)


@pytest.mark.parametrize("status", [500, 502, 503, 408])
async def test_unknown(status: int) -> None:
    async with serving() as service, sending() as (provider, sink):
        service.answers["/p"] = [web.Response(status=status)]
        provider.submit([push("a", Browser(f"{service.url}/p").token)])
        await until(lambda: sink.done)
        assert sink.outcome("a") == (PartUnknown(f"http_{status}"),)


async def test_dead_and_silent_services_stop_nobody(unused_port: int) -> None:
    async with serving() as service, sending(response_timeout_s=0.5, window=50) as (provider, sink):
        service.answers["/never"] = [None] * 10
        dead, silent = Browser(f"http://127.0.0.1:{unused_port}/p").token, Browser(f"{service.url}/never").token
        good = Browser(f"{service.url}/p").token
        provider.submit(
            [
                push(f"{kind}{n}", token)
                for n in range(10)
                for kind, token in zip("dsg", (dead, silent, good), strict=True)
            ]
        )
        await until(lambda: len(sink.done) == 30)
        for n in range(10):
            assert isinstance(sink.outcome(f"d{n}")[0], PartRetry)
            assert sink.outcome(f"s{n}") == (PartUnknown("no_answer"),)
            assert isinstance(sink.outcome(f"g{n}")[0], PartSent)
        assert {link.state for link in sink.links} == {"up"}
        assert provider.credit("otp") > 0


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://127.0.0.1:1/p",
        "https://localhost:1/p",
        "https://[::1]:1/p",
        "https://169.254.169.254/latest",
        "https://10.0.0.1/p",
    ],
)
async def test_private_addresses_are_not_called(endpoint: str) -> None:
    async with sending(allow_networks=[]) as (provider, sink):
        provider.submit([push("a", Browser(endpoint).token)])
        await until(lambda: sink.done)
        (part,) = sink.outcome("a")
        assert isinstance(part, PartRefused)
        assert part.error.code == "forbidden_address"
        assert {link.state for link in sink.links} == {"up"}


async def test_http_only_where_the_operator_allows_networks() -> None:
    async with sending(allow_networks=[]) as (provider, sink):
        provider.submit([push("a", Browser("http://push.example.com/p").token)])
        await until(lambda: sink.done)
        (part,) = sink.outcome("a")
        assert isinstance(part, PartRefused)
        assert "https://" in part.error.detail


async def test_what_cannot_be_sent() -> None:
    async with sending() as (provider, sink):
        token = Browser("http://127.0.0.1:1/p").token
        provider.submit([push("a", "fcm:token"), push("b", token, body="é" * 2_000)])
        await until(lambda: len(sink.done) == 2)
        codes = [part.error.code for name in "ab" for part in sink.outcome(name) if isinstance(part, PartRefused)]
        assert codes == ["invalid_recipient", "message_too_long"]
        assert message.CONTENT_OCTETS < 4_000


def test_authorization_is_signed_anew_in_time_and_forgotten() -> None:
    headers, now_s = VapidHeaders(KEY, "mailto:ops@example.com"), 1_700_000_000
    first = headers.of("https://a.example/1", now_s)
    assert headers.of("https://a.example/2", now_s + 10 * 3_600) == first
    assert headers.of("https://b.example/1", now_s) != first
    later = headers.of("https://a.example/1", now_s + 11 * 3_600)
    assert later != first
    expires_s = json.loads(un_b64url(later.split(".")[1]))["exp"]
    assert now_s + 11 * 3_600 < expires_s <= now_s + 11 * 3_600 + vapid.MOST_S
    for n in range(ORIGINS + 10):
        headers.of(f"https://{n}.example/", now_s)
    assert len(headers._made) == ORIGINS


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"vapid_private_key": "AAAA"}, "vapid_private_key"), ({"subject": "ops@example.com"}, "subject"),
        ({"ttl_s": -1}, "ttl_s"), ({"window": 0}, "window"), ({"x": 1}, "x"),
    ],
)  # fmt: skip
def test_bad_configs(change: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=f"acme.*{says}"):
        check("acme", CONFIG | change)
    with pytest.raises(SettingsError) as caught:
        check("acme", {})
    assert SCALAR not in str(caught.value)
