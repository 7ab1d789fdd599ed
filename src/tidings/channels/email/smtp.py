"""Provider `email.smtp`: mails to one mail server over a few kept connections.

What it promises: every submission has exactly one outcome; what the server refused for now is tried again by a schedule,
what it refused for good is final, with its enhanced status code; a mail whose end was written and not answered is
unknown; no mail with a bare CR or LF is written, and none past its `valid_until_ms`.
Source: RFC 5321, RFC 2920, RFC 3207, RFC 3461, RFC 6531
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

import msgspec
import structlog

from tidings.channels.contract import Capabilities, Link, ProviderSpec, Sink
from tidings.channels.email.smtp_answers import judge, throttled
from tidings.channels.email.smtp_config import OPERATOR_KEYS as OPERATOR_KEYS
from tidings.channels.email.smtp_config import Config, read_config, tls_context
from tidings.channels.email.smtp_dial import dial
from tidings.channels.email.smtp_lanes import Finished, Lanes, Made, Waiting
from tidings.channels.email.smtp_session import Flight, Refused, Session
from tidings.channels.email.smtp_signing import Signer, finished, impossible
from tidings.channels.http.link import HttpLink
from tidings.channels.http.timing import Alarm, Tally, Window
from tidings.channels.local_error import local_error
from tidings.channels.pacing import CREDIT_S, Pacer
from tidings.domain.attempt import Outcome, PartExpired, PartOutcome, PartRefused, PartRetry, PartUnknown, Submission
from tidings.domain.message import LANES, Lane, MessageError
from tidings.kit.clock import Clock, wall_ms
from tidings.protocols.smtp.replies import Extensions, Reply
from tidings.protocols.smtp.status import Stage

CAPABILITIES: Final = Capabilities(channel="email", level="gold", receipts=True, reads=True, inbound=True, media=True)
#: A mail under which this many connections broke goes back to the queue.
BREAKS: Final = 3
UNSHARED: Final = 1_000
_log = structlog.get_logger("tidings.channels.email.smtp")


def check(name: str, config: dict[str, Any]) -> None:
    """Raises `SettingsError`, naming the key, if `config` cannot be used."""
    read_config(name, config)


def create(spec: ProviderSpec, sink: Sink) -> "SmtpProvider":
    """The provider `spec` declares, not yet started. Raises `SettingsError` that names the bad key."""
    return SmtpProvider(spec, sink)


class _SmtpLink(HttpLink):
    """The same breaker; but whether the server takes us is known only when a connection is open."""

    def open(self) -> None:
        self._become("connecting")

    def view(self) -> Link:
        return msgspec.structs.replace(super().view(), kind="smtp")


class SmtpProvider:
    """See the module. All methods are called on the event loop's thread."""

    def __init__(
        self, spec: ProviderSpec, sink: Sink, *, clock: Clock = wall_ms,
        monotonic: Callable[[], float] = time.monotonic, random: Random | None = None,
    ) -> None:  # fmt: skip
        self.name, self.capabilities = spec.name, CAPABILITIES
        self.config, self.identity = read_config(spec.name, spec.config)
        self._sink, self._clock, self._monotonic = sink, clock, monotonic
        config = self.config
        self.link = _SmtpLink(config.reconnect_min_s, config.reconnect_max_s, clock, random or Random(), self._changed)
        self.pacer = Pacer(config.rate_per_s)
        self._lanes = Lanes(config.domain_concurrency)
        # Mails on the way, with those whose envelopes left ahead; a fifth is for `otp`. One connection is shared as it is.
        self._places = Window(2 * config.connections if config.connections > 1 else UNSHARED)
        self._out: dict[int, float] = {}  # flights by identity: when each was taken
        self._sessions: dict[asyncio.Task[None], Session] = {}
        self._done: list[Outcome] = []
        self._starved: set[Lane] = set()
        self._alarm = Alarm(monotonic, self._tick)
        self._tally = Tally()
        self._give_up: asyncio.TimerHandle | None = None
        self._report_soon: asyncio.Handle | None = None
        self._running = self._stopping = False
        self._context = tls_context(spec.name, config)
        # Only what is signed is made ahead: a plain mail is made in a tenth of the time of a signature.
        self._signer = Signer(self._made, self._signed) if self.identity.dkim else None
        self._eight_bit = config.eight_bit  # of mails that are made ahead, until a server is met that takes 7 bits only

    async def start(self) -> None:
        """Opens a first connection in the background."""
        self._running = True
        if self._signer is not None:
            self._signer.start()
        self.link.open()
        self._pump()

    async def stop(self, drain_s: float) -> None:
        """Waits up to `drain_s` for answers; what was not written is to be tried again, what was is unknown."""
        self._stopping = True
        self.link.drain()
        self._return(self._drained(), local_error("draining", "The provider is being stopped."))
        self._report()
        for session in self._sessions.values():
            session.close_soon()
        if self._sessions and drain_s > 0:
            await asyncio.wait(list(self._sessions), timeout=drain_s)
        while self._sessions:
            tasks = list(self._sessions)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        self._return(self._drained(), local_error("draining", "The provider was stopped."))
        if self._signer is not None:
            await self._signer.stop()
        self._alarm.cancel()
        for handle in (self._give_up, self._report_soon):
            if handle is not None:
                handle.cancel()
        self.link.close()
        self._report()

    def credit(self, lane: Lane) -> int:
        """How many mails of this lane the connections can take within some fifty milliseconds; 0 while there are none."""
        credit = self._credit(lane)
        if credit <= 0:
            self._starved.add(lane)
            return 0
        return credit

    def submit(self, batch: Sequence[Submission]) -> None:
        """Queues the mails and wakes the connections."""
        for submission in batch:
            item = Waiting(submission)
            self._lanes.add(item)
            if self._signer is not None:
                self._signer.add(item)
        if self._stopping:
            self._return(self._drained(), local_error("draining", "The provider is being stopped."))
        elif self._running:
            self._pump()
        for lane in LANES:
            if self._credit(lane) <= 0:
                self._starved.add(lane)
        self._soon()

    def links(self) -> tuple[Link, ...]:
        """The way to the server, however many connections there are."""
        return (self.link.view(),)

    # what sessions call

    def take(self, extensions: Extensions) -> Flight | None:
        """See `smtp_session.Desk`."""
        while self._places_free() and self._may_write():
            item = self._lanes.take("otp" if self._places.room(otp=False) <= 0 else None)
            if item is None:
                return None
            flight = self._written(item, extensions)
            if flight is not None:
                self._places.take(item.submission.lane == "otp")
                self._out[id(flight)] = self._monotonic()
                self.pacer.took(1, self._monotonic())
                self.link.in_flight = len(self._out)
                return flight
        return None

    def answered(self, flight: Flight, reply: Reply, stage: Stage) -> None:
        """See `smtp_session.Desk`."""
        taken_at = self._landed(flight)
        self.link.answered()
        now = self._monotonic()
        if throttled(reply):
            self.pacer.throttled(now, taken_at, self._tally.per_s)
            self._lanes.add(flight.item, first=True)
            self._tick_at(self.pacer.wake_at(now))
            return
        if reply.ok:
            self._tally.count(now)
        schedule = self.config.retry_s
        after_s = schedule[min(flight.item.submission.tries, len(schedule) - 1)]
        self._settle(flight.item, judge(reply, stage, flight.letter.ref, after_s))

    @property
    def coming(self) -> bool:
        """See `smtp_session.Desk`."""
        return self._signer is not None and self._signer.busy

    def back(self, flight: Flight, *, stale: bool) -> None:
        """See `smtp_session.Desk`."""
        self._landed(flight)
        flight.item.tries += not stale
        if flight.item.tries >= BREAKS:
            error = local_error("no_link", "The connection to the mail server broke again and again.")
            self._settle(flight.item, PartRetry(error))
        else:
            self._lanes.add(flight.item, first=True)

    def lost(self, flight: Flight, *, timed_out: bool) -> None:
        """See `smtp_session.Desk`."""
        self._landed(flight)
        self._settle(flight.item, PartUnknown("no_answer" if timed_out else "connection_lost"))

    # within

    def _written(self, item: Waiting, extensions: Extensions) -> Flight | None:
        """The mail for this server; None, with an outcome, if it is late or cannot be sent there."""
        submission, now_ms = item.submission, self._clock()
        if submission.valid_until_ms is not None and submission.valid_until_ms <= now_ms:
            made: Made = PartExpired()
        else:
            eight_bit = self.config.eight_bit and "8BITMIME" in extensions
            made = item.made or finished(submission, self.identity, now_ms, eight_bit=eight_bit)
        if isinstance(made, Finished):
            problem = impossible(made.letter, extensions)
            if problem is None and made.eight_bit and "8BITMIME" not in extensions:
                return self._again_in_seven_bits(item)
            if problem is None:
                return Flight(item, made.letter, made.wire)
            made = PartRefused(problem)
        self._lanes.landed(item)
        self._settle(item, made)
        return None

    def _made(self, item: Waiting) -> Made:
        """Called in a thread of the signer's."""
        return finished(item.submission, self.identity, self._clock(), eight_bit=self._eight_bit)

    def _signed(self) -> None:
        """A mail that waited for its signature can leave."""
        for session in self._sessions.values():
            session.wake()
        if not self._sessions:
            self._pump()

    def _again_in_seven_bits(self, item: Waiting) -> None:
        """It was signed for a server that takes 8 bits: another signature, in its old place; every server takes 7."""
        assert self._signer is not None
        self._eight_bit = False
        self._lanes.put_back([item])
        self._signer.add(item)

    def _drained(self) -> list[Waiting]:
        """All that waits, taken; nothing of it is signed any more."""
        if self._signer is not None:
            self._signer.forget()
        return self._lanes.drain()

    def _places_free(self) -> bool:
        """A place beyond the connections, for envelopes that leave ahead."""
        return len(self._out) < 2 * self.config.connections

    def _may_write(self) -> bool:
        now = self._monotonic()
        if self.pacer.allow(now) > 0:
            return True
        self._tick_at(self.pacer.wake_at(now))
        return False

    def _credit(self, lane: Lane) -> int:
        if not self._running or self._stopping or self.link.state != "up" or self.pacer.paused(self._monotonic()):
            return 0
        credit = self.config.window - self._lanes.queued_before(lane) - len(self._out)
        limit = self.pacer.limit_per_s
        return min(credit, max(1, int(limit * CREDIT_S)) - self._lanes.queued_before(lane)) if limit > 0 else credit

    def _pump(self) -> None:
        """As many connections as there is work for; one where nobody knows yet whether the server is there."""
        if self._stopping or not self.link.usable:
            return self._expect_link()
        for session in self._sessions.values():
            session.wake()
        most = 1 if self.link.state == "connecting" else self.config.connections
        wanted = min(most, max(1 if self.link.state == "connecting" else 0, self._lanes.queued + len(self._out)))
        while len(self._sessions) < wanted:
            session = Session(self.config, self, self._dial, self._context)
            task = asyncio.get_running_loop().create_task(self._run(session), name=f"smtp:{self.name}")
            self._sessions[task] = session
            task.add_done_callback(self._ended)
        self._expect_link()

    async def _dial(self) -> Any:
        return await dial(self.config, self._context)

    async def _run(self, session: Session) -> None:
        """A connection's life; what broke it is told to the breaker."""
        try:
            await session.open()
            self.link.answered()
            self._soon()
            self._pump()
            await session.work()
        except Refused as error:
            if error.credentials:
                self.link.refused(str(error))
                self._return(self._drained(), _LOGIN)
            else:
                self.link.failed(str(error), self._monotonic(), cut=True)
        except TimeoutError:
            self.link.failed("no answer in time", self._monotonic(), cut=True)
        except OSError as error:
            self.link.failed(error.strerror or str(error) or type(error).__name__, self._monotonic(), cut=True)
        finally:
            session.abort()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._sessions.pop(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            _log.error("session_failed", provider=self.name, exc_info=fault)
            self.link.failed("internal error", self._monotonic(), cut=True)
        if self.link.state == "backoff":
            self._tick_at(self.link.retry_at)
        self._tick()

    def _landed(self, flight: Flight) -> float:
        self._lanes.landed(flight.item)
        self._places.leave(flight.item.submission.lane == "otp")
        self.link.in_flight = len(self._out) - 1
        if self._lanes.queued:  # a domain has room again: another connection may have waited for that
            for session in self._sessions.values():
                session.wake()
        return self._out.pop(id(flight))

    def _settle(self, item: Waiting, outcome: PartOutcome) -> None:
        self._done.append(Outcome(item.submission.attempt_id, (outcome,), self._clock()))
        self._soon()

    def _return(self, items: Sequence[Waiting], error: MessageError) -> None:
        for item in items:
            self._settle(item, PartRetry(error))

    def _tick_at(self, moment: float) -> None:
        if not self._stopping:
            self._alarm.at(moment)

    def _tick(self) -> None:
        if self._stopping:
            return self._report()
        if not self.link.rested(self._monotonic()) and self.link.state == "backoff":
            self._tick_at(self.link.retry_at)  # uvloop's timers may ring a millisecond early
        if self._lanes.queued or self.link.state == "connecting":
            self._pump()
        self._report()

    def _expect_link(self) -> None:
        """Gives queued mails back if the server is not reached within `requeue_s`."""
        if self._give_up is None and self._lanes.queued and self.link.state != "up" and not self._stopping:
            self._give_up = asyncio.get_running_loop().call_later(self.config.requeue_s, self._no_link)

    def _no_link(self) -> None:
        self._give_up = None
        if self.link.state != "up":
            self._return(self._drained(), local_error("no_link", "The mail server cannot be reached."))
            self._report()

    def _soon(self) -> None:
        if self._report_soon is None and self._running:
            self._report_soon = asyncio.get_running_loop().call_soon(self._report)

    def _report(self) -> None:
        """Tells the sink what is done, and that there is room again where there was none."""
        self._report_soon = None
        if self._done:
            done, self._done = self._done, []
            self._sink.outcomes(self.name, done)
        if self._starved and not self._stopping:
            fed = [lane for lane in self._starved if self._credit(lane) > 0]
            self._starved.difference_update(fed)
            if fed:
                self._sink.ready(self.name)
            elif self.link.state == "backoff":
                self._tick_at(self.link.retry_at)
            elif self.pacer.paused(now := self._monotonic()):
                self._tick_at(self.pacer.wake_at(now))

    def _changed(self, link: Link) -> None:
        if link.state == "up" and self._give_up is not None:  # the next break has its own time
            self._give_up.cancel()
            self._give_up = None
        self._sink.link_changed(self.name, link)


_LOGIN: Final = local_error("bad_credentials", "The mail server refuses the login.")


__all__ = ["CAPABILITIES", "OPERATOR_KEYS", "Config", "SmtpProvider", "check", "create"]
