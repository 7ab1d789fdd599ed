"""Simulated carriers of email, as the conformance cases drive them."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from peers.carriers import RecordingSink
from peers.http_carriers import FAST as HTTP_FAST
from peers.http_carriers import NEVER_ANSWERS, HttpCarrier, served
from peers.mails import FAST, mail
from tidings.channels.callback import RawRequest
from tidings.channels.contract import Provider, ProviderSpec
from tidings.channels.email.accounts import mail_accounts
from tidings.channels.email.listener import MailListener
from tidings.channels.email.sns import Ask
from tidings.domain.attempt import CarrierReceipt, InboundPart, Submission
from tidings.sandbox.email import SandboxEmail

SECRET = "s3cr3t"


class _LateSink(RecordingSink):
    """Hands on to the sink of the case, once that is known."""

    case: RecordingSink | None = None

    async def received(self, provider: str, receipts: Sequence[CarrierReceipt], inbound: Sequence[InboundPart]) -> None:
        assert self.case is not None
        await self.case.received(provider, receipts, inbound)


class SmtpCarrier:
    """The sandbox's mail system, whose reports come back through our own mail server."""

    takes, never = "delivered@sandbox.test", "unknown@sandbox.test"
    person, number = "zoe@sandbox.test", "support@reply.sandbox.test"

    def __init__(self, sandbox: SandboxEmail, sink: _LateSink) -> None:
        self._sandbox, self._sink = sandbox, sink
        self.config: dict[str, Any] = FAST | sandbox.config | {"read_receipts": False, "end_timeout_s": 0.3}

    def attach(self, provider: Provider, sink: RecordingSink) -> None:
        """Where what comes back goes to."""
        self._sink.case = sink

    def name(self, n: int) -> str:
        """An attempt's id: it is part of the return path."""
        return f"att_{n:032x}"

    def submission(self, provider: Provider, name: str, to: str, text: str = "Hello", **more: Any) -> Submission:
        """An email."""
        more.pop("concat_ref", None)
        return mail(to, name=name, text=text, **more)

    def refuse_next(self) -> None:
        self._sandbox.answer_next("550 5.1.1 no such mailbox")

    def fail_next(self) -> None:
        self._sandbox.answer_next("451 4.3.0 come later")

    def throttle_next(self, count: int) -> None:
        self._sandbox.answer_next(*["451 4.7.28 too fast"] * count)

    def drop_links(self) -> None:
        self._sandbox.drop_links()

    def say(self, sender: str, to: str, text: str) -> None:
        self._sandbox.write_to_us(sender, to, text)

    @property
    def written(self) -> int:
        return self._sandbox.written


@asynccontextmanager
async def smtp_carrier() -> AsyncIterator[SmtpCarrier]:
    """The simulator, and our mail server beside it."""
    sandbox, sink = SandboxEmail(receipt_delay_s=0.01, password=SECRET), _LateSink()
    await sandbox.start()
    try:
        accounts = mail_accounts([ProviderSpec(name="acme", type="email.smtp", config=sandbox.config)])
        listener = MailListener("127.0.0.1", 0, lambda: accounts, sink)
        await listener.start()
        sandbox.inbound = ("127.0.0.1", listener.port)
        try:
            yield SmtpCarrier(sandbox, sink)
        finally:
            await listener.stop()
    finally:
        await sandbox.stop()


class _HttpMailCarrier(HttpCarrier):
    """What the two over HTTP have in common."""

    takes, never = "bob@example.net", f"n{NEVER_ANSWERS}@example.net"

    def name(self, n: int) -> str:
        """An attempt's id, of the form that comes back with events."""
        return f"att_{n:032x}"

    def submission(self, provider: Provider, name: str, to: str, text: str = "Hello", **more: Any) -> Submission:
        """An email."""
        more.pop("concat_ref", None)
        return mail(to, name=name, text=text, **more)


class SendgridCarrier(_HttpMailCarrier):
    """Mail Send and the Event Webhook, signed with a key of the test's."""

    key = ec.generate_private_key(ec.SECP256R1())

    @property
    def public_key(self) -> str:
        """As SendGrid shows it."""
        der = self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return base64.b64encode(der).decode()

    def error_next(self, status: int, field: str | None, message: str, times: int = 1, **headers: str) -> None:
        """An error as SendGrid writes it."""
        self.answer_next(status, {"errors": [{"message": message, "field": field, "help": None}]}, headers, times=times)

    def refuse_next(self) -> None:
        self.error_next(400, "personalizations.0.to.0.email", "Does not contain a valid address.")

    def fail_next(self) -> None:
        self.error_next(400, None, "Maximum credits exceeded")

    def throttle_next(self, count: int) -> None:
        self.error_next(429, None, "too many requests", count)

    def signed(self, events: Any) -> RawRequest:
        """A call with these events."""
        body, stamp = json.dumps(events).encode(), "1764000000"
        made = base64.b64encode(self.key.sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))).decode()
        headers = {
            "x-twilio-email-event-webhook-signature": made, "x-twilio-email-event-webhook-timestamp": stamp,
            "content-type": "application/json",
        }  # fmt: skip
        return RawRequest(
            method="POST", query="", headers=headers, body=body, peer="192.0.2.7", received_ms=1_764_000_000_000
        )

    def accept(self, request: web.Request, body: bytes) -> web.Response:
        sent = json.loads(body)
        ref = f"ref{self.written:05}"
        if self.receipts:
            event = {
                "event": "delivered",
                "email": sent["personalizations"][0]["to"][0]["email"],
                **sent["personalizations"][0]["custom_args"],
            }
            self.spawn(self.deliver(self.signed([event | {"sg_message_id": f"{ref}.filter0001.7.1"}])))
        return web.Response(status=202, headers={"X-Message-Id": ref})


