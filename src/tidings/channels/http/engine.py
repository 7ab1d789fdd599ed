"""Hands parts to a carrier over HTTP: window, rate, lanes, deadlines and the breaker; what a request says is the codec's.

What it promises: every submission has exactly one outcome; the rate holds in every sliding second; a part past its
`valid_until_ms` is never written; a carrier that throttles is waited for (`Retry-After` is kept); a part is tried again
only where no connection came about or the carrier said that it did not take it; what was written and not answered is
unknown.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

import structlog

from tidings.channels.contract import Link, Sink
from tidings.channels.http.call import Blocked, Call, Codec, Doubtful, Limits, Throttled, Transport
from tidings.channels.http.link import HttpLink
from tidings.channels.http.timing import Alarm, Tally, Window
from tidings.channels.local_error import local_error
from tidings.channels.outbox import Item, Outbox
from tidings.channels.pacing import CREDIT_S, Pacer
from tidings.domain.attempt import PartExpired, PartRefused, PartRetry, PartUnknown, Submission
from tidings.domain.message import LANES, Lane, MessageError
from tidings.kit.clock import Clock, wall_ms
from tidings.kit.limits import HOLDS_AGAIN_S
from tidings.kit.outbound import Guard, NoReply, NotSent, Outbound, Reply

#: A carrier that asks for more patience than this gets its parts back later, from the queue.
HOLD_S: Final = 30.0
REPLY_BYTES: Final = 65_536
_log = structlog.get_logger("tidings.channels.http")


class HttpEngine:
    """See the module. All methods are called on the event loop's thread."""

    def __init__(
        self, name: str, limits: Limits, codec: Codec, sink: Sink, *, clock: Clock = wall_ms,
        monotonic: Callable[[], float] = time.monotonic, random: Random | None = None,
        transport: Callable[[], Transport] | None = None,
    ) -> None:  # fmt: skip
        """`transport` makes another client than the usual one (HTTP/2); it is called when the provider starts."""
        self.name, self.limits = name, limits
        self._transport = transport or self._usual_transport
        self._codec, self._sink, self._clock, self._monotonic = codec, sink, clock, monotonic
        self.pacer = Pacer(limits.rate_per_s)
        self.link = HttpLink(limits.reconnect_min_s, limits.reconnect_max_s, clock, random or Random(), self._changed)
        self._outbox = Outbox()
        self._flights: dict[asyncio.Task[None], Item] = {}
        self._window = Window(limits.window)
        self._outbound: Transport | None = None
        self._starved: set[Lane] = set()
        self._writes = 0
        self._held_until = 0.0
        self._alarm = Alarm(monotonic, self._tick)
        self._tally = Tally()
        self._give_up: asyncio.TimerHandle | None = None
        self._report_soon: asyncio.Handle | None = None
        self._stopping = False

    async def start(self) -> None:
        """Ready to send; no connection is opened before there is something to say."""
        self._outbound = self._transport()
        self.link.open()
        self._tick()

    def _usual_transport(self) -> Transport:
        return Outbound(Guard(allow=self.limits.allow_networks), timeout_s=self.limits.response_timeout_s)

    async def stop(self, drain_s: float) -> None:
        """Waits up to `drain_s` for answers; what was not written is to be tried again, what was is unknown."""
        self._stopping = True
        self.link.drain()
        self._return(self._outbox.drain(keep_begun=False), local_error("draining", "The provider is being stopped."))
        self._report()
        if self._flights and drain_s > 0:
            await asyncio.wait(list(self._flights), timeout=drain_s)
        while self._flights:
            tasks = list(self._flights)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        self._return(self._outbox.drain(keep_begun=False), local_error("draining", "The provider was stopped."))
        self._alarm.cancel()
        for handle in (self._give_up, self._report_soon):
            if handle is not None:
                handle.cancel()
        if self._outbound is not None:
            await self._outbound.close()
        self.link.close()
        self._report()

    def credit(self, lane: Lane) -> int:
        """How many parts of this lane can be written within ~50 ms; 0 while the carrier rests."""
        credit = self._credit(lane)
        if credit <= 0:
            self._starved.add(lane)
            return 0
        return credit

    def submit(self, batch: Sequence[Submission]) -> None:
        """Queues the parts and sends what may be sent now."""
        for submission in batch:
            self._outbox.add(submission)
        if self._stopping:
            self._return(self._outbox.drain(keep_begun=True), local_error("draining", "The provider is being stopped."))
        elif self._outbound is not None:
            self._pump()
        for lane in LANES:
            if self._credit(lane) <= 0:
                self._starved.add(lane)
        if self._outbox.done and self._report_soon is None:
            self._report_soon = asyncio.get_running_loop().call_soon(self._report)

    async def ask(self, call: Call) -> Reply | None:
        """One request beside the messages (a query); None if there is no answer, or the carrier rests."""
        if self._outbound is None or self._stopping or not self.link.usable:
            return None
        reply = await self._exchange(call)
        return reply if isinstance(reply, Reply) else None

    async def _exchange(self, call: Call) -> Reply | NotSent | NoReply:
        limits = self.limits
        assert self._outbound is not None
        return await self._outbound.exchange(
            call.method, call.url, call.headers, call.body, connect_s=limits.connect_timeout_s,
            timeout_s=limits.response_timeout_s, most_bytes=REPLY_BYTES,
        )  # fmt: skip

    def _tick(self) -> None:
        if self._stopping:
            return self._report()
        if not self.link.rested(self._monotonic()) and self.link.state == "backoff":
            self._alarm.at(self.link.retry_at)  # uvloop's timers may ring a millisecond early
        self._pump()
        self._report()

    def _room(self, otp: bool) -> int:
        return 1 - self._window.taken if self.link.probing else self._window.room(otp)

    def _paused(self, now: float) -> bool:
        return now < self._held_until or self.pacer.paused(now)

    def _credit(self, lane: Lane) -> int:
        if self._stopping or not self.link.usable or self._paused(self._monotonic()):
            return 0
        queued = self._outbox.queued_before(lane)
        credit = self._room(lane == "otp") - queued
        limit = self.pacer.limit_per_s
        if limit > 0:
            credit = min(credit, max(1, int(limit * CREDIT_S)) - queued)
        return credit

    def _pump(self) -> None:
        """Sends as many parts as window, rate and breaker allow."""
        outbox, now = self._outbox, self._monotonic()
        if outbox.queued and not self._sink.holds(self.name):
            return self._alarm.at(now + HOLDS_AGAIN_S)
        if not outbox.queued or not self.link.usable:
            return self._expect_link()
        allowed, written = 0 if now < self._held_until else self.pacer.allow(now), 0
        blocked = written >= allowed
        while written < allowed:
            item = outbox.peek()
            if item is None or self._room(item.otp) <= 0:
                break
            weight = self._codec.weight(item.open.submission, item.index)
            if weight > allowed - written and (written or not self.pacer.fits(weight)):
                blocked = True
                break
            outbox.pop(item)
            if self._send(item):
                written += weight
        if written:
            self.pacer.took(written, self._monotonic())
        if (blocked or written >= allowed) and outbox.queued:
            self._alarm.at(max(self.pacer.wake_at(now), self._held_until))

    def _send(self, item: Item) -> bool:
        submission, now_ms = item.open.submission, self._clock()
        if submission.valid_until_ms is not None and submission.valid_until_ms <= now_ms:
            self._outbox.settle(item, PartExpired(), now_ms)
            return False
        if item.open.stopped is not None:  # another part failed for good: this one alone would be no message
            self._outbox.settle(item, item.open.stopped, now_ms)
            return False
        call = self._codec.call(submission, item.index, now_ms)
        if isinstance(call, PartRefused):
            self._outbox.settle(item, call, now_ms)
            return False
        self._writes += 1
        item.order, item.written_at = self._writes, 0.0
        item.open.written += 1
        self._window.take(item.otp)
        task = asyncio.get_running_loop().create_task(self._carry(call), name=f"http:{self.name}")
        self._flights[task] = item
        self.link.in_flight = self._window.taken
        task.add_done_callback(self._landed)
        return True

    async def _carry(self, call: Call) -> None:
        task = asyncio.current_task()
        assert task is not None
        item = self._flights[task]
        item.written_at = self._monotonic()
        self._settle(item, await self._exchange(call))

    def _landed(self, task: asyncio.Task[None]) -> None:
        item = self._flights.pop(task)
        self._window.leave(item.otp)
        self.link.in_flight = self._window.taken
        if task.cancelled() and not item.written_at:
            self._return([item], local_error("draining", "The provider was stopped."))
        elif task.cancelled():
            self._outbox.settle(item, PartUnknown("stopped"), self._clock())
        elif (fault := task.exception()) is not None:
            _log.error("request_failed", provider=self.name, exc_info=fault)
            self._outbox.settle(item, PartUnknown("internal"), self._clock())
        self._tick()

    def _settle(self, item: Item, came: Reply | NotSent | NoReply) -> None:
        now, now_ms = self._monotonic(), self._clock()
        if isinstance(came, NotSent):
            self.link.failed(came.reason, now, cut=True)
            self._outbox.put_back([item])
            self._after_failure()
            return
        if isinstance(came, NoReply):
            self._outbox.settle(item, PartUnknown("no_answer" if came.timed_out else "connection_lost"), now_ms)
            self.link.failed(came.reason, now, cut=not came.timed_out)
            self._after_failure()
            return
        judged = self._codec.judge(came)
        if isinstance(judged, Doubtful):
            self._outbox.settle(item, PartUnknown(judged.reason), now_ms)
            self.link.failed(f"the carrier answers {judged.reason}", now, cut=False)
            self._after_failure()
        elif isinstance(judged, Throttled):
            self.link.answered()
            self._throttled(item, judged.after_s, now)
        elif isinstance(judged, Blocked):
            self.link.refused(judged.error.detail)
            self._return([item, *self._outbox.drain(keep_begun=False)], judged.error)
        else:
            self.link.answered()
            self._tally.count(now)
            self._outbox.settle(item, judged, now_ms)

    def _throttled(self, item: Item, after_s: float | None, now: float) -> None:
        self.pacer.throttled(now, item.written_at, self._tally.per_s)
        self._outbox.put_back([item])
        if after_s is None:
            return
        self._held_until = max(self._held_until, now + after_s)
        self._alarm.at(self._held_until)
        if after_s > HOLD_S:
            error = local_error("throttled", "The carrier says we send too fast, and when to come again.")
            self._return(self._outbox.drain(keep_begun=False), error, after_s)

    def _after_failure(self) -> None:
        if self.link.state == "backoff":
            self._alarm.at(self.link.retry_at)
            self._expect_link()

    def _expect_link(self) -> None:
        """Gives queued parts back if the carrier is not reached within `requeue_s`."""
        if self._give_up is None and self._outbox.queued and not self._stopping:
            self._give_up = asyncio.get_running_loop().call_later(self.limits.requeue_s, self._no_link)

    def _no_link(self) -> None:
        self._give_up = None
        if self.link.state != "up":
            error = local_error("no_link", "The carrier cannot be reached.")
            self._return(self._outbox.drain(keep_begun=False), error)
            self._report()

    def _return(self, items: Sequence[Item], error: MessageError, after_s: float | None = None) -> None:
        outcome, now_ms = PartRetry(error, after_s), self._clock()
        for item in items:
            self._outbox.settle(item, outcome, now_ms)

    def _report(self) -> None:
        """Tells the sink what is done, and that there is room again where there was none."""
        self._report_soon = None
        if self._outbox.done:
            done, self._outbox.done = self._outbox.done, []
            self._sink.outcomes(self.name, done)
        if self._starved and not self._stopping:
            fed = [lane for lane in self._starved if self._credit(lane) > 0]
            if fed:
                self._starved.difference_update(fed)
                self._sink.ready(self.name)
                return
            self._wake_for_starved()

    def _wake_for_starved(self) -> None:
        """Nothing is queued that would set a timer, and somebody waits for room."""
        now = self._monotonic()
        if self.link.state == "backoff":
            self._alarm.at(self.link.retry_at)
        elif self._paused(now):
            self._alarm.at(max(self.pacer.wake_at(now), self._held_until))

    def _changed(self, link: Link) -> None:
        self._sink.link_changed(self.name, link)
