"""Sending a message and watching what happens."""

import json
import time
from typing import Annotated, Any

import msgspec
import typer
from rich.markup import escape

from tidings.commands.session import DEFAULT_URL, AsJson, Failure, Key, Url, client, console, show_json

_ENDS = {"delivered", "partially_delivered", "undelivered", "failed", "expired", "canceled", "suppressed"}


def send(
    to: Annotated[str, typer.Argument(help="A number in E.164 form, an email address, or a device's token.")],
    text: Annotated[str | None, typer.Argument(help="The text; Liquid if --data is given.")] = None,
    sender: Annotated[str | None, typer.Option("--from", help="Number or name that it comes from.")] = None,
    lane: Annotated[str | None, typer.Option("--class", help="otp, transactional or marketing.")] = None,
    channel: Annotated[
        str | None, typer.Option("--channel", help="sms, email, whatsapp or push; without it TO decides.")
    ] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="Of an email; the title of a push message.")] = None,
    content: Annotated[str | None, typer.Option("--content", help="JSON object: what the channel takes.")] = None,
    template: Annotated[str | None, typer.Option("--template", help="Name of a template, instead of TEXT.")] = None,
    data: Annotated[str | None, typer.Option("--data", help="JSON object for Liquid.")] = None,
    reference: Annotated[str | None, typer.Option("--reference", help="Your own name for it.")] = None,
    valid_for_s: Annotated[int | None, typer.Option("--valid-for", help="Seconds after which it expires.")] = None,
    send_at: Annotated[str | None, typer.Option("--send-at", help="RFC 3339 time.")] = None,
    wait_s: Annotated[float, typer.Option("--wait", help="Seconds to wait for its end.")] = 0,
    url: Url = DEFAULT_URL,
    key: Key = "",
    as_json: AsJson = False,
) -> None:
    """Send one message. With --wait: exit 0 only if it was sent or delivered by then."""
    wanted = {
        "from": sender, "class": lane, "reference": reference, "valid_for_s": valid_for_s, "send_at": send_at,
        "data": _object(data, "--data"), "text": text, "template": template, "channel": channel,
        "content": _content(_object(content, "--content"), subject, channel),
    }  # fmt: skip
    body: dict[str, Any] = {"to": to} | {k: v for k, v in wanted.items() if v is not None}
    with client(url, key) as session:
        message = session.messages.send(**body)
        end = time.monotonic() + wait_s
        while wait_s and message.status not in _ENDS and time.monotonic() < end:
            time.sleep(0.1)
            message = session.messages.get(message.id)
    if as_json:
        show_json(message)
    else:
        why = f"  {message.error.code}: {message.error.detail}" if message.error is not None else ""
        console.print(
            f"{message.id}  [bold]{escape(message.status)}[/bold]{escape(why)}", highlight=False, soft_wrap=True
        )
    if wait_s and message.status not in ("delivered", "sent"):
        raise typer.Exit(1)


def tail(
    types: Annotated[list[str] | None, typer.Option("--type", help="Only these types; may be repeated.")] = None,
    after: Annotated[int | None, typer.Option("--after", min=0, help="Begin behind this `seq`, not now.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = "",
    as_json: AsJson = False,
) -> None:
    """Show events as they happen, until Ctrl-C."""
    with client(url, key) as session:
        try:
            for event in session.stream(types=types or None, after=after):
                if as_json:
                    show_json(event)
                    continue
                about = "  ".join(str(event.data[name]) for name in ("id", "to") if event.data.get(name))
                line = f"{event.timestamp:%H:%M:%S}  [cyan]{escape(event.type):28}[/cyan] {escape(about)}"
                console.print(line, highlight=False, soft_wrap=True)
        except KeyboardInterrupt:
            return


def _content(given: dict[str, Any] | None, subject: str | None, channel: str | None) -> dict[str, Any] | None:
    """With the subject under the name that it has on the channel."""
    return given if subject is None else {**(given or {}), "title" if channel == "push" else "subject": subject}


def _object(text: str | None, option: str) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise Failure(f"{option} must be a JSON object, such as {json.dumps({'name': 'Ada'})!r}: {error}") from error
