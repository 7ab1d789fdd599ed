"""`tidings doctor`: looks at configuration, disk, server, carrier links and clock, and says what to do."""

import os
import shutil
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated

import typer
import urllib3

from tidings.commands.session import DEFAULT_URL, Failure, Key, Url, client, console
from tidings.domain.errors import SettingsError
from tidings.kit.clock import wall_ms

Finding = tuple[bool, str, str]  # good, what was looked at, what was found and what to do
_LOW_DISK_MB = 1_024
_SKEW_S = 5


def doctor(
    data: Annotated[Path | None, typer.Option("--data", help="Directory of the database.")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="tidings.toml")] = None,
    url: Url = DEFAULT_URL,
    key: Key = "",
) -> None:
    """Check configuration, disk, server, carrier links and clock. Exit 1 if something needs doing."""
    findings = [*_configuration(config, data), *_server(url), *_links(url, key)]
    for good, about, text in findings:
        mark = "[green]ok  [/green]" if good else "[red]FAIL[/red]"
        console.print(f"{mark}  {about:14} {text}", highlight=False)
    if not all(good for good, _, _ in findings):
        raise typer.Exit(1)


def _configuration(config: Path | None, data: Path | None) -> Iterator[Finding]:
    from tidings import settings

    try:
        found = settings.load(config, data)
    except SettingsError as error:
        yield False, "configuration", str(error)
        return
    yield True, "configuration", f"{len(found.providers)} provider(s) declared, data in {found.data}"
    folder = next(path for path in (found.data, *found.data.parents) if path.exists())
    if not os.access(folder, os.W_OK):
        yield False, "data", f"{folder} cannot be written: give this user the right to, or choose another --data"
    free_mb = shutil.disk_usage(folder).free // 1_048_576
    text = f"{free_mb} MB free at {folder}"
    yield free_mb >= _LOW_DISK_MB, "disk", text if free_mb >= _LOW_DISK_MB else text + ": make room before it is full"


def _server(url: str) -> Iterator[Finding]:
    try:
        answer = urllib3.request("GET", f"{url}/readyz", timeout=5, retries=False)
    except urllib3.exceptions.HTTPError:
        yield False, "server", f"no answer at {url}: start it with `tidings serve`, or give --url"
        return
    yield (
        answer.status == 200,
        "server",
        "ready" if answer.status == 200 else f"not ready: {answer.data.decode()[:300]}",
    )
    theirs = parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
    skew_s = abs(theirs - wall_ms() / 1000)
    text = f"{skew_s:.0f} s from the server's" if skew_s > _SKEW_S else "agrees with the server's"
    yield skew_s <= _SKEW_S, "clock", text + (": set up time synchronisation" if skew_s > _SKEW_S else "")


def _links(url: str, key: str) -> Iterator[Finding]:
    if not key:
        yield True, "carrier links", "not looked at: give --key or set TIDINGS_API_KEY"
        return
    try:
        with client(url, key) as session:
            found = list(session.providers.list())
    except Failure as failure:
        yield False, "carrier links", str(failure)
        return
    advice = {"auth_failed": "the carrier refused system_id or password: correct them, then `tidings providers resume`",
              "down": "no link: check host, port and the firewall",
              "connecting": "still connecting: look again in some seconds",
              "paused": "paused by an operator: `tidings providers resume`"}  # fmt: skip
    for provider in found:
        text = provider.status if provider.status == "up" else f"{provider.status}: {advice.get(provider.status, '')}"
        yield provider.status in ("up", "paused"), provider.name, text
