"""What an outcome means for the attempt and its message. Pure."""

import random
from typing import Protocol

import msgspec

from tidings.delivery.job import Job
from tidings.delivery.router import NO_TERMS, Terms
from tidings.domain.attempt import Outcome, PartExpired, PartRefused, PartRetry, PartSent, PartUnknown
from tidings.domain.channel import CHANNELS
from tidings.domain.message import MessageError
from tidings.kit.ids import new_id
from tidings.kit.limits import RETRY_FIRST_S, RETRY_LAST_S, TRIES
from tidings.store.contract import Settlement


class UnknownWait(msgspec.Struct, frozen=True):
    """How long a submit without an answer waits for a receipt, in seconds."""

    otp_s: float
    other_s: float

    def ms(self, lane: str) -> int:
        """Milliseconds for this lane."""
        return int(1000 * (self.otp_s if lane == "otp" else self.other_s))


def backoff_s(tries: int, rng: random.Random) -> float:
    """Exponential with full jitter in its upper half: about 2, 4, 8 … 1,800 s."""
    full = min(RETRY_LAST_S, RETRY_FIRST_S * 2 ** max(0, tries - 1))
    return full * (0.5 + rng.random() / 2)


class Onward(Protocol):
    """What the routes say of an attempt that ended (`router.Router`)."""

    def another(self, job: Job, refused_by: str) -> str | None:
        """Who may have it at once, after this provider refused it for now too."""
        ...

    def terms(self, job: Job, provider: str) -> Terms:
        """What the job's route says of an attempt by this provider that was sent."""
        ...


def settle(
    job: Job, provider: str, outcome: Outcome, wait: UnknownWait, rng: random.Random, routes: Onward | None = None
) -> Settlement:
    """The settlement of one outcome. Parts that were sent beside parts that were not make it unknown.

    `routes`: where another provider may take what this one refuses for now.
    """
    made = _settled(job, provider, outcome, wait, rng, routes)
    if made.kind == "sent" and routes is not None:
        terms = routes.terms(job, provider)
        if terms is not NO_TERMS:
            made = _on_terms(made, terms, len(outcome.parts))
    return made if job.kind != "again" else _again(made)


def _on_terms(made: Settlement, terms: Terms, parts: int) -> Settlement:
    cost = made.cost
    if cost is None and terms.cost_per_part is not None:
        cost = round(terms.cost_per_part * parts, 6)
    by_ms = made.at_ms + int(1000 * terms.no_receipt_s) if terms.no_receipt_s else 0
    return msgspec.structs.replace(made, cost=cost, receipt_by_ms=by_ms)


def _again(made: Settlement) -> Settlement:
    """An earlier attempt is sent, and its receipt may come: whatever became of this one ends nothing."""
    return msgspec.structs.replace(made, again=True, status=made.status if made.status in ("sent", "queued") else None)


def _settled(
    job: Job, provider: str, outcome: Outcome, wait: UnknownWait, rng: random.Random, routes: Onward | None
) -> Settlement:
    parts = outcome.parts
    sent = [part for part in parts if isinstance(part, PartSent)]
    if len(sent) == len(parts):
        return _settlement(job, provider, outcome, "sent", status="sent", refs=tuple(part.ref for part in sent))
    if sent and CHANNELS[job.message.channel].any_part:
        states = "".join("s" if isinstance(part, PartSent) else "u" for part in parts)
        return _settlement(job, provider, outcome, "sent", status="sent", refs=_refs(outcome), states=states)
    unknown = next((part for part in parts if isinstance(part, PartUnknown)), None)
    refused = next((part for part in parts if isinstance(part, PartRefused)), None)
    waits = CHANNELS[job.message.channel].any_part and any(isinstance(part, PartRetry) for part in parts)
    if (
        refused is not None and unknown is None and not waits
    ):  # a device that is gone is no reason to give up the others
        return _settlement(job, provider, outcome, "refused", status="failed", error=refused.error, refs=_refs(outcome))
    if unknown is not None or sent:
        reason = unknown.reason if unknown is not None else "partly_sent"
        error = MessageError(
            code="outcome_unknown",
            detail=f"the carrier's answer never came ({reason})",
            permanent=False,
            retryable=True,
        )
        due_ms = outcome.at_ms + wait.ms(job.message.lane)
        return _settlement(job, provider, outcome, "unknown", error=error, due_ms=due_ms, refs=_refs(outcome))
    if any(isinstance(part, PartExpired) for part in parts):
        return _settlement(job, provider, outcome, "refused", status="expired", error=_EXPIRED)
    return _retry(job, provider, outcome, rng, routes)


def plainly(item: Settlement) -> Settlement:
    """The same outcome without anything that the carrier said: for one that cannot be stored."""
    return msgspec.structs.replace(item, refs=(), error=msgspec.json.encode(_UNSTORABLE).decode())


_UNSTORABLE = MessageError(
    code="internal_error", detail="the carrier's answer cannot be stored; the server's log says why"
)
_EXPIRED = MessageError(code="expired", detail="valid_until passed before the carrier could take the message")


def _refs(outcome: Outcome) -> tuple[str, ...]:
    """The carrier's ids in part order; '' for a part that has none."""
    return tuple(part.ref if isinstance(part, PartSent) else "" for part in outcome.parts)


def _cost(outcome: Outcome) -> float | None:
    """What the carrier says that all parts cost; None if it says nothing."""
    costs = [part.cost for part in outcome.parts if isinstance(part, PartSent) and part.cost is not None]
    return sum(costs) if costs else None


def _retry(
    job: Job, provider: str, outcome: Outcome, rng: random.Random, routes: Onward | None
) -> Settlement:  # fmt: skip
    first = next(part for part in outcome.parts if isinstance(part, PartRetry))
    tries = job.tries + 1
    other = routes.another(job, provider) if routes is not None and tries < TRIES else None
    if other is not None:  # at once: what refused it for now is no reason to wait for somebody else
        made = _settlement(job, provider, outcome, "retry", status="queued", error=first.error, due_ms=outcome.at_ms)
        return msgspec.structs.replace(made, goes_to=other)
    after_s = first.after_s if first.after_s is not None else backoff_s(tries, rng)
    due_ms = outcome.at_ms + int(after_s * 1000)
    until_ms = job.message.valid_until_ms
    if until_ms is not None and due_ms >= until_ms:
        return _settlement(job, provider, outcome, "retry", status="expired", error=_EXPIRED)
    if tries >= TRIES:
        return _settlement(job, provider, outcome, "retry", status="failed", error=first.error)
    return _settlement(job, provider, outcome, "retry", status="queued", error=first.error, due_ms=due_ms)


def _settlement(
    job: Job, provider: str, outcome: Outcome, kind: str, *, status: str | None = None,
    error: MessageError | None = None, refs: tuple[str, ...] = (), due_ms: int = 0, states: str = "",
) -> Settlement:  # fmt: skip
    return Settlement(
        project=job.message.project,
        message=job.message.id,
        attempt=outcome.attempt_id,
        provider=provider,
        to_hash=job.to_hash,
        kind=kind,
        at_ms=outcome.at_ms,
        refs=refs,
        error=None if error is None else msgspec.json.encode(error).decode(),
        status=status,
        due_ms=due_ms,
        event=new_id("evt"),
        late=outcome.late,
        states=states,
        cost=_cost(outcome),
    )
