"""How well a carrier does, and which share of its traffic it gets. Pure: times come from outside, in seconds of any clock.

A carrier that is dead (no link, no answers, most of what it gets refused, receipts that stopped) loses everything at once;
one that is ill loses a step at a time. It comes back in steps, each after a time without trouble. Every relapse doubles
that time, so that a carrier that flaps is left alone rather than followed::

    1 ─ill─▶ 0.6 ─ill─▶ 0.3 ─ill─▶ 0.1 ─ill─▶ 0.02        any ─dead─▶ 0
    0 ─pause─▶ 0.02 ─▶ 0.1 ─▶ 0.3 ─▶ 0.6 ─▶ 1              a step needs its time, and nothing bad in it
"""

import math
from collections import deque
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from tidings.kit import limits

#: Steps of the share, from nothing to all.
STEPS: Final = (0.0, 0.02, 0.1, 0.3, 0.6, 1.0)
_FULL: Final = len(STEPS) - 1
Reason = Literal["link_down", "no_answers", "failures", "slow", "no_receipts", ""]
Grade = Literal["well", "doubtful", "ill", "dead"]


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """When a carrier is ill, and how it comes back. Ratios are of submissions refused for now, or never answered."""

    window_s: float = limits.HEALTH_WINDOW_S
    dead_ratio: float = 0.5
    dead_count: int = 5
    ill_ratio: float = 0.1
    ill_count: int = 20
    well_ratio: float = 0.02  # below ill_ratio: between the two nothing moves
    link_down_s: float = limits.HEALTH_LINK_DOWN_S
    stall_s: float = limits.HEALTH_STALL_S
    slow_times: float = 5.0  # of the usual latency
    pause_s: float = limits.HEALTH_PAUSE_S
    pause_most_s: float = limits.HEALTH_PAUSE_MOST_S
    step_s: float = limits.HEALTH_STEP_S
    blind_times: float = 10.0  # so much longer is a step in which nothing was sent
    # Receipts that came, of those that usually would have: at most so few, of so many. Chance does that less than once a year.
    receipts_dead: float = 0.25
    receipts_dead_count: int = 30
    receipts_ill: float = 0.6
    receipts_ill_count: int = 120
    receipts_step_count: int = 8  # while it comes back, a relapse is believed sooner
    receipts_known: float = 0.3  # of a carrier that usually sends fewer than this their absence tells nothing
    receipts_samples: int = 50  # a second


class Change(NamedTuple):
    """What a look changed: the share now, why it is not whole, and the event to be told, if any."""

    share: float
    reason: Reason
    event: Literal["degraded", "recovered", ""]


class _Count(NamedTuple):
    at_s: float
    ok: int
    bad: int
    latency_s: float  # the sum of those that were measured
    measured: int


