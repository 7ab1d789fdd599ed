"""The HTML report: one file, no scripts, nothing loaded from anywhere, readable in light and dark and on paper. Pure."""

from html import escape
from typing import Final

from tidings.loadtest import plot
from tidings.loadtest.plot import Line
from tidings.loadtest.result import GENERATOR, MISSED, STOPPED, Result
from tidings.loadtest.style import STYLE

_TITLES: Final = {
    "accept": ("Request → 202", "from the scheduled time to the answer"),
    "submit": ("Request → submit", "from the scheduled time until the carrier read it"),
    "callback": ("Receipt → callback", "from the carrier's receipt until we were told"),
}
_LANE_CSS: Final = {"all": "s1", "otp": "s2", "transactional": "s3", "marketing": "s4"}
#: (field, label, what it means, whether more than none is bad)
_SENT: Final = (
    ("scheduled", "scheduled", "due by the plan", False),
    ("accepted", "accepted", "answered 202: durable", False),
    ("refused", "refused", "answered, but not 202", True),
    ("no_answer", "no answer", "connection lost or time-out: nobody knows", True),
    ("unasked", "not asked", "stopped before the answer", False),
)
_ENDED: Final = (
    ("delivered", "delivered", "", False),
    ("partially_delivered", "partially delivered", "", False),
    ("undelivered", "undelivered", "the carrier's receipt says so", False),
    ("failed", "failed", "", False),
    ("expired", "expired", "its validity ended first", False),
    ("canceled", "canceled", "", False),
    ("suppressed", "suppressed", "", False),
    ("unreceipted", "no receipt", "handed over; the carrier sent no receipt", False),
    ("open", "open", "the test was stopped before", False),
    ("lost", "lost", "accepted, and no final event came", True),
)
_FAULTS: Final = (
    ("lost", "lost", "accepted, and no final event within the wait"),
    ("duplicated", "duplicated", "taken twice by the carrier, no unknown between"),
    ("late", "late", "handed over after its validity or its lane's SLA"),
    ("over_rate", "over rate", "submits above the provider's rate in any second"),
    ("ghosts", "ghosts", "at the carrier, though never answered 202"),
    ("contradicted", "contradicted", "the event says other than the receipt"),
)


def page(result: Result) -> str:
    """The whole document."""
    context = result.context
    parts = [
        _verdict(result),
        _cards(result),
        _assertions(result),
        f"<section><h2>Over time</h2>{_over_time(result)}</section>",
        _latencies(result),
        f'<section><h2>Every message accounted for</h2><div class="pair">{_accounts(result)}</div></section>',
        _details(result),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<title>Load test {escape(context.started_at)}</title><style>{STYLE}</style></head><body><main>"
        f"{''.join(parts)}</main></body></html>\n"
    )


def _verdict(result: Result) -> str:
    words, css = {
        0: ("Everything held", "good"),
        MISSED: ("Missed", "bad"),
        GENERATOR: ("The load generator could not keep its schedule", "warn"),
        STOPPED: ("Stopped early", "warn"),
    }[result.exit_code]
    missed = [one.name for one in result.assertions if not one.held]
    if result.exit_code == MISSED:
        words = f"Missed: {', '.join(missed)}"
    plan = result.plan
    kind = "Poisson" if plan.arrivals == "poisson" else "constant"
    batch = f", batches of {plan.batch}" if plan.batch > 1 else ""
    told = f"{plan.rate_per_s:,g} messages/s, {kind} arrivals{batch}, for {plan.duration_s:,g} s"
    more = ""
    if result.exit_code == GENERATOR:
        lag = plot.figure_ms(result.generator.lag_p99_ms)
        more = (
            f"<p>1 % of the messages left {lag} or more after their time, so the latencies below may be this machine's"
            " fault, not the server's. Lower the rate, or run the generator on a machine of its own.</p>"
        )
    return (
        f'<header class="{css}"><p class="eyebrow">Tidings load test · {escape(result.context.started_at[:16])}Z</p>'
        f"<h1>{escape(words)}</h1><p>{escape(told)}, against {escape(result.context.url)}</p>{more}</header>"
    )


