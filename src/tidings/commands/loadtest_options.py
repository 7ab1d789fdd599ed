"""The options of `tidings loadtest`, each with its default and its help; what they mean together is in `loadtest.py`."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import msgspec
import typer

from tidings.commands.session import DEFAULT_URL, Key, Url

_LIMIT = "Exit 1 above it; -1: do not ask."


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says."""

    rate: Annotated[float, typer.Option("--rate", help="Messages a second.")] = 50
    duration_s: Annotated[float, typer.Option("--duration", help="Seconds of sending.")] = 30
    arrivals: Annotated[str, typer.Option("--arrivals", help="constant, or poisson as real traffic.")] = "constant"
    lanes: Annotated[str, typer.Option("--lanes", help="Shares of the lanes.")] = "otp=5,transactional=15,marketing=80"
    to_range: Annotated[
        str,
        typer.Option("--to-range", help="FIRST-LAST, written to in turn; as it is, no telephone has these numbers."),
    ] = "+15005551000-+15005559999"
    text: Annotated[str, typer.Option("--text", help="Text behind the mark that names each message.")] = (
        "is your load test message"
    )
    batch: Annotated[int, typer.Option("--batch", help="Messages of one request; above 1 over /v1/messages/batch.")] = 1
    connections: Annotated[int, typer.Option("--connections", help="Keep-alive connections at most.")] = 64
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds that an answer may take.")] = 30
    wait_s: Annotated[float, typer.Option("--wait", help="Lost is what has no end when nothing moved for so long.")] = (
        30
    )
    valid_for: Annotated[str, typer.Option("--valid-for", help="Seconds by lane: otp=60.")] = ""
    sla_ms: Annotated[str, typer.Option("--sla-ms", help="Request to submit by lane, else late: otp=1000.")] = ""
    sandbox: Annotated[
        bool | None,
        typer.Option(
            "--sandbox/--no-sandbox",
            help="Bring a carrier along (the default with a live key), or use the server's.",
        ),
    ] = None
    carrier_rate: Annotated[float, typer.Option("--carrier-rate", help="rate_per_s of that carrier; 0: none.")] = 0
    carrier_window: Annotated[int, typer.Option("--carrier-window", help="Its window.")] = 50
    carrier_binds: Annotated[int, typer.Option("--carrier-binds", help="Binds to it.")] = 1
    receipts: Annotated[str, typer.Option("--receipts", help="What it reports: delivered=97,undelivered=2,none=1.")] = (
        "delivered=100"
    )
    receipt_delay_s: Annotated[float, typer.Option("--receipt-delay", help="Seconds, ± half of it.")] = 0.2
    callbacks: Annotated[str, typer.Option("--callbacks", help="webhook, stream, or auto: webhook if allowed.")] = (
        "auto"
    )
    listen_host: Annotated[
        str, typer.Option("--listen-host", help="Address of this machine that the server can reach.")
    ] = "127.0.0.1"
    seed: Annotated[int, typer.Option("--seed", help="Of arrivals and receipts.")] = 1
    max_p99_ms: Annotated[float | None, typer.Option("--max-p99-ms", help="Request to 202.")] = None
    max_submit_p99_ms: Annotated[float | None, typer.Option("--max-submit-p99-ms", help="Request to submit.")] = None
    max_callback_p99_ms: Annotated[float | None, typer.Option("--max-callback-p99-ms", help="Receipt to callback.")] = (
        None
    )
    max_lost: Annotated[int, typer.Option("--max-lost", help=_LIMIT)] = 0
    max_duplicated: Annotated[int, typer.Option("--max-duplicated", help=_LIMIT)] = 0
    max_late: Annotated[int, typer.Option("--max-late", help=_LIMIT)] = 0
    max_over_rate: Annotated[int, typer.Option("--max-over-rate", help=_LIMIT)] = 0
    max_refused: Annotated[int, typer.Option("--max-refused", help=f"Refused or unanswered. {_LIMIT}")] = 0
    max_failed: Annotated[int, typer.Option("--max-failed", help=f"Bad ends that no receipt asked for. {_LIMIT}")] = 0
    max_lag_ms: Annotated[float, typer.Option("--max-generator-lag-ms", help="Our own lateness, p99; else exit 3.")] = (
        25
    )
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the JSON report here.")] = None
    html_file: Annotated[Path | None, typer.Option("--html", help="Write the HTML report here.")] = None
    url: Url = DEFAULT_URL
    key: Key = ""


def with_options(run: Callable[[Options], None]) -> Callable[..., None]:
    """`run` as typer wants it: with a parameter for each option."""

    @functools.wraps(run)
    def command(**given: Any) -> None:
        run(Options(**given))

    kinds = get_type_hints(Options, include_extras=True)
    shown = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=kinds[field.name]
        )
        for field in msgspec.structs.fields(Options)
    ]
    command.__dict__["__signature__"] = inspect.Signature(shown)
    return command
