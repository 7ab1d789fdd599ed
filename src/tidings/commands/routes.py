"""Routes."""

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from tidings.commands.session import DEFAULT_URL, AsJson, Failure, Key, Url, client, console, show_json
from tidings_client import Route, RouteTarget

routes = typer.Typer(no_args_is_help=True, help="Which provider carries what.")
Many = list[str] | None


@routes.command("list")
def routes_list(url: Url = DEFAULT_URL, key: Key = "", as_json: AsJson = False) -> None:
    """List routes, with the share of its messages that each provider gets now."""
    with client(url, key) as session:
        found = list(session.routes.list())
    if as_json:
        show_json(found)
        return
    table = Table("name", "for", "targets", "origin", box=None, header_style="bold")
    for item in found:
        table.add_row(*map(escape, _row(item)))
    console.print(table)


@routes.command("add")
def routes_add(
    name: str,
    target: Annotated[
        list[str], typer.Option(help="PROVIDER, PROVIDER=WEIGHT or PROVIDER=WEIGHT@COST_PER_PART; repeat.")
    ],
    to: Annotated[Many, typer.Option(help="Prefix (+44), country (GB) or mail domain (@example.com).")] = None,
    channel: Annotated[Many, typer.Option()] = None,
    message_class: Annotated[Many, typer.Option("--class", help="otp, transactional or marketing.")] = None,
    tag: Annotated[Many, typer.Option()] = None,
    sender: Annotated[Many, typer.Option("--from")] = None,
    need: Annotated[Many, typer.Option(help="receipts, reads, media or inbound.")] = None,
    prefer: Annotated[str, typer.Option(help="weight, cost or order.")] = "weight",
    priority: int = 100,
    no_receipt_s: Annotated[
        float, typer.Option(help="Another provider after so long without a receipt; 0: never.")
    ] = 0,
    url: Url = DEFAULT_URL,
    key: Key = "",
) -> None:
    """Make a route: tidings routes add uk --to +44 --target acme=3@0.02 --target other=1@0.03."""
    route: dict[str, Any] = {
        "name": name, "targets": [_target(text) for text in target], "to": to or [], "channels": channel or [],
        "class": message_class or [], "tags": tag or [], "from": sender or [], "needs": need or [], "prefer": prefer,
        "priority": priority, "no_receipt_s": no_receipt_s,
    }  # fmt: skip
    with client(url, key) as session:
        made = session.routes.create(route)
    print(f"{made.name} goes to {_targets(made.targets)}")


@routes.command("remove")
def routes_remove(name: str, url: Url = DEFAULT_URL, key: Key = "") -> None:
    """Remove one, by name or id."""
    with client(url, key) as session:
        session.routes.delete(name)
    print(f"{name} is removed")


def _target(text: str) -> dict[str, Any]:
    name, _, rest = text.partition("=")
    weight, _, cost = rest.partition("@")
    try:
        found: dict[str, Any] = {"provider": name, "weight": float(weight) if weight else 1.0}
        return found | ({"cost_per_part": float(cost)} if cost else {})
    except ValueError as error:
        raise Failure(f"--target {text}: must be PROVIDER, PROVIDER=WEIGHT or PROVIDER=WEIGHT@COST_PER_PART") from error


def _targets(targets: list[RouteTarget]) -> str:
    return ", ".join(
        f"{one.provider}={one.weight:g}"
        + (f"@{one.cost_per_part:g}" if one.cost_per_part is not None else "")
        + (f" (gets {one.share:.0%})" if one.share < 1 else "")
        for one in targets
    )


def _row(route: Route) -> tuple[str, ...]:
    given = {"channel": route.channels, "to": route.to, "class": route.lanes, "tag": route.tags, "from": route.senders}
    words = "; ".join(f"{what} {', '.join(names)}" for what, names in given.items() if names)
    return route.name, words or "everything", _targets(route.targets), route.origin
