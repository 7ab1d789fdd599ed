"""What the readers of email carriers' words over HTTP have in common: receipts of events, and errors without anybody's address."""

from typing import Any, Final

from tidings.channels.email.smtp_answers import without_addresses
from tidings.domain.attempt import CarrierReceipt, Engagement, ReceiptState
from tidings.domain.message import MessageError

_WORD_CHARS: Final = 64


def carrier_error(code: str, detail: str, theirs: str, spec: str, *, final: bool, said: str = "") -> MessageError:
    """An error in the carrier's words, without anybody's address."""
    text = f"{detail} It says: {without_addresses(said)[:300]}" if said else detail
    return MessageError(
        code=code, detail=text, permanent=final, retryable=not final, provider_code=theirs[:_WORD_CHARS], spec=spec
    )


def event_receipt(
    provider: str, ref: str, attempt: str, state: ReceiptState, word: str, received_ms: int, *, to: str | None = None,
    engagement: Engagement | None = None, suppress: str | None = None, error: MessageError | None = None,
) -> CarrierReceipt:  # fmt: skip
    """What a carrier's event says of one mail. `attempt` is our own id, as it came back with the event."""
    spelt = to is None or not to.isascii() or "xn--" in to.lower()  # perhaps otherwise than we know it
    return CarrierReceipt(
        provider=provider, refs=(ref,), to=None if spelt else to, sender=None, state=state, carrier_state=word[:_WORD_CHARS],
        error_code=None if error is None else error.provider_code, user_ref=user_ref(attempt), received_ms=received_ms,
        engagement=engagement, suppress=suppress, error=error,
    )  # fmt: skip


def user_ref(attempt: str) -> int | None:
    """The 16 bits that `delivery.pipeline` takes from an attempt's id."""
    try:
        return int(attempt[-4:], 16) if attempt.startswith("att_") and len(attempt) == 36 else None
    except ValueError:
        return None


def text(fields: dict[str, Any], *path: str) -> str:
    """The string at a path of JSON objects; empty where there is none."""
    found: Any = fields
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return found if isinstance(found, str) else ""
