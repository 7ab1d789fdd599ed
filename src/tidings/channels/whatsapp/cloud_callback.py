"""What Meta calls us with: the challenge, statuses of what we sent, messages from people, news of templates.

Every call is signed with the app's secret over the bytes as they came; nothing is read before that has been checked. One
call may hold many entries, of other numbers too: what is not ours is passed over, since asking again would bring the same.
Source: Meta "Webhooks: getting started" (verification requests, validating payloads); WhatsApp Cloud API v23.0, schema
`WebhookPayload`
"""

import hmac
import re
from collections.abc import Iterator
from typing import Any, Final, cast

import msgspec

from tidings.channels.callback import CallbackReply, Called, NotGenuine, RawRequest, Taken, Unreadable
from tidings.channels.http.json import json_of
from tidings.channels.whatsapp import cloud_errors
from tidings.channels.whatsapp.cloud_inbound import inbound
from tidings.channels.whatsapp.number import person
from tidings.domain.attempt import CarrierReceipt, InboundPart

SIGNATURE: Final = "x-hub-signature-256"
#: More in one call than Meta sends (1,000 changes at most).
MOST_ITEMS: Final = 1_000
_REPLY: Final = CallbackReply(status=200)
_OWN: Final = re.compile(r"([0-9]{1,5}):(\+[0-9]{5,20})")


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What a call is checked against, and whose things in it are ours."""

    provider: str
    app_secret: str
    verify_token: str
    phone_number_id: str
    phone_number: str
    business_account_id: str = ""


class TemplateNews(msgspec.Struct, frozen=True):
    """A template's approval has changed."""

    name: str
    language: str
    status: str


def callback_data(user_ref: int | None, to: str) -> str:
    """What a message carries, and its statuses bring back: which attempt, and the number as we know it."""
    return f"{user_ref or 0}:{to}"


def genuine(account: Account, request: RawRequest) -> bool:
    """Whether the body is signed with the app's secret. Constant time."""
    if not account.app_secret:
        return False
    made = "sha256=" + hmac.new(account.app_secret.encode(), request.body, "sha256").hexdigest()
    return hmac.compare_digest(made.encode(), request.headers.get(SIGNATURE, "").encode("utf-8", "replace"))


def take(account: Account, request: RawRequest) -> Called:
    """Verifies, then reads. Never raises."""
    if request.method == "GET":
        return _challenge(account, request)
    if not genuine(account, request):
        return NotGenuine("the signature is missing or not that of `app_secret`")
    found = json_of(request.body)
    if not isinstance(found, dict) or cast("dict[str, Any]", found).get("object") != "whatsapp_business_account":
        return Unreadable("it is no call of a WhatsApp Business account")
    values = list(_values(cast("dict[str, Any]", found), "messages"))
    mine = [
        value for value in values if _object(value.get("metadata")).get("phone_number_id") == account.phone_number_id
    ]
    receipts = [made for value in mine for made in _receipts(account, value, request.received_ms)]
    parts = [made for value in mine for made in _parts(account, value, request.received_ms)]
    return Taken(receipts=tuple(receipts[:MOST_ITEMS]), inbound=tuple(parts[:MOST_ITEMS]), reply=_REPLY)


def news(account: Account, request: RawRequest) -> list[TemplateNews]:
    """Templates of this account whose status has changed, in a call that has been found genuine."""
    found = json_of(request.body) if request.method != "GET" else None
    made: list[TemplateNews] = []
    for value in _values(_object(found), "message_template_status_update", account.business_account_id):
        texts = [value.get(f"message_template_{name}") for name in ("name", "language")] + [value.get("event")]
        name, language, status = (text if isinstance(text, str) else "" for text in texts)
        if name and language and status:
            made.append(TemplateNews(name, language, status))
    return made