@asynccontextmanager
async def sendgrid_carrier() -> AsyncIterator[SendgridCarrier]:
    """SendGrid on an ephemeral port, with the config of a provider that calls it."""
    carrier = SendgridCarrier()
    async with served(carrier) as url:
        carrier.config = {
            **HTTP_FAST, "api_key": SECRET, "base_url": url, "webhook_public_key": carrier.public_key,
            "sender": "Ann <ann@example.com>",
        }  # fmt: skip
        yield carrier


TOPIC = "arn:aws:sns:eu-central-1:123456789012:tidings"
CERTIFICATE = "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"


class SesCarrier(_HttpMailCarrier):
    """SendEmail, and events over SNS with a certificate of the test's."""

    key = rsa.generate_private_key(65537, 2048)

    def certificate(self) -> bytes:
        """In place of Amazon's."""
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
        now = dt.datetime.now(dt.UTC)
        made = (
            x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self.key.public_key()).serial_number(1)
            .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
            .sign(self.key, hashes.SHA256())
        )  # fmt: skip
        return made.public_bytes(serialization.Encoding.PEM)

    def attach(self, provider: Any, sink: RecordingSink) -> None:
        """The certificate was fetched already."""
        super().attach(provider, sink)
        provider.desk.answered(Ask("certificate", CERTIFICATE), self.certificate())

    def error_next(self, status: int, kind: str, message: str = "no", times: int = 1) -> None:
        """An error as AWS writes it."""
        self.answer_next(status, {"message": message}, {"x-amzn-ErrorType": kind}, times=times)

    def refuse_next(self) -> None:
        self.error_next(400, "MessageRejected")

    def fail_next(self) -> None:
        self.error_next(400, "LimitExceededException")

    def throttle_next(self, count: int) -> None:
        self.error_next(429, "TooManyRequestsException", times=count)

    def signed(self, message: Any, **more: str) -> RawRequest:
        """A notification of SNS."""
        fields = {
            "Type": "Notification", "MessageId": "m1", "TopicArn": TOPIC, "Timestamp": "2026-11-26T16:00:00.000Z",
            "Message": message if isinstance(message, str) else json.dumps(message), "SignatureVersion": "2",
            "SigningCertURL": CERTIFICATE,
        } | more  # fmt: skip
        names = ["Message", "MessageId"]
        names += ["Subject"] if "Subject" in fields else []
        names += (
            ["Timestamp", "TopicArn", "Type"]
            if fields["Type"] == "Notification"
            else ["SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
        )
        text = "".join(f"{name}\n{fields[name]}\n" for name in names)
        kind = hashes.SHA1() if fields["SignatureVersion"] == "1" else hashes.SHA256()
        fields["Signature"] = base64.b64encode(self.key.sign(text.encode(), PKCS1v15(), kind)).decode()
        return RawRequest(
            method="POST", query="", headers={"content-type": "text/plain"}, body=json.dumps(fields).encode(), peer="192.0.2.7",
            received_ms=1_764_000_000_000,
        )  # fmt: skip

    def accept(self, request: web.Request, body: bytes) -> web.Response:
        sent = json.loads(body)
        ref = f"0100{self.written:05}"
        if self.receipts:
            tags = {tag["Name"]: [tag["Value"]] for tag in sent["EmailTags"]}
            told = {"messageId": ref, "destination": sent["Destination"]["ToAddresses"], "tags": tags}
            self.spawn(self.deliver(self.signed({"eventType": "Delivery", "mail": told, "delivery": {}})))
        return web.json_response({"MessageId": ref})


@asynccontextmanager
async def ses_carrier() -> AsyncIterator[SesCarrier]:
    """SES on an ephemeral port, with the config of a provider that calls it."""
    carrier = SesCarrier()
    async with served(carrier) as url:
        carrier.config = {
            **HTTP_FAST, "region": "eu-central-1", "access_key_id": "AKID", "secret_access_key": SECRET, "base_url": url,
            "topic_arn": TOPIC, "sender": "Ann <ann@example.com>",
        }  # fmt: skip
        yield carrier
