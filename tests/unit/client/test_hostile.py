"""What must raise the client's own errors, and must not show secrets: broken bytes, broken configuration."""

import base64
import datetime as dt
import hashlib
import hmac
import time
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook as StandardWebhook

from tidings_client import AsyncTidings, Policy, ServerError, Tidings, WebhookVerificationError, verify_webhook
from tidings_client.core import base_of, call, pause_s
from tidings_client.errors import api_error

SIGNING_KEY = b"25 bytes of a signing key"
UNPADDED = "whsec_" + base64.b64encode(SIGNING_KEY).decode().rstrip("=")
BODY = '{"type": "x", "timestamp": "2026-01-01T00:00:00Z"}'


@pytest.mark.parametrize(
    "body", [b'{"detail": "\xff"}', b"\xff\xfe", b"", b"null", b'{"code": 5}', b'{"errors": null}']
)
def test_any_body_of_a_failure_is_an_api_error(body: bytes) -> None:
    error = api_error(502, body)
    assert isinstance(error, ServerError)
    assert error.status == 502


def test_a_secret_without_padding_as_others_write_it() -> None:
    at = dt.datetime.fromtimestamp(int(time.time()), dt.UTC)
    signature = StandardWebhook(UNPADDED).sign("evt_1", at, BODY)
    headers = {"webhook-id": "evt_1", "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}
    assert verify_webhook(BODY.encode(), headers, UNPADDED).type == "x"
    assert verify_webhook(BODY.encode(), headers, UNPADDED + "=" * (-len(UNPADDED) % 4)).type == "x"


def test_a_signed_body_that_is_no_utf8() -> None:
    raw, stamp = BODY.encode().replace(b"x", b"\xff"), str(int(time.time()))
    mac = base64.b64encode(hmac.digest(SIGNING_KEY, f"evt_1.{stamp}.".encode() + raw, hashlib.sha256)).decode()
    headers = {"webhook-id": "evt_1", "webhook-timestamp": stamp, "webhook-signature": f"v1,{mac}"}
    with pytest.raises(WebhookVerificationError, match="not an event"):
        verify_webhook(raw, headers, UNPADDED)


@pytest.mark.parametrize("key", ["", "tk_live_hush\n", " tk_live_hush", "tk_live_hush\r\nX: y", "tk_live_hush€"])
@pytest.mark.parametrize("kind", [Tidings, AsyncTidings])
def test_a_key_that_cannot_be_a_header_is_refused_unshown(kind: Any, key: str) -> None:
    with pytest.raises(ValueError, match="api_key") as caught:
        kind(key)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("key", ["", "a b", "a\nb", "é"])
def test_an_idempotency_key_that_cannot_be_a_header(key: str) -> None:
    with pytest.raises(ValueError, match="idempotency_key"):
        call("POST", "/", idempotency_key=key)


GOOD = ["http://127.0.0.1:8300", "https://tidings.example/api/", "http://[::1]:8300", "https://tidings.münchen.example"]
BAD = [
    "http://127.0.0.1:99999",
    "http://x:port",
    f"http://{'a' * 70}.example",
    "http://x/?a=1",
    "http://x/#y",
    "http://[::1",
]


@pytest.mark.parametrize("url", GOOD)
def test_base_urls(url: str) -> None:
    assert base_of(url) == url.rstrip("/")


@pytest.mark.parametrize("url", BAD)
def test_base_urls_that_could_never_be_called(url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        base_of(url)


def test_those_told_the_same_time_do_not_come_back_together() -> None:
    policy = Policy(first_s=1.0, last_s=8.0)
    waits = [pause_s(policy, 2, "3", lambda drawn=drawn: drawn) for drawn in (0.0, 0.5, 1.0)]
    assert waits == [3.0, 4.0, 5.0]


@pytest.mark.parametrize("to", ["+15005550001", "a&b=c@x.test", "ü@x.test", "a,b"])
async def test_query_values_arrive_as_they_were_given(client: Any, script: Any, to: str) -> None:
    script.steps = [(204, "")]
    await client.do(script.url, lambda c: c.suppressions.lift(to))
    assert script.seen[0].query == {"to": to, "channel": "sms"}
