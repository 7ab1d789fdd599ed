"""Who lost a provider's binds stores no attempt and writes nothing, even before it has noticed; with a saboteur."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tidings.store.sqlite import attempts

if TYPE_CHECKING:
    from .conftest import Bench


async def sent_after_the_loss(bench: Bench) -> int:
    """How many submits leave after another node has got the binds."""
    await bench.open()
    await bench.linked()
    first = await bench.send()
    await bench.until_status(first, "sent", "delivered")
    before = bench.smsc.submits
    await bench.node.store.attempts.acquire("carrier", "somebody else", 10**15)
    await bench.send()
    await asyncio.sleep(1.2)
    return bench.smsc.submits - before


async def test_the_epoch_fences(bench: Bench) -> None:
    assert await sent_after_the_loss(bench) == 0
    waiting = await bench.rows("select m.status from messages m join jobs j on j.message = m.id")
    assert waiting == [("accepted",)], "the job waits for the new owner"


async def test_the_epoch_sabotaged(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    check = "node = ?5 and epoch = ?6"
    assert check in attempts._CHECK
    monkeypatch.setattr(attempts, "_CHECK", attempts._CHECK.replace(check, "?5 is not ?6"))
    assert await sent_after_the_loss(bench) == 1
