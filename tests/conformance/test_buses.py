"""What every bus does, and what the one between processes does beside."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from nats.aio.client import Client

from nats_server import NatsServer, running
from tidings.bus.contract import Bus
from tidings.bus.local import LocalBus
from tidings.bus.nats import NatsBus


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    with running() as server:
        yield server


async def until_carries(bus: Bus, wanted: bool = True) -> None:
    async with asyncio.timeout(10):
        while bus.carries != wanted:
            await asyncio.sleep(0.01)


@pytest.fixture(params=["local", "nats"])
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    if request.param == "local":
        yield LocalBus()
        return
    nats = NatsBus(request.getfixturevalue("server").url)
    await nats.start()
    await until_carries(nats)
    yield nats
    await nats.stop()


async def test_a_ring_wakes_all_listeners_of_the_topic(bus: Bus) -> None:
    one, two, other = bus.subscribe("jobs"), bus.subscribe("jobs"), bus.subscribe("events")
    bus.ring("jobs")
    assert [await bell.wait(0.5) for bell in (one, two)] == [True, True]
    assert not await other.wait(0.02)
    assert not await one.wait(0.02), "one ring, one waking"


async def test_rings_between_two_waits_are_one(bus: Bus) -> None:
    bell = bus.subscribe("jobs")
    for _ in range(100):
        bus.ring("jobs")
    assert await bell.wait(0.5)
    assert not await bell.wait(0.05)


async def test_who_unsubscribed_hears_nothing(bus: Bus) -> None:
    bell = bus.subscribe("jobs")
    bus.unsubscribe("jobs", bell)
    bus.ring("jobs")
    assert not await bell.wait(0.05)


@pytest.fixture
async def pair(server: NatsServer) -> AsyncIterator[tuple[NatsBus, NatsBus, NatsBus]]:
    buses = (NatsBus(server.url), NatsBus(server.url), NatsBus(server.url))
    for bus in buses:
        await bus.start()
        await until_carries(bus)
    yield buses
    for bus in buses:
        await bus.stop()


async def test_a_ring_reaches_the_other_processes(pair: tuple[NatsBus, NatsBus, NatsBus]) -> None:
    bells = [bus.subscribe("provider with spaces, and dots.") for bus in pair]
    await asyncio.sleep(0.1)
    [bell.ring() for bell in bells]
    [await bell.wait(0) for bell in bells]
    pair[0].ring("provider with spaces, and dots.")
    assert [await bell.wait(2) for bell in bells] == [True, True, True]


async def test_of_a_group_one_is_enough(pair: tuple[NatsBus, NatsBus, NatsBus]) -> None:
    bells = [bus.subscribe("jobs", "workers") for bus in pair[1:]]
    await asyncio.sleep(0.1)
    pair[0].ring("jobs")
    assert sorted(await asyncio.gather(*(bell.wait(0.5) for bell in bells))) == [False, True]


async def test_a_server_that_is_not_there() -> None:
    away = NatsServer()
    bus = NatsBus(away.url)
    await bus.start()
    bell = bus.subscribe("jobs")
    began = time.monotonic()
    for _ in range(1000):
        bus.ring("jobs")
    assert time.monotonic() - began < 0.5
    assert await bell.wait(0), "within the process it rings"
    assert not bus.carries
    await bus.stop()


async def test_a_server_that_is_killed_and_comes_back() -> None:
    with running() as server:
        one, two = NatsBus(server.url), NatsBus(server.url)
        for bus in (one, two):
            await bus.start()
            await until_carries(bus)
        bell = two.subscribe("jobs")
        server.kill()
        for bus in (one, two):
            await until_carries(bus, False)
        one.ring("jobs")
        server.start()
        for bus in (one, two):
            await until_carries(bus)
        assert await bell.wait(2), "who was deaf looks once"
        one.ring("jobs")
        assert await bell.wait(2)
        for bus in (one, two):
            await bus.stop()


async def test_it_stops_though_a_cancellation_is_swallowed(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `asyncio.wait_for` of Python 3.11 does where what it waits for is done in the same turn."""
    flush, flushing = Client.flush, asyncio.Event()

    async def swallows(self: Client, timeout: int = 10) -> None:
        flushing.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.2)
        await flush(self, timeout)

    bus = NatsBus(server.url)
    await bus.start()
    await until_carries(bus)
    monkeypatch.setattr(Client, "flush", swallows)
    bus.subscribe("late")
    async with asyncio.timeout(20):
        await flushing.wait()
    stopping = asyncio.create_task(bus.stop())
    done, _ = await asyncio.wait({stopping}, timeout=15)
    stopping.cancel()
    assert done, "it waits for a task that has not heard"
