"""Bodies of webhooks, rendered from the stored rows when they are sent: what was erased is gone from them too."""

from collections.abc import Iterable
from typing import Any

import msgspec

from tidings.domain.event import Event
from tidings.domain.verification import STATUS_OF, verification_facts
from tidings.domain.view import StoredMessage, message_view
from tidings.kit.clock import rfc3339
from tidings.store.lists import StoredInbound, Subjects, inbound_content
from tidings.store.sealed import ERASED

_encode = msgspec.json.Encoder().encode


def bodies(subjects: Subjects, events: Iterable[Event]) -> list[bytes]:
    """`{"type", "timestamp", "data"}` of each event."""
    views = {key: _message(found) for key, found in subjects.messages.items()}
    views |= {key: _inbound(found) for key, found in subjects.inbound.items()}
    views |= {key: verification_facts(found) for key, found in subjects.verifications.items()}
    answers: list[bytes] = []
    for event in events:
        view = views.get(event.message, _gone(event.message)) if event.message is not None else {}
        data: dict[str, Any] = {**view, **_facts(event)}
        answers.append(_encode({"type": event.type, "timestamp": rfc3339(event.at_ms), "data": data}))
    return answers


def _message(found: StoredMessage) -> dict[str, Any]:
    view = message_view(found)
    if found.message.personal is ERASED:
        view |= {"to": None, "from": None, "text": None, "metadata": None}
    return view


def _gone(message: str) -> dict[str, Any]:
    """What is left of a message whose row is no longer there."""
    return {"id": message, "to": None, "from": None, "text": None}


def _inbound(item: StoredInbound) -> dict[str, Any]:
    """A received message, in the words of a message."""
    return {
        "id": item.id, "channel": item.channel, "provider": item.provider, "from": item.sender, "to": item.to or None,
        "text": item.text, "content": inbound_content(item), "in_reply_to": item.in_reply_to,
        "parts": item.parts, "missing_parts": item.missing,
        "received_at": rfc3339(item.received_ms),
    }  # fmt: skip


def _facts(event: Event) -> dict[str, Any]:
    """What the event itself knows: the status of that moment, not of now."""
    facts: dict[str, Any] = {"event_id": event.id}
    if event.data:
        facts["event"] = event.data
    if event.type.startswith("message.") and event.message is not None:
        word = event.type.removeprefix("message.")
        if word in _STATUSES:
            facts["status"] = word
    if event.type in STATUS_OF:
        facts["status"] = STATUS_OF[event.type]
    return facts


_STATUSES = frozenset(
    {"accepted", "scheduled", "held", "queued", "sent", "delivered", "partially_delivered", "undelivered", "failed",
     "expired", "canceled", "suppressed"}
)  # fmt: skip
