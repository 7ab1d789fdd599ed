"""Each guarantee of the path with a saboteur: the check passes as it is, and goes red with the protection patched out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from peers.carriers import node_smsc
from simulation.test_saboteurs import behind_the_wire
from tidings.domain.attempt import Submission
from tidings.store.sqlite import inbound, jobs, receipts
from tidings.store.sqlite.engine import Engine

if TYPE_CHECKING:
    from .conftest import Bench


async def attempts_before_wire(bench: Bench) -> list[str]:
    """Sends messages; the attempts that were not in the store when they went to the provider."""
    await bench.open()
    await bench.linked()
    provider = bench.node.fleet.members()[0].provider
    submit, missing = provider.submit, list[str]()

    def watched(batch: Sequence[Submission]) -> None:
        for one in batch:
            key = (one.attempt_id,)
            if (
                bench.engine._read(lambda c, key=key: c.execute("select 1 from attempts where id = ?", key).fetchone())
                is None
            ):
                missing.append(one.attempt_id)
        submit(batch)

    provider.submit = watched
    for message in [await bench.send() for _ in range(5)]:
        await bench.until_status(message, "delivered", "sent", "sending", "accepted")
    await bench.until(lambda: bench.smsc.submits >= 5)
    return missing


async def test_attempt_before_wire(bench: Bench) -> None:
    assert await attempts_before_wire(bench) == []


async def test_attempt_before_wire_sabotaged(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    behind_the_wire(monkeypatch, Engine)
    assert await attempts_before_wire(bench)
    await asyncio.sleep(0.1)  # those that are late


async def early_receipts(bench: Bench, smsc_port: int) -> set[str]:
    """Statuses of messages whose receipts come before the answers to their submits."""
    await bench.open(port=smsc_port, system_id="perf", password="perf")
    await bench.linked()
    messages = [await bench.send(to=f"+14155550{n:03}") for n in range(100, 110)]
    for message in messages:
        await bench.until_status(message, "sent", "delivered")
    await asyncio.sleep(0.3)
    return {await bench.status(message) for message in messages}


async def test_receipt_parking(bench: Bench, node_peer: Path) -> None:
    async with node_smsc(node_peer, receipts="before", delay_ms=100) as smsc:
        assert await early_receipts(bench, smsc.port) == {"delivered"}


async def test_receipt_parking_sabotaged(bench: Bench, node_peer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "_park", lambda connection, item: None)
    async with node_smsc(node_peer, receipts="before", delay_ms=100) as smsc:
        assert "sent" in await early_receipts(bench, smsc.port)


async def stopped(bench: Bench) -> str:
    """The end of a message to somebody who said STOP."""
    await bench.open()
    await bench.linked()
    first = await bench.send(to="+15005550008", sender="ACME")
    async with asyncio.timeout(30):
        while "replied" not in await bench.events(first):
            await asyncio.sleep(0.01)
    second = await bench.send(to="+15005550008", sender="ACME")
    return await bench.until_status(second, "suppressed", "sent", "delivered")


async def test_consent_sabotaged(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbound, "_consent", lambda connection, item, project, reply: [])
    assert await stopped(bench) != "suppressed"


async def test_the_rescuer_sabotaged(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the take-over, what a dead process had leased stays where it is until its lease ends."""
    await bench.open(port=1)
    message = await bench.send()
    await bench.engine.write(_lease_it, [message])
    await bench.close()
    monkeypatch.setattr(jobs, "take_over", lambda connection, items: items)
    await bench.open()
    await bench.linked()
    await asyncio.sleep(1)
    assert await bench.status(message) == "accepted"


def _lease_it(connection: Any, items: list[str]) -> list[None]:
    connection.execute("update jobs set owner = 'dead', due_ms = due_ms + 30000 where message = ?", (items[0],))
    return [None]
