"""Sharing out places, with clocks that are moved by hand and a real SQLite store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_world import NOW, opened
from tidings.bus.local import LocalBus
from tidings.delivery import ownership
from tidings.delivery.ownership import Owner, to_give, to_take
from tidings.domain.errors import SettingsError
from tidings.store.owners import DUTY, Alive, Ownership, Place

TERM_S = 12.0
NAMES = ("c1", "c2", "c3", "c4")
EACH = dict.fromkeys(NAMES, 1)


def places(words: str) -> dict[Place, str]:
    """`c1=a c2.1=b`: who owns what; `sweep!=a` is a duty."""
    found: dict[Place, str] = {}
    for word in words.split():
        where, _, node = word.partition("=")
        name, _, slot = where.rstrip("!").partition(".")
        found[Place(name, DUTY if where.endswith("!") else int(slot or 0))] = node
    return found


def shown(taken: Iterable[Place]) -> str:
    return " ".join(name + ("!" if slot == DUTY else f".{slot}" if slot else "") for name, slot in taken)


@pytest.mark.parametrize(
    ("nodes", "wanted", "owned", "take", "give"),
    [
        ("a", EACH, "", "c1 c2 c3 c4", None),
        ("ab", EACH, "", "c1 c2", None),
        ("ab", EACH, "c1=a c2=a c3=a c4=a", "", "c4"),
        ("ab", EACH, "c1=a c2=a c3=a c4=b", "", "c3"),
        ("ab", EACH, "c1=a c2=a c3=b c4=b", "", None),
        ("abc", EACH, "c1=a c2=a c3=b c4=b", "", "c2"),
        ("abc", EACH, "c1=b c2=b c3=a c4=a", "", "c4"),
        ("a", EACH, "c1=a c2=a c3=a", "c4", None),
        ("ab", EACH, "c1=b c2=b c3=b c4=b", "", None),
        ("ab", EACH, "c1=a c2=a c3=a", "", None),  # the free one is b's to take: nothing is given meanwhile
        ("a", {"c1": 4}, "", "c1", None),  # one place of a provider is enough for one node
        ("ab", {"c1": 4}, "c1=b", "c1.1", None),
        ("abcd", {"c1": 4}, "c1=b c1.1=c c1.3=d", "c1.2", None),
        ("abcd", {"c1": 2}, "c1=b c1.1=c", "", None),
        ("ab", {"c1": 2, "c2": 1, "c3": 1}, "c1=a c1.1=b c2=a c3=a", "", "c3"),
        ("ab", {"c1": 1, "sweep": 0, "hooks": 0}, "c1=b", "hooks! sweep!", None),
        ("ab", {"c1": 1, "sweep": 0, "hooks": 0}, "c1=a hooks!=a sweep!=a", "", "sweep!"),
        # b, c and d have room, but have c1 already: the free one is for a, though it has its part
        ("abcd", {"c1": 4, "x": 0, "y": 0, "z": 0}, "c1=b c1.1=c c1.2=d x!=a y!=a z!=b", "c1.3", None),
        ("abcd", {"c1": 4, "x": 0, "y": 0, "z": 0}, "c1=b c1.1=c c1.2=d c1.3=a x!=a y!=a z!=b", "", "y!"),
        ("bacde", {"c1": 4, "x": 0, "y": 0, "z": 0, "w": 0}, "c1=c c1.1=d c1.2=e x!=a y!=a z!=b w!=b", "c1.3", None),
    ],
)
def test_fair_shares(nodes: str, wanted: dict[str, int], owned: str, take: str, give: str | None) -> None:
    owners = places(owned)
    assert shown(to_take("a", nodes, wanted, owners)) == take
    surplus = to_give("a", nodes, wanted, owners)
    assert (None if surplus is None else shown([surplus])) == give


@given(
    slots=st.dictionaries(st.sampled_from(["c1", "c2", "c3", "sweep", "hooks", "codes"]), st.integers(0, 5), min_size=1),
    joins=st.lists(st.sampled_from("abcde"), min_size=1, unique=True), together=st.booleans(),
    rng=st.randoms(use_true_random=False),
)  # fmt: skip
def test_in_the_end_nothing_is_left_free(slots: dict[str, int], joins: list[str], together: bool, rng: Random) -> None:
    """Whoever comes when, and in whatever order they take their turns: all that can be owned is, in fair shares, and stays."""
    owned: dict[Place, str] = {}
    nodes = list(joins) if together else []
    for newcomer in joins:
        nodes += [] if together else [newcomer]
        for _ in range(30):
            before = dict(owned)
            for node in rng.sample(nodes, len(nodes)):
                owned |= dict.fromkeys(to_take(node, nodes, slots, owned), node)
                surplus = to_give(node, nodes, slots, owned)
                if surplus is not None:
                    del owned[surplus]
            if owned == before:
                break
        else:
            pytest.fail(f"places go round and round: {owned}")
        assert len(owned) == sum(min(max(1, count), len(nodes)) for count in slots.values())
        shares = [sum(of == node for of in owned.values()) for node in nodes]
        assert max(shares) - min(shares) <= 1 or all(count > 1 for count in slots.values())


class Part:
    """A worker that notes what it owns. Its monotonic clock is the bench's, its wall clock is wrong by `skew_ms`."""

    def __init__(self, bench: Bench, node: str, home: str = "", skew_ms: int = 0) -> None:
        self.has: dict[Place, int] = {}
        self.drained: list[bool] = []
        self.refuse = ""
        self.owner = Owner(
            bench.store, LocalBus(alone=False), node, home, self, lambda: bench.wanted, TERM_S,
            lambda: NOW + skew_ms + int(bench.time_s * 1000), lambda: bench.time_s,
        )  # fmt: skip

    async def take(self, place: Place, epoch: int) -> None:
        if place.name == self.refuse:
            raise SettingsError("no such host")
        self.has[place] = epoch

    async def drop(self, place: Place, *, drain: bool) -> None:
        self.has.pop(place, None)
        self.drained.append(drain)


