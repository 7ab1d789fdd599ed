"""Everything that is measured while a test runs: the ledger, latencies by lane, and a line for each second. No I/O."""

import re
from collections.abc import Callable
from time import monotonic
from typing import Final, Literal

import msgspec

from tidings.domain.message import LANES
from tidings.loadtest.histogram import Histogram
from tidings.loadtest.ledger import Ledger
from tidings.loadtest.ratewatch import RateWatch

Kind = Literal["accept", "submit", "callback"]
KINDS: Final[tuple[Kind, ...]] = ("accept", "submit", "callback")
#: Longest series kept by the second; a longer run is kept by more seconds.
_POINTS: Final = 900


class Point(msgspec.Struct, kw_only=True):
    """What happened within one step of the series (`at_s` is its begin). Percentiles are of that step alone."""

    at_s: float
    scheduled: int = 0
    accepted: int = 0
    submitted: int = 0
    settled: int = 0
    accept_p50_ms: float = 0
    accept_p99_ms: float = 0
    submit_p50_ms: float = 0
    submit_p99_ms: float = 0


class Recorder:
    """Told of every fact with its monotonic time; `run` marks the messages of this test."""

    def __init__(self, run: str, clock: Callable[[], float] = monotonic) -> None:
        self.run = run
        self.ledger = Ledger()
        self.latency: dict[Kind, list[Histogram]] = {kind: [Histogram() for _ in LANES] for kind in KINDS}
        self.lag = Histogram()
        self.rate = RateWatch(0)
        self.points: list[Point] = []
        self.strangers = 0  # submits at our carrier that are not of this test
        self._token = re.compile(rf"{run}-(\d{{1,9}})(?!\d)".encode())
        self._clock = clock
        self._start_s = clock()
        self._step_s = 1.0
        self._now = Point(at_s=0)
        self._step: dict[Kind, Histogram] = {kind: Histogram() for kind in KINDS}

    def begin(self) -> None:
        """The first message is due about now."""
        self._start_s = self._clock()

    @property
    def elapsed_s(self) -> float:
        """Since `begin`."""
        return self._clock() - self._start_s

    def token(self, n: int) -> str:
        """What names a message everywhere: its reference, and the first word of its text."""
        return f"{self.run}-{n}"

    def number_of(self, reference: str) -> int:
        """The message that a reference names; -1: not one of ours."""
        run, _, n = reference.rpartition("-")
        return int(n) if run == self.run and n.isdigit() and len(n) < 10 else -1

    # -- what happened

    def scheduled(self, lane: int, due_s: float, now_s: float) -> int:
        """A message is handed to the client; its number."""
        self.lag.record((now_s - due_s) * 1000)
        self._now.scheduled += 1
        return self.ledger.schedule(lane, due_s)

    def accepted(self, n: int, message_id: str, at_s: float) -> None:
        """202."""
        self.ledger.accept(n, message_id, at_s)
        self._now.accepted += 1
        self._latency("accept", n, at_s - self.ledger.due_s[n])

    def submitted(self, text: bytes, at_s: float) -> int:
        """The carrier read a submit with this text; the message's number, -1 for a stranger."""
        self.rate.submit(at_s)
        n = self.number_of_text(text)
        self.strangers += n < 0
        return n

    def number_of_text(self, text: bytes) -> int:
        """The message whose text this is; -1: none of ours."""
        match = self._token.search(text)
        n = int(match[1]) if match else -1
        return n if 0 <= n < len(self.ledger) else -1

    def taken(self, n: int, at_s: float) -> None:
        """The carrier said yes to it (or swallowed it)."""
        if self.ledger.submitted(n, at_s):
            self._now.submitted += 1
            self._latency("submit", n, at_s - self.ledger.due_s[n])

    def heard(self, reference: str, word: str, at_s: float) -> None:
        """An event of a message reached us."""
        n = self.number_of(reference)
        if self.ledger.event(n, word, at_s):
            self._now.settled += 1
            receipt_s = self.ledger.receipt_s[n]
            if receipt_s and word in ("delivered", "undelivered"):
                self._latency("callback", n, at_s - receipt_s)

    # -- steps

    def step(self) -> Point:
        """The step that is under way."""
        return self._now

    def tick(self) -> None:
        """Called about ten times a second: closes a step when its time is over."""
        if self.elapsed_s < self._now.at_s + self._step_s:
            return
        self.close_step()
        if len(self.points) >= _POINTS:
            self._halve()

    def close_step(self) -> None:
        """Ends the step under way."""
        now, step = self._now, self._step
        now.accept_p50_ms, now.accept_p99_ms = step["accept"].percentile_ms(50), step["accept"].percentile_ms(99)
        now.submit_p50_ms, now.submit_p99_ms = step["submit"].percentile_ms(50), step["submit"].percentile_ms(99)
        self.points.append(now)
        self._now = Point(at_s=now.at_s + self._step_s)
        self._step = {kind: Histogram() for kind in KINDS}

    @property
    def step_s(self) -> float:
        """How long a step is."""
        return self._step_s

    def _halve(self) -> None:
        """Two steps become one: counts are added; of percentiles the worse one stays, as they cannot be added."""
        merged: list[Point] = []
        for first, second in zip(self.points[::2], self.points[1::2], strict=False):
            merged.append(
                Point(
                    at_s=first.at_s,
                    scheduled=first.scheduled + second.scheduled,
                    accepted=first.accepted + second.accepted,
                    submitted=first.submitted + second.submitted,
                    settled=first.settled + second.settled,
                    accept_p50_ms=max(first.accept_p50_ms, second.accept_p50_ms),
                    accept_p99_ms=max(first.accept_p99_ms, second.accept_p99_ms),
                    submit_p50_ms=max(first.submit_p50_ms, second.submit_p50_ms),
                    submit_p99_ms=max(first.submit_p99_ms, second.submit_p99_ms),
                )
            )
        self.points = merged
        self._step_s *= 2

    def _latency(self, kind: Kind, n: int, latency_s: float) -> None:
        latency_ms = latency_s * 1000
        self.latency[kind][self.ledger.lane[n]].record(latency_ms)
        self._step[kind].record(latency_ms)
