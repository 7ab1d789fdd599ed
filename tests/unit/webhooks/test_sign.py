"""Signatures, judged by the official packages."""

from __future__ import annotations

import base64
import datetime as dt
import time
from typing import Any

import pytest
import standardwebhooks.webhooks as official
import svix.webhooks as svix

from tidings.webhooks.sign import key_of, new_secret, sign

BODIES = [b"{}", b'{"type":"message.sent"}', '{"text":"Grüße 😀 €"}'.encode(), b'{"x":"' + b"y" * 100_000 + b'"}']


def _headers(secrets: list[str], body: bytes, at_s: int) -> dict[str, str]:
    signature = sign([key_of(secret) for secret in secrets], "evt_1", at_s, body)
    return {"webhook-id": "evt_1", "webhook-timestamp": str(at_s), "webhook-signature": signature}


@pytest.mark.parametrize("package", [official, svix])
@pytest.mark.parametrize("body", BODIES)
def test_the_official_packages_agree(package: Any, body: bytes) -> None:
    secret, other = new_secret(), new_secret()
    now_s = int(time.time())
    for secrets in ([secret], [other, secret], [secret, other]):
        package.Webhook(secret).verify(body, _headers(secrets, body, now_s))  # raises if it does not agree
    for headers in (
        _headers([other], body, now_s),
        _headers([secret], body + b" ", now_s),
        _headers([secret], body, now_s) | {"webhook-id": "evt_2"},
        _headers([secret], body, now_s - 3600),
    ):
        with pytest.raises(package.WebhookVerificationError):
            package.Webhook(secret).verify(body, headers)


def test_the_same_bytes_as_the_official_signer() -> None:
    secret = "whsec_" + base64.b64encode(bytes(range(24))).decode()
    at = dt.datetime(2026, 11, 24, 10, 0, tzinfo=dt.UTC)
    theirs = official.Webhook(secret).sign("msg_1", at, '{"a":1}')
    assert sign([key_of(secret)], "msg_1", int(at.timestamp()), b'{"a":1}') == theirs


def test_secrets_have_their_form() -> None:
    made = {new_secret() for _ in range(20)}
    assert len(made) == 20
    assert all(len(key_of(secret)) == 32 for secret in made)
