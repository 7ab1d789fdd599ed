"""Who is suppressed under one spelling of an address is suppressed under every other: the same on both engines."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from store_world import MINUTE, NOW, PROJECT, World
from tidings.delivery.job import from_row
from tidings.delivery.receive import Receiver
from tidings.domain import address
from tidings.domain.address import address_key
from tidings.domain.attempt import InboundPart
from tidings.domain.message import Personal
from tidings.store.accounts import NewSuppression, owner
from tidings.store.respelt import respell

NATIONAL, NUMBER = "+4407700900123", "+447700900123"
OLD, NEW = "+5215512345678", "+525512345678"
BROWSER: dict[str, Any] = {"endpoint": "https://push.example.com/a", "keys": {"p256dh": "x", "auth": "y"}}
SPELLINGS = [
    ("sms", NATIONAL, NUMBER),
    ("sms", OLD, NEW),
    ("whatsapp", OLD, NEW),
    ("push", json.dumps(BROWSER), json.dumps(dict(reversed(BROWSER.items())), indent=1)),
    ("email", "ada@EXAMPLE.test", "ada@example.test"),
    ("email", "ada@exämple.test", "ada@xn--exmple-cua.test"),
]
Stop = Callable[[World, str, str], Awaitable[None]]


async def by_hand(world: World, channel: str, to: str, key: str | None = None) -> None:
    """As `POST /v1/suppressions` and a bounce do it. `key`: as an earlier version did it."""
    hashed = key or address_key(world.ring, to)
    sealed = world.ring.seal(msgspec.json.encode(Personal(to=to)), owner(channel, hashed))
    await world.store.suppressions.add(
        NewSuppression(
            project=PROJECT,
            channel=channel,
            to_hash=hashed,
            reason="manual",
            created_ms=NOW,
            key_id="k1",
            sealed=sealed,
        )
    )


async def by_stop(world: World, channel: str, sender: str) -> None:
    """As the person does it."""
    part = InboundPart(provider="p1", channel=channel, sender=sender, to="12345", text="STOP", received_ms=NOW)
    await Receiver(world.store, world.ring).received(PROJECT, [], [part])


async def stopped(world: World, channel: str, to: str) -> bool:
    """Whether a message to this spelling is stopped, in the transaction of its attempt."""
    message = world.message(to, channel=channel, owner="w1", job_due_ms=NOW + MINUTE)
    await world.accept(message)
    return (await world.begun(message, channel=channel)).kind == "suppressed"


async def check(world: World, stop: Stop, channel: str, one: str, other: str) -> None:
    """Set under one, it holds under both, is listed once, and lifted under the other."""
    assert not await stopped(world, channel, other)
    await stop(world, channel, one)
    assert await stopped(world, channel, other)
    assert await stopped(world, channel, one)
    key = address_key(world.ring, other)
    assert await world.store.suppressions.among(PROJECT, channel, [key]) == [key]
    (listed,) = await world.store.suppressions.page(world.ring, PROJECT, ("", ""), 10)
    assert (listed.channel, listed.to_hash) == (channel, key)
    assert listed.to in (one, other)
    assert await world.store.suppressions.remove(PROJECT, channel, key)
    assert not await stopped(world, channel, one)


@pytest.mark.parametrize("stop", [by_hand, by_stop])
@pytest.mark.parametrize(("channel", "one", "other"), SPELLINGS)
async def test_one_spelling_stops_the_other(world: World, stop: Stop, channel: str, one: str, other: str) -> None:
    await check(world, stop, channel, one, other)


@pytest.mark.parametrize("stop", [by_hand, by_stop])
@pytest.mark.parametrize(("channel", "one", "other"), [SPELLINGS[n] for n in (0, 1, 3, 5)])
async def test_saboteur_who_goes_by_the_spelling_stops_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch, stop: Stop, channel: str, one: str, other: str
) -> None:
    monkeypatch.setattr(address, "one_spelling", lambda text: text)
    with pytest.raises(AssertionError):
        await check(world, stop, channel, one, other)


async def earlier(world: World) -> None:
    """What a version that went by the spelling left behind: one by hand, one by STOP, and one that needs nothing."""
    await by_hand(world, "sms", NATIONAL, world.ring.lookup(NATIONAL))
    await by_hand(world, "sms", "+447700900999")
    stop = world.inbound(OLD, "STOP", stop="stop", from_hash=world.ring.lookup(OLD), provider_project=PROJECT)
    await world.store.inbound.receive([stop])


async def test_suppressions_of_an_earlier_version_are_filed_once_more(world: World) -> None:
    await earlier(world)
    assert not await stopped(world, "sms", NATIONAL)
    assert await respell(world.store, world.ring) == 2
    for to in (NATIONAL, NUMBER, OLD, NEW):
        assert await stopped(world, "sms", to)
    found = await world.store.suppressions.page(world.ring, PROJECT, ("", ""), 10)
    assert {(item.to, item.reason) for item in found} == {
        (NATIONAL, "manual"), ("+447700900999", "manual"), (OLD, "stop"),
    }  # fmt: skip
    assert await respell(world.store, world.ring) == 0


async def test_filing_goes_on_after_a_crash(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await earlier(world)
    with monkeypatch.context() as patch:

        async def crash(*_: Any) -> bool:
            raise RuntimeError("killed")

        patch.setattr(world.store.suppressions, "remove", crash)
        with pytest.raises(RuntimeError):
            await respell(world.store, world.ring)
    assert await respell(world.store, world.ring) == 2
    assert len(await world.store.suppressions.page(world.ring, PROJECT, ("", ""), 10)) == 3


async def test_work_of_an_earlier_version_is_found_by_the_new_key(world: World) -> None:
    """A message may have been scheduled long before the person said STOP."""
    await world.accept(world.message(NATIONAL, to_hash=world.ring.lookup(NATIONAL)))
    (row,) = await world.lease()
    assert from_row(world.ring, row).to_hash == address_key(world.ring, NUMBER)