def _cards(result: Result) -> str:
    accounts = result.accounts
    through = accounts.accepted / min(result.seconds, result.plan.duration_s) if result.seconds else 0
    cards = [("accepted", f"{through:,.0f}/s", f"{accounts.accepted:,} of {accounts.scheduled:,}")]
    for kind, (title, _) in _TITLES.items():
        if kind in result.latency:
            whole = result.latency[kind]["all"]
            cards.append((f"{title}, p99", plot.figure_ms(whole.p99_ms), f"median {plot.figure_ms(whole.p50_ms)}"))
    faults = "".join(_fault(result, *row) for row in _FAULTS)
    return (
        '<section class="cards">'
        + "".join(
            f"<div><span>{escape(a)}</span><b>{escape(b)}</b><small>{escape(c)}</small></div>" for a, b, c in cards
        )
        + f'</section><section class="faults">{faults}</section>'
    )


def _fault(result: Result, field: str, label: str, meaning: str) -> str:
    count: int = getattr(result.accounts, field)
    known = field not in ("duplicated", "late", "over_rate", "ghosts", "contradicted") or _sees_carrier(result)
    shown, css = (f"{count:,}", "bad" if count else "good") if known else ("–", "none")
    return f'<div class="{css}"><b>{shown}</b><span>{escape(label)}</span><small>{escape(meaning)}</small></div>'


def _sees_carrier(result: Result) -> bool:
    return "submit" in result.latency


def _assertions(result: Result) -> str:
    rows = "".join(
        f'<tr class="{"good" if one.held else "bad"}"><td>{"held" if one.held else "MISSED"}</td><td>{escape(one.name)}</td>'
        f"<td>{'not measured' if one.found < 0 else f'{one.found:,.5g}'}</td><td>{one.limit:,.5g}</td></tr>"
        for one in result.assertions
    )
    head = "<tr><th></th><th>what</th><th>found</th><th>at most</th></tr>"
    return f"<section><h2>What had to hold</h2><table>{head}{rows}</table></section>"


def _over_time(result: Result) -> str:
    step = result.step_s
    points = result.series

    def rate(field: str) -> list[tuple[float, float]]:
        return [(point.at_s, getattr(point, field) / _length(point.at_s)) for point in points]

    def _length(at_s: float) -> float:
        """The last step is shorter."""
        return max(0.1, min(step, result.seconds - at_s))

    def value(field: str) -> list[tuple[float, float]]:
        return [(point.at_s, getattr(point, field)) for point in points]

    flow = [Line("scheduled", "s5", rate("scheduled"), True), Line("accepted", "s1", rate("accepted"))]
    latency = [Line("202 p50", "s1 thin", value("accept_p50_ms")), Line("202 p99", "s1", value("accept_p99_ms"))]
    if _sees_carrier(result):
        flow.append(Line("at the carrier", "s3", rate("submitted")))
        latency += [
            Line("submit p50", "s3 thin", value("submit_p50_ms")), Line("submit p99", "s3", value("submit_p99_ms")),
        ]  # fmt: skip
    flow.append(Line("settled", "s2", rate("settled")))
    return plot.lines("Messages a second", flow, y_unit="") + plot.lines(
        f"Latency from the scheduled time, each {step:g} s by itself", latency, y_unit="ms", log=True
    )


