"""What is asked of the verifications, their rows, and the one rule of a check, which both engines follow."""

from hmac import compare_digest
from typing import Any, Literal

import msgspec

from tidings.domain.message import Mode, Personal
from tidings.domain.verification import EVENT_OF, Verification
from tidings.kit.limits import VERIFY_RESEND_S, VERIFY_SENDS
from tidings.kit.secrets import KeyRing
from tidings.policy.velocity import Mark, Refusal
from tidings.store.accounts import Claim
from tidings.store.sealed import personal

COLUMNS = (
    "v.project, v.id, v.mode, v.status, v.channel, v.channels, v.country, v.locale, v.reference, v.code_length,"
    " v.attempts, v.max_attempts, v.sends, v.created_ms, v.sent_ms, v.expires_ms, v.ended_ms, v.reason, p.key_id, p.sealed"
)
JOIN = "left join personal p on p.project = v.project and p.owner = v.id"
#: What a rule needs of a row, in the order of `Held`.
HELD = "project, id, status, code_hash, attempts, max_attempts, sends, sent_ms, expires_ms, mode"


class NewVerification(msgspec.Struct, frozen=True, kw_only=True):
    """A verification to be begun, unless its marks say no. `prefixes`: of its number, for the look at the allowed ones."""

    project: str
    id: str
    mode: Mode
    channel: str
    channels: str  # JSON
    country: str | None
    locale: str | None
    reference: str | None
    code_hash: str
    code_length: int
    max_attempts: int
    created_ms: int
    expires_ms: int
    key_id: str
    to_hash: str
    sealed: str
    event: str
    marks: tuple[Mark, ...]
    prefixes: tuple[str, ...] = ()
    claim: Claim | None = None


class Started(msgspec.Struct, frozen=True):
    """`new`, `replay` (of `id`), `reused` (the key came with another body) or `refused`."""

    kind: Literal["new", "replay", "reused", "refused"]
    id: str
    refusal: Refusal | None = None


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """Something done to a verification: a check (`code_hash`), a resend (`channel`) or a cancellation."""

    project: str
    mode: str
    id: str
    now_ms: int
    event: str
    code_hash: str = ""
    channel: str | None = None
    reason: str | None = None
    claim: Claim | None = None


class Withdrawal(msgspec.Struct, frozen=True, kw_only=True):
    """The `n`th message could not be accepted: it does not count, and its idempotency key is free again."""

    project: str
    mode: str
    id: str
    n: int
    now_ms: int
    event: str
    marks: tuple[Mark, ...]
    created_ms: int
    claim: Claim | None = None


class Done(msgspec.Struct, frozen=True):
    """What became of an Act. `kind`: a status, or why it could not be done.

    `gone`: no such verification. `reused`: of the idempotency key. `already`: it is approved, and a code counts once.
    `too_soon`, `too_many`: of a resend. `sent`: there is an `n`th message now. `replayed`: an earlier request did it.
    """

    kind: str
    attempts_left: int = 0
    n: int = 0
    retry_after_s: int = 0
    replayed: bool = False


class VerificationFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What to list, newest first; None: any. `before`: the id of the last one of the page before."""

    project: str
    mode: str
    limit: int
    before: str | None = None
    status: str | None = None
    reference: str | None = None
    to_hash: str | None = None


class Tally(msgspec.Struct, frozen=True):
    """How verifications by one channel to one country went. Times to verify are milliseconds, of the approved ones."""

    channel: str
    country: str | None
    started: int
    approved: int
    failed: int
    expired: int
    canceled: int
    pending: int
    p50_ms: int | None
    p90_ms: int | None
    p99_ms: int | None


class Held(msgspec.Struct, frozen=True):
    """A verification that this transaction holds. Columns of HELD."""

    project: str
    id: str
    status: str
    code_hash: str
    attempts: int
    max_attempts: int
    sends: int
    sent_ms: int
    expires_ms: int
    mode: str


class Step(msgspec.Struct, frozen=True):
    """What a rule makes of a verification: `status` and `attempts` to be written, an event where the status is another."""

    done: Done
    status: str | None = None
    attempts: int | None = None
    sends: int | None = None

    @property
    def event_type(self) -> str | None:
        """The event that tells of it."""
        return None if self.status is None else EVENT_OF[self.status]


def check_step(held: Held, act: Act) -> Step:
    """The rule of a check: a code is compared only while attempts are left, and each wrong one is counted."""
    ended = _ended(held, act)
    if ended is not None:
        return ended
    if compare_digest(held.code_hash, act.code_hash):
        return Step(Done("approved"), status="approved")
    attempts = held.attempts + 1
    if may_try(attempts, held.max_attempts):
        return Step(Done("pending", held.max_attempts - attempts), attempts=attempts)
    return Step(Done("max_attempts"), status="max_attempts", attempts=attempts)


def may_try(attempts: int, most: int) -> bool:
    """Whether another code may be tried after so many wrong ones."""
    return attempts < most


def replayed_check(held: Held, act: Act) -> Done:
    """The answer to a check that was made before with the same idempotency key and the same code: nothing is counted."""
    left = held.max_attempts - held.attempts if held.status == "pending" else 0
    if held.status == "approved" and not compare_digest(held.code_hash, act.code_hash):
        return Done("already", replayed=True)
    return Done(held.status, left, replayed=True)


def resend_step(held: Held, act: Act) -> Step:
    """The rule of a resend."""
    ended = _ended(held, act)
    if ended is not None:
        return ended
    if held.sends >= VERIFY_SENDS:
        return Step(Done("too_many"))
    wait_ms = held.sent_ms + VERIFY_RESEND_S * 1000 - act.now_ms
    if wait_ms > 0:
        return Step(Done("too_soon", retry_after_s=-(-wait_ms // 1000)))
    return Step(Done("sent", n=held.sends + 1), sends=held.sends + 1)


def cancel_step(held: Held, act: Act) -> Step:
    """The rule of a cancellation; canceling twice is the same as once."""
    ended = _ended(held, act)
    return ended if ended is not None else Step(Done("canceled"), status="canceled")


def _ended(held: Held, act: Act) -> Step | None:
    if held.status == "approved":
        return Step(Done("already"))
    if held.status != "pending":
        return Step(Done(held.status))
    if act.now_ms >= held.expires_ms:
        return Step(Done("expired"), status="expired")
    return None


def event_data(held: Held, step: Step) -> str:
    """What the log keeps of a step: codes only."""
    data: dict[str, Any] = {"mode": held.mode, "attempts": held.attempts if step.attempts is None else step.attempts}
    if step.status == "max_attempts":
        data["reason"] = "max_attempts"
    return msgspec.json.encode(data).decode()


def begun(item: NewVerification, personal: Personal) -> Verification:
    """What was begun this moment, as reading it would give it."""
    return Verification(
        project=item.project, id=item.id, mode=item.mode, status="pending", channel=item.channel,
        channels=msgspec.json.decode(item.channels, type=tuple[str, ...]), country=item.country, locale=item.locale,
        reference=item.reference, code_length=item.code_length, attempts=0, max_attempts=item.max_attempts, sends=1,
        created_ms=item.created_ms, sent_ms=item.created_ms, expires_ms=item.expires_ms, ended_ms=None, reason=None,
        personal=personal,
    )  # fmt: skip


def verification(ring: KeyRing, row: Any) -> Verification:
    """A Verification from a row of COLUMNS."""
    return Verification(
        project=row[0], id=row[1], mode=row[2], status=row[3], channel=row[4],
        channels=msgspec.json.decode(row[5], type=tuple[str, ...]), country=row[6], locale=row[7], reference=row[8],
        code_length=row[9], attempts=row[10], max_attempts=row[11], sends=row[12], created_ms=row[13], sent_ms=row[14],
        expires_ms=row[15], ended_ms=row[16], reason=row[17], personal=personal(ring, row[1], row[18], row[19]),
    )  # fmt: skip