class Bench:
    def __init__(self, store: Ownership) -> None:
        self.store, self.time_s, self.wanted = store, 0.0, dict(EACH)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened("sqlite", tmp_path, None) as store:
        yield Bench(Ownership(store.engine))


async def turns(bench: Bench, parts: list[Part], seconds: float) -> None:
    end = bench.time_s + seconds
    while bench.time_s < end:
        bench.time_s += 1
        for part in parts:
            await part.owner.turn()
            await settled(part)
            await part.owner.guard()
        owned = [place for part in parts for place in part.has]
        assert len(owned) == len(set(owned)), "two owners at once"


async def settled(part: Part) -> None:
    for task in list(part.owner._tasks):
        await task


def shares(*parts: Part) -> list[int]:
    return sorted(len(part.has) for part in parts)


async def test_who_joins_later_gets_its_part(bench: Bench) -> None:
    a, b, c = (Part(bench, node) for node in "abc")
    await turns(bench, [a], 1)
    assert shares(a) == [4]
    await turns(bench, [a, b], 4)
    assert shares(a, b) == [2, 2]
    await turns(bench, [a, b, c], 4)
    assert shares(a, b, c) == [1, 1, 2]
    del bench.wanted[next(iter(c.has)).name]
    await turns(bench, [a, b, c], 2)
    assert sorted(place.name for part in (a, b, c) for place in part.has) == sorted(bench.wanted)
    assert all(part.drained == [True] * len(part.drained) for part in (a, b, c))


