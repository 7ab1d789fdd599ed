"""Emails over HTTP before services that others wrote: Prism on SendGrid's own OpenAPI document, moto as Amazon SES."""

from __future__ import annotations

import asyncio
import base64
import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from peers.carriers import RecordingSink, until
from peers.http_carriers import FAST
from peers.mails import mail
from peers.prism import prism, spec
from tidings.channels import registry
from tidings.channels.contract import ProviderSpec
from tidings.channels.email.sendgrid import MailSendCodec
from tidings.domain.attempt import PartOutcome, PartRefused, PartSent, Submission
from tidings.domain.email import Attachment

FILE = Attachment(name="März.pdf", media_type="application/pdf", data=base64.b64encode(b"%PDF").decode())
LOGO = Attachment(
    name="logo.png", media_type="image/png", data=base64.b64encode(b"\x89PNG").decode(), content_id="logo"
)
MAILS: list[dict[str, Any]] = [
    {}, {"html": "<p>Grüße"}, {"text": None, "html": "<p>x"}, {"attachments": (FILE,)}, {"html": '<img src="cid:logo">',
     "attachments": (FILE, LOGO)},
    {"reply_to": "Bob B. <bob@example.net>"}, {"headers": {"X-Kind": "Grüße", "Feedback-ID": "a:b"}},
    {"list_unsubscribe": "https://example.com/u"}, {"list_unsubscribe": "mailto:u@example.com"},
    {"sender": "Änn, B. <ann@example.org>"},
    {"subject": "Grüße 😀 aus Köln"},
]  # fmt: skip


async def outcomes(kind: str, config: dict[str, Any], mails: list[Submission]) -> list[PartOutcome]:
    """What becomes of the mails with this provider."""
    sink = RecordingSink()
    provider = registry.create(
        ProviderSpec(name="acme", type=kind, config={**FAST, "response_timeout_s": 20, **config}), sink
    )
    await provider.start()
    try:
        for one in mails:
            provider.submit([one])
            await until(lambda one=one: any(o.attempt_id == one.attempt_id for o in sink.done), 60)
        return [sink.outcome(one.attempt_id)[0] for one in mails]
    finally:
        await provider.stop(0)


@pytest.fixture(scope="module")
def sendgrid() -> Iterator[str]:
    with prism(spec("sendgrid_mail_v3.json")) as url:
        yield url


async def test_sendgrid_s_document_finds_nothing_wrong(sendgrid: str) -> None:
    config = {
        "api_key": "SG.x",
        "base_url": sendgrid,
        "sender": "Ann <ann@example.com>",
        "mail_secret": "a secret of our own",
        "reply_domain": "reply.test",
    }
    found = await outcomes("email.sendgrid", config, [mail(**more) for more in MAILS])
    assert [one for one in found if not isinstance(one, PartSent)] == []


async def test_sendgrid_s_document_would_find_something(sendgrid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The saboteur: a request without its content is refused."""
    whole = MailSendCodec._body
    monkeypatch.setattr(
        MailSendCodec, "_body", lambda self, *of: {k: v for k, v in whole(self, *of).items() if k != "from"}
    )
    config = {"api_key": "SG.x", "base_url": sendgrid, "sender": "Ann <ann@example.com>"}
    (found,) = await outcomes("email.sendgrid", config, [mail()])
    assert not isinstance(found, PartSent)


@pytest.fixture(scope="module")
def ses() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


CONFIG: dict[str, Any] = {
    "region": "eu-central-1",
    "access_key_id": "AKID",
    "secret_access_key": "secret",
    "sender": "Ann <ann@example.com>",
}


async def test_ses(ses: str) -> None:
    """moto takes what an official client could have sent, keeps the raw mail, and refuses a sender that is not verified."""
    client = boto3.client(
        "sesv2", endpoint_url=ses, region_name="eu-central-1", aws_access_key_id="AKID", aws_secret_access_key="secret"
    )
    await asyncio.to_thread(client.create_email_identity, EmailIdentity="ann@example.com")
    one = mail("bob@example.net", subject="Grüße", text="Hallo", html="<p>Hallo", attachments=(FILE,))
    (taken,) = await outcomes("email.ses", {**CONFIG, "base_url": ses}, [one])
    assert isinstance(taken, PartSent)
    assert taken.ref

    def kept() -> Any:
        with urllib.request.urlopen(f"{ses}/moto-api/data.json", timeout=20) as answer:
            return json.load(answer)

    state = await asyncio.to_thread(kept)
    assert taken.ref in json.dumps(state)
    (refused,) = await outcomes("email.ses", {**CONFIG, "base_url": ses, "sender": "eve@example.org"}, [mail()])
    assert isinstance(refused, PartRefused)
    assert refused.error.code in ("rejected_content", "invalid_sender")
