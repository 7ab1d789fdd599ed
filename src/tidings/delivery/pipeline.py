"""The straight path of a leased batch to the wire. The order of the stages is written here and nowhere else.

gather ─▶ render ─▶ decide ─▶ route ─▶ prepare ─▶ begin (attempt stored) ─▶ submit
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from tidings.channels.contract import Provider
from tidings.delivery import acks, stages
from tidings.delivery.gather import Gathered, gather
from tidings.delivery.isolate import Refused, isolated
from tidings.delivery.job import Job, Prepared, Ready
from tidings.delivery.quarantine import struck
from tidings.delivery.settle import UnknownWait
from tidings.domain.address import address_key
from tidings.domain.attempt import Outcome, PartRetry, Submission
from tidings.domain.channel import CHANNELS
from tidings.domain.errors import StoreError
from tidings.domain.message import MessageError
from tidings.kit.clock import Clock
from tidings.kit.ids import new_id
from tidings.kit.limits import TRIES
from tidings.kit.secrets import KeyRing
from tidings.policy.decide import Defer, Refuse
from tidings.routing.pace import Bucket
from tidings.store.contract import Begin, Begun, End, Release, Settlement
from tidings.store.store import Store

#: Which provider carries the job; None if no one may now.
Router = Callable[[Job], str | None]
#: Told of every attempt just before it goes to the provider.
Register = Callable[[str, Job, str], None]


class Rates(Protocol):
    """What limits how fast messages leave, beside the providers' own rates (`router.Router`)."""

    @property
    def limited(self) -> bool:
        """Whether anything does."""
        ...

    def buckets(self, job: Job, now_ms: int) -> tuple[Bucket, ...]:
        """What the job takes one of before it leaves."""
        ...