@pytest.mark.parametrize("skew_ms", [0, 3_600_000, -86_400_000])
async def test_a_dead_worker_is_followed_after_a_term(bench: Bench, skew_ms: int) -> None:
    """Whatever the wall clock of the other says."""
    a, b = Part(bench, "a"), Part(bench, "b", skew_ms=skew_ms)
    await turns(bench, [a, b], 6)
    before = dict(a.has)
    assert len(before) == 2
    await turns(bench, [b], TERM_S - 2)
    assert not before.keys() & b.has.keys()
    await turns(bench, [b], 4)
    assert len(b.has) == 4
    assert all(b.has[place] == epoch + 1 for place, epoch in before.items())


async def test_who_cannot_beat_stops_before_its_term_ends(bench: Bench) -> None:
    a = Part(bench, "a")
    await turns(bench, [a], 1)
    bench.time_s += TERM_S * 0.7
    await a.owner.guard()
    assert len(a.has) == 4
    bench.time_s += TERM_S * 0.1
    await a.owner.guard()
    assert not a.has
    assert a.drained == [False] * 4
    await turns(bench, [a], 2)
    assert set(a.has.values()) == {2}, "what it gave up it has to get anew"


async def test_who_was_frozen_knows_before_its_guard_does(bench: Bench) -> None:
    """What came first after the freeze, a timer or a socket, may write nothing any more."""
    a = Part(bench, "a")
    assert not a.owner.holds()
    await turns(bench, [a], 1)
    bench.time_s += TERM_S * 0.7
    assert a.owner.holds()
    bench.time_s += TERM_S * 0.1
    assert not a.owner.holds()
    await a.owner.guard()
    await turns(bench, [a], 2)
    assert a.owner.holds()


async def test_who_was_buried_drops_everything_and_begins_anew(bench: Bench) -> None:
    a, b = Part(bench, "a"), Part(bench, "b")
    await turns(bench, [a], 1)
    assert await bench.store.bury(Alive("a", (await bench.store.survey())[0][0].stamp), NOW)
    await b.owner.turn()
    assert len(b.has) == 4
    await a.owner.turn()
    assert a.drained == [False] * 4
    assert not a.has
    await turns(bench, [a, b], 6)
    assert shares(a, b) == [2, 2]


async def test_a_clean_stop_hands_over_at_once(bench: Bench) -> None:
    a, b = Part(bench, "a"), Part(bench, "b")
    await turns(bench, [a, b], 6)
    a.owner._bell = LocalBus().subscribe(ownership.TOPIC)
    a.owner._bus.subscribe(ownership.TOPIC)
    await a.owner.stop()
    assert not a.has
    await b.owner.turn()
    await b.owner.turn()
    assert len(b.has) >= 2


async def test_the_process_started_in_its_place_waits_for_no_term(bench: Bench) -> None:
    a, other = Part(bench, "a", home="here"), Part(bench, "b", home="there")
    await turns(bench, [a, other], 6)
    again = Part(bench, "c", home="here")
    await turns(bench, [again, other], 1)
    assert shares(again, other) == [2, 2]


async def test_what_cannot_be_started_is_given_back(bench: Bench) -> None:
    a, b = Part(bench, "a"), Part(bench, "b")
    a.refuse = "c1"
    await turns(bench, [a], 2)
    assert shares(a) == [3]
    await turns(bench, [a, b], 6)
    assert Place("c1") in b.has


async def test_a_store_that_says_nothing_is_told_as_a_time_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def silent(*_: object) -> int:
        return await asyncio.Future()

    a = Part(bench, "a")
    monkeypatch.setattr(bench.store, "enter", silent)
    monkeypatch.setattr(a.owner, "_term_s", 0.03)
    await a.owner._turn_safely()
    assert "looked after: time-out" in caplog.text


async def test_two_owners_sabotaged(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the guard, who cannot reach the store keeps its binds while another has them."""

    async def sleeps(self: Owner) -> None:
        return None

    monkeypatch.setattr(Owner, "guard", sleeps)
    a, b = Part(bench, "a"), Part(bench, "b")
    await turns(bench, [a, b], 6)
    await turns(bench, [b], TERM_S + 3)
    await a.owner.guard()
    assert a.has.keys() & b.has.keys()
