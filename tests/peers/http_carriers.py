"""Simulated carriers that are called over HTTP, on aiohttp's server; callbacks go to the provider as a server would hand them on.

Twilio's callbacks are signed by the official SDK. What others think of our requests is judged elsewhere (Prism).
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from aiohttp import web
from twilio.request_validator import RequestValidator

from peers.carriers import RecordingSink
from tidings.channels.callback import CallbackTaker, RawRequest, Taken

SID, TOKEN = "AC" + "0" * 32, "s3cr3t"
NEVER_ANSWERS = "5550009"
PUBLIC = "https://sms.example.com"


class HttpCarrier:
    """What the two have in common: scripted answers, hanging requests, lines that break, callbacks that are repeated."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {}
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.written = 0
        self.callbacks: list[RawRequest] = []
        self.receipts = True
        self._next: list[tuple[int, dict[str, str], Any]] = []
        self._pending: list[web.Request] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._provider: CallbackTaker | None = None
        self._sink: RecordingSink | None = None
        self._never = asyncio.Event()

    def attach(self, provider: Any, sink: RecordingSink) -> None:
        """Whom callbacks go to."""
        self._provider, self._sink = provider, sink

    def answer_next(self, status: int, body: Any, headers: dict[str, str] | None = None, *, times: int = 1) -> None:
        """Scripts the next answers."""
        self._next += [(status, headers or {}, body)] * times

    def drop_links(self) -> None:
        """The line breaks under the requests that are in the carrier's hands, or will be in a moment."""
        self.spawn(self._drop())

    async def _drop(self) -> None:
        end = time.monotonic() + 30
        while not self._pending and time.monotonic() < end:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.02)
        for request in list(self._pending):
            if request.transport is not None:
                request.transport.abort()

    def spawn(self, work: Any) -> None:
        """Runs beside the requests, until the carrier is closed."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Ends what hangs."""
        self._never.set()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def handle(self, request: web.Request) -> web.Response:
        """Any request."""
        body = await request.read()
        self._pending.append(request)
        try:
            self.requests.append(request)
            self.bodies.append(body)
            self.written += request.method != "GET"
            if self._next:
                status, headers, answer = self._next.pop(0)
                return web.Response(
                    status=status, headers=headers, text=answer if isinstance(answer, str) else json.dumps(answer)
                )
            if NEVER_ANSWERS in (body.decode(errors="replace") + request.query_string):
                with contextlib.suppress(asyncio.CancelledError):
                    await self._never.wait()
            return self.accept(request, body)
        finally:
            self._pending.remove(request)

    def accept(self, request: web.Request, body: bytes) -> web.Response:
        """The carrier takes the message."""
        raise AssertionError(request, body)

    async def deliver(self, request: RawRequest, after_s: float = 0.01) -> None:
        """Calls back until it is told that it was kept."""
        await asyncio.sleep(after_s)
        self.callbacks.append(request)
        while self._provider is not None and self._sink is not None:
            called = self._provider.callback(request)
            assert isinstance(called, Taken), called
            try:
                await self._sink.received("acme", called.receipts, called.inbound)
                return
            except RuntimeError:
                await asyncio.sleep(0.01)

    def fail_next(self) -> None:
        raise AssertionError

    def refuse_next(self) -> None:
        raise AssertionError

    def throttle_next(self, count: int) -> None:
        raise AssertionError

    def say(self, sender: str, to: str, text: str) -> None:
        raise AssertionError


def raw(url: str, fields: dict[str, str], headers: dict[str, str], method: str = "POST") -> RawRequest:
    """A form as the route hands it on."""
    sent = {"content-type": "application/x-www-form-urlencoded", **{k.lower(): v for k, v in headers.items()}}
    return RawRequest(
        method=method, query=urlsplit(url).query, headers=sent, body=urlencode(fields).encode(), peer="192.0.2.7",
        received_ms=time.time_ns() // 1_000_000,
    )  # fmt: skip


