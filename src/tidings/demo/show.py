"""`tidings demo`: real messages on every channel through the real protocols, shown live, checked to the last event."""

import asyncio
import contextlib
import signal
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from tidings.demo.receiver import Receiver, VerifiedCall
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

    def missing(self, receiver: Receiver) -> list[str]:
        """What has not happened yet, in words."""
        if self.message is None:
            return ["it was not accepted"]
        seen, called = {event.type for event in self.timeline}, receiver.of(self.message.id)
        gaps = [f"no {kind} in the timeline" for kind in self.scene.events if kind not in seen]
        gaps += [f"no verified webhook {kind}" for kind in self.scene.events if kind not in called]
        if self.message.status != "delivered":
            gaps.append(f"status is {self.message.status}, not delivered")
        if self.message.parts != self.scene.parts:
            gaps.append(f"{self.message.parts} part(s), not {self.scene.parts}")
        tried = tuple((attempt.provider, attempt.status) for attempt in self.message.attempts)
        if self.scene.attempts is not None and tried != self.scene.attempts:
            gaps.append(f"attempts {tried}, not {self.scene.attempts}")
        if self.scene.answer is not None:
            reply = receiver.reply_to(self.message.id)
            if reply is None or reply.event.data.get("text") != self.scene.answer:
                gaps.append(f"no verified webhook with the reply {self.scene.answer!r}")
        return gaps


def run(*, once: bool, listen: str, data: Path | None = None) -> int:
    """The exit code: 0 if all of it happened, 1 if not, 130 if it was stopped before that was known."""
    console = Console()
    try:
        return asyncio.run(_stoppable(console, once, listen, data))
    except (asyncio.CancelledError, KeyboardInterrupt):
        return 130
    except (RuntimeError, TidingsError) as error:
        console.print(f"[red]The demo failed:[/red] {escape(str(error))}", soft_wrap=True)
        return 1


async def _stoppable(console: Console, once: bool, listen: str, data: Path | None) -> int:
    """SIGTERM ends it like Ctrl-C: a server that nobody knows of must not stay behind."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await _run(console, once, listen, data)


async def _run(console: Console, once: bool, listen: str, data: Path | None) -> int:
    with tempfile.TemporaryDirectory(prefix="tidings-demo-") as folder:
        server, receiver = DemoServer(Path(folder), listen, data), Receiver()
        code: int | None = None
        try:
            url = await server.start()
            hook = await receiver.start()
            console.print(f"[bold]Tidings[/bold] runs at {url}", highlight=False)
            test_key, code = await _play(console, url, server.key, hook, receiver)
            if not once:
                _invite(console, url, test_key)
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            if code is None:
                raise
        finally:
            await server.stop()
            await receiver.stop()
        return code


async def _play(console: Console, url: str, key: str, hook: str, receiver: Receiver) -> tuple[str, int]:
    acts = [Act(scene) for scene in SCENES]
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(AsyncTidings(key, url))
        test_key = (await client.keys.create(name="demo", scopes=["*"], mode="test")).key or ""
        sandbox = await stack.enter_async_context(AsyncTidings(test_key, url))
        endpoint = await client.webhooks.create(url=hook, description="tidings demo")
        receiver.secret = endpoint.secret or ""
        end_s = time.monotonic() + _DEADLINE_S
        live = Live(_picture(acts, receiver), console=console, refresh_per_second=10, vertical_overflow="visible")
        with live:
            for act in acts:
                act.message = await (client if act.scene.live else sandbox).messages.send(**act.scene.request)
            while time.monotonic() < end_s:
                await _look(client, acts)
                live.update(_picture(acts, receiver))
                if not any(act.missing(receiver) for act in acts):
                    break
                await asyncio.sleep(_TICK_S)
        verified = await _verify(sandbox)
    return test_key, _verdict(console, acts, receiver, verified)


async def _verify(client: AsyncTidings) -> float | None:
    """A one-time code, sent and read back: milliseconds from the request to the right answer; None if it was not right."""
    started_s = time.monotonic()
    verification = await client.verifications.start(to="+15005550001", brand="ACME")
    found = await client.verifications.check(verification.id, await client.verifications.sandbox_code(verification.id))
    return (time.monotonic() - started_s) * 1000 if found.valid else None


async def _look(client: AsyncTidings, acts: list[Act]) -> None:
    for act in acts:
        assert act.message is not None
        act.message = await client.messages.get(act.message.id)
        act.timeline = [event async for event in client.messages.events(act.message.id)]


def _picture(acts: list[Act], receiver: Receiver) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("", min_width=22)
    table.add_column("at (UTC)", min_width=12)
    table.add_column("webhook", min_width=24)
    for act in acts:
        table.add_row(f"[bold]{escape(act.scene.title)}[/bold]", f"[dim]{escape(_whom(act.scene))}[/dim]", "")
        called = receiver.of(act.message.id) if act.message is not None else {}
        for event in act.timeline:
            table.add_row(f"  {event.type}", f"{event.timestamp:%H:%M:%S.%f}"[:12], _mark(called.get(event.type)))
        reply = receiver.reply_to(act.message.id) if act.message is not None else None
        if reply is not None:
            said = escape(str(reply.event.data.get("text")))
            at = f"{reply.event.timestamp:%H:%M:%S.%f}"[:12]
            table.add_row(f"  [cyan]reply: {said}[/cyan]", at, _mark(reply))
        table.add_row()
    return table


def _whom(scene: Scene) -> str:
    to = scene.request["to"]
    return to if isinstance(to, str) else ", ".join(str(one) for value in to.values() for one in _listed(value))


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _mark(call: VerifiedCall | None) -> str:
    return "[dim]…[/dim]" if call is None else f"[green]verified[/green] after {call.latency_ms:.0f} ms"


def _verdict(console: Console, acts: list[Act], receiver: Receiver, verified_ms: float | None) -> int:
    gaps = [f"{act.scene.title}: {gap}" for act in acts for gap in act.missing(receiver)]
    if verified_ms is None:
        gaps.append("Verification: the right code was not taken")
    if receiver.refused:
        gaps.append(f"{receiver.refused} webhook call(s) with a signature that does not verify")
    if gaps:
        console.print(f"[red]Within {_DEADLINE_S:.0f} s not all of it happened:[/red]")
        console.print(*(f"  {escape(gap)}" for gap in gaps), sep="\n", highlight=False, soft_wrap=True)
        return 1
    if not console.is_terminal:
        console.print()  # rich ends a picture without a line feed where nobody watches
    answers = sum(act.scene.answer is not None for act in acts)
    console.print(
        f"[green]All of it happened:[/green] {len(acts)} messages over SMPP, SMTP and HTTP on four channels, {answers} replies, "
        f"a fallback, a failover, a code verified in {verified_ms:.0f} ms, {len(receiver.calls)} webhook calls verified.",
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
