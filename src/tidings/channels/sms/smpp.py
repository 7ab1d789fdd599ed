"""Provider `sms.smpp`: messages to and from a carrier over SMPP 3.4.

What it promises: every submission has exactly one outcome; parts of one submission leave in order; the rate holds in
every sliding second; a part past its `valid_until_ms` is never written; a carrier that throttles is waited for;
receipts and messages are acknowledged only after the sink has them. An answer that comes after `response_timeout_s`,
over the same link, makes a second outcome, marked `late` and counted in `late_answers`.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

import msgspec
import structlog

from tidings.channels.contract import Capabilities, Link, ProviderSpec, Sink
from tidings.channels.local_error import local_error
from tidings.channels.outbox import Item, Outbox
from tidings.channels.pacing import CREDIT_S, AnswerRate, Pacer
from tidings.channels.sms.smpp_config import BindKind, Config, read_config
from tidings.channels.sms.smpp_errors import refusal_of, status_of
from tidings.channels.sms.smpp_inbound import Inbound, InboundReader
from tidings.channels.sms.smpp_link import SmppLink
from tidings.channels.sms.smpp_query import Inquiries
from tidings.channels.sms.smpp_session import SmppSession
from tidings.channels.sms.smpp_submit import SubmitWriter, encode_refusal
from tidings.domain.attempt import (
    CarrierReceipt,
    InboundPart,
    PartExpired,
    PartRefused,
    PartRetry,
    PartSent,
    PartUnknown,
    Submission,
)
from tidings.domain.message import LANES, Lane, MessageError
from tidings.kit.clock import Clock, wall_ms
from tidings.kit.limits import HOLDS_AGAIN_S
from tidings.protocols.gsm.segments import Segments
from tidings.protocols.smpp.pdu import SmppEncodeError
from tidings.protocols.smpp.receipt import canonical_id

CAPABILITIES: Final = Capabilities(
    channel="sms", level="gold", receipts=True, inbound=True, batch=True, flash=True, binary=True
)
_NOT_WRITTEN: Final = PartRefused(
    MessageError(code="internal_error", detail="The message could not be written; the server's log says why.")
)
_log = structlog.get_logger("tidings.channels.sms.smpp")


def check(name: str, config: dict[str, Any]) -> None:
    """Raises `SettingsError`, naming the key, if `config` cannot be used."""
    read_config(name, config)


def slots(config: dict[str, Any]) -> int:
    """How many workers may bind at once."""
    return int(config.get("slots", 1))


def create(spec: ProviderSpec, sink: Sink) -> "SmppProvider":
    """The provider `spec` declares, not yet started. Raises `SettingsError` that names the bad key."""
    return SmppProvider(spec, sink)


class SmppProvider:
    """See the module. All methods are called on the event loop's thread."""

    def __init__(
        self,
        spec: ProviderSpec,
        sink: Sink,
        *,
        clock: Clock = wall_ms,
        monotonic: Callable[[], float] = time.monotonic,
        random: Random | None = None,
    ) -> None:
        self.name = spec.name
        self.config: Config = read_config(spec.name, spec.config)
        self.capabilities = msgspec.structs.replace(CAPABILITIES, query=self.config.query_sm)
        self.pacer = Pacer(self.config.rate_per_s / self.config.slots)
        self._sink = sink
        self._clock, self._monotonic = clock, monotonic
        self._outbox = Outbox()
        self._writer = SubmitWriter(self.config)
        self._inquiries = Inquiries(spec.name, self.config, self._writer, clock)
        reader = InboundReader(spec.name, self.config.default_alphabet, clock, monotonic, self.config.zone)
        self._links = [self._link(kind, reader, random or Random()) for kind in self._kinds()]
        self._sessions: list[SmppSession] = []
        self._refused: list[Item] = []  # throttled in this tick, to be put back in order
        self._starved: set[Lane] = set()
        self._writes = 0
        self._answers = AnswerRate()
        self._timer: asyncio.TimerHandle | None = None
        self._give_up: asyncio.TimerHandle | None = None
        self._report_soon: asyncio.Handle | None = None
        self._task: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._stopping = False

    # -- contract

    async def start(self) -> None:
        """Opens the links in the background."""
        self._task = asyncio.create_task(self._run(), name=f"smpp:{self.name}")
        self._task.add_done_callback(_tell_failure)

    async def stop(self, drain_s: float) -> None:
        """Waits up to `drain_s` for answers, unbinds and closes; what was not written is to be tried again."""
        self._stopping = True
        self._return(self._outbox.drain(keep_begun=True), local_error("draining", "The provider is being stopped."))
        self.tick()
        if self._outbox.open:
            self._idle.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), drain_s)
        self._return(self._outbox.drain(keep_begun=False), local_error("draining", "The provider was stopped."))
        async with asyncio.TaskGroup() as group:
            for link in self._links:
                group.create_task(link.stop())
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=self.config.receive_timeout_s)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for handle in (self._timer, self._give_up, self._report_soon):
            if handle is not None:
                handle.cancel()
        self._report()

    def credit(self, lane: Lane) -> int:
        """How many parts of this lane can be written within ~50 ms; 0 while no link can send."""
        credit = self._credit(lane)
        if credit <= 0:
            self._starved.add(lane)
            return 0
        return credit

    def plan(self, text: str) -> Segments:
        """How `text` is encoded and cut for this carrier. Raises the typed errors of `protocols.gsm`."""
        return self._writer.plan(text)

    def plan_flash(self, text: str) -> Segments:
        """`text` as a message of class 0. Raises as `plan` does."""
        return self._writer.plan_flash(text)

    def plan_binary(self, data: bytes, ports: tuple[int, int] | None) -> Segments:
        """8-bit data, for the application behind `ports` (destination, source). Raises as `plan` does."""
        return self._writer.plan_binary(data, ports)

    async def query(self, ref: str, sender: str | None, to: str | None = None) -> CarrierReceipt | None:
        """What the carrier says of a part it took as `ref`; None without `query_sm`, without a link, or if it cannot say."""
        if not self.config.query_sm or self._stopping:
            return None
        return await self._inquiries.ask(self._sessions, ref, sender, to)

    def submit(self, batch: Sequence[Submission]) -> None:
        """Queues the parts and writes what may be written now."""
        for submission in batch:
            self._outbox.add(submission)
        if self._stopping:
            self._return(self._outbox.drain(keep_begun=True), local_error("draining", "The provider is being stopped."))
        elif self._sessions:
            self._pump()
        else:
            self._expect_link()
        for lane in LANES:
            if lane not in self._starved and self._credit(lane) <= 0:
                self._starved.add(lane)
        if self._outbox.done and self._report_soon is None:
            self._report_soon = asyncio.get_running_loop().call_soon(self._report)

    def links(self) -> tuple[Link, ...]:
        """The state of every link."""
        return tuple(link.view() for link in self._links)

    @property
    def late_answers(self) -> int:
        """Answers that came after their part had been reported as unknown."""
        return sum(link.late_answers for link in self._links)

    # -- sessions report

    def link_up(self, session: SmppSession) -> None:
        """A link is bound."""
        if session.transmits:
            self._sessions.append(session)
            if self._give_up is not None:
                self._give_up.cancel()
                self._give_up = None
        self.tick()

    def link_down(self, session: SmppSession) -> None:
        """A link is lost."""
        if session in self._sessions:
            self._sessions.remove(session)
        if not self._sessions and self._outbox.queued:
            self._expect_link()

    def link_changed(self, link: Link) -> None:
        """Passed on to the sink."""
        self._sink.link_changed(self.name, link)
        if link.state == "auth_failed" and not self._sessions and self._outbox.queued:
            self._expect_link()

    def answered(self, session: SmppSession, item: Item, status: int, ref: str) -> None:
        """The carrier answered a part."""
        if status == 0:
            self._answers.count(session.heard_at)
            if self.config.query_sm:
                self._inquiries.style.saw(ref)
            self._outbox.settle(item, PartSent(canonical_id(ref) if ref else ""), self._clock())
            return
        row = status_of(status)
        if row.meaning == "throttle":
            self.pacer.throttled(self._monotonic(), item.written_at, self._answers.per_s)
            self._refused.append(item)
            return
        self._outbox.settle(item, refusal_of(status), self._clock())
        if row.meaning == "link":  # the carrier does not see a bound session: bind anew
            session.abort(row.code)

    def answered_late(self, item: Item, status: int, ref: str) -> None:
        """The carrier answered a part that had been told as unknown."""
        outcome = refusal_of(status) if status else PartSent(canonical_id(ref) if ref else "")
        self._outbox.settle_late(item, outcome, self._clock())

    def unanswered(self, items: Sequence[Item], reason: str) -> None:
        """These parts were written, and nobody knows what came of them."""
        outcome, now_ms = PartUnknown(reason), self._clock()
        for item in items:
            self._outbox.settle(item, outcome, now_ms)

    async def deliver(self, things: Sequence[Inbound]) -> bool:
        """Hands receipts and messages to the sink; False if it could not keep them."""
        receipts = [t.content for t in things if isinstance(t.content, CarrierReceipt)]
        parts = [t.content for t in things if isinstance(t.content, InboundPart)]
        if not receipts and not parts:
            return True
        try:
            async with asyncio.timeout(self.config.receive_timeout_s):
                await self._sink.received(self.name, receipts, parts)
        except Exception as error:  # whatever it was: the carrier keeps them and sends them again
            _log.error("received_not_kept", provider=self.name, error=type(error).__name__, count=len(things))
            return False
        return True

    def tick(self) -> None:
        """After a wake-up: put back what was throttled, write, report, ask for more."""
        if self._refused:
            refused, self._refused = self._refused, []
            self._outbox.put_back(refused)
        self._pump()
        self._report()

    # -- inside

    def _kinds(self) -> list[BindKind]:
        return [kind for kind, count in self.config.binds.items() for _ in range(count)]

    def _link(self, kind: BindKind, reader: InboundReader, random: Random) -> SmppLink:
        return SmppLink(self, kind, self.config, reader, clock=self._clock, random=random, monotonic=self._monotonic)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for link in self._links:
                group.create_task(link.run())

    def _pump(self) -> None:
        """Writes as many parts as window, rate and transport allow, with one write per link."""
        outbox = self._outbox
        if not outbox.queued or not self._sessions:
            return
        if not self._sink.holds(self.name):
            return self._wake_later(HOLDS_AGAIN_S)
        now, now_ms, written, blocked = self._monotonic(), self._clock(), 0, False
        allowed = self.pacer.allow(now)
        while written < allowed:
            item = outbox.peek()
            session = self._roomiest(item.otp) if item is not None else None
            if item is None or session is None:
                break
            weight = self._writer.segments_of(item.open.submission, item.index)
            if weight > allowed - written and (written or not self.pacer.fits(weight)):
                blocked = True
                break
            outbox.pop(item)
            if self._write(item, session, now, now_ms):
                written += weight
        if written:
            for session in self._sessions:
                session.flush()
            self.pacer.took(written, self._monotonic())
        if (blocked or written >= allowed) and outbox.queued:
            self._wake_later()

    def _write(self, item: Item, session: SmppSession, now: float, now_ms: int) -> bool:
        submission, stopped = item.open.submission, item.open.stopped
        if submission.valid_until_ms is not None and submission.valid_until_ms <= now_ms:
            self._outbox.settle(item, PartExpired(), now_ms)
            return False
        if stopped is not None:  # another part failed for good: this one alone would be no message
            self._outbox.settle(item, stopped, now_ms)
            return False
        sequence = session.next_sequence()
        try:
            data = self._writer.pdu(submission, item.index, sequence, now_ms)
        except SmppEncodeError as error:
            self._outbox.settle(item, encode_refusal(error), now_ms)
            return False
        except Exception:  # a fault of ours in a part that is not on the wire: the others go on
            _log.exception("part_not_written", provider=self.name, message_id=submission.message_id)
            self._outbox.settle(item, _NOT_WRITTEN, now_ms)
            return False
        self._writes += 1
        item.order = self._writes
        session.put(item, sequence, data, now)
        return True

    def _roomiest(self, otp: bool) -> SmppSession | None:
        """The link with the most room in this lane, if any has some."""
        best: SmppSession | None = None
        most = 0
        for session in self._sessions:
            room = session.room if otp else session.bulk_room
            if room > most:
                best, most = session, room
        return best

    def _credit(self, lane: Lane) -> int:
        if self._stopping or not self._sessions or self.pacer.paused(self._monotonic()):
            return 0
        otp = lane == "otp"
        queued = self._outbox.queued_before(lane)
        credit = sum([session.room if otp else session.bulk_room for session in self._sessions]) - queued
        limit = self.pacer.limit_per_s
        if limit > 0:
            credit = min(credit, max(1, int(limit * CREDIT_S)) - queued)
        return credit

    def _least(self) -> int:
        """Room that is worth a lease: with a rate limit half of what is held ahead, while the other half leaves."""
        limit = self.pacer.limit_per_s
        return max(1, int(limit * CREDIT_S) // 2) if limit > 0 and self._outbox.queued else 1

    def _wake_later(self, least_s: float = 0.0005) -> None:
        """One timer for the moment the pacer allows more."""
        if self._timer is not None:
            return
        now = self._monotonic()
        delay_s = max(least_s, self.pacer.wake_at(now) - now)
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self.tick()

    def _report(self) -> None:
        """Tells the sink what is done, and that there is room again where there was none."""
        self._report_soon = None
        if self._outbox.done:
            done, self._outbox.done = self._outbox.done, []
            self._sink.outcomes(self.name, done)
        if not self._outbox.open:
            self._idle.set()
        if self._starved:
            least = self._least()
            fed = [lane for lane in self._starved if self._credit(lane) >= least]
            if fed:
                self._starved.difference_update(fed)
                self._sink.ready(self.name)
            elif self.pacer.paused(self._monotonic()) and not self._stopping:
                self._wake_later()

    def _expect_link(self) -> None:
        """Gives queued parts back if no link comes up within `requeue_s`."""
        if self._give_up is None and not self._stopping:
            self._give_up = asyncio.get_running_loop().call_later(self.config.requeue_s, self._no_link)

    def _no_link(self) -> None:
        self._give_up = None
        if not self._sessions:
            self._return(self._outbox.drain(keep_begun=False), local_error("no_link", "No link to the carrier is up."))
            self._report()

    def _return(self, items: Sequence[Item], error: MessageError) -> None:
        outcome, now_ms = PartRetry(error), self._clock()
        for item in items:
            self._outbox.settle(item, outcome, now_ms)


def _tell_failure(task: asyncio.Task[None]) -> None:
    """The links' task ends only when the provider is stopped or refused; anything else is a fault of ours."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("links_failed", task=task.get_name(), exc_info=error)
