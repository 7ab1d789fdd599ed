"""`verify_webhook`, judged by the packages that others wrote; and what an attacker may try."""

import base64
import datetime as dt
import hashlib
import hmac
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook as StandardWebhook
from svix.webhooks import Webhook as SvixWebhook

from tidings_client import WebhookVerificationError, verify_webhook

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
OTHER = "whsec_" + base64.b64encode(b"another secret of the past").decode()
BODY = '{"type":"message.sent","timestamp":"2026-01-01T00:00:00.123Z","data":{"id":"msg_1","text":"é🎉"}}'


def headers(signature: str, at_s: float | None = None, call: str = "evt_1") -> dict[str, str]:
    stamp = str(int(time.time() if at_s is None else at_s))
    return {"webhook-id": call, "webhook-timestamp": stamp, "webhook-signature": signature}


def signed(maker: Any = StandardWebhook, secret: str = SECRET, body: str = BODY, at_s: float | None = None) -> Any:
    at = dt.datetime.fromtimestamp(int(time.time() if at_s is None else at_s), dt.UTC)
    return headers(maker(secret).sign("evt_1", at, body), at.timestamp())


@pytest.mark.parametrize("maker", [StandardWebhook, SvixWebhook])
def test_what_others_sign_verifies(maker: Any) -> None:
    event = verify_webhook(BODY.encode(), signed(maker), SECRET)
    assert (event.type, event.id, event.data["text"]) == ("message.sent", "evt_1", "é🎉")


@given(st.binary(min_size=24, max_size=64), st.text(st.characters(codec="utf-8")))
def test_others_agree_on_any_secret_and_text(key: bytes, text: str) -> None:
    import json

    secret = "whsec_" + base64.b64encode(key).decode()
    body = json.dumps({"type": "x", "timestamp": "2026-01-01T00:00:00Z", "data": {"text": text}})
    given_headers = signed(SvixWebhook, secret, body)
    assert verify_webhook(body.encode(), given_headers, secret).data["text"] == text
    assert StandardWebhook(secret).verify(body, given_headers)["data"]["text"] == text


def test_rotation_on_either_side() -> None:
    now, old = signed(), signed(secret=OTHER)
    both = {**now, "webhook-signature": f"{old['webhook-signature']} {now['webhook-signature']} v1a,xyz"}
    assert verify_webhook(BODY.encode(), both, SECRET)
    assert verify_webhook(BODY.encode(), both, OTHER)
    assert verify_webhook(BODY.encode(), old, [SECRET, OTHER])
    assert verify_webhook(BODY.encode(), {name.title(): value for name, value in now.items()}, SECRET)


@pytest.mark.parametrize(("age_s", "good"), [(0, True), (290, True), (-290, True), (310, False), (-310, False)])
def test_tolerance(age_s: int, good: bool) -> None:
    given_headers = signed(at_s=time.time() - age_s)
    if good:
        assert verify_webhook(BODY.encode(), given_headers, SECRET)
        return
    with pytest.raises(WebhookVerificationError, match="timestamp"):
        verify_webhook(BODY.encode(), given_headers, SECRET)
    assert verify_webhook(BODY.encode(), given_headers, SECRET, tolerance_s=400)


BROKEN = [
    ("the body", lambda h: (BODY.replace("msg_1", "msg_2"), h, SECRET)),
    ("the id", lambda h: (BODY, {**h, "webhook-id": "evt_2"}, SECRET)),
    ("the time", lambda h: (BODY, {**h, "webhook-timestamp": str(int(h["webhook-timestamp"]) + 1)}, SECRET)),
    ("the secret", lambda h: (BODY, h, OTHER)),
    ("no secret", lambda h: (BODY, h, [])),
    ("the version", lambda h: (BODY, {**h, "webhook-signature": h["webhook-signature"].replace("v1", "v2")}, SECRET)),
    ("cut off", lambda h: (BODY, {**h, "webhook-signature": h["webhook-signature"][:-4]}, SECRET)),
    ("no signature", lambda h: (BODY, {**h, "webhook-signature": ""}, SECRET)),
    ("no header", lambda h: (BODY, {k: v for k, v in h.items() if k != "webhook-id"}, SECRET)),
    ("secret is no base64", lambda h: (BODY, h, "whsec_é")),
]


@pytest.mark.parametrize("case", BROKEN, ids=[name for name, _ in BROKEN])
def test_what_is_changed_does_not_verify(case: Any) -> None:
    body, given_headers, secret = case[1](signed())
    with pytest.raises(WebhookVerificationError):
        verify_webhook(body.encode(), given_headers, secret)


@pytest.mark.parametrize("secret", ["", "whsec_", ["", SECRET]])
def test_an_empty_secret_lets_nobody_in(secret: Any) -> None:
    """An unset environment variable must not turn the check off: anybody can sign with nothing."""
    stamp = str(int(time.time()))
    forged = base64.b64encode(hmac.digest(b"", f"evt_1.{stamp}.{BODY}".encode(), hashlib.sha256)).decode()
    with pytest.raises(WebhookVerificationError, match="empty"):
        verify_webhook(BODY.encode(), headers(f"v1,{forged}"), secret)


def test_a_signed_body_that_is_no_event() -> None:
    for body in ("[]", "{}", '{"type": 5}', "nothing"):
        with pytest.raises(WebhookVerificationError, match="not an event"):
            verify_webhook(body.encode(), signed(body=body), SECRET)


HOSTILE = [
    {"webhook-id": "evt_\udcff"},  # bytes that are no UTF-8, as WSGI and ASGI servers hand them on
    {"webhook-timestamp": "1" * 5_000},  # more digits than `int` takes
    {"webhook-id": "evt_\ud800"},
    {"webhook-timestamp": "\u0661"},  # digits, but none of ASCII; `int` takes the first and not the second
    {"webhook-timestamp": "\u00b2"},
    {"webhook-timestamp": "-1"},
    {"webhook-signature": "v1,é"},
    {"webhook-signature": "v1,\udcff"},
]


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: next(iter(change)))
def test_hostile_headers_do_not_crash_the_receiver(change: dict[str, str]) -> None:
    with pytest.raises(WebhookVerificationError):
        verify_webhook(BODY.encode(), {**signed(), **change}, SECRET)


ANY = st.text(st.characters(exclude_categories=()))  # with surrogates, as servers hand them on


@given(st.binary(), ANY, ANY | st.from_regex(r"\A[0-9]{1,5000}\Z"), ANY | ANY.map("v1,{}".format))
def test_an_attacker_can_only_fail(body: bytes, call: str, stamp: str, signature: str) -> None:
    wrong = {"webhook-id": call, "webhook-timestamp": stamp, "webhook-signature": signature}
    with pytest.raises(WebhookVerificationError):
        verify_webhook(body, wrong, SECRET)
    with pytest.raises(WebhookVerificationError):  # the same past the check of the time
        verify_webhook(body, {**wrong, "webhook-timestamp": str(int(time.time()))}, SECRET)
