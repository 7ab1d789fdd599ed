"""Messages with several channels: when the next one is due. Both engines ask this; nothing else decides it.

::

    an attempt ends badly (failed, undelivered, suppressed) ─▶ the next channel at once
    sent, and `fallback.on` has not_delivered or not_read   ─▶ the next channel after `after_s`, unless it was delivered
                                                               (read) by then
    the last channel ends badly                             ─▶ the message ends
"""

from typing import Any, Final

import msgspec

from tidings.domain.message import Chain
from tidings.domain.view import StoredMessage
from tidings.store.contract import Change

#: Who "carries" a job that waits for the next channel. No provider may have the name, so no lane leases it.
NOBODY: Final = "-fallback"
FAILING: Final = frozenset({"failed", "undelivered", "suppressed"})
_WAITING: Final = frozenset({"not_delivered", "not_read"})
_read_chain: Final = msgspec.json.Decoder(Chain).decode


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """A message whose next channel is due. `last`: the latest attempt's channel and status, None where there was none."""

    stored: StoredMessage
    tries: int
    last: tuple[str, str] | None


class Advance(msgspec.Struct, frozen=True, kw_only=True):
    """The message goes on to another channel. `data` of the event is JSON: ids and codes only."""

    project: str
    message: str
    channel: str
    chain: str
    to_hash: str
    key_id: str
    sealed: str
    provider: str  # '' until routed
    at_ms: int
    event: str
    data: str


def read_chain(text: str | None) -> Chain | None:
    """The chain of a message's row."""
    return None if text is None else _read_chain(text)


def next_due_ms(chain: str | None, change: Change) -> int | None:
    """When the next channel is tried because of this change; None if not because of it."""
    found = read_chain(chain)
    if found is None or found.last or not found.on:
        return None
    if change.status in FAILING:
        return change.at_ms
    if change.status == "sent" and _WAITING & set(found.on):
        return change.at_ms + found.after_s * 1000
    return None


def over(chain: str | None, change: Change) -> bool:
    """Whether no other channel is wanted any more."""
    found = read_chain(chain)
    return found is not None and change.status == "delivered" and "not_read" not in found.on


def pending(stored: StoredMessage, tries: int, channel: Any, status: Any) -> Pending:
    """From the columns of a row."""
    return Pending(stored=stored, tries=int(tries), last=None if status is None else (str(channel), str(status)))
