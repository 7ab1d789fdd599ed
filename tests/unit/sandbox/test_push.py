"""The push simulator: what its token endpoint and its FCM refuse, as Google's do, and what its devices tell."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from peers.push_carriers import service_key
from tidings.channels.push.google_auth import GRANT, SCOPE
from tidings.kit.clock import wall_ms
from tidings.protocols.jwt import sign
from tidings.sandbox.push import EMAIL, PROJECT, SandboxPush
from tidings.sandbox.push_fcm import Devices, TokenDesk

URI = "http://127.0.0.1/token"
NOW_S = 1_700_000_000
CLAIMS: dict[str, Any] = {"iss": EMAIL, "scope": SCOPE, "aud": URI, "iat": NOW_S, "exp": NOW_S + 3_600}


def asked(claims: dict[str, Any], key: rsa.RSAPrivateKey | None = None, grant: str = GRANT) -> str:
    return urlencode({"grant_type": grant, "assertion": sign({"typ": "JWT"}, claims, key or service_key())})


def desk() -> TokenDesk:
    return TokenDesk(EMAIL, service_key().public_key(), URI)


def test_a_token_is_good_for_an_hour() -> None:
    made = desk()
    answer = made.give(asked(CLAIMS), NOW_S)
    assert answer.status == 200
    header = f"Bearer {answer.body['access_token']}"
    assert made.takes(header, NOW_S + answer.body["expires_in"])
    assert not made.takes(header, NOW_S + 3_601)
    assert not made.takes(header.removeprefix("Bearer "), NOW_S)
    made.revoke()
    assert not made.takes(header, NOW_S)


@pytest.mark.parametrize(
    ("form", "error"),
    [
        (asked(CLAIMS, grant="password"), "unsupported_grant_type"), ("", "unsupported_grant_type"),
        (asked(CLAIMS | {"iss": "x"}), "invalid_grant"), (asked(CLAIMS | {"aud": "x"}), "invalid_grant"),
        (asked(CLAIMS | {"scope": "x"}), "invalid_grant"), (asked(CLAIMS | {"exp": NOW_S + 7_200}), "invalid_grant"),
        (asked(CLAIMS | {"iat": NOW_S - 9_000, "exp": NOW_S - 5_400}), "invalid_grant"),
        (urlencode({"grant_type": GRANT, "assertion": "a.b.c"}), "invalid_grant"),
        (urlencode({"grant_type": GRANT}), "invalid_grant"),
    ],
)  # fmt: skip
def test_no_token(form: str, error: str) -> None:
    answer = desk().give(form, NOW_S)
    assert (answer.status, answer.body["error"]) == (400, error)


def test_another_key_gets_no_token() -> None:
    other = rsa.generate_private_key(65_537, 2_048)
    assert desk().give(asked(CLAIMS, other), NOW_S).body["error"] == "invalid_grant"


def message(token: str = "sandbox-delivered", **more: Any) -> bytes:
    return json.dumps({"message": {"token": token, "notification": {"body": "Hi"}, **more}}).encode()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (message(), 200), (message("any"), 200), (message("sandbox-unregistered"), 404), (message("sandbox-invalid"), 400),
        (message(""), 400), (b"{", 400), (b"{}", 400), (message(data={"n": 7}), 400), (message(tokn="x"), 400),
        (message(data={"x": "y" * 4_100}), 400),
    ],
)  # fmt: skip
def test_what_devices_answer(body: bytes, status: int) -> None:
    assert Devices().send(body).status == status


def test_throttled_once_for_each_message() -> None:
    devices = Devices()
    bodies = [message("sandbox-throttled", data={"n": str(n), "tidings_ack": "1"}) for n in range(3)]
    assert [devices.send(body).status for body in bodies] == [429] * 3
    again = [body.replace(b'"tidings_ack": "1"', b'"tidings_ack": "2"') for body in bodies]
    assert [devices.send(body).status for body in again] == [200] * 3
    assert devices.send(bodies[0]).headers == {"Retry-After": "1"}


class App:
    """What devices call: answers as told, keeps what came."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.statuses: list[int] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.told.append(await request.json())
        return web.Response(status=self.statuses.pop(0) if self.statuses else 204)


@pytest.fixture
async def app() -> AsyncIterator[App]:
    made, application = App(), web.Application()
    application.router.add_post("/v1/push/ack", made.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


async def sent(app: App, token: str, expected: int) -> list[dict[str, Any]]:
    """What the device told after it got a message."""
    sandbox = SandboxPush(receipt_delay_s=0.01, key=service_key())
    await sandbox.start()
    try:
        sandbox.spec(app.url)
        claims = CLAIMS | {"aud": sandbox.desk.uri, "iat": wall_ms() // 1_000, "exp": wall_ms() // 1_000 + 60}
        async with aiohttp.ClientSession(sandbox.url, skip_auto_headers=("User-Agent",)) as session:
            form = {"grant_type": GRANT, "assertion": sign({}, claims, service_key())}
            async with session.post("/token", data=form) as answer:
                access = (await answer.json())["access_token"]
            path, body = f"/v1/projects/{PROJECT}/messages:send", message(token, data={"tidings_ack": "t.0"})
            async with session.post(path, data=body, headers={"Authorization": "Bearer no"}) as answer:
                assert answer.status == 401
            async with session.post(path, data=body, headers={"Authorization": f"Bearer {access}"}) as answer:
                assert answer.status == 200
        async with asyncio.timeout(10):
            while len(app.told) < expected:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        return app.told
    finally:
        await sandbox.stop()


async def test_devices_acknowledge(app: App) -> None:
    assert await sent(app, "sandbox-delivered", 1) == [{"token": "t.0", "event": "delivered"}]


async def test_devices_tell_of_opening(app: App) -> None:
    assert [told["event"] for told in await sent(app, "sandbox-opened", 2)] == ["delivered", "opened"]


async def test_devices_try_again(app: App) -> None:
    app.statuses = [503, 500]
    assert [told["event"] for told in await sent(app, "any", 3)] == ["delivered"] * 3


async def test_devices_take_no_for_an_answer(app: App) -> None:
    app.statuses = [403]
    assert len(await sent(app, "any", 1)) == 1


async def test_silent_devices(app: App) -> None:
    assert await sent(app, "sandbox-silent", 0) == []