class Health:
    """One carrier's. `share` is what it gets now."""

    def __init__(self, now_s: float, policy: Policy | None = None, *, share: float = 1.0) -> None:
        """`share`: what another process knew of it."""
        self.policy = policy or Policy()
        self.receipts = ReceiptRate(self.policy)
        self._level = max((n for n, step in enumerate(STEPS) if step <= share), default=0)
        self.reason: Reason = "" if self._level == _FULL else "failures"
        self._changed_s, self._full_s = now_s, -math.inf
        self._rises = self._level < _FULL
        self._pause_s = self.policy.pause_s
        self._counts: deque[_Count] = deque()
        self._down_s: float | None = None
        self._stalled_s = 0.0
        self._usual_s = 0.0  # latency, while well

    @property
    def share(self) -> float:
        """Of its traffic, 0 to 1."""
        return STEPS[self._level]

    def outcomes(self, now_s: float, ok: int, bad: int, latency_s: float = 0.0, measured: int = 0) -> None:
        """Submissions ended: taken or refused for good (`ok`), refused for now or unknown (`bad`)."""
        last = self._counts[-1] if self._counts else None
        if last is not None and now_s - last.at_s < self.policy.window_s / 20:
            ok, bad, latency_s, measured = ok + last.ok, bad + last.bad, latency_s + last[3], measured + last[4]
            self._counts[-1] = _Count(last.at_s, ok, bad, latency_s, measured)
        else:
            self._counts.append(_Count(now_s, ok, bad, latency_s, measured))

    def link(self, now_s: float, up: bool) -> None:
        """Whether any link is up."""
        if up:
            self._down_s = None
        elif self._down_s is None:
            self._down_s = now_s

    def stalled(self, for_s: float) -> None:
        """The oldest submission on the wire has had no answer for so long; 0: there is none."""
        self._stalled_s = for_s

    def look(self, now_s: float) -> Change | None:
        """To be called a few times a second; None where nothing changes."""
        while self._counts and self._counts[0].at_s < now_s - self.policy.window_s:
            self._counts.popleft()
        grade, reason = self._grade(now_s)
        if grade == "dead" and self._level == 0:
            self._changed_s = now_s  # the pause begins when it ends
            return None
        if grade == "dead":
            return self._fall(now_s, 0, reason)
        if grade == "ill" and self._level > 1 and now_s - self._changed_s >= self.policy.step_s:
            return self._fall(now_s, self._level - 1, reason)
        return self._well(now_s) if grade == "well" else None

    def _fall(self, now_s: float, level: int, reason: Reason) -> Change:
        whole = self._level == _FULL
        if whole and now_s - self._full_s >= max(60.0, 4 * self._pause_s):
            self._pause_s = self.policy.pause_s
        elif whole or self._rises:  # it was on its way back, or just had come back
            self._pause_s = min(self.policy.pause_most_s, 2 * self._pause_s)
        self._rises = False
        self._move(now_s, level)
        self.reason = reason
        return Change(self.share, reason, "degraded" if whole else "")

    def _well(self, now_s: float) -> Change | None:
        if self._level == _FULL:
            self._learn()
            return None
        wait_s = self._pause_s if self._level == 0 else self._step_s()
        if self._level > 0 and not any(count.ok for count in self._counts):
            wait_s *= self.policy.blind_times
        if now_s - self._changed_s < wait_s:
            return None
        self._move(now_s, self._level + 1)
        self._rises = True
        if self._level < _FULL:
            return Change(self.share, self.reason, "")
        self._full_s, self.reason = now_s, ""
        return Change(self.share, "", "recovered")

    def _step_s(self) -> float:
        return max(self.policy.step_s, self._pause_s / 4, self.receipts.wait_s + 1.0 if self.receipts.known else 0.0)

    def _move(self, now_s: float, level: int) -> None:
        self._level, self._changed_s = level, now_s
        self._counts.clear()  # what came before tells nothing of the step that begins
        self.receipts.begin(now_s)

    def _learn(self) -> None:
        latency_s, measured = sum(c.latency_s for c in self._counts), sum(c.measured for c in self._counts)
        if measured >= self.policy.ill_count:
            mean_s = latency_s / measured
            self._usual_s = mean_s if self._usual_s == 0 else 0.99 * self._usual_s + 0.01 * mean_s

    def _grade(self, now_s: float) -> tuple[Grade, Reason]:
        policy = self.policy
        if self._down_s is not None:
            return ("dead" if now_s - self._down_s >= policy.link_down_s else "doubtful"), "link_down"
        if self._stalled_s >= max(policy.stall_s, policy.slow_times * self._usual_s):
            return "dead", "no_answers"
        by_outcome = self._by_outcome()
        whole = self._level == _FULL
        by_receipt = self.receipts.grade(now_s, whole=whole, learns=whole and by_outcome[0] in ("well", "doubtful"))
        if self._level == 0:  # what was on the wire when it was left will never have its receipt: that says nothing new
            by_receipt = "well"
        for grade in ("dead", "ill", "doubtful"):
            if by_outcome[0] == grade:
                return by_outcome
            if by_receipt == grade:
                return grade, "no_receipts"
        return "well", ""

    def _by_outcome(self) -> tuple[Grade, Reason]:
        policy = self.policy
        ok, bad = sum(c.ok for c in self._counts), sum(c.bad for c in self._counts)
        count, enough = ok + bad, policy.dead_count if self._level == _FULL else 1
        ratio = bad / count if count else 0.0
        if count >= enough and ratio >= policy.dead_ratio:
            return "dead", "failures"
        if count >= policy.ill_count and ratio >= policy.ill_ratio:
            return "ill", "failures"
        latency_s, measured = sum(c.latency_s for c in self._counts), sum(c.measured for c in self._counts)
        slow_s = max(policy.stall_s / 2, policy.slow_times * self._usual_s)
        if measured >= policy.dead_count and latency_s / measured >= slow_s:
            return "ill", "slow"
        return ("well", "") if ratio <= policy.well_ratio else ("doubtful", "failures")


