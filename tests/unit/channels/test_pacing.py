"""The rate limiter, judged by brute force over every sliding second."""

from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest

from tidings.channels import pacing
from tidings.channels.pacing import Pacer


def drive(pacer: Pacer, duration_s: float, *, late_s: float = 0.0, stall_s: float = 0.0, seed: int = 1) -> list[float]:
    """Write times of a sender that always has work; its timers come up to `late_s` late, and it stalls now and then."""
    random, now, times = Random(seed), 1000.0, list[float]()
    end = now + duration_s
    while now < end:
        allowed = min(pacer.allow(now), 1000)
        if allowed > 0:
            now += 1e-5  # the write itself takes time
            times += [now] * allowed
            pacer.took(allowed, now)
        now = max(now + 1e-5, pacer.wake_at(now) + random.uniform(0, late_s))
        if stall_s and random.random() < 0.01:
            now += random.uniform(0, stall_s)
    return times


def most_in_a_second(times: list[float]) -> int:
    """The greatest number of writes in any half-open sliding second."""
    first, most = 0, 0
    for last, at in enumerate(times):
        while times[first] <= at - 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


RATES = [1, 2, 7, 10, 33, 100, 250, 1000]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("late_s", [0.0, 0.002, 0.015])
def test_never_more_than_the_rate_in_any_sliding_second(rate: int, late_s: float) -> None:
    times = drive(Pacer(rate), 12, late_s=late_s, stall_s=0.5)
    assert most_in_a_second(times) <= rate


@pytest.mark.parametrize("rate", RATES)
def test_at_least_97_percent_is_used(rate: int) -> None:
    seconds = 20
    times = drive(Pacer(rate), seconds, late_s=0.0015)
    assert len(times) >= 0.97 * rate * seconds


@pytest.mark.parametrize("rate", [10, 100, 1000])
def test_evenly_paced(rate: int) -> None:
    pacer = Pacer(rate)
    times = drive(pacer, 5, late_s=0.001, stall_s=0.2)
    bursts = [times.count(at) for at in set(times)]
    assert max(bursts) <= max(1, rate // 100)


def test_below_one_a_second() -> None:
    times = drive(Pacer(0.25), 60)
    assert min(b - a for a, b in pairwise(times)) >= 4.0
    assert len(times) >= 14


def test_no_limit() -> None:
    pacer = Pacer(0)
    assert pacer.allow(1.0) == pacing.UNLIMITED
    pacer.took(10_000, 1.0)
    assert pacer.allow(1.0) == pacing.UNLIMITED


def test_throttled_pauses_lowers_and_recovers() -> None:
    pacer, now = Pacer(100), 1000.0
    pacer.throttled(now, now - 0.01, observed_per_s=100)
    assert pacer.paused(now + 0.99)
    assert pacer.allow(now + 0.99) == 0
    assert pacer.wake_at(now + 0.5) == now + 1.0
    assert pacer.allow(now + 1.001) > 0
    assert pacer.limit_per_s == pytest.approx(70)
    pacer.throttled(now + 0.5, now - 0.01, observed_per_s=100)  # of the same burst: counts once
    assert pacer.limit_per_s == pytest.approx(70)
    limits = [(pacer.allow(now + 1 + second), pacer.limit_per_s)[1] for second in range(6)]
    assert limits == sorted(limits)
    assert limits[-1] == 100


def test_throttled_again_right_after_the_pause_pauses_longer() -> None:
    pacer, now, pauses = Pacer(0), 1000.0, list[float]()
    for _ in range(7):
        pacer.throttled(now, now, observed_per_s=0)
        pauses.append(pacer.wake_at(now) - now)
        now += pauses[-1] + 0.01
    assert pauses == [1, 2, 4, 8, 16, 16, 16]


def test_a_provider_without_a_rate_forgets_the_cap() -> None:
    pacer, now = Pacer(0), 1000.0
    pacer.throttled(now, now, observed_per_s=50)
    assert pacer.allow(now + 1.01) > 0
    assert pacer.limit_per_s == pytest.approx(35)
    assert pacer.allow(now + 60) == pacing.UNLIMITED


def _no_log(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Pacer, "took", lambda _self, _segments, _now: None)


def _no_limit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Pacer, "allow", lambda _self, _now: 1)


@pytest.mark.parametrize("sabotage", [_no_log, _no_limit])
def test_saboteur_the_check_sees_a_missing_limiter(
    sabotage: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch)
    times = drive(Pacer(100), 2)
    assert most_in_a_second(times) > 100
