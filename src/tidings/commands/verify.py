"""One-time codes from the command line: send one, check it, see how they go."""

import datetime as dt
from typing import Annotated, Any

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from tidings.commands.session import DEFAULT_URL, AsJson, Key, Url, client, console, show_json
from tidings_client import models

verify = typer.Typer(no_args_is_help=True, help="One-time codes.")


@verify.command("start")
def verify_start(
    to: Annotated[str, typer.Argument(help="Number in E.164 form, or email address.")],
    channel: Annotated[str | None, typer.Option("--channel", help="sms, whatsapp or email.")] = None,
    locale: Annotated[str | None, typer.Option("--locale", help="Language of the words, for example pt-BR.")] = None,
    brand: Annotated[str | None, typer.Option("--brand", help="Who it is from, in the words.")] = None,
    text: Annotated[str | None, typer.Option("--text", help="Words of your own, with {{ code }}.")] = None,
    digits: Annotated[int | None, typer.Option("--digits", help="Of the code, 4 to 10.")] = None,
    valid_for_s: Annotated[int | None, typer.Option("--valid-for", help="Seconds.")] = None,
    reference: Annotated[str | None, typer.Option("--reference", help="Your own name for it.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = "",
    as_json: AsJson = False,
) -> None:
    """Send a code."""
    wanted: dict[str, Any] = {
        "channel": channel, "locale": locale, "brand": brand, "text": text, "code_length": digits,
        "valid_for_s": valid_for_s, "reference": reference,
    }  # fmt: skip
    with client(url, key) as session:
        made = session.verifications.start(to=to, **{k: v for k, v in wanted.items() if v is not None})
    _show(made, as_json)


@verify.command("check")
def verify_check(
    verification_id: str, code: str, url: Url = DEFAULT_URL, key: Key = "", as_json: AsJson = False
) -> None:
    """Check a code. Exit 0 only if it is right."""
    with client(url, key) as session:
        found = session.verifications.check(verification_id, code)
    if as_json:
        show_json(found)
    else:
        left = f"  {found.attempts_left} attempts left" if found.status == "pending" else ""
        print(f"{'right' if found.valid else 'wrong'}  {found.status}{left}")
    if not found.valid:
        raise typer.Exit(1)


@verify.command("resend")
def verify_resend(
    verification_id: str,
    channel: Annotated[str | None, typer.Option("--channel", help="Only by this one of its channels.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = "",
    as_json: AsJson = False,
) -> None:
    """Send the same code again."""
    with client(url, key) as session:
        _show(session.verifications.resend(verification_id, channel=channel), as_json)


@verify.command("cancel")
def verify_cancel(verification_id: str, url: Url = DEFAULT_URL, key: Key = "", as_json: AsJson = False) -> None:
    """End it: its code is worth nothing any more."""
    with client(url, key) as session:
        _show(session.verifications.cancel(verification_id), as_json)


@verify.command("get")
def verify_get(verification_id: str, url: Url = DEFAULT_URL, key: Key = "", as_json: AsJson = False) -> None:
    """Show one."""
    with client(url, key) as session:
        _show(session.verifications.get(verification_id), as_json)


@verify.command("code")
def verify_code(verification_id: str, url: Url = DEFAULT_URL, key: Key = "") -> None:
    """Read the code in the sandbox: with a test key only."""
    with client(url, key) as session:
        print(session.verifications.sandbox_code(verification_id))


@verify.command("stats")
def verify_stats(
    hours: Annotated[int, typer.Option("--hours", min=1, max=31 * 24, help="So far back.")] = 24,
    url: Url = DEFAULT_URL,
    key: Key = "",
    as_json: AsJson = False,
) -> None:
    """How verifications went, by channel and country."""
    since = dt.datetime.now(dt.UTC) - dt.timedelta(hours=hours)
    with client(url, key) as session:
        found = session.verifications.stats(since=since)
    if as_json:
        show_json(found)
        return
    columns = ("channel", "country", "started", "approved", "failed", "expired", "canceled", "pending", "conversion")
    table = Table(*columns, "p50", "p90", "p99")
    for row in found.data:
        values = msgspec.structs.asdict(row)
        took = row.time_to_verify_ms
        times = ["" if ms is None else f"{ms / 1000:.1f} s" for ms in (took.p50, took.p90, took.p99)]
        table.add_row(*("" if values[name] is None else str(values[name]) for name in columns), *times)
    console.print(table)


@verify.command("allow")
def verify_allow(prefix: str, url: Url = DEFAULT_URL, key: Key = "") -> None:
    """Numbers that begin so are past the guard against SMS pumping, for example +4915."""
    with client(url, key) as session:
        print(f"{session.verifications.allow(prefix).prefix} is allowed")


@verify.command("disallow")
def verify_disallow(prefix: str, url: Url = DEFAULT_URL, key: Key = "") -> None:
    """They are guarded again."""
    with client(url, key) as session:
        session.verifications.disallow(prefix)
    print(f"{prefix} is guarded")


@verify.command("prefixes")
def verify_prefixes(url: Url = DEFAULT_URL, key: Key = "") -> None:
    """List the allowed ones."""
    with client(url, key) as session:
        for item in session.verifications.prefixes():
            print(item.prefix)


def _show(found: models.Verification, as_json: Any) -> None:
    if as_json:
        show_json(found)
        return
    ends = f"  until {found.expires_at:%H:%M:%S} UTC" if found.status == "pending" and found.expires_at else ""
    line = f"{found.id}  [bold]{escape(found.status)}[/bold]  {escape(found.channel)}{ends}"
    console.print(line, highlight=False, soft_wrap=True)
