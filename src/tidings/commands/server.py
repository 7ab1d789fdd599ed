"""Starting: the server, the schema, the demo."""

from pathlib import Path
from typing import Annotated

import typer

from tidings.commands.session import Failure
from tidings.domain.errors import TidingsError

Data = Annotated[Path | None, typer.Option("--data", help="Directory of the database and the keys.")]
Listen = Annotated[str | None, typer.Option("--listen", help="HOST:PORT to listen on; port 0 takes a free one.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="tidings.toml")]
Role = Annotated[str | None, typer.Option("--role", help="all, or on PostgreSQL api or worker.")]


def serve(data: Data = None, listen: Listen = None, config: ConfigFile = None, role: Role = None) -> None:
    """Run the server until SIGTERM or Ctrl-C, then drain."""
    from tidings.kit.process import importing, raise_open_files

    with importing():
        from tidings import service, settings

    raise_open_files()
    try:
        raise typer.Exit(service.serve(settings.load(config, data, listen, role)))
    except TidingsError as error:
        raise Failure(str(error)) from error


def migrate(data: Data = None, config: ConfigFile = None) -> None:
    """Bring the database to this version's schema (serve does so by itself)."""
    from tidings import service, settings

    try:
        steps = service.migrate(settings.load(config, data))
    except TidingsError as error:
        raise Failure(str(error)) from error
    print("\n".join(f"applied {step}" for step in steps) or "the schema is up to date")


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="End after the show; exit 0 only if all of it happened.")
    ] = False,
    listen: Listen = None,
    data: Annotated[Path | None, typer.Option("--data", help="Keep the data here; else they go with the demo.")] = None,
) -> None:
    """Start a server and send three real messages through the sandbox carrier, live."""
    from tidings.demo.show import run

    raise typer.Exit(run(once=once, listen=listen or "127.0.0.1:0", data=data))
