"""A verification: the proof that a person reads what is sent to an address. The code itself is never in it."""

from typing import Any, Final, Literal, get_args

import msgspec

from tidings.domain.errors import FieldError
from tidings.domain.message import Mode, Personal
from tidings.kit.clock import rfc3339
from tidings.kit.limits import (
    VERIFY_ATTEMPTS_DEFAULT,
    VERIFY_ATTEMPTS_MAX,
    VERIFY_DIGITS,
    VERIFY_DIGITS_DEFAULT,
    VERIFY_RESEND_S,
    VERIFY_SENDS,
    VERIFY_VALID_DEFAULT_S,
    VERIFY_VALID_S,
)

#: `pending`, then one end. `max_attempts`: too many wrong codes.
VerificationStatus = Literal["pending", "approved", "max_attempts", "expired", "canceled"]
STATUSES: Final[tuple[str, ...]] = get_args(VerificationStatus)
#: The event that tells of a status.
EVENT_OF: Final[dict[str, str]] = {
    "pending": "verification.started",
    "approved": "verification.approved",
    "max_attempts": "verification.failed",
    "expired": "verification.expired",
    "canceled": "verification.canceled",
}
STATUS_OF: Final = {kind: status for status, kind in EVENT_OF.items()}


class Worth(msgspec.Struct, frozen=True, kw_only=True):
    """What a code is worth: its digits, how long it counts, and how many wrong ones end it."""

    code_length: int = VERIFY_DIGITS_DEFAULT
    valid_for_s: int = VERIFY_VALID_DEFAULT_S
    max_attempts: int = VERIFY_ATTEMPTS_DEFAULT


def worth_problems(worth: Worth) -> list[FieldError]:
    """Numbers that no code may have, wherever they come from."""
    return [
        FieldError(pointer=f"/{name}", code="range", detail=f"must be {least} to {most}")
        for name, value, (least, most) in (
            ("code_length", worth.code_length, VERIFY_DIGITS),
            ("valid_for_s", worth.valid_for_s, VERIFY_VALID_S),
            ("max_attempts", worth.max_attempts, (1, VERIFY_ATTEMPTS_MAX)),
        )
        if not least <= value <= most
    ]


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """As the store has it. Times are milliseconds since the Unix epoch; `attempts` are wrong codes, `sends` messages.

    `personal` is what the messages are made of; its `data` holds what `verify.ask.Ask` says. `reason`: of a cancellation.
    """

    project: str
    id: str
    mode: Mode
    status: str
    channel: str
    channels: tuple[str, ...]
    country: str | None
    locale: str | None
    reference: str | None
    code_length: int
    attempts: int
    max_attempts: int
    sends: int
    created_ms: int
    sent_ms: int
    expires_ms: int
    ended_ms: int | None
    reason: str | None
    personal: Personal

    @property
    def time_to_verify_ms(self) -> int | None:
        """From the start to the right code."""
        return None if self.status != "approved" or self.ended_ms is None else self.ended_ms - self.created_ms

    @property
    def resend_ms(self) -> int | None:
        """When one more message may be sent."""
        open_ = self.status == "pending" and self.sends < VERIFY_SENDS
        return self.sent_ms + VERIFY_RESEND_S * 1000 if open_ else None


def verification_facts(found: Verification) -> dict[str, Any]:
    """All that may leave over a webhook: no address, no text."""
    return {
        "id": found.id,
        "project": found.project,
        "mode": found.mode,
        "status": found.status,
        "channel": found.channel,
        "channels": list(found.channels),
        "country": found.country,
        "locale": found.locale,
        "reference": found.reference,
        "code_length": found.code_length,
        "attempts": found.attempts,
        "attempts_left": max(0, found.max_attempts - found.attempts) if found.status == "pending" else 0,
        "sends": found.sends,
        "sends_left": max(0, VERIFY_SENDS - found.sends) if found.status == "pending" else 0,
        "reason": found.reason,
        "created_at": rfc3339(found.created_ms),
        "last_sent_at": rfc3339(found.sent_ms),
        "resend_at": rfc3339(found.resend_ms),
        "expires_at": rfc3339(found.expires_ms),
        "ended_at": rfc3339(found.ended_ms),
        "time_to_verify_ms": found.time_to_verify_ms,
    }


def verification_view(found: Verification) -> dict[str, Any]:
    """The resource of `/v1/verifications`. `to` is null where the person was erased."""
    to: Any = (found.personal.data or {}).get("to") or found.personal.to or None
    return {**verification_facts(found), "to": to}