class Pipeline:
    """Takes batches of leased jobs; each job ends submitted, released, ended, or untouched for the rescuer."""

    def __init__(
        self, store: Store, ring: KeyRing, now: Clock, node: str, owner: str, router: Router, register: Register,
        wait: UnknownWait, rates: Rates,
    ) -> None:  # fmt: skip
        self._rates = rates
        self._wait, self._ring = wait, ring
        self._store, self._now, self._node, self._owner = store, now, node, owner
        self._router, self._register = router, register

    async def run(self, batch: Sequence[Job], provider: Provider, epoch: int) -> bool:
        """Runs the batch against the provider it was leased for. Says whether events were written."""
        now_ms = self._now()
        known = await gather(self._store, self._ring, provider, batch, now_ms)
        ready: list[Prepared] = []
        ends: list[End] = []
        releases: list[Release] = []
        lost: list[Settlement] = []
        left: list[Job] = []
        for job in batch:
            if job.open_attempt is not None:
                lost.append(_lost(job, provider.name, job.open_attempt, now_ms, self._wait))
                continue
            step = self._safe_step(job, provider, now_ms, known.get(job.message.id))
            if isinstance(step, Prepared):
                ready.append(step)
            elif isinstance(step, End):
                ends.append(step)
            elif step is None:
                left.append(job)
            else:
                releases.append(msgspec.structs.replace(step, owner=self._owner))
        await self._store.attempts.settle(lost)
        await self._store.jobs.end(ends)
        await self._store.jobs.release(releases)
        if any(item.job.kind == "again" for item in ready):
            ready = await self._unsuppressed(ready, left)
        await self._leave(left)
        if self._rates.limited:
            ready = await self._in_pace(ready, now_ms)
        suppressed = await self._submit(ready, provider, epoch)
        return bool(ends or lost or releases or suppressed)

    def ready(self, job: Job, provider: Provider, epoch: int) -> Ready | None:
        """The stages up to the attempt, for a message that is being accepted; None where they come to anything else, or
        have to know more than the message."""
        if self._rates.limited or CHANNELS[provider.capabilities.channel].read is not None:
            return None
        try:
            step = self._step(job, provider, job.message.created_ms, None)
        except Exception:  # the ordinary way comes to it again, and says so
            return None
        if not isinstance(step, Prepared):
            return None
        return Ready(step, self._begin(step, provider.name, epoch, job.message.created_ms))

    def launch(self, batch: Sequence[tuple[Ready, int]], provider: Provider) -> None:
        """Hands over attempts that were stored when their messages were accepted, with their concatenation references."""
        for ready, _ in batch:
            self._register(ready.begin.attempt, ready.prepared.job, provider.name)
        provider.submit([_submission(self._ring, ready.prepared, ready.begin, ref) for ready, ref in batch])

    def _safe_step(self, job: Job, provider: Provider, now_ms: int, known: Gathered | None
    ) -> Prepared | End | Release | None:  # fmt: skip
        try:
            step = self._step(job, provider, now_ms, known)
        except Exception as error:  # whatever it was: its neighbours go on
            step = struck(job, error, now_ms)
        return step if job.kind != "again" else _again(step)

    def _step(self, job: Job, provider: Provider, now_ms: int, known: Gathered | None) -> Prepared | End | Release:
        if job.kind == "unknown" and job.message.on_unknown == "hold":
            return _end(job, "failed", now_ms, _HELD)
        if job.kind == "unknown" and job.tries >= TRIES:  # a carrier that never answers must not send for ever
            return _end(job, "failed", now_ms, _NEVER_ANSWERED)
        text = stages.render_text(job.message)
        if isinstance(text, MessageError):
            return _end(job, "failed", now_ms, text)
        decision = stages.decide_now(job, now_ms)
        if isinstance(decision, Refuse):
            return _end(job, decision.status, now_ms, MessageError(code=decision.code, detail=decision.detail))
        if isinstance(decision, Defer):
            return Release(job.message.project, job.message.id, job.provider, decision.until_ms)
        chosen = self._router(job)
        if chosen != provider.name:
            return _waits(job, chosen or "", now_ms)
        prepared = stages.prepare(job, text, provider, known)
        if isinstance(prepared, Prepared):
            return prepared
        return _end(job, "suppressed" if prepared.code == "suppressed" else "failed", now_ms, prepared)

    async def _submit(self, ready: list[Prepared], provider: Provider, epoch: int) -> bool:
        if not ready:
            return False
        now_ms = self._now()
        begins = [self._begin(item, provider.name, epoch, now_ms) for item in ready]
        begun = await isolated(begins, self._store.attempts.begin, self._probe)
        submissions: list[Submission] = []
        bad: list[End | Release] = []
        foreign: list[Release] = []
        left: list[Job] = []
        for item, begin, answer in zip(ready, begins, begun, strict=True):
            if isinstance(answer, Refused) and item.job.kind == "again":
                left.append(item.job)
            elif isinstance(answer, Refused):
                bad.append(struck(item.job, answer.error, now_ms))
            elif isinstance(answer, Begun) and answer.kind == "ok":
                self._register(begin.attempt, item.job, provider.name)
                submissions.append(_submission(self._ring, item, begin, answer.concat_ref))
            elif (
                isinstance(answer, Begun) and answer.kind == "not_owner"
            ):  # the binds are another worker's by now: so is the job
                foreign.append(self._back(item.job, provider.name, now_ms))
        if submissions:
            provider.submit(submissions)
        await self._store.jobs.end([step for step in bad if isinstance(step, End)])
        await self._store.jobs.release([*foreign, *(step for step in bad if isinstance(step, Release))])
        await self._leave(left)
        away = next((answer for answer in begun if isinstance(answer, StoreError)), None)
        if away is not None:
            raise away  # those that did not begin go back to the queue
        return bool(bad) or any(isinstance(answer, Begun) and answer.kind == "suppressed" for answer in begun)

    async def _in_pace(self, ready: list[Prepared], now_ms: int) -> list[Prepared]:
        """Those that may leave now; the others wait for their turn, and what would be too late then ends."""
        wanted = [self._rates.buckets(item.job, now_ms) for item in ready]
        limited = [n for n, buckets in enumerate(wanted) if buckets]
        due = dict(zip(limited, await self._store.routes.take([wanted[n] for n in limited], now_ms), strict=True))
        late = [(ready[n].job, due_ms) for n, due_ms in due.items() if due_ms]
        ends = [_end(job, "expired", now_ms, _TOO_SLOW) for job, due_ms in late if _too_late(job, due_ms)]
        await self._store.jobs.end(ends)
        await self._store.jobs.release(
            [
                Release(
                    job.message.project, job.message.id, job.provider, due_ms, job.kind,
                    None if job.kind == "again" else "queued", new_id("evt"), now_ms, owner=self._owner,
                )
                for job, due_ms in late
                if not _too_late(job, due_ms)
            ]
        )  # fmt: skip
        return [item for n, item in enumerate(ready) if not due.get(n)]

    async def _unsuppressed(self, ready: list[Prepared], left: list[Job]) -> list[Prepared]:
        """Without those that are sent already and whose recipient wants no more: a message that is sent stays so."""
        kept: list[Prepared] = []
        for item in ready:
            message = item.job.message
            asked = (message.project, message.channel, [item.job.to_hash])
            if item.job.kind == "again" and await self._store.suppressions.among(*asked):
                left.append(item.job)
            else:
                kept.append(item)
        return kept

    async def _leave(self, left: list[Job]) -> None:
        """Nothing more is done for these: they are sent, and nobody else can carry them."""
        keys = [(job.message.project, job.message.id, self._owner) for job in left]
        await self._store.routes.give_up(keys)

    async def _probe(self) -> None:
        await self._store.probe(self._now())

    def _back(self, job: Job, provider: str, now_ms: int) -> Release:
        return Release(job.message.project, job.message.id, provider, now_ms, job.kind, owner=self._owner)

    def _begin(self, item: Prepared, provider: str, epoch: int, now_ms: int) -> Begin:
        message = item.job.message
        attempt = new_id("att")
        return Begin(
            message.project, message.id, attempt, provider, message.channel, item.parts, self._node, epoch,
            address_key(self._ring, item.each[0]) if item.each else item.job.to_hash, message.personal.sender,
            int(attempt[-4:], 16), item.encoding, now_ms, self._owner, new_id("evt"),
        )  # fmt: skip


