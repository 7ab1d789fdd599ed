"""What a customer sees of a message: one form for the API, the stream and the webhooks."""

from typing import Any

import msgspec

from tidings.domain.message import Message
from tidings.kit.clock import rfc3339


class StoredAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt as the store has it. `error` is the problem's fields, or None."""

    id: str
    message: str
    n: int
    provider: str
    status: str
    parts: int
    created_ms: int
    sent_ms: int | None
    ended_ms: int | None
    error: dict[str, Any] | None
    cost: float | None = None
    channel: str = "sms"


class StoredMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message and how far it got."""

    message: Message
    provider: str | None = None
    encoding: str | None = None
    parts: int | None = None
    error: dict[str, Any] | None = None
    sent_ms: int | None = None
    delivered_ms: int | None = None
    ended_ms: int | None = None
    read_ms: int | None = None
    replied_ms: int | None = None
    unsubscribed_ms: int | None = None
    clicked_ms: int | None = None
    complained_ms: int | None = None


def message_view(stored: StoredMessage) -> dict[str, Any]:
    """The message resource of api.md, without `attempts`."""
    message, personal = stored.message, stored.message.personal
    return {
        "id": message.id,
        "project": message.project,
        "mode": message.mode,
        "channel": message.channel,
        "channels": list(message.chain.channels) if message.chain is not None else [message.channel],
        "fallback": {"after_s": message.chain.after_s, "on": list(message.chain.on)}
        if message.chain is not None
        else None,
        "to": personal.to,
        "from": personal.sender,
        "text": personal.text,
        "content": without_data(personal.content),
        "template": message.template,
        "class": message.lane,
        "status": message.status,
        "reference": message.reference,
        "tags": list(message.tags),
        "metadata": personal.metadata,
        "sequence": message.sequence,
        "on_unknown": message.on_unknown,
        "parts": stored.parts,
        "encoding": stored.encoding,
        "provider": stored.provider,
        "error": stored.error,
        "retry_of": message.retry_of,
        "created_at": rfc3339(message.created_ms),
        "send_at": rfc3339(message.due_ms) if message.due_ms > message.created_ms else None,
        "valid_until": rfc3339(message.valid_until_ms),
        "sent_at": rfc3339(stored.sent_ms),
        "delivered_at": rfc3339(stored.delivered_ms),
        "ended_at": rfc3339(stored.ended_ms),
        "engagement": {
            "read_at": rfc3339(stored.read_ms),
            "clicked_at": rfc3339(stored.clicked_ms),
            "replied_at": rfc3339(stored.replied_ms),
            "unsubscribed_at": rfc3339(stored.unsubscribed_ms),
            "complained_at": rfc3339(stored.complained_ms),
        },
    }


def without_data(content: dict[str, Any] | None) -> dict[str, Any] | None:
    """A content without the octets of its attachments: they are asked for one by one."""
    if content is None or not content.get("attachments"):
        return content
    files = [{key: value for key, value in file.items() if key != "data"} for file in content["attachments"]]
    return content | {"attachments": files}


def attempt_view(attempt: StoredAttempt) -> dict[str, Any]:
    """One entry of `attempts`."""
    return {
        "id": attempt.id,
        "n": attempt.n,
        "channel": attempt.channel,
        "provider": attempt.provider,
        "status": attempt.status,
        "parts": attempt.parts,
        "error": attempt.error,
        "cost": attempt.cost,
        "created_at": rfc3339(attempt.created_ms),
        "sent_at": rfc3339(attempt.sent_ms),
        "ended_at": rfc3339(attempt.ended_ms),
    }
