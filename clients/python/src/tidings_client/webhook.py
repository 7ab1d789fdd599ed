"""Verifying webhook calls. Source: Standard Webhooks specification 1.0, "Verifying signatures"."""

import base64
import hashlib
import hmac
import time
from collections.abc import Iterable, Mapping

import msgspec

from tidings_client.errors import WebhookVerificationError
from tidings_client.models import Event

_decode = msgspec.json.Decoder(Event).decode


def verify_webhook(
    body: bytes, headers: Mapping[str, str], secret: str | Iterable[str], tolerance_s: float = 300
) -> Event:
    """The event in a call, once its signature and time are right. `secret` may be several, while one is rotated.

    Give the raw bytes of the body: parsed and written again, they no longer match. Raises WebhookVerificationError.
    """
    found = {name.lower(): value for name, value in headers.items()}
    try:
        call, stamp, given = (found[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
    except KeyError as error:
        raise WebhookVerificationError(f"the header {error.args[0]} is missing") from error
    if not _is_number(stamp) or abs(time.time() - int(stamp)) > tolerance_s:
        raise WebhookVerificationError("the timestamp is not within the tolerance: an old call, or a wrong clock")
    # servers hand bytes that are no UTF-8 on as surrogates: they must not raise anything but "no signature matches"
    content = f"{call}.{stamp}.".encode("utf-8", "surrogatepass") + body
    secrets = [secret] if isinstance(secret, str) else list(secret)
    wanted = [hmac.digest(_key(one), content, hashlib.sha256) for one in secrets]
    signatures = [_raw(part[3:]) for part in given.split() if part.startswith("v1,")]
    if not any([hmac.compare_digest(one, other) for one in wanted for other in signatures]):  # noqa: C419 - constant time
        raise WebhookVerificationError(
            "no signature matches: the body or a header was changed, or the secret is another"
        )
    try:
        event = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise WebhookVerificationError(f"the body is not an event: {error}") from error
    return event if event.id is not None else msgspec.structs.replace(event, id=call)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 15


def _key(secret: str) -> bytes:
    try:
        text = secret.removeprefix("whsec_").rstrip("=")
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)  # other senders leave the padding out
    except ValueError as error:
        raise WebhookVerificationError("the secret is not `whsec_` and base64") from error
    if not key:  # anybody can sign with nothing: an unset variable must not switch the check off
        raise WebhookVerificationError("the secret is empty; give the one that the endpoint was made with")
    return key


def _raw(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""
