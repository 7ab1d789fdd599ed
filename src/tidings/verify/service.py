"""What customers do with verifications: start, check, resend, cancel, read, count; and what keeps them in time.

Like any subscriber it sends through `accept` alone, with the idempotency key `verify:<id>:<n>` for the `n`th message. The
verification is stored first, the message second; who asks again with the same Idempotency-Key after a crash in between
gets the message sent then.
"""

from functools import partial
from typing import Final, Protocol

import msgspec
import structlog

from tidings.bus.contract import Bus
from tidings.delivery.accept import Accepted, Idempotency, Want
from tidings.domain.address import address_key
from tidings.domain.errors import (
    Conflict,
    FieldError,
    Forbidden,
    IdempotencyReused,
    InvalidRequest,
    NotFound,
    Overloaded,
    RequestError,
)
from tidings.domain.message import Mode, Personal
from tidings.domain.status import ENDS
from tidings.domain.verification import Verification, Worth
from tidings.kit import limits
from tidings.kit.clock import Clock
from tidings.kit.ids import new_id
from tidings.kit.secrets import KeyRing, digest
from tidings.policy.velocity import MarkKind, Refusal
from tidings.store.accounts import Claim
from tidings.store.lists import MessageFilter
from tidings.store.sealed import encode_personal
from tidings.store.store import Store
from tidings.store.verifying import Act, Done, NewVerification, Tally, VerificationFilter, Withdrawal, begun
from tidings.verify import ask as asking
from tidings.verify.ask import Ask, Terms
from tidings.verify.code import code_hash, code_of, new_salt

_log: Final = structlog.get_logger("tidings.verify")
_WHAT: Final[dict[MarkKind, str]] = {
    "to": "this recipient", "ip": "this `ip`", "block": "numbers like this one", "range": "numbers like this one",
}  # fmt: skip
_COUNTED: Final = {"starts": "verifications", "sends": "messages", "wrong": "wrong codes"}


class Accepting(Protocol):
    """The one way in (`delivery.accept.Acceptor`)."""

    async def accept(self, project: str, mode: Mode, wants: list[Want]) -> list[Accepted | RequestError]:
        """Durable when it returns. Raises Overloaded before anything is queued."""
        ...


class Caller(msgspec.Struct, frozen=True):
    """Whose verifications: those of a project, live ones or those of test keys. Neither sees the other's."""

    project: str
    mode: Mode


