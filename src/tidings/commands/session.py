"""How commands reach a server: over `/v1`, with the client library, like any customer."""

import contextlib
from collections.abc import Generator
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from tidings_client import ApiError, ConnectionFailed, Tidings, TidingsError

DEFAULT_URL = "http://127.0.0.1:8300"
Url = Annotated[str, typer.Option("--url", envvar="TIDINGS_URL", help="Where the server listens.")]
Key = Annotated[str, typer.Option("--key", envvar="TIDINGS_API_KEY", help="An API key, tk_live_… or tk_test_….")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON for machines instead of text for people.")]
console = Console()


class Failure(Exception):
    """An expected failure: its text is what the user sees, the exit code is 1."""


@contextlib.contextmanager
def client(url: str, key: str) -> Generator[Tidings]:
    """A client; its errors become Failures with every bad field named. A `url` that is none is one, too."""
    if not key:
        raise Failure("no API key: give --key, or set TIDINGS_API_KEY (the server printed one at its first start)")
    try:
        session = Tidings(key, url)
    except ValueError as error:
        raise Failure(str(error)) from error
    try:
        with session:
            yield session
    except ApiError as error:
        lines = [f"{error.status} {error.code}: {error.detail}"]
        lines += [f"  {field.pointer}: {field.detail}" for field in error.errors]
        lines += [f"  request {error.request_id}"] if error.request_id and error.status >= 500 else []
        raise Failure("\n".join(lines)) from error
    except ConnectionFailed as error:
        raise Failure(f"no answer from {url}: is the server running there? (start it with `tidings serve`)") from error
    except (TidingsError, ValueError) as error:  # ValueError: a URL or key that cannot be one
        raise Failure(str(error)) from error


def show_json(value: Any) -> None:
    """One line of JSON."""
    print(msgspec.json.encode(value).decode(), flush=True)
