"""`tidings loadtest`: an open loop of messages against a server, every one of them accounted for."""

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, cast

import typer

from tidings.commands.session import DEFAULT_URL, Failure, Key, Url, console

if TYPE_CHECKING:
    from tidings.domain.message import Lane
    from tidings.loadtest.plan import Limits, Plan
    from tidings.loadtest.recorder import Recorder
    from tidings.loadtest.result import Result
    from tidings.loadtest.run import Callbacks, LoadTest
    from tidings.loadtest.stage import Carrier

_LIMIT = "Exit 1 above it; -1: do not ask."


def loadtest(
    rate: Annotated[float, typer.Option("--rate", help="Messages a second.")] = 50,
    duration_s: Annotated[float, typer.Option("--duration", help="Seconds of sending.")] = 30,
    arrivals: Annotated[str, typer.Option("--arrivals", help="constant, or poisson as real traffic.")] = "constant",
    lanes: Annotated[str, typer.Option("--lanes", help="Shares of the lanes.")] = "otp=5,transactional=15,marketing=80",
    to_range: Annotated[
        str,
        typer.Option("--to-range", help="FIRST-LAST, written to in turn; as it is, no telephone has these numbers."),
    ] = "+15005551000-+15005559999",
    text: Annotated[str, typer.Option("--text", help="Text behind the mark that names each message.")] = (
        "is your load test message"
    ),
    batch: Annotated[
        int, typer.Option("--batch", help="Messages of one request; above 1 over /v1/messages/batch.")
    ] = 1,
    connections: Annotated[int, typer.Option("--connections", help="Keep-alive connections at most.")] = 64,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds that an answer may take.")] = 30,
    wait_s: Annotated[
        float, typer.Option("--wait", help="Lost is what has no end when nothing moved for so long.")
    ] = 30,
    valid_for: Annotated[str, typer.Option("--valid-for", help="Seconds by lane: otp=60.")] = "",
    sla_ms: Annotated[str, typer.Option("--sla-ms", help="Request to submit by lane, else late: otp=1000.")] = "",
    sandbox: Annotated[
        bool | None,
        typer.Option(
            "--sandbox/--no-sandbox",
            help="Bring a carrier along (the default with a live key), or use the server's.",
        ),
    ] = None,
    carrier_rate: Annotated[float, typer.Option("--carrier-rate", help="rate_per_s of that carrier; 0: none.")] = 0,
    carrier_window: Annotated[int, typer.Option("--carrier-window", help="Its window.")] = 50,
    carrier_binds: Annotated[int, typer.Option("--carrier-binds", help="Binds to it.")] = 1,
    receipts: Annotated[
        str, typer.Option("--receipts", help="What it reports: delivered=97,undelivered=2,none=1.")
    ] = "delivered=100",
    receipt_delay_s: Annotated[float, typer.Option("--receipt-delay", help="Seconds, ± half of it.")] = 0.2,
    callbacks: Annotated[
        str, typer.Option("--callbacks", help="webhook, stream, or auto: webhook if allowed.")
    ] = "auto",
    listen_host: Annotated[
        str, typer.Option("--listen-host", help="Address of this machine that the server can reach.")
    ] = "127.0.0.1",
    seed: Annotated[int, typer.Option("--seed", help="Of arrivals and receipts.")] = 1,
    max_p99_ms: Annotated[float | None, typer.Option("--max-p99-ms", help="Request to 202.")] = None,
    max_submit_p99_ms: Annotated[float | None, typer.Option("--max-submit-p99-ms", help="Request to submit.")] = None,
    max_callback_p99_ms: Annotated[
        float | None, typer.Option("--max-callback-p99-ms", help="Receipt to callback.")
    ] = None,
    max_lost: Annotated[int, typer.Option("--max-lost", help=_LIMIT)] = 0,
    max_duplicated: Annotated[int, typer.Option("--max-duplicated", help=_LIMIT)] = 0,
    max_late: Annotated[int, typer.Option("--max-late", help=_LIMIT)] = 0,
    max_over_rate: Annotated[int, typer.Option("--max-over-rate", help=_LIMIT)] = 0,
    max_refused: Annotated[int, typer.Option("--max-refused", help=f"Refused or unanswered. {_LIMIT}")] = 0,
    max_failed: Annotated[int, typer.Option("--max-failed", help=f"Bad ends that no receipt asked for. {_LIMIT}")] = 0,
    max_lag_ms: Annotated[
        float, typer.Option("--max-generator-lag-ms", help="Our own lateness, p99; else exit 3.")
    ] = 25,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the JSON report here.")] = None,
    html_file: Annotated[Path | None, typer.Option("--html", help="Write the HTML report here.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = "",
) -> None:
    """Load a server, and account for every message. Exit 0: all held, 1: missed, 2: bad options, 3: we lagged, 130: stopped."""
    from tidings.loadtest import plan as plans
    from tidings.loadtest.result import to_json

    own = _own_carrier(sandbox, key)
    try:
        plan = plans.check(
            plans.Plan(
                rate_per_s=rate, duration_s=duration_s, arrivals=cast(Any, _choice("--arrivals", arrivals, "constant", "poisson")),
                seed=seed, lanes=plans.read_lanes(lanes), recipients=plans.read_range(to_range), text=text, batch=batch,
                connections=connections, timeout_s=timeout_s, wait_s=wait_s + 1.5 * receipt_delay_s, most_lag_ms=max_lag_ms,
                valid_for_s={lane: int(value) for lane, value in _by_lane("--valid-for", valid_for).items()},
                sla_ms=_by_lane("--sla-ms", sla_ms),
            )
        )  # fmt: skip
        mix = plans.read_receipts(receipts)
    except plans.PlanError as error:
        _bad(str(error))
    limits = plans.Limits(
        max_p99_ms=max_p99_ms, max_submit_p99_ms=max_submit_p99_ms, max_callback_p99_ms=max_callback_p99_ms,
        max_lost=_asked(max_lost), max_duplicated=_asked(max_duplicated), max_late=_asked(max_late),
        max_over_rate=_asked(max_over_rate), max_refused=_asked(max_refused), max_failed=_asked(max_failed),
    )  # fmt: skip

    def far_side(recorder: "Recorder") -> "Carrier":
        from tidings.commands.loadtest_carrier import LoadCarrier

        return LoadCarrier(
            recorder, mix=mix, receipt_delay_s=receipt_delay_s, rate_per_s=carrier_rate, window=carrier_window,
            binds=carrier_binds, host=listen_host, seed=seed,
        )  # fmt: skip

    told = cast("Callbacks", _choice("--callbacks", callbacks, "auto", "webhook", "stream"))
    result = _run(plan, limits, url, key, far_side if own else None, told, listen_host)
    _write(json_file, to_json(result))
    if html_file is not None:
        from tidings.loadtest.page import page

        _write(html_file, page(result).encode())
    _tell(result)
    raise typer.Exit(result.exit_code)


def _by_lane(option: str, text: str) -> "dict[Lane, float]":
    from tidings.domain.message import LANES
    from tidings.loadtest import plan

    return plan.by_lane(plan.read_pairs(option, text, LANES))


def _own_carrier(sandbox: bool | None, key: str) -> bool:
    if not key:
        raise Failure("no API key: give --key, or set TIDINGS_API_KEY")
    test = key.startswith("tk_test_")
    if sandbox and test:
        _bad("--sandbox needs a live key: with a test key messages go to the server's own sandbox (--no-sandbox)")
    return not test if sandbox is None else sandbox


def _run(
    plan: "Plan", limits: "Limits", url: str, key: str, far_side: "Callable[[Recorder], Carrier] | None",
    callbacks: "Callbacks", listen_host: str,
) -> "Result":  # fmt: skip
    import uvloop

    from tidings.loadtest.progress import Progress
    from tidings.loadtest.run import LoadTest
    from tidings.loadtest.stage import StageError
    from tidings_client import TidingsError

    progress = Progress(sys.stderr)

    async def whole() -> "Result":
        test = LoadTest(
            plan, limits, url, key, far_side=far_side, callbacks=callbacks, listen_host=listen_host, show=progress.show
        )
        _obey(test)
        return await test.run()

    try:
        return uvloop.run(whole())
    except ValueError as error:
        _bad(str(error))
    except (StageError, TidingsError, OSError) as error:
        raise Failure(f"the load test could not begin at {url}: {error}") from error
    finally:
        progress.end()


def _obey(test: "LoadTest") -> None:
    """The first Ctrl-C ends the test with its report; before anything was sent, and the second time, at once."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()

    def end() -> None:
        if test.phase == "setting up" or test.stopped:
            task.cancel()
        test.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)


def _tell(result: "Result") -> None:
    accounts, out = result.accounts, console
    for kind, title in (
        ("accept", "request → 202"),
        ("submit", "request → submit"),
        ("callback", "receipt → callback"),
    ):
        for lane, one in result.latency.get(kind, {}).items():
            out.print(
                f"{title:20} {lane:14} p50 {one.p50_ms:9.2f}  p90 {one.p90_ms:9.2f}  p99 {one.p99_ms:9.2f}"
                f"  p99.9 {one.p99_9_ms:9.2f}  max {one.max_ms:9.2f} ms  ({one.count:,})",
                highlight=False, soft_wrap=True,
            )  # fmt: skip
    counts = {name: getattr(accounts, name) for name in accounts.__struct_fields__}
    shown = [f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items() if count or name in _ALWAYS]
    out.print("  ".join(shown), highlight=False, soft_wrap=True)
    for code, count in result.refusals.items():
        out.print(f"  refused: {code} {count:,}", highlight=False, soft_wrap=True, markup=False)
    for status, count in result.lost_by_status.items():
        out.print(f"  of the lost the server says: {status} {count:,}", highlight=False, soft_wrap=True, markup=False)
    for note in result.context.notes:
        out.print(f"  note: {note}", highlight=False, soft_wrap=True, markup=False)
    for one in result.assertions:
        if not one.held:
            found = "was not measured" if one.found < 0 else f"is {one.found:g}"
            out.print(
                f"MISSED {one.name} {found}, at most {one.limit:g}", highlight=False, soft_wrap=True, markup=False
            )
    lag = result.generator
    if not lag.kept:
        out.print(
            f"The load generator could not keep its schedule (lag p99 {lag.lag_p99_ms:.1f} ms, at most {lag.most_lag_ms:g}):"
            " do not blame the server; lower the rate or use another machine.", highlight=False, soft_wrap=True,
        )  # fmt: skip
    elif result.exit_code == 0:
        out.print("Everything held.", highlight=False)


_ALWAYS = ("scheduled", "accepted", "delivered", "lost", "duplicated", "late", "over_rate")


def _write(path: Path | None, data: bytes) -> None:
    if path is None:
        return
    try:
        path.write_bytes(data)
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}") from error


def _choice(option: str, value: str, *allowed: str) -> str:
    if value not in allowed:
        _bad(f"{option} must be one of {', '.join(allowed)}")
    return value


def _asked(limit: int) -> int | None:
    return None if limit < 0 else limit


def _bad(text: str) -> NoReturn:
    raise typer.BadParameter(text)
