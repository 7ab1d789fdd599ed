"""A carrier, and the provider that leads to it. The carrier outlives the node: it remembers what it was given.

`SimProvider` is a provider as `channels.contract` describes it, made of the real outbox and the real pacer; in place of
SMPP sessions it has one simulated link. What the carrier does with a part is drawn from its generator.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from tidings.channels.contract import Capabilities, Link, ProviderSpec, Sink
from tidings.channels.outbox import Item, Outbox
from tidings.channels.pacing import Pacer
from tidings.domain.attempt import (
    CarrierReceipt,
    InboundPart,
    PartExpired,
    PartOutcome,
    PartRefused,
    PartRetry,
    PartSent,
    PartUnknown,
    Submission,
)
from tidings.domain.errors import StoreError
from tidings.domain.message import LANES, Lane, MessageError
from tidings.protocols.gsm.segments import Segments, plan

CREDIT_S = 0.05
ANSWER_TIMEOUT_S = 10.0
RECEIVE_TIMEOUT_S = 10.0


class Manners(msgspec.Struct, kw_only=True):
    """How one carrier behaves. Shares are of parts; what is left of one is `answers, in time`."""

    rate_per_s: float = 0.0
    window: int = 10
    echoes_user_ref: bool = False
    names_sender: bool = True
    throttles: float = 0.0
    asks_for_wait: float = 0.0
    refuses: float = 0.0
    swallows: float = 0.0  # never carried out, never answered
    answers_too_late: float = 0.0  # carried out, the answer is lost
    slow_answers: float = 0.0
    early_receipts: float = 0.0
    double_receipts: float = 0.0
    no_receipts: float = 0.1
    fails_at_the_phone: float = 0.1

    def heal(self) -> None:
        """From now on it does what the book says."""
        self.throttles = self.asks_for_wait = self.refuses = self.swallows = 0.0
        self.answers_too_late = self.slow_answers = self.double_receipts = 0.0


class Submit(NamedTuple):
    """A part that reached the carrier."""

    at_s: float
    at_ms: int
    message: str
    attempt: str
    part: int
    parts: int
    valid_until_ms: int | None
    carried: bool
    ref: str


class Observer(Protocol):
    """What the carrier and its provider tell the world."""

    loop: asyncio.AbstractEventLoop

    def wall_ms(self) -> int: ...
    def note(self, *what: Any) -> None: ...
    def wrote(self, carrier: Carrier, submit: Submit, submission: Submission) -> None: ...
    def outcome(self, attempt: str, parts: Sequence[PartOutcome]) -> None: ...
    def spawn(self, work: Awaitable[None]) -> None: ...
    async def until_end(self, work: Awaitable[Any]) -> bool: ...


class Carrier:
    """The far side."""

    def __init__(self, name: str, world: Observer, manners: Manners, rng: random.Random) -> None:
        self.name, self.world, self.manners, self.rng = name, world, manners, rng
        self.up = True
        self.near: SimProvider | None = None
        self.log: list[Submit] = []
        self.receipts: dict[str, list[str]] = {}  # ref → final states that were acknowledged
        self.acked: list[InboundPart] = []
        self.starts_s: list[float] = []

    def take(self, submission: Submission, part: int) -> tuple[PartOutcome | None, float]:
        """What becomes of a part that has just been written: the answer (None: none comes) and its delay in seconds."""
        rng, manners, draw = self.rng, self.manners, self.rng.random()
        answer: PartOutcome | None
        delay_s = rng.choice((0.001, 0.02, 0.05, 0.3))
        carried = False
        if (draw := draw - manners.throttles) < 0:
            answer = PartRetry(_error("throttled", retryable=True))
        elif (draw := draw - manners.asks_for_wait) < 0:
            answer = PartRetry(_error("busy", retryable=True), rng.choice((0.5, 3.0, 20.0)))
        elif (draw := draw - manners.refuses) < 0:
            answer = PartRefused(_error("refused"))
        elif (draw := draw - manners.swallows) < 0:
            answer = None
        elif (draw := draw - manners.answers_too_late) < 0:
            answer, carried = None, True
        else:
            if draw - manners.slow_answers < 0:
                delay_s = rng.uniform(1.0, ANSWER_TIMEOUT_S - 1.0)
            answer, carried = PartSent(f"{self.name[0]}{len(self.log)}"), True
        submit = Submit(
            self.world.loop.time(), self.world.wall_ms(), submission.message_id, submission.attempt_id, part,
            len(submission.parts), submission.valid_until_ms, carried, f"{self.name[0]}{len(self.log)}",
        )  # fmt: skip
        self.log.append(submit)
        self.world.wrote(self, submit, submission)
        if carried:
            self._report(submission, submit, delay_s)
        return answer, delay_s

    def _report(self, submission: Submission, submit: Submit, answer_s: float) -> None:
        """Schedules the receipts of a part."""
        rng, manners = self.rng, self.manners
        if rng.random() < manners.no_receipts:
            return
        early = rng.random() < manners.early_receipts
        after_s = answer_s * 0.5 if early else answer_s + rng.choice((0.01, 0.5, 5.0, 60.0, 900.0))
        state = "undelivered" if rng.random() < manners.fails_at_the_phone else "delivered"
        copies = 2 if rng.random() < manners.double_receipts else 1
        if rng.random() < 0.1:
            self._receipt(submission, submit, after_s * 0.5, "pending")
        for n in range(copies):
            self._receipt(submission, submit, after_s + n * rng.choice((0.0, 0.3, 40.0)), state)
        if state == "undelivered" and rng.random() < 0.2:  # the phone came back
            self._receipt(submission, submit, after_s + 30.0, "delivered")

    def _receipt(self, submission: Submission, submit: Submit, after_s: float, state: Any) -> None:
        manners = self.manners
        receipt = CarrierReceipt(
            provider=self.name, refs=(submit.ref, f"0{submit.ref}"), to=submission.to.lstrip("+"),
            sender=submission.sender if manners.names_sender else None, state=state,
            carrier_state={"undelivered": "undeliverable"}.get(state, state),
            user_ref=submission.user_ref if manners.echoes_user_ref else None,
            submit_at_ms=submit.at_ms // 1000 * 1000,
        )  # fmt: skip
        self.world.spawn(self._bring(after_s, receipt=receipt))

    def inbound(self, part: InboundPart, after_s: float = 0.0, copies: int = 1) -> None:
        """A person writes."""
        for n in range(copies):
            self.world.spawn(self._bring(after_s + n * 2.0, inbound=part))

    async def _bring(
        self, after_s: float, receipt: CarrierReceipt | None = None, inbound: InboundPart | None = None
    ) -> None:
        """Delivers until it is acknowledged, as a carrier does that does not lose anything."""
        await asyncio.sleep(after_s)
        while self.near is None or not await self.near.bring(receipt, inbound):
            await asyncio.sleep(self.rng.choice((0.7, 3.0, 11.0)))
        if inbound is not None:
            self.acked.append(inbound)
        if receipt is not None and receipt.state != "pending":
            self.receipts.setdefault(receipt.refs[0], []).append(receipt.state)

    def link(self, *, up: bool) -> None:
        """The line breaks, or comes back."""
        self.world.note("link", self.name, up)
        self.up = up
        if self.near is not None:
            self.near.line(up=up)


class SimProvider:
    """The near side: one life of it, from `start` to `stop` or to the node's crash."""

    capabilities = Capabilities(channel="sms", level="bronze", receipts=True, inbound=True)

    def __init__(self, spec: ProviderSpec, sink: Sink, carrier: Carrier) -> None:
        self.name = spec.name
        self._sink, self._carrier = sink, carrier
        self._world, self._manners = carrier.world, carrier.manners
        self._outbox = Outbox()
        self._pacer = Pacer(self._manners.rate_per_s)
        self._flying: dict[int, Item] = {}
        self._sequence = 0
        self._bound = self._stopping = self._dead = False
        self._timer: asyncio.TimerHandle | None = None
        self._starved = False
        self._ever_given: set[str] = set()

    # -- contract

    async def start(self) -> None:
        """Binds a moment later. Its pacer is new: it does not know what was written in the second before."""
        self._carrier.starts_s.append(self._world.loop.time())
        self._carrier.near = self
        self._later(self._carrier.rng.choice((0.01, 0.5)), lambda: self.line(up=self._carrier.up))

    async def stop(self, drain_s: float) -> None:
        """Gives back what was not written, waits for answers, and calls the rest unknown."""
        self._stopping = True
        self._give_back(self._outbox.drain(keep_begun=False))
        self._report()
        end_s = self._world.loop.time() + drain_s
        while self._flying and not self._dead and self._world.loop.time() < end_s:
            await asyncio.sleep(0.1)
        self._lose("stopped")
        self._bound = False
        if self._carrier.near is self:
            self._carrier.near = None

    def credit(self, lane: Lane) -> int:
        """As the SMPP provider counts it: the window and 50 ms of the rate, less what is queued."""
        limit = self._manners.window
        room = limit if lane == "otp" else min(limit - 1, limit * 4 // 5) if limit > 1 else limit
        room -= len(self._flying) + self._outbox.queued_before(lane)
        if self._manners.rate_per_s > 0:
            room = min(room, max(1, int(self._manners.rate_per_s * CREDIT_S)) - self._outbox.queued_before(lane))
        if not self._bound or self._stopping or room <= 0:
            self._starved = True
            return 0
        return room

    def plan(self, text: str) -> Segments:
        """GSM 7-bit, else UCS-2."""
        return plan(text)

    def submit(self, batch: Sequence[Submission]) -> None:
        """Queues, and writes what may be written."""
        if self._dead:
            return
        for submission in batch:
            assert submission.attempt_id not in self._ever_given, "an attempt was handed over twice"
            self._ever_given.add(submission.attempt_id)
            self._outbox.add(submission)
        if self._stopping:
            self._give_back(self._outbox.drain(keep_begun=False))
        self._later(0.0, self._turn)

    def links(self) -> tuple[Link, ...]:
        """The one link."""
        return (Link(kind="transceiver", state="up" if self._bound else "down", since_ms=0),)

    # -- what happens to it

    def die(self) -> None:
        """The node has crashed: nothing is reported any more."""
        self._dead, self._bound = True, False
        if self._carrier.near is self:
            self._carrier.near = None

    def line(self, *, up: bool) -> None:
        """The line came up or broke: what is on it is unknown then."""
        if self._dead or self._stopping or up == self._bound:
            return
        self._bound = up
        self._sink.link_changed(self.name, self.links()[0])
        if not up:
            self._lose("link_lost")
            self._report()
            self._later(5.0, self._no_link)
        self._turn()

    async def bring(self, receipt: CarrierReceipt | None, inbound: InboundPart | None) -> bool:
        """Whether the node has it: told only after its commit."""
        if not self._bound or self._dead:
            return False
        now_ms = self._world.wall_ms()
        receipts = [] if receipt is None else [msgspec.structs.replace(receipt, received_ms=now_ms)]
        parts = [] if inbound is None else [msgspec.structs.replace(inbound, received_ms=now_ms)]
        self._world.note("bring", self.name, [(r.refs, r.state) for r in receipts], [p.dedup for p in parts])
        return await self._world.until_end(self._kept(receipts, parts))

    async def _kept(self, receipts: list[CarrierReceipt], parts: list[InboundPart]) -> bool:
        try:
            async with asyncio.timeout(RECEIVE_TIMEOUT_S):
                await self._sink.received(self.name, receipts, parts)
        except (StoreError, TimeoutError):
            return False
        return True

    # -- inside

    def _later(self, delay_s: float, call: Callable[[], None]) -> None:
        self._world.loop.call_later(delay_s, lambda: None if self._dead else call())

    def _turn(self) -> None:
        self._pump()
        self._report()

    def _pump(self) -> None:
        now_s = self._world.loop.time()
        while self._bound and self._outbox.queued:
            item = self._outbox.peek()
            assert item is not None
            room = self._manners.window if item.otp else max(1, self._manners.window * 4 // 5)
            if len(self._flying) >= room:
                return
            if self._pacer.allow(now_s) <= 0:
                self._wake_later(now_s)
                return
            self._outbox.pop(item)
            self._write(item, now_s)

    def _write(self, item: Item, now_s: float) -> None:
        submission, now_ms = item.open.submission, self._world.wall_ms()
        if submission.valid_until_ms is not None and submission.valid_until_ms <= now_ms:
            self._settle(item, PartExpired())
        elif item.open.stopped is not None:
            self._settle(item, item.open.stopped)
        else:
            self._pacer.took(1, now_s)
            self._sequence += 1
            sequence = self._sequence
            item.open.written += 1
            self._flying[sequence] = item
            answer, delay_s = self._carrier.take(submission, item.index)
            late = answer is None
            outcome = PartUnknown("timeout") if answer is None else answer
            self._later(ANSWER_TIMEOUT_S if late else delay_s, lambda: self._answered(sequence, outcome))

    def _answered(self, sequence: int, outcome: PartOutcome) -> None:
        item = self._flying.pop(sequence, None)
        if item is not None:
            self._settle(item, outcome)
            self._turn()

    def _wake_later(self, now_s: float) -> None:
        if self._timer is None:
            delay_s = max(0.0005, self._pacer.wake_at(now_s) - now_s)
            self._timer = self._world.loop.call_later(delay_s, self._wake)

    def _wake(self) -> None:
        self._timer = None
        if not self._dead:
            self._turn()

    def _no_link(self) -> None:
        if not self._bound:
            self._give_back(self._outbox.drain(keep_begun=False))
            self._report()

    def _lose(self, reason: str) -> None:
        lost, self._flying = list(self._flying.values()), {}
        for item in lost:
            self._settle(item, PartUnknown(reason))

    def _give_back(self, items: Sequence[Item]) -> None:
        for item in items:
            self._settle(item, PartRetry(_error("no_link", retryable=True)))

    def _settle(self, item: Item, outcome: PartOutcome) -> None:
        self._outbox.settle(item, outcome, self._world.wall_ms())

    def _report(self) -> None:
        if self._dead:
            return
        done, self._outbox.done = self._outbox.done, []
        for one in done:
            self._world.outcome(one.attempt_id, one.parts)
        if done:
            self._sink.outcomes(self.name, done)
        if self._starved and any(self.credit(lane) > 0 for lane in LANES):
            self._starved = False
            self._sink.ready(self.name)


def _error(code: str, *, retryable: bool = False) -> MessageError:
    return MessageError(code=code, detail=code, permanent=not retryable, retryable=retryable)