class TwilioCarrier(HttpCarrier):
    """The Messages resource, and Twilio's callbacks."""

    def error_next(self, status: int, code: int, times: int = 1, **headers: str) -> None:
        """An error as Twilio writes it."""
        body = {
            "code": code,
            "message": "no",
            "more_info": f"https://www.twilio.com/docs/errors/{code}",
            "status": status,
        }
        self.answer_next(status, body, headers, times=times)

    def refuse_next(self) -> None:
        self.error_next(400, 21614)

    def fail_next(self) -> None:
        self.error_next(400, 21611)

    def throttle_next(self, count: int) -> None:
        self.error_next(429, 20429, count)

    def signed(self, url: str, fields: dict[str, str]) -> RawRequest:
        """A callback with the SDK's signature."""
        signature = RequestValidator(TOKEN).compute_signature(url, fields)
        return raw(url, fields, {"X-Twilio-Signature": signature})

    def say(self, sender: str, to: str, text: str) -> None:
        sid = f"SM{len(self.callbacks):032x}"
        fields = {"MessageSid": sid, "From": sender, "To": to, "Body": text, "NumMedia": "0", "NumSegments": "1"}
        fields |= {"SmsStatus": "received", "AccountSid": SID, "ApiVersion": "2010-04-01"}
        self.spawn(self.deliver(self.signed(f"{PUBLIC}/callbacks/acme", fields)))

    def accept(self, request: web.Request, body: bytes) -> web.Response:
        fields = dict(parse_qsl(body.decode()))
        sid = f"SM{self.written:032x}"
        if self.receipts and "StatusCallback" in fields:
            said = {"MessageSid": sid, "MessageStatus": "delivered", "To": fields["To"], "From": fields["From"]}
            self.spawn(self.deliver(self.signed(fields["StatusCallback"], said)))
        return web.json_response({"sid": sid, "status": "queued", "error_code": None}, status=201)


class FormCarrier(HttpCarrier):
    """An aggregator of the plainest kind: a form in, JSON out, receipts and messages as forms signed with HMAC-SHA256."""

    def refuse_next(self) -> None:
        self.answer_next(200, {"result": "bad_number"})

    def fail_next(self) -> None:
        self.answer_next(200, {"result": "busy"})

    def throttle_next(self, count: int) -> None:
        self.answer_next(200, {"result": "too_fast"}, times=count)

    def signed(self, fields: dict[str, str], query: str = "") -> RawRequest:
        """A callback with the hexadecimal HMAC of its body."""
        body = urlencode(fields)
        made = hmac.new(TOKEN.encode(), body.encode(), "sha256").hexdigest()
        return raw(f"{PUBLIC}/callbacks/acme{query}", fields, {"X-Signature": made})

    def say(self, sender: str, to: str, text: str) -> None:
        fields = {"id": f"in-{len(self.callbacks)}", "from": sender.lstrip("+"), "to": to, "text": text}
        self.spawn(self.deliver(self.signed(fields)))

    def accept(self, request: web.Request, body: bytes) -> web.Response:
        fields = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        ref = f"id-{self.written}"
        if self.receipts:
            said = {"id": ref, "status": "DELIVRD", "to": fields["to"], "from": fields["from"]}
            self.spawn(self.deliver(self.signed(said)))
        return web.json_response({"result": "ok", "id": ref})


@asynccontextmanager
async def served(carrier: HttpCarrier) -> AsyncIterator[str]:
    """The carrier on a port of its own; its base URL."""
    app = web.Application(client_max_size=1 << 20)
    app.router.add_route("*", "/{rest:.*}", carrier.handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await carrier.close()
        await runner.cleanup()


FAST: dict[str, Any] = {
    "allow_networks": ["127.0.0.0/8"], "reconnect_min_s": 0.02, "reconnect_max_s": 0.1, "response_timeout_s": 3.0,
    "connect_timeout_s": 20.0, "requeue_s": 0.3, "window": 50,
}  # fmt: skip


@asynccontextmanager
async def twilio_carrier() -> AsyncIterator[TwilioCarrier]:
    """Twilio on an ephemeral port, with the config of a provider that calls it."""
    carrier = TwilioCarrier()
    async with served(carrier) as url:
        carrier.config = {"account_sid": SID, "auth_token": TOKEN, "base_url": url, "public_url": PUBLIC, **FAST}
        yield carrier


FORM: dict[str, Any] = {
    "request": {"url": "", "form": {"to": "{to_digits}", "from": "{from}", "text": "{text}", "ttl": "{valid_s}"}},
    "auth": {"kind": "bearer"},
    "token": TOKEN,
    "response": {"success": "json:/result", "success_values": ["ok"], "id": "json:/id", "error": "json:/result"},
    "codes": {"permanent": {"bad_number": "invalid_recipient"}, "retryable": ["busy"], "throttled": ["too_fast"]},
    "callback_secret": TOKEN,
    "callbacks": {
        "verify": {"kind": "hmac", "at": "header:X-Signature"},
        "receipts": {
            "id": "field:id", "status": "field:status", "to": "field:to", "sender": "field:from",
            "states": {"DELIVRD": "delivered", "EXPIRED": "expired"},
        },
        "inbound": {"sender": "field:from", "to": "field:to", "text": "field:text", "id": "field:id"},
    },
}  # fmt: skip


@asynccontextmanager
async def form_carrier() -> AsyncIterator[FormCarrier]:
    """The plain aggregator on an ephemeral port, with the config of a provider that calls it."""
    carrier = FormCarrier()
    async with served(carrier) as url:
        carrier.config = {**FORM, **FAST, "request": {**FORM["request"], "url": f"{url}/send"}}
        yield carrier
