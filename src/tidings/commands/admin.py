"""Keys and providers."""

import datetime as dt
from typing import Annotated, Any

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from tidings.commands.session import DEFAULT_URL, AsJson, Failure, Key, Url, client, console, show_json
from tidings_client import Link

keys = typer.Typer(no_args_is_help=True, help="API keys.")
providers = typer.Typer(no_args_is_help=True, help="Carriers.")


@keys.command("create")
def keys_create(
    name: str,
    mode: Annotated[str, typer.Option(help="live or test")] = "test",
    scope: Annotated[
        list[str] | None, typer.Option(help="May be repeated; without it `*`, everything (your own key needs it too).")
    ] = None,
    url: Url = DEFAULT_URL,
    key: Key = "",
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown this once."""
    with client(url, key) as session:
        made = session.keys.create(name=name, mode=mode, scopes=scope or ["*"])
    if as_json:
        show_json(made)
    else:
        print(f"{made.id}  {made.key}")
        if made.smpp is not None:
            typer.echo(f"over SMPP: system_id {made.smpp.system_id}, password {made.smpp.password}", err=True)


@keys.command("list")
def keys_list(url: Url = DEFAULT_URL, key: Key = "", as_json: AsJson = False) -> None:
    """List keys."""
    with client(url, key) as session:
        found = list(session.keys.list())
    _table(as_json, found, ("id", "name", "mode", "scopes", "created_at", "revoked_at"))


@keys.command("revoke")
def keys_revoke(key_id: str, url: Url = DEFAULT_URL, key: Key = "") -> None:
    """Revoke a key, at once."""
    with client(url, key) as session:
        session.keys.revoke(key_id)
    print(f"{key_id} is revoked")


@providers.command("list")
def providers_list(url: Url = DEFAULT_URL, key: Key = "", as_json: AsJson = False) -> None:
    """List providers with the state of their links."""
    with client(url, key) as session:
        found = list(session.providers.list())
    _table(as_json, found, ("name", "type", "status", "origin", "links"))


@providers.command("add")
def providers_add(
    name: str,
    kind: str,
    config: Annotated[str, typer.Option(help="JSON object.")],
    url: Url = DEFAULT_URL,
    key: Key = "",
) -> None:
    """Add a provider: tidings providers add acme sms.smpp --config '{"host": …}'."""
    try:
        parsed = msgspec.json.decode(config, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise Failure(f"--config must be a JSON object: {error}") from error
    with client(url, key) as session:
        made = session.providers.create(name=name, type=kind, config=parsed)
    print(f"{made.name} is {made.status}")


@providers.command("pause")
def providers_pause(name: str, url: Url = DEFAULT_URL, key: Key = "") -> None:
    """Drain it and send nothing more through it."""
    with client(url, key) as session:
        print(f"{name} is {session.providers.pause(name).status}")


@providers.command("resume")
def providers_resume(name: str, url: Url = DEFAULT_URL, key: Key = "") -> None:
    """Start it again, also after a refused password."""
    with client(url, key) as session:
        print(f"{name} is {session.providers.resume(name).status}")


@providers.command("templates")
def providers_templates(name: str, url: Url = DEFAULT_URL, key: Key = "", as_json: AsJson = False) -> None:
    """List the templates that its carrier has now, and how far their approval is."""
    with client(url, key) as session:
        found = list(session.providers.templates(name))
    _table(as_json, found, ("name", "language", "status", "category", "places"))


@providers.command("remove")
def providers_remove(name: str, url: Url = DEFAULT_URL, key: Key = "") -> None:
    """Drain and remove it."""
    with client(url, key) as session:
        session.providers.delete(name)
    print(f"{name} is removed")


def _table(as_json: bool, found: list[Any], columns: tuple[str, ...]) -> None:
    if as_json:
        show_json(found)
        return
    table = Table(box=None, header_style="bold")
    for n, column in enumerate(columns):
        table.add_column(column, no_wrap=n == 0)  # an id or a name is there to be copied: other columns give way
    for item in found:
        table.add_row(*(_cell(getattr(item, column, None)) for column in columns))
    console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, (list, tuple)):
        return ", ".join(_cell(item) for item in value)  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, Link):
        return escape(f"{value.kind} {value.state}" + (f" ({value.last_error})" if value.last_error else ""))
    return escape(f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, dt.datetime) else str(value))
