"""How fast segments may leave: an exact limit in every sliding second, evenly spread, and a cap that adapts.

Two rules work together. The log of write times makes the limit exact: a segment leaves only if fewer than `rate`
segments left in the window before it. The schedule makes it even: one segment every `window / rate`, and a pacer that
fell behind catches up at twice that pace, in bursts of at most a hundredth of a second's worth. Pure: the caller
passes the time (monotonic seconds) in.
"""

from collections import deque
from math import inf
from typing import Final

#: Added to the second over which segments are counted, so that a late clock reading cannot break the limit.
GUARD_S: Final = 0.005
#: An event loop that stalled longer than this does not get its lost slots back.
CATCH_UP_S: Final = 0.05
BURST_S: Final = 0.01
#: With a rate limit, a provider takes no more than leaves within this time: priority is decided late.
CREDIT_S: Final = 0.05
UNLIMITED: Final = 1 << 30
PAUSE_FIRST_S: Final = 1.0
PAUSE_LAST_S: Final = 16.0
DECREASE: Final = 0.7
INCREASE: Final = 0.1
#: A carrier that throttled before it took anything is tried with this rate.
UNOBSERVED_PER_S: Final = 10.0
#: A provider without a rate of its own forgets the cap when it has grown this much without a refusal.
FORGET: Final = 8.0


class Pacer:
    """Says how many segments may be written now. `rate_per_s` 0: no limit until the carrier throttles."""

    def __init__(self, rate_per_s: float) -> None:
        self.rate_per_s = rate_per_s
        self._log: deque[tuple[float, int]] = deque()
        self._logged = 0
        self._due = -inf
        self._paused_until = -inf
        self._pause_s = PAUSE_FIRST_S
        self._cap: float | None = None
        self._floor = 0.0
        self._grown_at = -inf
        self._set_limit(rate_per_s)

    @property
    def limit_per_s(self) -> float:
        """What holds now: the configured rate, or the lower cap the carrier has taught us. 0: no limit."""
        return self._limit

    def paused(self, now: float) -> bool:
        """Whether the carrier asked us to wait, and we still do."""
        return now < self._paused_until

    def allow(self, now: float) -> int:
        """How many segments may be written at `now`."""
        if now < self._paused_until:
            return 0
        if self._cap is not None:
            self._grow(now)
        if self._limit <= 0:
            return UNLIMITED
        while self._log and self._log[0][0] <= now - self._window_s:
            self._logged -= self._log.popleft()[1]
        if now < self._next:
            return 0
        due = max(self._due, now - CATCH_UP_S)
        return max(0, min(self._burst, int((now - due) / self._spacing_s) + 1, self._capacity - self._logged))

    def fits(self, segments: int) -> bool:
        """Whether a part that the carrier will cut into `segments` may leave as a whole; asked after `allow` > 0."""
        return self._limit <= 0 or self._logged + min(segments, self._capacity) <= self._capacity

    def took(self, segments: int, now: float) -> None:
        """`segments` were written; `now` is read after the write, so that the log is never early."""
        if self._limit <= 0 or segments <= 0:
            return
        self._log.append((now, segments))
        self._logged += segments
        self._due = max(self._due, now - CATCH_UP_S) + segments * self._spacing_s
        # Behind the schedule, the lost slots come back at twice the pace, never in one burst.
        self._next = self._due if self._due > now else now + segments * self._spacing_s / 2

    def wake_at(self, now: float) -> float:
        """When to ask again, after `allow` gave less than there is to write."""
        if now < self._paused_until:
            return self._paused_until
        if self._limit <= 0:
            return now
        at = self._next
        if self._due > now:
            at += (self._burst - 1) * self._spacing_s  # a whole burst with one timer
        if self._logged >= self._capacity and self._log:
            at = max(at, self._log[0][0] + self._window_s)
        return at

    def throttled(self, now: float, written_at: float, observed_per_s: float) -> None:
        """The carrier refused a segment written at `written_at` as too fast: pause, and lower the cap.

        The refusals of one burst count once: only a segment written after the last pause lowers the cap again.
        `observed_per_s` is the rate the carrier took lately.
        """
        if written_at < self._paused_until or now < self._paused_until:
            return
        soon = now < self._paused_until + 2 * self._pause_s
        self._pause_s = min(PAUSE_LAST_S, self._pause_s * 2) if soon else PAUSE_FIRST_S
        self._paused_until = now + self._pause_s
        base = observed_per_s if observed_per_s > 0 else UNOBSERVED_PER_S
        if self._limit > 0:
            base = min(base, self._limit)
        self._cap = max(1.0, base * DECREASE)
        self._floor = self._cap
        self._grown_at = self._paused_until
        self._set_limit(self._cap)

    def _grow(self, now: float) -> None:
        """A tenth (at least one) more for each second without a refusal; at the configured rate it is forgotten."""
        while self._cap is not None and now >= self._grown_at + 1.0:
            self._grown_at += 1.0
            self._cap += max(1.0, self._cap * INCREASE)
            if (self.rate_per_s and self._cap >= self.rate_per_s) or self._cap >= self._floor * FORGET:
                self._cap = None
                self._set_limit(self.rate_per_s)
            else:
                self._set_limit(self._cap)

    def _set_limit(self, limit_per_s: float) -> None:
        self._limit = limit_per_s
        if limit_per_s <= 0:
            self._log.clear()
            self._logged = 0
            return
        #: Below one a second the window is stretched; above, part segments are no segments.
        self._capacity = max(1, int(limit_per_s))
        self._window_s = max(1.0, 1.0 / limit_per_s) + GUARD_S
        self._spacing_s = self._window_s / self._capacity
        self._burst = max(1, int(limit_per_s * BURST_S))
        self._next = -inf


class AnswerRate:
    """How many parts the carrier has lately taken in a second: where to begin when it throttles without a limit of ours."""

    def __init__(self) -> None:
        self._now, self._before, self._since = 0, 0, 0.0

    def count(self, now: float) -> None:
        """One more, at `now` (monotonic seconds)."""
        if now - self._since >= 1.0:
            self._before = self._now if now - self._since < 2.0 else 0
            self._now, self._since = 0, now
        self._now += 1

    @property
    def per_s(self) -> float:
        """The better of this second and the one before."""
        return max(self._now, self._before)
