"""What provider tests share: a sink that records, submissions, and the SMSC made of npm `smpp`."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tidings.channels.contract import Link, Provider, ProviderSpec
from tidings.channels.sms.smpp import SmppProvider
from tidings.domain.attempt import CarrierReceipt, InboundPart, Outcome, PartOutcome, Submission
from tidings.domain.message import Lane
from tidings.kit.clock import Clock, wall_ms

NUMBER = "+491701234567"


class RecordingSink:
    """Keeps everything in the order it came (`log` holds kinds and keys)."""

    def __init__(self) -> None:
        self.done: list[Outcome] = []
        self.batches: list[int] = []
        self.receipts: list[CarrierReceipt] = []
        self.inbound: list[InboundPart] = []
        self.links: list[Link] = []
        self.readies = 0
        self.refuse_receives = 0
        self.ours = True
        self.gate: asyncio.Event | None = None
        self.log: list[str] = []

    def outcomes(self, provider: str, batch: Sequence[Outcome]) -> None:
        self.done += batch
        self.batches.append(len(batch))
        self.log += [f"outcome {o.attempt_id}" for o in batch]

    async def received(self, provider: str, receipts: Sequence[CarrierReceipt], inbound: Sequence[InboundPart]) -> None:
        self.log.append("receiving")
        if self.gate is not None:
            await self.gate.wait()
        if self.refuse_receives:
            self.refuse_receives -= 1
            raise RuntimeError("the store is down")
        self.receipts += receipts
        self.inbound += inbound
        self.log.append("received")

    def ready(self, provider: str) -> None:
        self.readies += 1

    def holds(self, provider: str) -> bool:
        return self.ours

    def link_changed(self, provider: str, link: Link) -> None:
        self.links.append(link)

    @property
    def states(self) -> list[str]:
        return [link.state for link in self.links]

    def outcome(self, attempt_id: str) -> tuple[PartOutcome, ...]:
        """The parts' outcomes of an attempt; fails if there is not exactly one outcome (late ones apart)."""
        found = [o for o in self.done if o.attempt_id == attempt_id and not o.late]
        assert len(found) == 1, f"{attempt_id}: {len(found)} outcomes"
        return found[0].parts


def submission(
    provider: Provider, name: str, to: str = NUMBER, text: str = "Hello", lane: Lane = "transactional", **more: Any
) -> Submission:
    """A submission of `text`, planned by the provider."""
    plan = provider.plan(text)
    more.setdefault("sender", "ACME")
    return Submission(
        attempt_id=name,
        message_id=f"msg_{name}",
        lane=lane,
        to=to,
        data_coding=plan.data_coding,
        parts=plan.parts,
        header=plan.header,
        **more,
    )


async def until(true: Callable[[], object], timeout_s: float = 30.0) -> None:
    """Waits until `true()`; fails after `timeout_s`. Then SMSCs of other processes have told what they did up to here."""
    async with asyncio.timeout(timeout_s):
        await _until(true)
        for smsc in list(_smscs):
            await smsc.caught_up()


async def _until(true: Callable[[], object]) -> None:
    while not true():
        await asyncio.sleep(0.002)


@asynccontextmanager
async def started(
    port: int, sink: RecordingSink, *, up: bool = True, clock: Clock = wall_ms, **config: Any
) -> AsyncIterator[SmppProvider]:
    """A provider bound to 127.0.0.1:`port`, stopped at the end."""
    settings: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": port,
        "system_id": "perf",
        "password": "perf",
        "reconnect_min_s": 0.02,
        "reconnect_max_s": 0.1,
    }
    provider = SmppProvider(ProviderSpec(name="acme", type="sms.smpp", config=settings | config), sink, clock=clock)
    await provider.start()
    try:
        if up:
            await until(lambda: all(link.state == "up" for link in provider.links()))
        yield provider
    finally:
        await provider.stop(0)


class NodeSmsc:
    """The process of `smsc.js`: `events` grow as it speaks."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.events: list[dict[str, Any]] = []
        self.port = 0
        self._commands = 0

    def of(self, event: str) -> list[dict[str, Any]]:
        """Every event of this name so far."""
        return [line for line in self.events if line["event"] == event]

    async def command(self, cmd: str, **fields: Any) -> None:
        """Sends a command and waits until it is done."""
        assert self._process.stdin is not None
        self._commands += 1
        mine = self._commands
        self._process.stdin.write(json.dumps({"cmd": cmd} | fields).encode() + b"\n")
        await self._process.stdin.drain()
        async with asyncio.timeout(30):
            await _until(lambda: len(self.of("done")) >= mine)

    async def caught_up(self) -> None:
        """Waits until what it did so far is in `events`: they come by a pipe that may be slower than the carrier's socket."""
        await self.command("set", options={})

    async def read(self) -> None:
        """Reads events until the process ends."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.events.append(json.loads(line))


_smscs: set[NodeSmsc] = set()


@asynccontextmanager
async def node_smsc(folder: Path, **options: Any) -> AsyncIterator[NodeSmsc]:
    """npm `smpp` as SMSC on an ephemeral port. Options: see `smsc.js`."""
    process = await asyncio.create_subprocess_exec(
        "node",
        "smsc.js",
        cwd=folder,
        env={**os.environ, "SMSC_OPTIONS": json.dumps(options)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 20,
    )
    smsc = NodeSmsc(process)
    reader = asyncio.create_task(smsc.read())
    try:
        await until(lambda: smsc.of("listening"))
        smsc.port = smsc.of("listening")[0]["port"]
        _smscs.add(smsc)
        yield smsc
    finally:
        _smscs.discard(smsc)
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(30):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        await reader
