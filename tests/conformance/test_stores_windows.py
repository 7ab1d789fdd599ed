"""When people last wrote: the same on both engines. Each case ends with what `last` says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from store_world import NOW, World
from tidings.kit.limits import WINDOW_KEPT_S
from tidings.store import windows

ANN, BO = "+4917000001", "+4917000002"
HOUR = 3_600_000


async def wrote(world: World, *who: tuple[str, dict[str, Any]]) -> None:
    """People write over WhatsApp, in one batch."""
    rows = [world.inbound(sender, **{"channel": "whatsapp", **more}) for sender, more in who]
    await world.store.inbound.receive(rows)


async def last(world: World, *who: str, provider: str = "p1") -> dict[str, int]:
    """Minutes from NOW on."""
    found = await world.store.windows.last(provider, sorted(world.ring.lookup(one) for one in who))
    names = {world.ring.lookup(one): one for one in who}
    return {names[key]: value - NOW for key, value in found.items()}


async def test_each_person_and_provider_apart(world: World) -> None:
    assert await last(world, ANN, BO) == {}
    await wrote(world, (ANN, {"received_ms": NOW}), (BO, {"received_ms": NOW + 5}))
    assert await last(world, ANN, BO) == {ANN: 0, BO: 5}
    assert await last(world, ANN) == {ANN: 0}
    assert await last(world, ANN, BO, provider="p2") == {}
    assert await world.store.windows.last("p1", []) == {}


async def test_the_latest_counts_whatever_the_order(world: World) -> None:
    await wrote(world, (ANN, {"received_ms": NOW + 9}), (ANN, {"received_ms": NOW + 7}))
    await wrote(world, (ANN, {"received_ms": NOW + 8}))
    assert await last(world, ANN) == {ANN: 9}


async def test_the_carriers_time_counts_but_not_the_future(world: World) -> None:
    await wrote(
        world, (ANN, {"received_ms": NOW, "wrote_ms": NOW - HOUR}), (BO, {"received_ms": NOW, "wrote_ms": NOW + HOUR})
    )
    assert await last(world, ANN, BO) == {ANN: -HOUR, BO: 0}


async def test_a_repeated_message_opens_nothing_again(world: World) -> None:
    await wrote(world, (ANN, {"received_ms": NOW, "dedup": "same"}))
    await wrote(world, (ANN, {"received_ms": NOW + HOUR, "dedup": "same"}))
    assert await last(world, ANN) == {ANN: 0}


async def test_channels_that_do_not_ask_leave_no_row(world: World) -> None:
    await wrote(world, (ANN, {"channel": "sms"}), (BO, {"channel": "email"}))
    assert await last(world, ANN, BO) == {}


async def test_old_rows_are_forgotten(world: World) -> None:
    await wrote(world, (ANN, {"received_ms": NOW}))
    await wrote(world, (BO, {"received_ms": NOW + WINDOW_KEPT_S * 1_000}))
    assert await last(world, ANN, BO) == {ANN: 0, BO: WINDOW_KEPT_S * 1_000}
    await wrote(world, (BO, {"received_ms": NOW + WINDOW_KEPT_S * 1_000 + 1}))
    assert await last(world, ANN, BO) == {BO: WINDOW_KEPT_S * 1_000 + 1}


async def test_crossed_batches_do_not_block_each_other(world: World) -> None:
    """Two nodes take calls that name the same people in opposite order."""
    people = [f"+49170001{n:04d}" for n in range(40)]
    batches = [people, people[::-1]] * 4
    await asyncio.gather(
        *(wrote(world, *((one, {"received_ms": NOW + n}) for one in batch)) for n, batch in enumerate(batches))
    )
    assert await last(world, *people) == dict.fromkeys(people, 7)


async def test_a_saboteur_is_seen(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing written the cases above go red."""
    for module in ("sqlite", "postgres"):
        monkeypatch.setattr(f"tidings.store.{module}.windows.windows_of", lambda items: [])
    with pytest.raises(AssertionError):
        await test_the_latest_counts_whatever_the_order(world)
    assert windows.forgotten_before(NOW) < NOW