class VerifyService:
    """All raise StoreError; what names a verification raises NotFound."""

    def __init__(
        self, store: Store, ring: KeyRing, acceptor: Accepting, bus: Bus, now: Clock, worth: Worth
    ) -> None:  # fmt: skip
        """`worth`: of codes whose request does not say."""
        self.worth = worth
        self._store, self._ring, self._acceptor, self._bus, self._now = store, ring, acceptor, bus, now
        self._kept = store.verifications

    async def start(self, caller: Caller, ask: Ask, id: str, claim: Claim | None) -> tuple[Verification, bool]:
        """Begins one and sends its code; (it, whether an earlier request with this key began it). `ask` was checked.

        Raises Overloaded (`velocity_limited`), Forbidden (`pumping_suspected`), IdempotencyReused, and what `accept` raises.
        """
        item, personal = self._new(caller, ask, id, claim)
        started = await self._kept.start(item)
        if started.refusal is not None:
            raise _refused(caller, started.refusal)
        if started.kind == "reused":
            raise _reused()
        if started.kind == "new":
            found = begun(item, personal)
            self._bus.ring("events")
        else:
            found = await self.get(caller, started.id)
        if found.status == "pending" and found.sends == 1:
            try:
                await self._send(found, 1)
            except RequestError:
                await self._withdraw(item, found, 1, claim)
                raise
        return found, started.kind == "replay"

    def _new(self, caller: Caller, ask: Ask, id: str, claim: Claim | None) -> tuple[NewVerification, Personal]:
        now_ms, salt = self._now(), new_salt()
        worth = asking.worth_of(ask, self.worth)
        terms = asking.terms_of(ask, salt, worth)
        to = asking.addresses_of(ask)[0][1]
        personal = Personal(to=to, data=msgspec.to_builtins(terms))
        code = code_of(self._ring, id, salt, worth.code_length)
        item = NewVerification(
            project=caller.project, id=id, mode=caller.mode, channel=terms.channels[0],
            channels=msgspec.json.encode(terms.channels).decode(), country=asking.country_of(ask), locale=ask.locale,
            reference=ask.reference, code_hash=code_hash(self._ring, id, code), code_length=worth.code_length,
            max_attempts=worth.max_attempts, created_ms=now_ms, expires_ms=now_ms + worth.valid_for_s * 1000,
            key_id=self._ring.current, to_hash=address_key(self._ring, to),
            sealed=self._ring.seal(encode_personal(personal), id), event=new_id("evt"),
            marks=asking.marks_of(ask, partial(address_key, self._ring)), prefixes=asking.prefixes_of(ask), claim=claim,
        )  # fmt: skip
        return item, personal

    async def _send(self, found: Verification, n: int, channels: list[str] | None = None) -> None:
        terms = self._terms(found)
        code = code_of(self._ring, found.id, terms.salt, found.code_length)
        left_s = (found.expires_ms - self._now()) // 1000
        request = asking.message_of(terms, code, left_s, found.id, channels)
        key = digest(f"verify:{found.id}:{n}")
        answer = (await self._acceptor.accept(found.project, found.mode, [Want(request, Idempotency(key, key))]))[0]
        if isinstance(answer, RequestError):
            raise answer

    def _terms(self, found: Verification) -> Terms:
        if not found.personal.data:
            raise Conflict("the recipient's data was erased; nothing more can be sent", code="erased")
        return msgspec.convert(found.personal.data, Terms)

    async def _withdraw(self, item: NewVerification | None, found: Verification, n: int, claim: Claim | None) -> None:
        await self._kept.withdraw(
            Withdrawal(
                project=found.project, mode=found.mode, id=found.id, n=n, now_ms=self._now(), event=new_id("evt"),
                marks=item.marks if item is not None else (), created_ms=found.created_ms, claim=claim,
            )
        )  # fmt: skip
        self._bus.ring("events")

    async def check(self, caller: Caller, id: str, code: str, claim: Claim | None) -> Done:
        """Compares and counts. Raises Conflict (`already_approved`), IdempotencyReused."""
        act = self._act(caller, id, claim, code_hash=code_hash(self._ring, id, code))
        done = self._done(await self._kept.check(act))
        if done.kind in ("approved", "max_attempts") and not done.replayed:
            await self._stop_messages(caller, id)
        return done

    async def resend(
        self, caller: Caller, id: str, channel: str | None, claim: Claim | None
    ) -> tuple[Verification, bool]:
        """Sends the same code again, by all its channels in turn or by one of them. Raises Conflict, InvalidRequest."""
        before = await self.get(caller, id)
        if channel is not None and channel not in before.channels:
            detail = f"must be one of the verification's channels: {', '.join(before.channels)}"
            raise InvalidRequest(
                f"/channel {detail}", errors=(FieldError(pointer="/channel", code="unsupported", detail=detail),)
            )
        self._terms(before)
        done = await self._kept.resend(self._act(caller, id, claim, channel=channel or before.channels[0]))
        self._done(done)
        if done.kind == "too_soon":
            raise Conflict(
                f"the last message is too young; try again in {done.retry_after_s} s", code="resend_too_soon"
            )
        if done.kind == "too_many":
            raise Conflict(f"{limits.VERIFY_SENDS} messages are the limit; start another", code="resend_limit")
        if done.kind != "sent":
            raise Conflict(f"nothing can be sent: the verification is {done.kind}", code="verification_ended")
        found = await self.get(caller, id)
        try:
            await self._send(found, done.n, [channel] if channel is not None else None)
        except RequestError:
            await self._withdraw(None, found, done.n, claim)
            raise
        return found, done.replayed

    async def cancel(self, caller: Caller, id: str, claim: Claim | None) -> tuple[Verification, bool]:
        """Ends it: its code is worth nothing any more. One that ended otherwise stays as it is: Conflict."""
        done = self._done(await self._kept.cancel(self._act(caller, id, claim, reason="canceled")))
        if done.kind != "canceled":
            raise Conflict(f"the verification is {done.kind}", code="verification_ended")
        await self._stop_messages(caller, id)
        return await self.get(caller, id), done.replayed

    async def _stop_messages(self, caller: Caller, id: str) -> None:
        """Its code is of no use any more: what has not left stays, and no other channel is tried.

        A crash before this costs at most a message that says nothing any more.
        """
        wanted = MessageFilter(project=caller.project, limit=limits.VERIFY_SENDS, reference=id)
        page, _ = await self._store.lists.messages(self._ring, wanted)
        ours = [one.message for one in page if one.message.lane == "otp" and one.message.mode == caller.mode]
        for message in ours:
            if message.status not in ENDS:
                await self._store.jobs.cancel(caller.project, message.id, new_id("evt"), self._now())
        chained = [(message.project, message.id) for message in ours if message.chain is not None]
        if chained:
            await self._store.fallbacks.stop(chained)
            await self._kept.carried(caller.project, id, ours[0].channel)

    def _act(self, caller: Caller, id: str, claim: Claim | None, **fields: str | None) -> Act:
        act = Act(
            project=caller.project, mode=caller.mode, id=id, now_ms=self._now(), event=new_id("evt"), claim=claim
        )  # fmt: skip
        return msgspec.structs.replace(act, **fields)

    def _done(self, done: Done) -> Done:
        if done.kind == "gone":
            raise _gone()
        if done.kind == "reused":
            raise _reused()
        if done.kind == "already":
            detail = "the verification is approved already, and a code counts once"
            raise Conflict(detail, code="already_approved")
        if not done.replayed:
            self._bus.ring("events")
        return done

    async def get(self, caller: Caller, id: str) -> Verification:
        """One verification."""
        found = await self._kept.get(self._ring, caller.project, caller.mode, id)
        if found is None:
            raise _gone()
        return found

    async def sandbox_code(self, caller: Caller, id: str) -> str:
        """The code of a verification by a test key, whose messages never leave the machine. Others are not found."""
        found = await self.get(caller, id)
        if found.mode != "test":
            raise _gone()
        return code_of(self._ring, id, self._terms(found).salt, found.code_length)

    async def page(self, wanted: VerificationFilter) -> list[Verification]:
        """One page, newest first."""
        return await self._kept.page(self._ring, wanted)

    async def tally(self, caller: Caller, since_ms: int, until_ms: int) -> tuple[list[Tally], bool]:
        """How they went, by channel and country; whether there were more than one answer counts."""
        most = limits.VERIFY_STATS_ROWS
        tallies, counted = await self._kept.tally(caller.project, caller.mode, since_ms, until_ms, most)
        return tallies, counted >= most

    async def allow(self, project: str, prefix: str) -> None:
        """Numbers that begin so are past the pumping guard. Raises Conflict where there are too many."""
        if not await self._kept.allow(project, prefix, self._now(), limits.VERIFY_PREFIXES):
            raise Conflict(f"{limits.VERIFY_PREFIXES} prefixes are the limit; remove some, or allow shorter ones")

    async def disallow(self, project: str, prefix: str) -> None:
        """They are guarded again."""
        if not await self._kept.disallow(project, prefix):
            raise NotFound("this prefix is not among the allowed ones")

    async def prefixes(self, project: str, after: str, limit: int) -> list[tuple[str, int]]:
        """Allowed prefixes with their times, in order."""
        return await self._kept.prefixes(project, after, limit)


def _gone() -> NotFound:
    return NotFound("there is no such verification in this project")


def _reused() -> IdempotencyReused:
    return IdempotencyReused("this Idempotency-Key was used with another request; use a new key for a new request")


def _refused(caller: Caller, refusal: Refusal) -> RequestError:
    _log.warning("verification_refused", project=caller.project, mode=caller.mode, reason=refusal.code, by=refusal.kind)
    if refusal.code == "pumping":
        detail = (
            "almost nobody with numbers like this one enters the code that is sent: this looks like SMS pumping."
            " If you know them, allow their prefix: POST /v1/verifications/prefixes"
        )
        return Forbidden(detail, code="pumping_suspected")
    assert refusal.counted is not None
    detail = (
        f"{refusal.most} {_COUNTED[refusal.counted]} within {refusal.window_s} s are the limit for {_WHAT[refusal.kind]};"
        f" try again in {refusal.retry_after_s} s"
    )
    return Overloaded(detail, code="velocity_limited", retry_after_s=refusal.retry_after_s)
