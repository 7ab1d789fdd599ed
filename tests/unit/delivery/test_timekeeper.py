"""Jumps of the clock: the process's clock, and what waits in the store, go with it; nothing else does."""

from __future__ import annotations

import pytest

from tidings.delivery import timekeeper
from tidings.delivery.timekeeper import Timekeeper
from tidings.kit import ids as kit_ids
from tidings.kit.clock import SteadyClock
from tidings.kit.ids import Ids

START_MS = 1_795_000_000_000


class Store:
    """What the timekeeper asks; notes what it is told, with the time that the process's clock showed."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, int]] = []
        self.seen: int | None = None
        self.last: str | None = None
        self.first = True
        self.clock = SteadyClock(lambda: START_MS)

    async def server_ms(self) -> int | None:
        return None

    async def seen_ms(self) -> int | None:
        return self.seen

    async def last_id(self) -> str | None:
        return self.last

    async def note(self, now_ms: int) -> None:
        self.seen = now_ms

    async def claim(self, old_ms: int, new_ms: int) -> bool:
        return self.first

    async def shift(self, by_ms: int, from_ms: int) -> None:
        self.told.append(("shift", by_ms, self.clock()))


class World:
    def __init__(self) -> None:
        self.elapsed_s, self.wall_ms = 0.0, START_MS
        self.store = Store()
        self.clock = self.store.clock = SteadyClock(lambda: self.wall_ms, lambda: self.elapsed_s)
        self.keeper = Timekeeper(self.store, self.clock)  # pyright: ignore

    def passes(self, seconds: float, *, jump_ms: int = 0) -> None:
        self.elapsed_s += seconds
        self.wall_ms += int(seconds * 1000) + jump_ms


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(timekeeper, "STRAGGLERS_S", 0.0)
    return World()


async def test_a_jump_is_not_seen_until_it_is_followed(world: World) -> None:
    await world.keeper.start()
    world.passes(1.0, jump_ms=3_600_000)
    assert world.clock() == START_MS + 1000


async def test_ahead_what_waits_moves_first(world: World) -> None:
    await world.keeper.start()
    world.passes(1.0, jump_ms=3_600_000)
    await world.keeper.look()
    assert world.store.told == [("shift", 3_600_000, START_MS + 1000)]
    assert world.clock() == START_MS + 3_601_000 == world.store.seen


async def test_back_the_clock_moves_first(world: World) -> None:
    await world.keeper.start()
    world.passes(1.0, jump_ms=-86_400_000)
    await world.keeper.look()
    assert world.store.told == [("shift", -86_400_000, START_MS + 1000 - 86_400_000)]
    assert world.clock() == START_MS + 1000 - 86_400_000


async def test_small_differences_are_followed_without_a_word(world: World) -> None:
    await world.keeper.start()
    world.passes(1.0, jump_ms=1_500)
    await world.keeper.look()
    assert world.store.told == []
    assert world.clock() == START_MS + 2_500


async def test_back_between_two_runs(world: World) -> None:
    world.store.seen = START_MS + 3_600_000
    await world.keeper.start()
    assert world.store.told == [("shift", -3_600_000, START_MS)]
    assert world.store.seen == START_MS


async def test_ids_go_on_behind_those_of_the_last_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit_ids, "ids", mine := Ids())
    monkeypatch.setattr(timekeeper, "ids", mine)
    world.store.last = "evt_" + "f" * 11 + "0" + "7fff" + "bfff" + "f" * 12  # by a clock that was millennia ahead
    await world.keeper.start()
    assert kit_ids.new_id("evt") > world.store.last


async def test_time_that_passed_between_two_runs_is_no_jump(world: World) -> None:
    world.store.seen = START_MS - 86_400_000
    await world.keeper.start()
    assert world.store.told == []


async def test_of_several_nodes_one_shifts(world: World) -> None:
    await world.keeper.start()
    world.store.first = False
    world.passes(1.0, jump_ms=3_600_000)
    await world.keeper.look()
    assert world.store.told == []
    assert world.clock() == START_MS + 3_601_000
