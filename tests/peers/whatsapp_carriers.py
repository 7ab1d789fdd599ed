"""Meta's Cloud API, simulated: requests are judged by Meta's published schema where it is at hand, callbacks are signed."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from peers import meta_openapi
from peers.http_carriers import FAST, PUBLIC, SID, TOKEN, HttpCarrier, TwilioCarrier, served
from peers.prism import SPECS
from tidings.channels.callback import RawRequest
from tidings.channels.contract import Provider
from tidings.domain.attempt import Submission
from tidings.domain.message import Lane
from tidings.domain.whatsapp_content import WhatsAppContent

NUMBER_ID, NUMBER, WABA = "106540352242922", "+15550783881", "419561257915477"


def signed(body: bytes, secret: str = TOKEN, **more: Any) -> RawRequest:
    """A call as Meta makes it."""
    made = hmac.new(secret.encode(), body, "sha256").hexdigest()
    headers = {"content-type": "application/json", "x-hub-signature-256": f"sha256={made}"}
    fields: dict[str, Any] = {"method": "POST", "query": "", "headers": headers, "body": body, "peer": "192.0.2.9"}
    return RawRequest(**{**fields, "received_ms": time.time_ns() // 1_000_000, **more})


def call(*values: dict[str, Any], field: str = "messages", number_id: str = NUMBER_ID) -> bytes:
    """The body of a call: one entry for each value."""
    metadata = {"display_phone_number": NUMBER[1:], "phone_number_id": number_id}
    entries = [
        {
            "id": WABA,
            "changes": [{"field": field, "value": {"messaging_product": "whatsapp", "metadata": metadata, **value}}],
        }
        for value in values
    ]
    return json.dumps({"object": "whatsapp_business_account", "entry": entries}).encode()


def status(ref: str, word: str, to: str = "16505551234", **more: Any) -> dict[str, Any]:
    """The value of a status."""
    return {"statuses": [{"id": ref, "status": word, "timestamp": "1749416383", "recipient_id": to, **more}]}


def failed(ref: str, code: int, **more: Any) -> dict[str, Any]:
    """The value of a failure."""
    return status(ref, "failed", errors=[{"code": code, "title": "no", "message": "no"}], **more)


def said(ref: str, text: str, wa_id: str = "16505551234", **more: Any) -> dict[str, Any]:
    """The value of a text from a person."""
    base = {"from": wa_id, "id": ref, "timestamp": str(int(time.time())), "type": "text", "text": {"body": text}}
    return {"contacts": [{"profile": {"name": "Ann"}, "wa_id": wa_id}], "messages": [{**base, **more}]}


def whatsapp_submission(
    provider: Provider, name: str, to: str, text: str = "Hello", lane: Lane = "transactional", **more: Any
) -> Submission:
    """A text to one person."""
    return Submission(
        attempt_id=name, message_id=f"msg_{name}", lane=lane, to=to, sender=None, channel="whatsapp",
        content=WhatsAppContent(text=text), **more,
    )  # fmt: skip


class MetaCarrier(HttpCarrier):
    """`POST /{version}/{phone_number_id}/messages`, and the callbacks."""

    takes, never, number = "+15005550001", "+15005550009", NUMBER
    submission = staticmethod(whatsapp_submission)
    words: tuple[str, ...] = ("delivered",)

    def error_next(self, http: int, code: int, times: int = 1, details: str = "", **headers: str) -> None:
        """An error as Meta writes it."""
        error = {"message": f"(#{code}) no", "type": "OAuthException", "code": code, "fbtrace_id": "Az8or2yhqkZfEZ-"}
        if details:
            error["error_data"] = {"messaging_product": "whatsapp", "details": details}
        self.answer_next(http, {"error": error}, headers, times=times)

    def refuse_next(self) -> None:
        self.error_next(400, 131026)

    def fail_next(self) -> None:
        self.error_next(500, 131000)

    def throttle_next(self, count: int) -> None:
        self.error_next(429, 130429, count)

    def revoke_next(self) -> None:
        """The token is refused."""
        self.error_next(401, 190)

    def say(self, sender: str, to: str, text: str) -> None:
        ref = f"wamid.in{len(self.callbacks)}"
        self.spawn(self.deliver(signed(call(said(ref, text, sender.lstrip("+"))))))

    def accept(self, request: web.Request, body: bytes) -> web.Response:
        fields = json.loads(body)
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
        own = fields.pop("biz_opaque_callback_data", None)
        if SPECS.is_dir():
            assert meta_openapi.complaints("Message", fields) == []
        ref, more = f"wamid.{self.written}", {} if own is None else {"biz_opaque_callback_data": own}
        if self.receipts:
            for word in self.words:
                self.spawn(self.deliver(signed(call(status(ref, word, fields["to"].lstrip("+"), **more)))))
        contact = {"input": fields["to"], "wa_id": fields["to"].lstrip("+")}
        return web.json_response(
            {"messaging_product": "whatsapp", "contacts": [contact], "messages": [{"id": ref}]}, status=200
        )


CLOUD: dict[str, Any] = {
    "phone_number_id": NUMBER_ID, "phone_number": NUMBER, "access_token": TOKEN, "app_secret": TOKEN, "verify_token": "v-token",
}  # fmt: skip


@asynccontextmanager
async def meta_carrier(carrier: MetaCarrier | None = None) -> AsyncIterator[MetaCarrier]:
    """Meta on an ephemeral port, with the config of a provider that calls it."""
    carrier = carrier or MetaCarrier()
    if SPECS.is_dir():
        meta_openapi.load()  # takes a second: no request waits for it
    async with served(carrier) as url:
        carrier.config = {**CLOUD, "base_url": url, "rate_per_s": 0, **FAST}
        yield carrier


class TwilioWhatsAppCarrier(TwilioCarrier):
    """Twilio's Messages resource with WhatsApp's addresses."""

    takes, never, number = "+15005550001", "+15005550009", "+15005550006"
    submission = staticmethod(whatsapp_submission)

    def refuse_next(self) -> None:
        self.error_next(400, 63024)

    def fail_next(self) -> None:
        self.error_next(400, 63012)

    def say(self, sender: str, to: str, text: str) -> None:
        super().say(f"whatsapp:{sender}", f"whatsapp:{to}", text)


@asynccontextmanager
async def twilio_whatsapp_carrier() -> AsyncIterator[TwilioWhatsAppCarrier]:
    """Twilio on an ephemeral port, with the config of a WhatsApp provider that calls it."""
    carrier = TwilioWhatsAppCarrier()
    async with served(carrier) as url:
        own = {"account_sid": SID, "auth_token": TOKEN, "base_url": url, "public_url": PUBLIC, "sender": "+15005550006"}
        carrier.config = {**own, **FAST}
        yield carrier