def never_sent(begin: Begin, now_ms: int) -> Outcome:
    """Of an attempt that was stored, and whose provider went to another worker before anything was sent."""
    return Outcome(begin.attempt, (PartRetry(_GONE),) * begin.parts, now_ms)


_GONE = MessageError(
    code="not_owner", detail="the provider went to another worker before anything was sent", permanent=False
)
_NEVER_ANSWERED = MessageError(
    code="outcome_unknown",
    detail=f"the carrier's answer never came, {TRIES} times; the message is not sent again",
)
_TOO_SLOW = MessageError(
    code="expired", detail="valid_until passes before a limit of tidings.toml lets the message leave"
)
_HELD = MessageError(
    code="outcome_unknown",
    detail="the carrier's answer never came; the message asked for `hold`, so it was not sent again",
)


def _lost(job: Job, provider: str, attempt: str, now_ms: int, wait: UnknownWait) -> Settlement:
    """A worker died with this attempt on the wire, or about to be: nobody can know."""
    error = MessageError(code="outcome_unknown", detail="the worker died with the attempt under way", permanent=False)
    return Settlement(
        project=job.message.project, message=job.message.id, attempt=attempt, provider=job.provider or provider,
        to_hash=job.to_hash, kind="unknown", at_ms=now_ms, error=msgspec.json.encode(error).decode(),
        due_ms=now_ms + wait.ms(job.message.lane), event=new_id("evt"), again=job.kind == "again",
    )  # fmt: skip


def _too_late(job: Job, due_ms: int) -> bool:
    until_ms = job.message.valid_until_ms
    return until_ms is not None and due_ms >= until_ms and job.kind != "again"


def _end(job: Job, status: str, now_ms: int, error: MessageError) -> End:
    return End(
        project=job.message.project, message=job.message.id, status=status, at_ms=now_ms, event=new_id("evt"),
        error=msgspec.json.encode(error).decode(),
    )  # fmt: skip


def _again(step: Prepared | End | Release) -> Prepared | Release | None:
    """Of a job whose message is sent already: it ends nothing, and waits for nobody. None: it is left as it is."""
    if isinstance(step, Release):
        again = msgspec.structs.replace(step, kind="again", status=None, event=None)
        return again if step.provider else None
    return step if isinstance(step, Prepared) else None


def _waits(job: Job, provider: str, now_ms: int) -> Release:
    """Routed elsewhere: back to the queue, with the provider's name on it."""
    return Release(
        job.message.project, job.message.id, provider, now_ms, job.kind, "queued", new_id("evt"), now_ms
    )  # fmt: skip


def _submission(ring: KeyRing, item: Prepared, begin: Begin, concat_ref: int) -> Submission:
    message = item.job.message
    if item.segments is None:
        return Submission(
            attempt_id=begin.attempt, message_id=message.id, lane=message.lane, to=message.personal.to,
            sender=message.personal.sender, valid_until_ms=message.valid_until_ms, user_ref=begin.user_ref,
            channel=message.channel, content=acks.marked(ring, item.content, message.project, begin.attempt),
            each=item.each, parts=(b"",) * item.parts, tries=item.job.tries,
        )  # fmt: skip
    return Submission(
        attempt_id=begin.attempt,
        message_id=message.id,
        lane=message.lane,
        to=message.personal.to,
        sender=message.personal.sender,
        data_coding=item.segments.data_coding,
        parts=item.segments.parts,
        header=item.segments.header,
        concat_ref=concat_ref,
        valid_until_ms=message.valid_until_ms,
        user_ref=begin.user_ref,
        tries=item.job.tries,
    )
