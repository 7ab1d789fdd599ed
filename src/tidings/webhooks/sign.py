"""Signatures. Source: Standard Webhooks specification 1.0, "Signature scheme" (symmetric, HMAC-SHA256)."""

import base64
import hmac
import os
from collections.abc import Iterable
from functools import lru_cache

PREFIX = "whsec_"


def new_secret() -> str:
    """A secret of 32 random bytes: `whsec_` and base64."""
    return PREFIX + base64.b64encode(os.urandom(32)).decode()


def key_of(secret: str) -> bytes:
    """The bytes of a secret."""
    return base64.b64decode(secret.removeprefix(PREFIX))


def sign(keys: Iterable[bytes], webhook_id: str, timestamp_s: int, body: bytes) -> str:
    """The `webhook-signature` header: one `v1,…` for each key, so that a secret can be rotated."""
    content = b"%b.%d.%b" % (webhook_id.encode(), timestamp_s, body)
    return " ".join(["v1," + base64.b64encode(_mac(key, content)).decode() for key in keys])


@lru_cache(maxsize=1_024)
def _keyed(key: bytes) -> hmac.HMAC:
    return hmac.new(key, digestmod="sha256")


def _mac(key: bytes, content: bytes) -> bytes:
    """A copy of what the key alone makes: a third of the time of starting anew."""
    mac = _keyed(key).copy()
    mac.update(content)
    return mac.digest()
