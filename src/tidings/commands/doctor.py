"""`tidings doctor`: looks at configuration, disk, server, carrier links and clock, and says what to do."""

import os
import shutil
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
import urllib3
from rich.markup import escape

from tidings.commands.session import DEFAULT_URL, AsJson, Failure, Key, Url, client, console, show_json
from tidings.domain.errors import SettingsError

_LOW_DISK_MB = 1_024
_SKEW_S = 5
_TIMEOUT_S = 5
_ADVICE = {
    "auth_failed": "the carrier refused system_id or password: correct them, then `tidings providers resume {name}`",
    "down": "no link: check host, port and the firewall",
    "connecting": "still connecting: look again in some seconds",
    "paused": "paused by an operator: `tidings providers resume {name}` starts it again",
}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at, what was found, and what to do about it."""

    about: str
    ok: bool
    found: str
    advice: str = ""


def doctor(
    data: Annotated[Path | None, typer.Option("--data", help="Directory of the database.")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="tidings.toml")] = None,
    url: Url = DEFAULT_URL,
    key: Key = "",
    as_json: AsJson = False,
) -> None:
    """Check configuration, disk, server, carrier links and clock. Exit 1 if something needs doing."""
    findings = [*_configuration(config, data), *_server(url.rstrip("/")), *_links(url, key)]
    if as_json:
        show_json(findings)
    else:
        for finding in findings:
            mark = "[green]ok  [/green]" if finding.ok else "[red]FAIL[/red]"
            text = finding.found + (f": {finding.advice}" if finding.advice else "")
            console.print(f"{mark}  {escape(finding.about):14} {escape(text)}", highlight=False, soft_wrap=True)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def _configuration(config: Path | None, data: Path | None) -> Iterator[Finding]:
    from tidings import settings

    try:
        found = settings.load(config, data)
    except SettingsError as error:
        yield Finding(about="configuration", ok=False, found=str(error))
        return
    text = f"{len(found.providers)} provider(s) declared, data in {found.data}"
    yield Finding(about="configuration", ok=True, found=text)
    folder = next(path for path in (found.data, *found.data.parents) if path.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        advice = "give this user the right to, or choose another --data"
        yield Finding(about="data", ok=False, found=f"{folder} is no directory that can be written", advice=advice)
        return
    free_mb = shutil.disk_usage(folder).free // 1_048_576
    good = free_mb >= _LOW_DISK_MB
    advice = "" if good else "make room: a full disk refuses every message (507)"
    yield Finding(about="disk", ok=good, found=f"{free_mb} MB free at {folder}", advice=advice)


def _server(url: str) -> Iterator[Finding]:
    try:
        answer = urllib3.request("GET", f"{url}/readyz", timeout=_TIMEOUT_S, retries=False)
    except urllib3.exceptions.HTTPError:
        advice = "start it with `tidings serve`, or give --url"
        yield Finding(about="server", ok=False, found=f"no answer at {url}", advice=advice)
        return
    here_s = time.time()
    ready = answer.status == 200
    found = f"ready at {url}" if ready else f"not ready ({answer.status}): {answer.data.decode(errors='replace')[:300]}"
    yield Finding(about="server", ok=ready, found=found)
    yield _clock(answer.headers.get("date", ""), here_s)


def _clock(date: str, here_s: float) -> Finding:
    """Webhook signatures and SMPP dates need clocks that agree. Source: Standard Webhooks 1.0 "Verifying the timestamp"."""
    try:
        skew_s = abs(parsedate_to_datetime(date).timestamp() - here_s)
    except ValueError:
        return Finding(
            about="clock", ok=True, found="not looked at, as the server (or a proxy before it) sends no Date"
        )
    if skew_s <= _SKEW_S:
        return Finding(about="clock", ok=True, found="agrees with the server's")
    return Finding(about="clock", ok=False, found=f"{skew_s:.0f} s from the server's", advice="set up NTP on both")


def _links(url: str, key: str) -> Iterator[Finding]:
    if not key:
        yield Finding(about="carrier links", ok=True, found="not looked at", advice="give --key or set TIDINGS_API_KEY")
        return
    try:
        with client(url, key) as session:
            found = list(session.providers.list())
    except Failure as failure:
        yield Finding(about="carrier links", ok=False, found=str(failure))
        return
    for provider in found:
        errors = "; ".join(sorted({link.last_error for link in provider.links if link.last_error}))
        text = provider.status + (f" ({errors})" if errors and provider.status != "up" else "")
        advice = _ADVICE.get(provider.status, "").format(name=provider.name)
        yield Finding(about=provider.name, ok=provider.status in ("up", "paused"), found=text, advice=advice)
