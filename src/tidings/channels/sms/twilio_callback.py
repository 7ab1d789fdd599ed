"""What Twilio calls us with: status callbacks and messages from people, and the signature over both.

The signature is HMAC over the public URL as Twilio called it, with the fields of a form body, sorted, appended; a JSON
body is named by its SHA-256 in the URL. Nothing is read before it has been checked.
Source: Twilio "Webhooks security"; "Outbound Message status in status callbacks"; "Twilio's request to your webhook URL"
"""

import base64
import hmac
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final, Literal
from urllib.parse import quote, urlsplit

import msgspec

from tidings.channels.callback import PATH, CallbackReply, Called, NotGenuine, RawRequest, Taken, Unreadable
from tidings.channels.http.json import json_of
from tidings.domain.attempt import CarrierReceipt, InboundPart, ReceiptState

SIGNATURE: Final = "x-twilio-signature"
#: `key=…,algorithm=HMAC_SHA256` where the callback is signed with a shared key.
SETTINGS: Final = "x-twilio-webhooks-signature-settings"
_HASHES: Final = {"HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"}
_EMPTY_TWIML: Final = CallbackReply(
    status=200, media="text/xml", body=b'<?xml version="1.0" encoding="UTF-8"?><Response/>'
)
#: Twilio's status → (what it means for the part, its word for us). Those not named here move nothing.
STATES: Final[dict[str, tuple[ReceiptState, str]]] = {
    "delivered": ("delivered", "delivered"), "read": ("delivered", "read"), "undelivered": ("undelivered", "undelivered"),
    "failed": ("undelivered", "failed"), "canceled": ("undelivered", "canceled"),
}  # fmt: skip

#: Advanced Opt-Out tells which keyword it took, in any language.
_WORDS: Final[dict[str, Literal["stop", "start"]]] = {"STOP": "stop", "START": "start"}


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What a callback is checked against."""

    provider: str
    auth_token: str
    webhook_key_secret: str
    public_url: str
    overrides: str = ""


def callback_url(account: Account, ref: int | None) -> str:
    """The StatusCallback of a message. `ref` comes back with it and settles an unknown outcome."""
    url = base_url(account) + ("" if ref is None else f"?ref={ref}")
    return f"{url}#{account.overrides}" if account.overrides else url


def base_url(account: Account) -> str:
    """Where Twilio reaches this provider."""
    return account.public_url.rstrip("/") + PATH + quote(account.provider, safe="")


def signature(url: str, fields: Iterable[tuple[str, str]], token: str, algorithm: str = "sha1") -> str:
    """X-Twilio-Signature. A value that is repeated under one name counts once."""
    text = url + "".join(name + value for name, value in sorted(set(fields)))
    return base64.b64encode(hmac.digest(token.encode(), text.encode(), algorithm)).decode()


def genuine(account: Account, request: RawRequest) -> bool:
    """Whether the request is signed by Twilio. In constant time for signatures of one length."""
    given = request.headers.get(SIGNATURE, "")
    key, algorithm = _key(account, request.headers.get(SETTINGS, ""))
    if not given.isascii() or not key or algorithm is None or not account.public_url:
        return False
    fields, good = _signed_fields(request)
    for url in _urls(account, request.query):
        good_here = hmac.compare_digest(signature(url, fields, key, algorithm), given)
        if good_here and good:
            return True
    return False


def take(account: Account, request: RawRequest) -> Called:
    """Checks the signature, then reads."""
    try:
        if not genuine(account, request):
            return NotGenuine("the signature does not fit the request and `public_url`")
        fields = fields_of(request)
    except (ValueError, RecursionError):
        return NotGenuine("the body is neither a form nor JSON in UTF-8")
    status = fields.get("MessageStatus") or fields.get("SmsStatus") or ""
    sid = fields.get("MessageSid") or fields.get("SmsSid") or ""
    if not sid or len(sid) > 64:
        return Unreadable("no MessageSid")
    if "Body" in fields or status in ("received", "receiving"):
        return Taken(inbound=(_inbound(account, fields, sid, request.received_ms),), reply=_EMPTY_TWIML)
    if not status:
        return Unreadable("no MessageStatus")
    return Taken(receipts=(receipt(account.provider, fields, sid, status, request),))


def receipt(provider: str, fields: dict[str, str], sid: str, status: str, request: RawRequest) -> CarrierReceipt:
    """A status callback."""
    ref = dict(request.query_fields()).get("ref", "")
    state, word = STATES.get(status, ("pending", status[:64]))
    return CarrierReceipt(
        provider=provider,
        refs=(sid,),
        to=fields.get("To") or None,
        sender=fields.get("From") or None,
        state=state,
        carrier_state=word,
        error_code=(fields.get("ErrorCode") or "")[:64] or None,
        user_ref=int(ref) if ref.isascii() and ref.isdigit() and len(ref) <= 5 else None,
        received_ms=request.received_ms,
    )


def _inbound(account: Account, fields: dict[str, str], sid: str, now_ms: int) -> InboundPart:
    return InboundPart(
        provider=account.provider,
        sender=fields.get("From", ""),
        to=fields.get("To", ""),
        text=fields.get("Body", ""),
        dedup=sid,
        word=_WORDS.get(fields.get("OptOutType", "").upper()),
        received_ms=now_ms,
    )


def _key(account: Account, settings: str) -> tuple[str, str | None]:
    """The secret and the hash of a request; no hash where it names one that we do not know."""
    for part in settings.split(","):
        name, _, value = part.partition("=")
        if name.strip() == "algorithm" and value.strip():
            return account.webhook_key_secret or account.auth_token, _HASHES.get(value.strip().upper())
    return account.auth_token, "sha1"


def _signed_fields(request: RawRequest) -> tuple[Sequence[tuple[str, str]], bool]:
    """The fields that are part of the signed text, and whether a body beside them is the one that the URL names."""
    named = dict(request.query_fields()).get("bodySHA256")
    if named is not None:
        return (), named.isascii() and hmac.compare_digest(sha256(request.body).hexdigest(), named.lower())
    if request.method == "GET" or not request.body:
        return (), not request.body
    return request.form(), True


def _urls(account: Account, query: str) -> list[str]:
    """How Twilio may have written the URL: with and without the port that its scheme has, and the overrides."""
    url = base_url(account) + (f"?{query}" if query else "")
    parts = urlsplit(url)
    host, port = parts.netloc, parts.port
    usual = 443 if parts.scheme == "https" else 80
    other = f"{host}:{usual}" if port is None else host.rpartition(":")[0]
    forms = [url, url.replace(f"//{host}", f"//{other}", 1)]
    return forms + [f"{form}#{account.overrides}" for form in forms] if account.overrides else forms


def fields_of(request: RawRequest) -> dict[str, str]:
    """The fields, wherever they are. Raises ValueError."""
    if request.method == "GET":
        return dict(request.query_fields())
    if request.headers.get("content-type", "").split(";")[0].strip().lower() == "application/json":
        found = json_of(request.body)
        if not isinstance(found, dict):
            return {}
        return {str(name): str(value) for name, value in found.items() if isinstance(value, (str, int))}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return dict(request.form())