def _latencies(result: Result) -> str:
    sections: list[str] = []
    for kind, (title, meaning) in _TITLES.items():
        if kind not in result.latency:
            continue
        lanes = result.latency[kind]
        head = "<tr><th></th><th>messages</th><th>mean</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th></tr>"
        rows = "".join(
            f'<tr><td><span class="key {_LANE_CSS[lane]}">{lane}</span></td><td>{one.count:,}</td>'
            + "".join(
                f"<td>{plot.figure_ms(v)}</td>" for v in (one.mean_ms, one.p50_ms, one.p90_ms, one.p99_ms, one.p99_9_ms, one.max_ms)
            )
            + "</tr>"
            for lane, one in lanes.items()
        )  # fmt: skip
        shown = [lane for lane in lanes if lane != "all"] if len(lanes) > 2 else ["all"]
        used = plot.used_bins(result.edges_ms, [lanes[lane].bins for lane in shown])
        plots = "".join(
            plot.histogram(
                lane if lane != "all" else "all lanes", _LANE_CSS[lane], result.edges_ms, lanes[lane].bins,
                [("p50", lanes[lane].p50_ms), ("p99", lanes[lane].p99_ms), ("p99.9", lanes[lane].p99_9_ms)], used,
            )
            for lane in shown
        )  # fmt: skip
        sections.append(
            f"<section><h2>{escape(title)} <small>{escape(meaning)}</small></h2>"
            f'<table class="numbers">{head}{rows}</table>{plots}</section>'
        )
    return "".join(sections)


def _accounts(result: Result) -> str:
    return _account("Sent", _SENT, result, "scheduled") + _account(
        "What became of the accepted", _ENDED, result, "accepted"
    )


def _account(title: str, rows: tuple[tuple[str, str, str, bool], ...], result: Result, whole: str) -> str:
    total: int = getattr(result.accounts, whole) or 1
    lines: list[str] = []
    for field, label, meaning, bad in rows:
        count: int = getattr(result.accounts, field)
        css = "bad" if bad and count else ("" if count else "nil")
        lines.append(
            f'<tr class="{css}"><td>{escape(label)}<small>{escape(meaning)}</small></td><td>{count:,}</td>'
            f'<td class="share"><i style="width:{min(100.0, 100 * count / total):.2f}%"></i></td></tr>'
        )
    return f'<div><h3>{escape(title)}</h3><table class="account">{"".join(lines)}</table></div>'


def _details(result: Result) -> str:
    context, generator, accounts = result.context, result.generator, result.accounts
    rows: list[tuple[str, str]] = [
        ("far side", context.far_side),
        ("carrier's rate", f"{context.carrier_rate_per_s:g}/s; most read in one second: {result.carrier_peak_per_s:,}"
         " (a few more than the rate are no breach where this machine read late)"
         if context.carrier_rate_per_s else f"no limit; most read in one second: {result.carrier_peak_per_s:,}"),
        ("told by", f"{context.callbacks}; told twice: {accounts.repeated_callbacks:,};"
         f" wrong signature: {result.refused_callbacks:,}"),
        ("lanes", ", ".join(f"{lane} {count:,}" for lane, count in result.sent_by_lane.items())),
        ("sent again after an unknown outcome", f"{accounts.resent_after_unknown:,} (documented, not a duplicate)"),
        ("lost, never at the carrier", f"{accounts.lost_before_carrier:,} of {accounts.lost:,}"),
        ("lag of the generator", f"p50 {plot.figure_ms(generator.lag_p50_ms)}, p99 {plot.figure_ms(generator.lag_p99_ms)},"
         f" max {plot.figure_ms(generator.lag_max_ms)}; requests that waited for a connection at once: {generator.most_waiting:,}"),
        ("time", f"{result.seconds:,.1f} s with the wait; seed {result.plan.seed}"),
        ("machine of the generator", f"{context.machine}; Tidings {context.tidings}"),
    ]  # fmt: skip
    rows += (
        [("refused", ", ".join(f"{code} {count:,}" for code, count in result.refusals.items()))]
        if result.refusals
        else []
    )
    said = ", ".join(f"{status} {count:,}" for status, count in result.lost_by_status.items())
    rows += [("what the server says of the lost", said)] if said else []
    rows += [("note", note) for note in context.notes]
    body = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows)
    return f'<section><h2>Circumstances</h2><table class="facts">{body}</table></section>'
