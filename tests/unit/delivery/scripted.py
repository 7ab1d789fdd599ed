"""Carriers by script: a node with several providers of a type that exists in this file alone."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from tidings.channels import registry
from tidings.channels.contract import Capabilities, Link, ProviderSpec, Sink
from tidings.delivery.node import Node
from tidings.domain.attempt import CarrierReceipt, Outcome, PartRefused, PartRetry, PartSent, PartUnknown, Submission
from tidings.domain.message import Lane, MessageError
from tidings.kit.clock import wall_ms
from tidings.kit.secrets import KeyRing
from tidings.protocols.gsm.segments import Segments, plan
from tidings.routing.pace import Limit
from tidings.routing.route import Route
from tidings.store.sqlite.engine import Engine
from tidings.store.sqlite.migrate import migrate
from tidings.store.store import Store

from .conftest import Bench

KIND = "sms.scripted"
ERROR = MessageError(code="carrier_busy", detail="busy", permanent=False, retryable=True)
_find = registry.find
NO = MessageError(code="carrier_says_no", detail="no")


class Scripted:
    """A provider. What it does with submissions: `plays`, the first ones, then `plays_on`: sent, busy, no, unknown, never."""

    capabilities = Capabilities(channel="sms", level="bronze", receipts=True)

    def __init__(self, spec: ProviderSpec, sink: Sink) -> None:
        self.name, self.sink = spec.name, sink
        self.plays_on = "sent"
        self.plays: deque[str] = deque()
        self.got: list[Submission] = []
        self.up = True
        self.window = 1_000
        self.open: list[Submission] = []

    async def start(self) -> None:
        asyncio.get_running_loop().call_soon(self.sink.ready, self.name)

    async def stop(self, drain_s: float) -> None:
        self._answer(self.open, "busy")
        self.open = []

    def credit(self, lane: Lane) -> int:
        return self.window - len(self.open) if self.up else 0

    def plan(self, text: str) -> Segments:
        return plan(text)

    def links(self) -> tuple[Link, ...]:
        state = "up" if self.up else "down"
        return (Link(kind="transceiver", state=state, since_ms=0, in_flight=len(self.open)),)

    def submit(self, batch: Sequence[Submission]) -> None:
        self.got += batch
        for one in batch:
            play = self.plays.popleft() if self.plays else self.plays_on
            if play == "never":
                self.open.append(one)
            else:
                asyncio.get_running_loop().call_soon(self._answer, [one], play)

    def _answer(self, batch: Sequence[Submission], play: str) -> None:
        part = {
            "busy": PartRetry(ERROR), "no": PartRefused(NO), "unknown": PartUnknown("no_answer"),
        }  # fmt: skip
        self.sink.outcomes(
            self.name,
            [
                Outcome(
                    one.attempt_id,
                    tuple(
                        part.get(play) or PartSent(f"{self.name}-{one.attempt_id}-{n}") for n in range(len(one.parts))
                    ),
                    wall_ms(),
                )
                for one in batch
            ],
        )

    async def receipt(self, n: int = -1, state: Any = "delivered") -> None:
        """The receipt of the n-th submission that it got."""
        one = self.got[n]
        ref = f"{self.name}-{one.attempt_id}-0"
        receipt = CarrierReceipt(
            provider=self.name, refs=(ref,), to=one.to, sender=one.sender, state=state, carrier_state=state,
            received_ms=wall_ms(),
        )  # fmt: skip
        await self.sink.received(self.name, [receipt], [])


class Several(Bench):
    """A node with scripted carriers, by name in `at`."""

    async def open_with(
        self, names: Sequence[str], *routes: Route, patch: pytest.MonkeyPatch, limits: Sequence[Limit] = ()
    ) -> None:  # fmt: skip
        """Starts it. Patches the registry, so that the type exists."""
        self.at: dict[str, Scripted] = getattr(self, "at", {})

        def create(spec: ProviderSpec, sink: Sink) -> Scripted:
            made = Scripted(spec, sink)
            old = self.at.get(spec.name)
            if old is not None:
                made.plays_on, made.got = old.plays_on, old.got
            self.at[spec.name] = made
            return made

        module = SimpleNamespace(CAPABILITIES=Scripted.capabilities, check=lambda name, config: None, create=create)
        patch.setattr(registry, "find", lambda kind: module if kind == KIND else _find(kind))
        self.engine = Engine(self.folder / "tidings.db")
        self.engine.open()
        migrate(self.engine.writer)
        self.engine.writer.execute("insert or ignore into projects values (?, 'test', 0)", ("prj_" + "0" * 32,))
        self.engine.start()
        self.node = Node(Store(self.engine), KeyRing.load(self.folder / "keys.json"), now=self.now, wait=self.wait)
        await self.node.start([ProviderSpec(name=name, type=KIND, config={}) for name in names], routes, limits)

    async def attempts(self, message: str) -> list[tuple[str, str]]:
        """(provider, status) of each, in order."""
        found = await self.rows("select provider, status from attempts where message = ? order by n", message)
        return [(str(row[0]), str(row[1])) for row in found]

    async def until_attempts(self, message: str, *wanted: tuple[str, str]) -> None:
        async with asyncio.timeout(30):
            while await self.attempts(message) != list(wanted):
                await asyncio.sleep(0.01)
