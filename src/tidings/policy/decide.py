"""The decision: may this message leave now? Pure: every fact is handed in."""

import msgspec

from tidings.domain.message import Message


class Allow(msgspec.Struct, frozen=True):
    """It may leave now."""


class Refuse(msgspec.Struct, frozen=True):
    """It may never leave: the status it ends with, and why."""

    status: str
    code: str
    detail: str


class Defer(msgspec.Struct, frozen=True):
    """Not before `until_ms`. The rendering is thrown away."""

    until_ms: int


Decision = Allow | Refuse | Defer
_ALLOW = Allow()


def decide(message: Message, now_ms: int) -> Decision:
    """The rules in order; the first that speaks wins. Consent and cancellation are looked at in the attempt's own commit."""
    if message.valid_until_ms is not None and now_ms >= message.valid_until_ms:
        return Refuse("expired", "expired", "valid_until passed before a carrier could take the message")
    return _ALLOW
