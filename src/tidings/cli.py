"""The `tidings` command. Exit codes: 0 done, 1 it failed (the text says why), 2 the command line is wrong."""

import sys

import typer

from tidings.commands import admin, backup, doctor, loadtest, messages, routes, server, verify

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # locals hold keys and addresses
    help="Tidings: one API, every channel, both ways. Exit codes: 0 done, 1 it failed, 2 wrong command line.",
)
app.command()(server.serve)
app.command()(server.migrate)
app.command()(server.demo)
app.command()(messages.send)
app.command()(messages.tail)
app.command()(doctor.doctor)
app.command()(backup.backup)
app.command()(backup.restore)
app.command()(loadtest.loadtest)
app.add_typer(admin.keys, name="keys")
app.add_typer(admin.providers, name="providers")
app.add_typer(routes.routes, name="routes")
app.add_typer(verify.verify, name="verify")


def main() -> None:
    """The entry point: expected errors are one clear line, not a traceback."""
    from tidings.commands.session import Failure  # the client library is only loaded where it is needed

    try:
        app()
    except Failure as failure:
        print(failure, file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
