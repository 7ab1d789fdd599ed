"""Bodies of query_sm_resp and cancel_sm, and what our statuses are called there. Source: SMPP 3.4 §4.8, §4.9, §5.2.28"""

import datetime as dt
from typing import Final, NamedTuple

from tidings.domain.status import ENDS
from tidings.domain.view import StoredMessage
from tidings.protocols.smpp import times
from tidings.protocols.smpp.constants import MessageState
from tidings.protocols.smpp.pdu import QueryAnswer, SmppDecodeError
from tidings.protocols.smpp.receipt import State

#: Status of a message → the state that its receipt names. `partially_delivered` is the last word on most such messages.
STATES: Final[dict[str, State]] = {
    "delivered": "delivered", "partially_delivered": "undeliverable", "undelivered": "undeliverable", "failed": "undeliverable",
    "expired": "expired", "canceled": "deleted", "suppressed": "rejected",
}  # fmt: skip
NUMBERS: Final[dict[State, MessageState]] = {
    "delivered": MessageState.DELIVERED, "undeliverable": MessageState.UNDELIVERABLE, "expired": MessageState.EXPIRED,
    "deleted": MessageState.DELETED, "rejected": MessageState.REJECTED, "enroute": MessageState.ENROUTE,
}  # fmt: skip


class Cancel(NamedTuple):
    """cancel_sm. Without a message_id it names all messages from one address to another. Source: §4.9.1"""

    message_id: str
    source_addr: bytes
    destination_addr: bytes


def decode_cancel_sm(body: bytes) -> Cancel:
    """Raises SmppDecodeError."""
    try:
        a = body.index(0)
        b = body.index(0, a + 1)
        c = body.index(0, b + 3)
        d = body.index(0, c + 3)
    except ValueError as error:
        raise SmppDecodeError("body", "is cut off") from error
    return Cancel(body[a + 1 : b].decode("latin-1"), body[b + 3 : c], body[c + 3 : d])


def query_answer(message_id: str, found: StoredMessage) -> QueryAnswer:
    """What became of a message."""
    state = STATES.get(found.message.status, "enroute")
    ended_ms = found.delivered_ms or found.ended_ms
    over = found.message.status in ENDS and ended_ms is not None
    final = times.absolute(dt.datetime.fromtimestamp(ended_ms / 1000, dt.UTC)) if over and ended_ms else ""
    failed = state not in ("enroute", "delivered")
    return QueryAnswer(message_id, final, NUMBERS[state], 1 if failed else 0)