def _challenge(account: Account, request: RawRequest) -> Called:
    try:
        fields = dict(request.query_fields())
    except ValueError:
        return NotGenuine("the query cannot be read")
    token = fields.get("hub.verify_token", "")
    same = hmac.compare_digest(token.encode("utf-8", "replace"), account.verify_token.encode())
    if not account.verify_token or not same or fields.get("hub.mode") != "subscribe":
        return NotGenuine("the verification request does not know `verify_token`")
    challenge = fields.get("hub.challenge", "")
    if not (challenge.isascii() and challenge.isalnum() and len(challenge) <= 256):
        return Unreadable("the challenge is missing")
    return Taken(reply=CallbackReply(status=200, body=challenge.encode()))


def _values(found: dict[str, Any], field: str, of: str | None = None) -> Iterator[dict[str, Any]]:
    for entry in _list(found.get("entry")):
        if of is not None and _object(entry).get("id") != of:
            continue
        for change in _list(_object(entry).get("changes")):
            if _object(change).get("field") == field:
                yield _object(_object(change).get("value"))


def _receipts(account: Account, value: dict[str, Any], now_ms: int) -> Iterator[CarrierReceipt]:
    for item in map(_object, _list(value.get("statuses"))):
        receipt = _receipt(account, item, now_ms)
        if receipt is not None:
            yield receipt


def _receipt(account: Account, item: dict[str, Any], now_ms: int) -> CarrierReceipt | None:
    ref, status = item.get("id"), item.get("status")
    if not isinstance(ref, str) or not 0 < len(ref) <= 256 or not isinstance(status, str):
        return None
    own = _OWN.fullmatch(str(item.get("biz_opaque_callback_data") or ""))
    code, details = _why(item)
    failed, read = status == "failed", status == "read"
    return CarrierReceipt(
        provider=account.provider, refs=(ref,),
        # an id may be written otherwise than the number that we wrote to: only our own words are sure
        to=own[2] if own else None, sender=None,
        state="undelivered" if failed else "delivered" if read or status == "delivered" else "pending",
        carrier_state=status[:64], error=cloud_errors.error_of(code, details) if failed else None,
        error_code=str(code) if code is not None else None, user_ref=int(own[1]) if own else None,
        done_at_ms=_ms(item.get("timestamp")), received_ms=now_ms, engagement="read" if read else None,
        suppress=cloud_errors.suppression(code) if failed else None,
    )  # fmt: skip


def _parts(account: Account, value: dict[str, Any], now_ms: int) -> Iterator[InboundPart]:
    names = {
        str(contact.get("wa_id")): str(_object(contact.get("profile")).get("name") or "")[:256] or None
        for contact in map(_object, _list(value.get("contacts")))
    }
    for item in map(_object, _list(value.get("messages"))):
        ref, wa_id = item.get("id"), item.get("from")
        sender = person(wa_id) if isinstance(wa_id, str) else None
        said = inbound(item, names.get(str(wa_id)))
        if sender is None or said is None or not isinstance(ref, str) or not 0 < len(ref) <= 256:
            continue
        yield InboundPart(
            provider=account.provider, channel="whatsapp", sender=sender, to=account.phone_number, text=said.text,
            content=said.content, answers=said.answers, word=said.word, dedup=ref, received_ms=now_ms,
            wrote_ms=_ms(item.get("timestamp")),
        )  # fmt: skip


def _why(item: dict[str, Any]) -> tuple[int | None, str | None]:
    """Meta's code and its words, if a status has them."""
    errors = _list(item.get("errors"))
    first = _object(errors[0]) if errors else {}
    code, details = first.get("code"), _object(first.get("error_data")).get("details")
    number = code if isinstance(code, int) and not isinstance(code, bool) else None
    return number, details if isinstance(details, str) else None


def _ms(value: object) -> int | None:
    text = str(value)
    return int(text) * 1_000 if text.isascii() and text.isdigit() and len(text) <= 11 else None


def _list(value: object) -> list[object]:
    return cast("list[object]", value)[:MOST_ITEMS] if isinstance(value, list) else []


def _object(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
