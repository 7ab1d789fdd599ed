"""What Amazon SES publishes about a mail. Source: Amazon SES "Examples of event data that Amazon SES publishes"."""

from typing import Any, Final, cast

from tidings.channels.callback import CallbackReply, Called, Taken, Unreadable
from tidings.channels.email.over_http import carrier_error, event_receipt, text
from tidings.channels.http.json import json_of
from tidings.domain.attempt import CarrierReceipt
from tidings.protocols.smtp.status import dead, meaning

#: The name of our own id among the mail's tags.
ATTEMPT: Final = "tidings_attempt"
SPEC: Final = "Amazon SES events"
_OK: Final = CallbackReply(status=200)


def read_event(provider: str, message: str, now_ms: int) -> Called:
    """The event in a genuine call of SNS."""
    found = json_of(message.encode("utf-8", "replace"))
    event = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    mail_id = text(event, "mail", "messageId")
    kind = text(event, "eventType") or text(event, "notificationType")
    if not kind or not mail_id:
        if message.startswith("Successfully validated SNS topic"):  # SES tries the topic once with plain words
            return Taken(reply=_OK)
        return Unreadable("no event of SES")
    receipt = _receipt(provider, kind, mail_id, event, now_ms)
    return Taken(receipts=() if receipt is None else (receipt,), reply=_OK)


def _receipt(provider: str, kind: str, ref: str, event: dict[str, Any], now_ms: int) -> CarrierReceipt | None:
    attempt, to = _first(event, "mail", "tags", ATTEMPT), _first(event, "mail", "destination") or None

    def said(state: Any, word: str = kind, **more: Any) -> CarrierReceipt:
        return event_receipt(provider, ref, attempt, state, word.lower(), now_ms, to=to, **more)

    match kind:
        case "Send" | "DeliveryDelay":
            return said("pending")
        case "Delivery":
            return said("delivered")
        case "Open":
            return said("delivered", engagement="read")
        case "Click":
            return said("delivered", engagement="clicked")
        case "Subscription":
            return said("pending", engagement="unsubscribed", suppress="unsubscribed")
        case "Complaint":
            if text(event, "complaint", "complaintSubType") == "OnAccountSuppressionList":
                error = carrier_error(
                    "complained", "The address is on the account's suppression list.", kind, SPEC, final=True
                )
                return said("undelivered", suppress="complained", error=error)
            if text(event, "complaint", "complaintFeedbackType") == "not-spam":
                return said("pending")
            return said("pending", engagement="complained", suppress="complained")
        case "Bounce":
            return _bounced(said, event)
        case "Reject" | "Rendering Failure":
            reason = text(event, "reject", "reason")
            error = carrier_error(
                "rejected_content", "Amazon SES did not send the mail.", kind, SPEC, final=True, said=reason
            )
            return said("undelivered", error=error)
        case _:
            return None


def _bounced(said: Any, event: dict[str, Any]) -> CarrierReceipt:
    """`Permanent` says that the address is dead, but for the sub-types that speak of the mail. `Transient` was given up."""
    bounce, sub = text(event, "bounce", "bounceType"), text(event, "bounce", "bounceSubType")
    told: Any = event.get("bounce")
    people: Any = cast("dict[str, Any]", told).get("bouncedRecipients") if isinstance(told, dict) else None
    first: Any = cast("list[Any]", people)[0] if isinstance(people, list) and people else None
    person = cast("dict[str, Any]", first) if isinstance(first, dict) else {}
    status = text(person, "status")[:16]
    status = status if status.count(".") == 2 and status[:1] in ("4", "5") else ""
    permanent = bounce == "Permanent"
    means = meaning(550, status, "RCPT")
    error = carrier_error(
        means.code,
        means.detail,
        status or f"{bounce}/{sub}",
        SPEC,
        final=permanent,
        said=text(person, "diagnosticCode"),
    )
    gone = permanent and sub not in ("MessageTooLarge", "ContentRejected", "AttachmentRejected")
    if gone and status and status.startswith("5.7"):
        gone = dead(status)
    found: CarrierReceipt = said("undelivered", f"{bounce}/{sub}", suppress="bounced" if gone else None, error=error)
    return found


def _first(event: dict[str, Any], *path: str) -> str:
    """The first string of the list at a path."""
    found: Any = event
    for name in path:
        found = cast("dict[str, Any]", found).get(name) if isinstance(found, dict) else None
    first: Any = cast("list[Any]", found)[0] if isinstance(found, list) and found else None
    return first if isinstance(first, str) else ""
