"""SendGrid's Event Webhook: signed with ECDSA over the time and the body as it came; many events in one call.

Source: Twilio SendGrid "Event Webhook Reference"; "Getting Started with the Event Webhook Security Features"
"""

import base64
import binascii
from typing import Any, Final, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tidings.channels.callback import Called, NotGenuine, RawRequest, Taken, Unreadable
from tidings.channels.email.over_http import carrier_error, event_receipt, text
from tidings.channels.http.json import json_of
from tidings.domain.attempt import CarrierReceipt
from tidings.domain.errors import SettingsError
from tidings.protocols.smtp.status import dead, meaning

#: The name of our own id among the mail's `custom_args`.
ARG: Final = "tidings_attempt"
SIGNATURE: Final = "x-twilio-email-event-webhook-signature"
TIMESTAMP: Final = "x-twilio-email-event-webhook-timestamp"
SPEC: Final = "SendGrid Event Webhook"
#: Why SendGrid dropped a mail → our code, and the suppression that it shows.
_DROPPED: Final[dict[str, tuple[str, str | None]]] = {
    "bounced address": ("invalid_recipient", "bounced"), "unsubscribed address": ("unsubscribed", "unsubscribed"),
    "spam reporting address": ("complained", "complained"), "invalid": ("invalid_recipient", "bounced"),
    "spam content (if spam checker app is enabled)": ("rejected_content", None),
}  # fmt: skip


def read_key(name: str, given: str) -> ec.EllipticCurvePublicKey:
    """The public key as SendGrid shows it (base64 of DER). Raises SettingsError."""
    try:
        found = serialization.load_der_public_key(base64.b64decode(given, validate=True))
    except (ValueError, binascii.Error):
        found = None
    if not isinstance(found, ec.EllipticCurvePublicKey):
        raise SettingsError(f"provider {name}: `webhook_public_key` must be the verification key that SendGrid shows")
    return found


def genuine(key: ec.EllipticCurvePublicKey | None, request: RawRequest) -> bool:
    """Whether SendGrid signed this body."""
    try:
        given = base64.b64decode(request.headers.get(SIGNATURE, ""), validate=True)
        stamp = request.headers.get(TIMESTAMP, "").encode("ascii")
        if key is None or not given or not stamp:
            return False
        key.verify(given, stamp + request.body, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True


def take(provider: str, key: ec.EllipticCurvePublicKey | None, request: RawRequest) -> Called:
    """Checks the signature, then reads."""
    if not genuine(key, request):
        return NotGenuine("the signature does not fit the body and `webhook_public_key`")
    events = json_of(request.body)
    if not isinstance(events, list):
        return Unreadable("the body is no list of events")
    receipts: list[CarrierReceipt] = []
    for event in cast("list[Any]", events)[:10_000]:
        found = (
            _receipt(provider, cast("dict[str, Any]", event), request.received_ms) if isinstance(event, dict) else None
        )
        if found is not None:
            receipts.append(found)
    return Taken(receipts=tuple(receipts))


def _receipt(provider: str, event: dict[str, Any], now_ms: int) -> CarrierReceipt | None:
    """None for events that say nothing of a mail of ours."""
    kind, ref = text(event, "event"), text(event, "sg_message_id").partition(".")[0]
    if not ref or not kind:
        return None
    attempt, to = text(event, ARG), text(event, "email") or None

    def said(state: Any, **more: Any) -> CarrierReceipt:
        return event_receipt(provider, ref, attempt, state, kind, now_ms, to=to, **more)

    match kind:
        case "processed" | "deferred":
            return said("pending")
        case "delivered":
            return said("delivered")
        case "open":  # Apple's proxy opens whatever comes
            machine = event.get("sg_machine_open") is True
            return said("delivered") if machine else said("delivered", engagement="read")
        case "click":
            return said("delivered", engagement="clicked")
        case "spamreport":
            return said("pending", engagement="complained", suppress="complained")
        case "unsubscribe" | "group_unsubscribe":
            return said("pending", engagement="unsubscribed", suppress="unsubscribed")
        case "bounce":
            return _bounced(said, event)
        case "dropped":
            reason = text(event, "reason")
            code, suppress = _DROPPED.get(reason.lower(), ("refused", None))
            error = carrier_error(code, "SendGrid did not send the mail.", "dropped", SPEC, final=True, said=reason)
            return said("undelivered", suppress=suppress, error=error)
        case _:
            return None


def _bounced(said: Any, event: dict[str, Any]) -> CarrierReceipt:
    """`type` blocked: a bounce that says nothing of the address."""
    status = text(event, "status")[:16]
    means = (
        meaning(550, status, "RCPT")
        if status[:2] in ("4.", "5.") and status.count(".") == 2
        else meaning(550, "", "RCPT")
    )
    blocked = text(event, "type") == "blocked"
    error = carrier_error(
        "rejected_by_policy" if blocked and not status else means.code, means.detail, status or "bounce", SPEC, final=True,
        said=text(event, "reason"),
    )  # fmt: skip
    found: CarrierReceipt = said(
        "undelivered", suppress="bounced" if not blocked and dead(status) else None, error=error
    )
    return found
