"""Whose a receipt is, and what it means for the attempt and the message. Both engines ask this. Pure."""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec

from tidings.domain.channel import CHANNELS
from tidings.kit.limits import CLOCK_STEP_MS, UNKNOWN_MATCH_S
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


class Unanswered(NamedTuple):
    """An attempt that is on the wire, or unknown: these columns of `attempts`."""

    project: str
    id: str
    message: str
    parts: int
    part_states: str
    user_ref: int
    sender: str | None
    status: str
    channel: str
    created_ms: int


_NEAR_MS: Final = UNKNOWN_MATCH_S * 1000 + 60_000


def around(item: ReceiptRow) -> int:
    """When its message was submitted, as far as the carrier says so."""
    return item.submit_at_ms if item.submit_at_ms is not None else item.received_ms


def looked_for(item: ReceiptRow) -> tuple[int, int]:
    """From when to when attempts were begun of which one may be its own, or keep us from knowing."""
    both = around(item), item.received_ms
    return min(both) - _NEAR_MS, max(both) + CLOCK_STEP_MS


def unanswered(item: ReceiptRow, found: Iterable[Any]) -> Unanswered | None:
    """The attempt without an answer that this receipt is for (design §2): by the echoed reference, else the only candidate.

    `found`: those to the same person through the same provider, begun as `looked_for` says. One that is still on the wire is
    a candidate too, since a receipt may come before its answer: then it waits for the answer. One that was begun after the
    receipt had come, or far from when the carrier says that it was submitted, is not its own; but where only a clock that was
    set sets it apart, it keeps us from knowing.
    """
    open_ones = [Unanswered(*row) for row in found]
    echoed = [one for one in open_ones if item.user_ref is not None and one.user_ref == item.user_ref]
    same_sender = [one for one in open_ones if item.sender is None or _digits(one.sender) == _digits(item.sender)]
    chosen = echoed if len(echoed) == 1 or item.to_hash is None else same_sender
    if len(chosen) == 1 and chosen[0].status == "unknown" and _may_be_of(item, chosen[0].created_ms):
        return chosen[0]
    return None


def _may_be_of(item: ReceiptRow, began_ms: int) -> bool:
    return abs(began_ms - around(item)) <= _NEAR_MS and began_ms <= item.received_ms + CLOCK_STEP_MS


def _digits(sender: str | None) -> str:
    return (sender or "").lstrip("+").lower()


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
