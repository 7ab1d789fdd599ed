"""`email.sendgrid`: requests, answers, and events that are believed only when signed; the official SDK judges the signature."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sendgrid.helpers.eventwebhook import EventWebhook

from peers.carriers import RecordingSink
from peers.mail_carriers import SendgridCarrier
from peers.mails import RETURNS, mail
from tidings.channels.callback import NotGenuine, RawRequest, Taken, Unreadable
from tidings.channels.contract import ProviderSpec
from tidings.channels.email.sendgrid import SendgridProvider
from tidings.channels.email.sendgrid_answers import judge
from tidings.channels.http.call import Blocked, Call, Doubtful, Throttled
from tidings.domain.attempt import CarrierReceipt, PartRefused, PartRetry, PartSent
from tidings.domain.email import Attachment
from tidings.domain.errors import SettingsError
from tidings.kit.outbound import Reply

CARRIER = SendgridCarrier()
ATTEMPT = "att_" + "0" * 28 + "beef"


def provider(**config: Any) -> SendgridProvider:
    settings = {"api_key": "SG.x", "sender": "Ann <ann@example.com>", "webhook_public_key": CARRIER.public_key} | config
    return SendgridProvider(ProviderSpec(name="acme", type="email.sendgrid", config=settings), RecordingSink())


def told(*events: dict[str, Any]) -> tuple[CarrierReceipt, ...]:
    called = provider().callback(CARRIER.signed(list(events)))
    assert isinstance(called, Taken)
    return called.receipts


BASE = {"email": "bob@example.net", "sg_message_id": "ref1.filter0001.7.1", "tidings_attempt": ATTEMPT}
EVENTS: list[tuple[dict[str, Any], str, str | None, str | None, str | None]] = [
    ({"event": "processed"}, "pending", None, None, None), ({"event": "deferred", "response": "450"}, "pending", None, None, None),
    ({"event": "delivered"}, "delivered", None, None, None), ({"event": "open"}, "delivered", "read", None, None),
    ({"event": "open", "sg_machine_open": True}, "delivered", None, None, None),
    ({"event": "click", "url": "https://x"}, "delivered", "clicked", None, None),
    ({"event": "spamreport"}, "pending", "complained", "complained", None),
    ({"event": "unsubscribe"}, "pending", "unsubscribed", "unsubscribed", None),
    ({"event": "group_unsubscribe"}, "pending", "unsubscribed", "unsubscribed", None),
    ({"event": "bounce", "status": "5.1.1", "type": "bounce"}, "undelivered", None, "bounced", "invalid_recipient"),
    ({"event": "bounce", "status": "5.2.2", "type": "bounce"}, "undelivered", None, None, "mailbox_full"),
    ({"event": "bounce", "type": "bounce", "reason": "550 <bob@example.net> no"}, "undelivered", None, "bounced",
     "invalid_recipient"),
    ({"event": "bounce", "type": "blocked", "status": ""}, "undelivered", None, None, "rejected_by_policy"),
    ({"event": "dropped", "reason": "Bounced Address"}, "undelivered", None, "bounced", "invalid_recipient"),
    ({"event": "dropped", "reason": "Unsubscribed Address"}, "undelivered", None, "unsubscribed", "unsubscribed"),
    ({"event": "dropped", "reason": "who knows"}, "undelivered", None, None, "refused"),
]  # fmt: skip


@pytest.mark.parametrize(("event", "state", "engagement", "suppress", "code"), EVENTS)
def test_events(
    event: dict[str, Any], state: str, engagement: str | None, suppress: str | None, code: str | None
) -> None:
    (found,) = told(BASE | event)
    assert (found.refs, found.to, found.user_ref) == (("ref1",), "bob@example.net", 0xBEEF)
    assert (found.state, found.engagement, found.suppress) == (state, engagement, suppress)
    assert (found.error.code if found.error else None) == code
    assert "bob@" not in (found.error.detail if found.error else "")


def test_many_events_and_odd_ones() -> None:
    found = told(
        BASE | {"event": "delivered"},
        {"event": "delivered"},
        BASE | {"event": "new"},
        BASE | {"event": "open", "sg_message_id": "ref2"},
    )
    assert [receipt.refs for receipt in found] == [("ref1",), ("ref2",)]
    assert isinstance(provider().callback(CARRIER.signed({"event": "x"})), Unreadable)
    assert told(BASE | {"event": "delivered", "email": "jörg@example.net"})[0].to is None
    assert told(BASE | {"event": 7}, BASE | {"event": "open", "tidings_attempt": 7})[0].user_ref is None


def forged(request: RawRequest, **changes: Any) -> RawRequest:
    return msgspec.structs.replace(request, **changes)


def test_only_what_is_signed_is_believed() -> None:
    good = CARRIER.signed([BASE | {"event": "delivered"}])
    name, stamp = "x-twilio-email-event-webhook-signature", "x-twilio-email-event-webhook-timestamp"
    bad = [
        forged(good, body=good.body + b" "), forged(good, body=b""), forged(good, headers={}),
        *(forged(good, headers=good.headers | {name: text}) for text in ("", "x", "é", base64.b64encode(b"x" * 70).decode())),
        forged(good, headers=good.headers | {stamp: "1764000001"}), forged(good, headers=good.headers | {stamp: ""}),
    ]  # fmt: skip
    assert isinstance(provider().callback(good), Taken)
    for request in bad:
        assert isinstance(provider().callback(request), NotGenuine)
    assert isinstance(provider(webhook_public_key="").callback(good), NotGenuine)
    assert isinstance(provider(webhook_public_key=_other_key()).callback(good), NotGenuine)


def _other_key() -> str:
    der = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip
    return base64.b64encode(der).decode()


@pytest.mark.parametrize("tamper", [False, True])
def test_the_sdk_agrees_on_signatures(tamper: bool) -> None:
    good = CARRIER.signed([BASE | {"event": "delivered", "text": "Grüße"}])
    request = forged(good, body=good.body.replace(b"bob", b"eve")) if tamper else good
    sdk = EventWebhook()
    judged = sdk.verify_signature(
        request.body.decode(), request.headers["x-twilio-email-event-webhook-signature"],
        request.headers["x-twilio-email-event-webhook-timestamp"], sdk.convert_public_key_to_ecdsa(CARRIER.public_key),
    )  # fmt: skip
    assert judged is isinstance(provider().callback(request), Taken)


ANSWERS: list[tuple[int, Any, type, str]] = [
    (202, {}, PartSent, ""), (429, {}, Throttled, ""), (500, {}, Doubtful, ""), (503, "<html>", Doubtful, ""),
    (401, {"errors": [{"message": "authorization required", "field": None}]}, Blocked, "bad_credentials"),
    (403, {"errors": [{"message": "access forbidden", "field": None}]}, Blocked, "bad_credentials"),
    (403, {"errors": [{"message": "not verified", "field": "from"}]}, PartRefused, "invalid_sender"),
    (400, {"errors": [{"message": "no", "field": "personalizations.0.to.0.email"}]}, PartRefused, "invalid_recipient"),
    (400, {"errors": [{"message": "no", "field": "content"}]}, PartRefused, "refused"), (413, {}, PartRefused, "message_too_large"),
    (400, {"errors": [{"message": "Maximum credits exceeded"}]}, PartRetry, "quota"), (404, {}, Blocked, "bad_endpoint"),
    (400, {"errors": "?"}, PartRefused, "refused"), (302, {}, Blocked, "bad_endpoint"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "kind", "code"), ANSWERS)
def test_answers(status: int, body: Any, kind: type, code: str) -> None:
    found = judge(Reply(status, {}, (body if isinstance(body, str) else json.dumps(body)).encode()))
    assert type(found) is kind
    if code:
        assert isinstance(found, PartRefused | PartRetry | Blocked)
        assert found.error.code == code


def test_the_request() -> None:
    one = mail(
        "bob@example.net", name=ATTEMPT, html="<p>x", list_unsubscribe="https://example.com/u", headers={"X-Kind": "Grüße"},
        attachments=(Attachment(name="a.pdf", media_type="application/pdf", data="JVBERg=="),),
    )  # fmt: skip
    call = provider(mail_secret=RETURNS["mail_secret"], reply_domain="reply.test").engine._codec.call(one, 0, 0)  # pyright: ignore
    assert isinstance(call, Call)
    body = json.loads(call.body or b"")
    assert body["personalizations"] == [
        {"to": [{"email": "bob@example.net"}], "custom_args": {"tidings_attempt": ATTEMPT}}
    ]
    assert body["from"] == {"email": "ann@example.com", "name": "Ann"}
    assert body["reply_to"]["email"].endswith("@reply.test")
    assert [part["type"] for part in body["content"]] == ["text/plain", "text/html"]
    assert body["headers"]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert body["headers"]["X-Kind"].startswith("=?utf-8?")
    assert body["attachments"] == [
        {"content": "JVBERg==", "type": "application/pdf", "filename": "a.pdf", "disposition": "attachment"}
    ]


@pytest.mark.parametrize("bad", [{"subject": "x\nBcc: y"}, {"headers": {"Bcc": "x"}}, {"sender": "x"}])
def test_what_cannot_be_written(bad: dict[str, Any]) -> None:
    found = provider().engine._codec.call(mail(name=ATTEMPT, **bad), 0, 0)  # pyright: ignore
    assert isinstance(found, PartRefused)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"api_key": ""}, "api_key"), ({"api_key": "a\nb"}, "api_key"), ({"webhook_public_key": "AAAA"}, "webhook_public_key"),
        ({"base_url": "http://example.com"}, "base_url"), ({"reply_domain": "reply.test"}, "mail_secret"), ({"sender": "x"},
         "sender"),
        ({"window": 0}, "window"),
    ],
)  # fmt: skip
def test_keys(config: dict[str, Any], key: str) -> None:
    with pytest.raises(SettingsError, match=f"acme.*`{key}`"):
        provider(**config)