class _Cohort(msgspec.Struct):
    """What was sent within one second, of which some is watched."""

    at_s: float
    sent: int = 0
    came: int = 0


class ReceiptRate:
    """Whether receipts still come as usual: a few of each second's messages are watched until theirs are due."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._cohorts: deque[_Cohort] = deque()
        self._watched: dict[str, tuple[float, _Cohort]] = {}
        self._waits: deque[float] = deque(maxlen=200)
        self._begun_s = -math.inf
        self._usual = 0.0
        self._learned_s = -math.inf
        self.wait_s = limits.HEALTH_RECEIPT_S  # within which nearly all receipts come

    @property
    def known(self) -> bool:
        """Whether this carrier is known to send receipts."""
        return self._usual > 0

    def begin(self, now_s: float) -> None:
        """Only what is sent from now on counts."""
        self._begun_s = now_s

    def sent(self, now_s: float, ref: str) -> None:
        """The carrier took a part under this id; watched, unless enough of this second are."""
        if not self._cohorts or now_s - self._cohorts[-1].at_s >= 1.0:
            self._cohorts.append(_Cohort(now_s))
        cohort = self._cohorts[-1]
        if cohort.sent < self._policy.receipts_samples:
            cohort.sent += 1
            self._watched[ref] = now_s, cohort

    def came(self, now_s: float, refs: Sequence[str]) -> None:
        """A receipt, by any spelling of its id."""
        for ref in refs:
            found = self._watched.pop(ref, None)
            if found is not None:
                at_s, cohort = found
                cohort.came += 1
                self._waits.append(now_s - at_s)
                return

    def grade(self, now_s: float, *, whole: bool, learns: bool) -> Grade:
        """How the receipts of the newest messages that should have theirs compare with the usual.

        `whole`: it has all of its traffic; while it comes back, less is enough to believe the worst. `learns`: what comes now
        is the usual. A few refusals are no reason not to learn: at three messages a second one of them is already a doubt.
        """
        self._forget(now_s)
        policy, sent, came = self._policy, 0, 0
        dead, few = "well", policy.receipts_dead_count if whole else policy.receipts_step_count
        usual = self._usual if self._usual >= policy.receipts_known else 0.0
        most = policy.receipts_ill_count / usual if usual else float(policy.receipts_samples)
        for cohort in reversed(self._cohorts):
            if cohort.at_s < self._begun_s or sent >= most:
                break
            if now_s - cohort.at_s < self.wait_s + 1.0:
                continue
            sent, came = sent + cohort.sent, came + cohort.came
            if dead == "well" and sent * usual >= few:  # the newest ones alone: it may have died a moment ago
                dead = "dead" if came <= policy.receipts_dead * usual * sent else "not"
        if learns and sent >= policy.receipts_samples and now_s - self._learned_s >= 1.0:
            self._learn(now_s, came / sent)
        if dead == "dead":
            return "dead"
        if usual and sent * usual >= policy.receipts_ill_count and came <= policy.receipts_ill * usual * sent:
            return "ill"
        waits = usual and not whole and not came and any(c.at_s >= self._begun_s and c.sent for c in self._cohorts)
        return "doubtful" if waits else "well"

    def _learn(self, now_s: float, rate: float) -> None:
        if self.known and rate <= self._usual * self._policy.receipts_ill:
            return
        self._learned_s = now_s
        self._usual = rate if not self.known else 0.95 * self._usual + 0.05 * rate
        if len(self._waits) >= 20:
            late_s = sorted(self._waits)[int(0.95 * len(self._waits))]
            self.wait_s = min(limits.HEALTH_RECEIPT_MOST_S, max(limits.HEALTH_RECEIPT_S, 3 * late_s))

    def _forget(self, now_s: float) -> None:
        before_s = now_s - 2 * limits.HEALTH_RECEIPT_MOST_S
        while self._cohorts and self._cohorts[0].at_s < before_s:
            self._cohorts.popleft()
        while self._watched:
            ref = next(iter(self._watched))
            if self._watched[ref][0] >= before_s:
                break
            del self._watched[ref]
