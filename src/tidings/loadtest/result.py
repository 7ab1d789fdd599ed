"""What a load test found: the JSON report, and whether everything that was asked for held. Pure."""

from typing import Any, Final

import msgspec

from tidings.domain.message import LANES
from tidings.loadtest.histogram import Histogram
from tidings.loadtest.ledger import Accounts
from tidings.loadtest.plan import Limits, Plan
from tidings.loadtest.recorder import KINDS, Point, Recorder

#: Edges of the histograms in the report: three for each doubling, 0.1 ms to about 100 s.
EDGES_MS: Final = [0.1 * 2 ** (n / 3) for n in range(61)]
OK, MISSED, GENERATOR, STOPPED = 0, 1, 3, 130


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Percentiles in milliseconds. `bins` belong to EDGES_MS: below the first, between two, above the last."""

    count: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p99_9_ms: float
    max_ms: float
    bins: list[int]


class Assertion(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that had to hold."""

    name: str
    found: float
    limit: float
    held: bool


class Generator(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the load generator itself kept its schedule; else every latency may be its own fault."""

    lag_p50_ms: float
    lag_p99_ms: float
    lag_max_ms: float
    most_lag_ms: float
    kept: bool
    most_waiting: int


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how it ran."""

    started_at: str
    url: str
    far_side: str
    callbacks: str
    tidings: str
    machine: str
    carrier_rate_per_s: float
    notes: list[str] = []


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The whole report. `exit_code`: 0 all held, 1 something was missed, 3 the generator lagged, 130 stopped."""

    format: int = 1
    context: Context
    plan: Plan
    seconds: float
    stopped: bool
    accounts: Accounts
    sent_by_lane: dict[str, int]
    refusals: dict[str, int]
    lost_by_status: dict[str, int]
    carrier_peak_per_s: int
    refused_callbacks: int
    latency: dict[str, dict[str, Latency]]
    edges_ms: list[float] = msgspec.field(default_factory=lambda: list(EDGES_MS))
    series: list[Point]
    step_s: float
    generator: Generator
    assertions: list[Assertion]
    exit_code: int


def latency_of(histogram: Histogram) -> Latency:
    """A histogram's figures."""
    mean_ms = histogram.sum_ms / histogram.count if histogram.count else 0.0
    return Latency(
        count=histogram.count,
        mean_ms=round(mean_ms, 3),
        p50_ms=round(histogram.percentile_ms(50), 3),
        p90_ms=round(histogram.percentile_ms(90), 3),
        p99_ms=round(histogram.percentile_ms(99), 3),
        p99_9_ms=round(histogram.percentile_ms(99.9), 3),
        max_ms=round(histogram.max_ms, 3),
        bins=histogram.bins(EDGES_MS),
    )


def latencies(recorder: Recorder) -> dict[str, dict[str, Latency]]:
    """By kind, then by lane and `all`; only what was measured."""
    found: dict[str, dict[str, Latency]] = {}
    for kind in KINDS:
        whole = Histogram()
        for one in recorder.latency[kind]:
            whole.add(one)
        if whole.count:
            found[kind] = {"all": latency_of(whole)} | {
                lane: latency_of(one) for lane, one in zip(LANES, recorder.latency[kind], strict=True) if one.count
            }
    return found


def assertions(
    limits: Limits, accounts: Accounts, failed: int, latency: dict[str, dict[str, Latency]]
) -> list[Assertion]:
    """Each limit that was asked, against what was found. What could not be measured does not hold."""
    rows: list[tuple[str, float | None, float | None]] = [
        ("request → 202, p99 ms", limits.max_p99_ms, _p99(latency, "accept")),
        ("request → submit, p99 ms", limits.max_submit_p99_ms, _p99(latency, "submit")),
        ("receipt → callback, p99 ms", limits.max_callback_p99_ms, _p99(latency, "callback")),
        ("lost", limits.max_lost, accounts.lost),
        ("duplicated", limits.max_duplicated, accounts.duplicated),
        ("late", limits.max_late, accounts.late),
        ("over rate", limits.max_over_rate, accounts.over_rate),
        ("refused or unanswered", limits.max_refused, accounts.refused + accounts.no_answer),
        ("failed", limits.max_failed, failed),
        ("contradicted", limits.max_failed, accounts.contradicted),
    ]
    return [
        Assertion(
            name=name, limit=limit, found=-1 if found is None else found, held=found is not None and found <= limit
        )
        for name, limit, found in rows
        if limit is not None
    ]


def exit_code(checked: list[Assertion], generator: Generator, *, stopped: bool) -> int:
    """A generator that lagged cannot blame the server; what was lost or doubled is true all the same, and shown."""
    if not generator.kept:
        return GENERATOR
    if not all(one.held for one in checked):
        return MISSED
    return STOPPED if stopped else OK


def generator_of(recorder: Recorder, plan: Plan, most_waiting: int) -> Generator:
    """How late messages were handed to the client."""
    p99_ms = recorder.lag.percentile_ms(99)
    return Generator(
        lag_p50_ms=round(recorder.lag.percentile_ms(50), 3),
        lag_p99_ms=round(p99_ms, 3),
        lag_max_ms=round(recorder.lag.max_ms, 3),
        most_lag_ms=plan.most_lag_ms,
        kept=p99_ms <= plan.most_lag_ms,
        most_waiting=most_waiting,
    )


def _p99(latency: dict[str, dict[str, Latency]], kind: str) -> float | None:
    return latency[kind]["all"].p99_ms if kind in latency else None


def to_json(result: Result) -> bytes:
    """The JSON report, indented."""
    return msgspec.json.format(msgspec.json.encode(result), indent=2)


def plain(value: Any) -> Any:
    """For tests and callers that want builtins."""
    return msgspec.to_builtins(value)
