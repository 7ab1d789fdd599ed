"""The arithmetic of the load test, each against something that it does not use itself."""

from __future__ import annotations

import random
import statistics
from collections import Counter
from itertools import islice, pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.loadtest import arrivals, plan, plot
from tidings.loadtest.histogram import Histogram
from tidings.loadtest.ledger import Ledger
from tidings.loadtest.ratewatch import RateWatch


@given(st.lists(st.floats(0.001, 3_000_000), min_size=1, max_size=300), st.sampled_from([50, 90, 99, 99.9]))
def test_percentiles_are_near_the_exact_ones(values: list[float], percent: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    exact = sorted(values)[max(0, -(-len(values) * percent // 100) - 1).__int__()]
    assert exact * 0.98 - 0.002 <= histogram.percentile_ms(percent) <= exact * 1.02 + 0.002
    assert histogram.max_ms == max(values)
    assert histogram.count == len(values) == sum(histogram.bins([0.1, 1, 10, 100, 1000]))


def test_adding_histograms_is_recording_both() -> None:
    rng, parts, whole = random.Random(1), [Histogram(), Histogram()], Histogram()
    for n in range(2_000):
        value = rng.expovariate(0.1)
        parts[n % 2].record(value)
        whole.record(value)
    parts[0].add(parts[1])
    for percent in (1, 50, 99, 100):
        assert parts[0].percentile_ms(percent) == whole.percentile_ms(percent)
    assert parts[0].sum_ms == pytest.approx(whole.sum_ms)


def test_strange_latencies_do_no_harm() -> None:
    histogram = Histogram()
    for value in (-5.0, 0.0, 1e12):
        histogram.record(value)
    assert (histogram.count, histogram.percentile_ms(99), histogram.max_ms) == (3, 1e12, 1e12)
    assert histogram.percentile_ms(50) <= 0.001
    assert Histogram().percentile_ms(99) == 0.0


def made(**more: Any) -> plan.Plan:
    wanted: dict[str, Any] = {
        "rate_per_s": 200,
        "duration_s": 100,
        "lanes": plan.read_lanes("otp=1"),
        "recipients": plan.read_range("+15005551000"),
    }
    return plan.Plan(**wanted | more)  # fmt: skip


def test_constant_arrivals_are_even() -> None:
    times = list(arrivals.times_s(made(rate_per_s=7, duration_s=2)))
    assert times == pytest.approx([n / 7 for n in range(14)])
    assert list(arrivals.times_s(made(rate_per_s=100, batch=25, duration_s=1))) == [0, 0.25, 0.5, 0.75]


def test_poisson_arrivals_have_its_mean_and_spread() -> None:
    times = list(arrivals.times_s(made(arrivals="poisson")))
    gaps = [b - a for a, b in pairwise(times)]
    assert statistics.mean(gaps) == pytest.approx(1 / 200, rel=0.05)
    assert statistics.stdev(gaps) == pytest.approx(1 / 200, rel=0.05)  # of an exponential they are the same
    assert times == list(arrivals.times_s(made(arrivals="poisson")))
    assert times != list(arrivals.times_s(made(arrivals="poisson", seed=2)))


def test_lanes_keep_their_shares_over_every_stretch() -> None:
    chosen = list(islice(arrivals.lanes(made(lanes=plan.read_lanes("otp=5,transactional=15,marketing=80"))), 1_000))
    for at in range(0, 1_000, 100):
        assert Counter(chosen[at : at + 100]) == {0: 5, 1: 15, 2: 80}


BAD = [
    (plan.read_lanes, "otp"), (plan.read_lanes, "otp=x"), (plan.read_lanes, "otp=-1"), (plan.read_lanes, "sms=1"),
    (plan.read_lanes, "otp=0"), (plan.read_lanes, ""), (plan.read_lanes, "otp=1,otp=2"), (plan.read_lanes, "otp=nan"),
    (plan.read_lanes, "otp=inf"), (plan.read_receipts, "lost=1"), (plan.read_range, "15005551000"),
    (plan.read_range, "+15005552000-+15005551000"), (plan.read_range, "+15005551000-+150055520001"), (plan.read_range, "+0123456"),
]  # fmt: skip


@pytest.mark.parametrize(("read", "text"), BAD)
def test_bad_options_are_refused(read: Any, text: str) -> None:
    with pytest.raises(plan.PlanError):
        read(text)


@pytest.mark.parametrize(
    "more", [{"rate_per_s": 0}, {"duration_s": 0}, {"batch": 1_001}, {"rate_per_s": 99_999, "duration_s": 9_999}]
)
def test_bad_plans_are_refused(more: dict[str, Any]) -> None:
    with pytest.raises(plan.PlanError, match="--"):
        plan.check(made(**more))


def test_recipients_go_round() -> None:
    found = plan.read_range("+15005551000-+15005551002")
    assert [found.number(n) for n in range(4)] == ["+15005551000", "+15005551001", "+15005551002", "+15005551000"]


def brute(times: list[float], rate: int) -> int:
    """Submits that are above the rate in the second that ends with them."""
    return sum(1 for n, at in enumerate(times) if sum(1 for t in times[: n + 1] if t > at - 0.998) > rate)


@given(st.lists(st.floats(0, 5), max_size=200), st.integers(1, 30))
def test_a_breach_is_any_second_with_too_many(times: list[float], rate: int) -> None:
    watch = RateWatch(rate)
    for at_s in sorted(times):
        watch.submit(at_s)
    assert watch.breaches == brute(sorted(times), rate)


def test_our_own_stall_is_not_the_carriers_breach() -> None:
    """100 at 50/s, of which our loop read those of 0.4 s at once: no breach; without the stall it is one."""
    times = [n / 50 if not 0.5 <= n / 50 < 0.9 else 0.9 for n in range(100)]
    for lag_s, breaches in ((0.4, False), (0.0, True)):
        watch = RateWatch(50)
        for at_s in (t for t in times if t < 0.9):
            watch.submit(at_s)
        watch.stalled(0.9, lag_s)
        for at_s in (t for t in times if t >= 0.9):
            watch.submit(at_s + (0 if lag_s else -0.2))
        assert bool(watch.breaches) is breaches


@given(st.floats(1e-3, 1e7))
def test_axes_cover_what_they_show(most: float) -> None:
    ticks = plot.linear_ticks(most)
    assert ticks[0] == 0
    assert ticks[-1] >= most * 0.999
    assert 3 <= len(ticks) <= 12
    ticks = plot.log_ticks(most / 7, most)
    assert ticks[0] <= most / 7 * 1.001
    assert ticks[-1] >= most * 0.999


@pytest.mark.parametrize("points", [[], [(0.0, 0.0)], [(0.0, 5.0)], [(n / 1.0, n % 7 * 1.0) for n in range(50)]])
@pytest.mark.parametrize("log", [True, False])
def test_plots_are_well_formed(points: list[tuple[float, float]], log: bool) -> None:
    text = plot.lines("a < b", [plot.Line("x & y", "s1", points, True)], y_unit="ms", log=log)
    ElementTree.fromstring(text)
    assert "NaN" not in text


def _handed_over(fate: str | None) -> Ledger:
    """One message that has ended, and one of which `sent` was told."""
    ledger = Ledger()
    for n in range(2):
        ledger.accept(ledger.schedule(0, 0.0), f"msg_{n}", 1.0)
        ledger.event(n, "sent", 1.0)
    ledger.event(0, "delivered", 1.0)
    if fate is not None:
        ledger.receipt(1, fate, 1.0)
    return ledger


@pytest.mark.parametrize(
    ("fate", "still_s", "quiet"),
    [
        ("none", 0.0, True),  # our own carrier says so
        ("delivered", 100.0, False),  # it told: the event is still to come
        (None, 0.0, False),  # somebody else's: a receipt may be on its way
        (None, 11.0, False),
        (None, 13.0, True),
    ],
)
def test_a_receipt_that_may_still_come_is_waited_for(fate: str | None, still_s: float, quiet: bool) -> None:
    assert _handed_over(fate).quiet(still_s) == quiet
