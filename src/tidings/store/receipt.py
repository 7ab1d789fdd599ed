"""What a receipt means for the attempt and the message that it speaks of. Both engines ask this. Pure."""

from typing import Any, Final

import msgspec

from tidings.domain.channel import CHANNELS
from tidings.store.contract import Change, ReceiptRow

#: State of a receipt → the letter of its part; the others move nothing.
LETTER: Final = {"delivered": "d", "undelivered": "u"}
#: What a person did → the column of `messages` that keeps when it was first.
ENGAGED: Final = {
    "read": "read_ms", "clicked": "clicked_ms", "complained": "complained_ms", "unsubscribed": "unsubscribed_ms",
}  # fmt: skip
_encode: Final = msgspec.json.encode


class Match(msgspec.Struct, frozen=True):
    """The part that a receipt speaks of."""

    project: str
    attempt: str
    part: int
    message: str
    status: str
    part_states: str
    parts: int
    channel: str
    to_hash: str


def attempt_status(states: str, channel: str) -> str:
    """The attempt's status by the letters of its parts."""
    if _any_part(channel) and "d" in states:
        return "delivered"
    if "?" in states:
        return "unknown"
    if "s" in states:
        return "sent"
    if "u" not in states:
        return "delivered"
    return "partially_delivered" if "d" in states else "undelivered"


def accounted(states: str, channel: str) -> bool:
    """Whether what was unknown need not be waited for: no part is, or one device has it where one is enough."""
    return "?" not in states or (_any_part(channel) and ("s" in states or "d" in states))


def _any_part(channel: str) -> bool:
    return channel in CHANNELS and CHANNELS[channel].any_part


def change_of(item: ReceiptRow, match: Match, status: str) -> Change:
    """The status that the message takes, with its event."""
    data: dict[str, Any] = {"attempt_id": match.attempt, "provider": item.provider}
    error = None
    if status != "delivered":
        data["carrier_state"] = item.carrier_state
        error = item.error or _error(item, match)
    return Change(
        project=match.project, message=match.message, status=status, at_ms=item.received_ms, event=item.event,
        error=error, data=_encode(data).decode(),
    )  # fmt: skip


def _error(item: ReceiptRow, match: Match) -> str:
    return _encode(
        {
            "code": f"carrier_{item.carrier_state}",
            "detail": f"the carrier reports: {item.carrier_state}",
            "permanent": True,
            "retryable": False,
            "provider_code": item.error_code,
            "spec": "SMPP 3.4 §5.2.28" if match.channel == "sms" else None,
        }
    ).decode()


def engagement_data(item: ReceiptRow, match: Match) -> str:
    """What the event of an engagement knows."""
    return _encode({"attempt_id": match.attempt, "provider": item.provider}).decode()
