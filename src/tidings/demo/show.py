"""`tidings demo`: three real messages through a real protocol, shown live, checked to the last event."""

import asyncio
import contextlib
import tempfile
import time
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tidings.demo.receiver import Receiver
from tidings.demo.script import SCENES, Scene
from tidings.demo.server import DemoServer
from tidings_client import AsyncTidings, Event, Message, TidingsError

_DEADLINE_S = 30.0
_TICK_S = 0.1


class Act:
    """A scene being played."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.message: Message | None = None
        self.timeline: list[Event] = []
        self.reply: Event | None = None

    def missing(self, receiver: Receiver) -> list[str]:
        """What has not happened yet, in words."""
        if self.message is None:
            return ["it was not accepted"]
        seen = {event.type for event in self.timeline}
        called = {event.type for event in receiver.of(self.message.id)}
        gaps = [f"no {kind} in the timeline" for kind in self.scene.events if kind not in seen]
        gaps += [f"no verified webhook {kind}" for kind in self.scene.events if kind not in called]
        if self.message.status != "delivered":
            gaps.append(f"status is {self.message.status}, not delivered")
        if self.message.parts != self.scene.parts:
            gaps.append(f"{self.message.parts} part(s), not {self.scene.parts}")
        if self.scene.answer is not None and self.reply is None:
            gaps.append(f"no verified webhook with the reply {self.scene.answer!r}")
        return gaps


def run(*, once: bool, listen: str) -> int:
    """The exit code: 0 if all of it happened."""
    console = Console()
    try:
        return asyncio.run(_run(console, once, listen))
    except KeyboardInterrupt:
        return 0
    except (RuntimeError, TidingsError) as error:
        console.print(f"[red]The demo failed:[/red] {error}")
        return 1


async def _run(console: Console, once: bool, listen: str) -> int:
    with tempfile.TemporaryDirectory(prefix="tidings-demo-") as folder:
        server, receiver = DemoServer(Path(folder), listen), Receiver()
        try:
            url = await server.start()
            hook = await receiver.start()
            console.print(f"[bold]Tidings[/bold] runs at {url}; webhooks go to {hook}", highlight=False)
            code = await _play(console, url, server.key, hook, receiver)
            if not once:
                _invite(console, url, server.key)
                await asyncio.Event().wait()
            return code
        finally:
            with contextlib.suppress(asyncio.CancelledError):
                await server.stop()
            await receiver.stop()


async def _play(console: Console, url: str, key: str, hook: str, receiver: Receiver) -> int:
    acts = [Act(scene) for scene in SCENES]
    async with AsyncTidings(key, url) as client:
        endpoint = await client.webhooks.create(url=hook)
        receiver.secret = endpoint.secret or ""
        for act in acts:
            sent = await client.messages.send(**act.scene.request)
            act.message = await client.messages.get(sent.id)
        end = time.monotonic() + _DEADLINE_S
        with Live(_picture(acts, receiver), console=console, refresh_per_second=10) as live:
            while time.monotonic() < end:
                await _look(client, acts, receiver)
                live.update(_picture(acts, receiver))
                if not any(act.missing(receiver) for act in acts):
                    break
                await asyncio.sleep(_TICK_S)
    return _verdict(console, acts, receiver)


async def _look(client: AsyncTidings, acts: list[Act], receiver: Receiver) -> None:
    for act in acts:
        assert act.message is not None
        act.message = await client.messages.get(act.message.id)
        act.timeline = [event async for event in client.messages.events(act.message.id)]
        for event in receiver.events:
            told = (event.type, event.data.get("in_reply_to"), event.data.get("text"))
            if told == ("message.received", act.message.id, act.scene.answer):
                act.reply = event


def _picture(acts: list[Act], receiver: Receiver) -> Group:
    lines: list[Table | Text] = []
    for act in acts:
        table = Table(title=act.scene.title, title_justify="left", box=None, header_style="dim", padding=(0, 2))
        for column in ("event", "at", "webhook"):
            table.add_column(column, min_width=12)
        called = {event.type for event in receiver.of(act.message.id)} if act.message else set[str]()
        for event in act.timeline:
            mark = "[green]verified[/green]" if event.type in called else "[dim]…[/dim]"
            table.add_row(event.type, str(event.timestamp)[11:23], mark)
        if act.reply is not None:
            table.add_row(
                "[cyan]reply[/cyan]", str(act.reply.timestamp)[11:23], f"[cyan]{act.reply.data.get('text')}[/cyan]"
            )
        lines += [table, Text()]
    return Group(*lines)


def _verdict(console: Console, acts: list[Act], receiver: Receiver) -> int:
    gaps = [f"{act.scene.title}: {gap}" for act in acts for gap in act.missing(receiver)]
    if receiver.refused:
        gaps.append(f"{receiver.refused} webhook call(s) with a signature that does not verify")
    if gaps:
        console.print("[red]Not all of it happened:[/red]", *(f"  {gap}" for gap in gaps), sep="\n", highlight=False)
        return 1
    parts = sum(act.scene.parts for act in acts)
    console.print(
        f"[green]All of it happened:[/green] {len(acts)} messages ({parts} SMS parts) over SMPP, their receipts, one reply, "
        f"{len(receiver.events)} webhook calls verified.",
        highlight=False,
    )
    return 0


def _invite(console: Console, url: str, key: str) -> None:
    console.print(
        f"\nTry it yourself (Ctrl-C ends the demo; API reference: {url}/docs):\n\n"
        f"  curl {url}/v1/messages -H 'Authorization: Bearer {key}' \\\n"
        '       -H \'Content-Type: application/json\' -d \'{"to": "+15005550007", "text": "Hello"}\'\n',
        highlight=False,
        soft_wrap=True,
    )
