"""The push services of the conformance cases: the simulated FCM, Node's http2 as APNs, a push service that we hold the keys of."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from conftest import PEERS_DIR, require_peer
from peers.apns import TOKEN, apns_config, apns_options, pem, signing_key
from peers.http_carriers import FAST, HttpCarrier, served
from tidings.channels.contract import Provider
from tidings.domain.attempt import Submission
from tidings.domain.message import Lane
from tidings.domain.push import PushContent
from tidings.protocols.jwt import b64url
from tidings.sandbox.push import PROJECT, SandboxPush
from tidings.sandbox.push_fcm import throttled


@cache
def service_key() -> rsa.RSAPrivateKey:
    """One for all tests of the process: making one takes a while."""
    return rsa.generate_private_key(65_537, 2_048)


def service_pem() -> str:
    """Its text."""
    return service_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _inner(text: str) -> str:
    """What is secret of a PEM: a line from its middle."""
    return text.splitlines()[2]


def push_submission(
    provider: Provider, name: str, to: str, text: str = "Hello", lane: Lane = "transactional", **more: Any
) -> Submission:
    """A notification for one device."""
    return Submission(
        attempt_id=name, message_id=f"msg_{name}", lane=lane, to=to, sender=None, channel="push",
        content=PushContent(body=text), **more,
    )  # fmt: skip


class FcmCarrier(HttpCarrier):
    """FCM with the token endpoint of the simulator; answers are scripted, tokens checked by it."""

    takes, never = "sandbox-delivered", "device-5550009"
    secret = _inner(service_pem())
    submission = staticmethod(push_submission)

    def __init__(self) -> None:
        super().__init__()
        self.sandbox = SandboxPush(key=service_key())

    def error_next(self, status: int, name: str, code: str, times: int = 1, *details: Any) -> None:
        """An error as FCM writes it."""
        found = [{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}, *details]
        self.answer_next(status, {"error": {"code": status, "status": name, "details": found}}, times=times)

    def refuse_next(self) -> None:
        self.error_next(404, "NOT_FOUND", "UNREGISTERED")

    def fail_next(self) -> None:
        self.error_next(503, "UNAVAILABLE", "UNAVAILABLE")

    def throttle_next(self, count: int) -> None:
        answer = throttled(f"project:{PROJECT}", 0)
        self.answer_next(answer.status, answer.body, answer.headers, times=count)

    async def handle(self, request: web.Request) -> web.Response:
        if request.path == "/token":
            answer = self.sandbox.desk.give(await request.text(), _now_s())
            return web.json_response(answer.body, status=answer.status)
        assert self.sandbox.desk.takes(request.headers["Authorization"], _now_s())
        return await super().handle(request)

    def accept(self, request: web.Request, body: bytes) -> web.Response:
        return web.json_response({"name": f"projects/{PROJECT}/messages/{self.written}"})


def _now_s() -> int:
    return int(time.time())


@asynccontextmanager
async def fcm_carrier() -> AsyncIterator[FcmCarrier]:
    """FCM on an ephemeral port, with the config of a provider that calls it."""
    carrier = FcmCarrier()
    async with served(carrier) as url:
        carrier.sandbox.port = int(url.rpartition(":")[2])
        carrier.sandbox.desk.uri = f"{url}/token"
        carrier.config = {**carrier.sandbox.config(), **FAST}
        yield carrier


class BrowserService(HttpCarrier):
    """A push service of a browser vendor. `takes` and `never` are subscriptions to it."""

    submission = staticmethod(push_submission)
    isolated = True  # one of many: its trouble is not the provider's

    def __init__(self) -> None:
        super().__init__()
        self.takes = self.never = self.secret = ""

    def refuse_next(self) -> None:
        self.answer_next(410, "")

    def fail_next(self) -> None:
        self.answer_next(503, "", {"Retry-After": "60"})

    def throttle_next(self, count: int) -> None:
        self.answer_next(429, "", {"Retry-After": "0"}, times=count)

    async def handle(self, request: web.Request) -> web.Response:
        if request.path.endswith("5550009"):  # the body is sealed; the base class looks for it there
            self.written += 1
            self._pending.append(request)
            try:
                await self._never.wait()
            finally:
                self._pending.remove(request)
        await request.read()
        self.requests.append(request)
        self.written += 1
        if self._next:
            status, headers, answer = self._next.pop(0)
            return web.Response(status=status, headers=headers, text=answer)
        return web.Response(status=201, headers={"Location": f"/m/{self.written}"})


def subscription(endpoint: str) -> str:
    """A browser's subscription, as a token."""
    point = (
        ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    )
    return json.dumps({"endpoint": endpoint, "keys": {"p256dh": b64url(point), "auth": b64url(os.urandom(16))}})


@asynccontextmanager
async def webpush_carrier() -> AsyncIterator[BrowserService]:
    """A push service on an ephemeral port, with the config of a provider that calls it."""
    carrier = BrowserService()
    async with served(carrier) as url:
        carrier.takes, carrier.never = subscription(f"{url}/p/1"), subscription(f"{url}/p/5550009")
        carrier.secret = b64url(b"s3cr3t".ljust(32, b"!"))
        carrier.config = {"vapid_private_key": carrier.secret, "subject": "mailto:ops@example.com", **FAST}
        yield carrier


class ApnsCarrier:
    """Node's http2. It is told what to do while our event loop stands still, so that the message that follows meets it."""

    takes, never = TOKEN, "55" * 31 + "09"
    secret = _inner(pem(signing_key()))
    submission = staticmethod(push_submission)

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._dropping: asyncio.Task[None] | None = None
        self.config: dict[str, Any] = (
            apns_config(self._line()["port"]) | FAST | {"reconnect_min_s": 0.2, "reconnect_max_s": 0.4}
        )

    @property
    def written(self) -> int:
        """Requests that reached it."""
        return int(self._command("count")["count"])

    def refuse_next(self) -> None:
        self._script({"status": 410, "reason": "Unregistered"})

    def fail_next(self) -> None:
        self._script({"status": 503, "reason": "ServiceUnavailable"})

    def throttle_next(self, count: int) -> None:
        self._script(
            *[{"status": 429, "reason": "TooManyProviderTokenUpdates", "headers": {"retry-after": "0"}}] * count
        )

    def drop_links(self) -> None:
        self._dropping = asyncio.get_running_loop().create_task(self._drop())

    def say(self, sender: str, to: str, text: str) -> None:
        raise AssertionError("nobody writes to us by push")

    async def _drop(self) -> None:
        while not self.written:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        self._command("drop")

    def _script(self, *answers: dict[str, Any]) -> None:
        self._command("next", answers=list(answers))

    def _command(self, cmd: str, **fields: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"cmd": cmd} | fields).encode() + b"\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line: dict[str, Any] = json.loads(self._process.stdout.readline())
        return line


def _node(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["node", "apns.js"], cwd=PEERS_DIR, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


@asynccontextmanager
async def apns_carrier() -> AsyncIterator[ApnsCarrier]:
    """APNs on an ephemeral port, with the config of a provider that calls it."""
    require_peer("node")
    environment = {**os.environ, "APNS_OPTIONS": apns_options(silent=[ApnsCarrier.never])}
    process = _node(environment)
    try:
        yield ApnsCarrier(process)
    finally:
        process.kill()
        process.communicate()
