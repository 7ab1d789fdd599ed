"""`tidings loadtest`: an open loop of messages against a server, every one of them accounted for."""

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

import typer

from tidings.commands.loadtest_options import Options, with_options
from tidings.commands.session import Failure, console

if TYPE_CHECKING:
    from tidings.domain.message import Lane
    from tidings.loadtest.plan import Limits, Plan
    from tidings.loadtest.recorder import Recorder
    from tidings.loadtest.result import Result
    from tidings.loadtest.run import Callbacks, LoadTest
    from tidings.loadtest.stage import Carrier


@with_options
def loadtest(options: Options) -> None:
    """Load a server, and account for every message. Exit 0: all held, 1: missed, 2: bad options, 3: we lagged, 130: stopped."""
    from tidings.loadtest.result import to_json

    own = _own_carrier(options.sandbox, options.key)
    plan, far_side = _plan(options)
    result = _run(plan, options, far_side if own else None)
    _write(options.json_file, to_json(result))
    if options.html_file is not None:
        from tidings.loadtest.page import page

        _write(options.html_file, page(result).encode())
    _tell(result)
    raise typer.Exit(result.exit_code)


def _plan(options: Options) -> "tuple[Plan, Callable[[Recorder], Carrier]]":
    """What is to be sent, and who would play the carrier."""
    from tidings.loadtest import plan as plans

    arrivals = cast(Any, _choice("--arrivals", options.arrivals, "constant", "poisson"))
    try:
        plan = plans.check(
            plans.Plan(
                rate_per_s=options.rate, duration_s=options.duration_s, arrivals=arrivals, seed=options.seed,
                lanes=plans.read_lanes(options.lanes), recipients=plans.read_range(options.to_range), text=options.text,
                batch=options.batch, connections=options.connections, timeout_s=options.timeout_s,
                wait_s=options.wait_s + 1.5 * options.receipt_delay_s, most_lag_ms=options.max_lag_ms,
                valid_for_s={lane: int(value) for lane, value in _by_lane("--valid-for", options.valid_for).items()},
                sla_ms=_by_lane("--sla-ms", options.sla_ms),
            )
        )  # fmt: skip
        mix = plans.read_receipts(options.receipts)
    except plans.PlanError as error:
        _bad(str(error))

    def far_side(recorder: "Recorder") -> "Carrier":
        from tidings.commands.loadtest_carrier import LoadCarrier

        return LoadCarrier(
            recorder, mix=mix, receipt_delay_s=options.receipt_delay_s, rate_per_s=options.carrier_rate,
            window=options.carrier_window, binds=options.carrier_binds, host=options.listen_host, seed=options.seed,
        )  # fmt: skip

    return plan, far_side


def _limits(options: Options) -> "Limits":
    from tidings.loadtest.plan import Limits

    return Limits(
        max_p99_ms=options.max_p99_ms, max_submit_p99_ms=options.max_submit_p99_ms,
        max_callback_p99_ms=options.max_callback_p99_ms, max_lost=_asked(options.max_lost),
        max_duplicated=_asked(options.max_duplicated), max_late=_asked(options.max_late),
        max_over_rate=_asked(options.max_over_rate), max_refused=_asked(options.max_refused),
        max_failed=_asked(options.max_failed),
    )  # fmt: skip


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


def _run(plan: "Plan", options: Options, far_side: "Callable[[Recorder], Carrier] | None") -> "Result":
    import uvloop

    from tidings.loadtest.progress import Progress
    from tidings.loadtest.run import LoadTest
    from tidings.loadtest.stage import StageError
    from tidings_client import TidingsError

    callbacks = cast("Callbacks", _choice("--callbacks", options.callbacks, "auto", "webhook", "stream"))
    limits, progress = _limits(options), Progress(sys.stderr)

    async def whole() -> "Result":
        test = LoadTest(
            plan, limits, options.url, options.key, far_side=far_side, callbacks=callbacks,
            listen_host=options.listen_host, show=progress.show,
        )  # fmt: skip
        _obey(test)
        return await test.run()

    try:
        return uvloop.run(whole())
    except ValueError as error:
        _bad(str(error))
    except (StageError, TidingsError, OSError) as error:
        raise Failure(f"the load test could not begin at {options.url}: {error}") from error
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
