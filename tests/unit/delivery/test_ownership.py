"""Sharing out providers, with a clock that is moved by hand and a real SQLite store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from store_world import NOW, opened
from tidings.delivery.ownership import Owner, to_give, to_take
from tidings.store.owners import Owned, Ownership

TERM_S = 12.0
NAMES = ("c1", "c2", "c3", "c4")


def rows(**owned: str) -> list[Owned]:
    return [Owned(name, node, 1, NOW + 1) for name, node in owned.items()]


@pytest.mark.parametrize(
    ("nodes", "owned", "take", "give"),
    [
        (["a"], {}, list(NAMES), None),
        (["a", "b"], {}, ["c1", "c2"], None),
        (["a", "b"], {"c1": "a", "c2": "a", "c3": "a", "c4": "a"}, [], "c4"),
        (["a", "b"], {"c1": "a", "c2": "a", "c3": "a", "c4": "b"}, [], "c3"),
        (["a", "b"], {"c1": "a", "c2": "a", "c3": "b", "c4": "b"}, [], None),
        (["a", "b", "c"], {"c1": "a", "c2": "a", "c3": "b", "c4": "b"}, [], "c2"),
        (["a"], {"c1": "a", "c2": "a", "c3": "b", "c4": ""}, ["c4"], None),
        (["a", "b"], {"c1": "b", "c2": "b", "c3": "b", "c4": "b"}, [], None),
    ],
)
def test_fair_shares(nodes: list[str], owned: dict[str, str], take: list[str], give: str | None) -> None:
    assert to_take("a", nodes, NAMES, rows(**owned), NOW) == take
    assert to_give("a", nodes, NAMES, rows(**owned), NOW) == give


class Part:
    """A worker that notes what it owns."""

    def __init__(self, world: Bench, node: str) -> None:
        self.has: dict[str, int] = {}
        self.owner = Owner(
            world.store,
            node,
            self,
            lambda: world.wanted,
            TERM_S,
            lambda: NOW + int(world.time_s * 1000),
            lambda: world.time_s,
        )

    async def take(self, name: str, epoch: int) -> None:
        self.has[name] = epoch

    async def drop(self, name: str, *, drain: bool) -> None:
        del self.has[name]


class Bench:
    def __init__(self, store: Ownership) -> None:
        self.store, self.time_s, self.wanted = store, 0.0, set(NAMES)


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
            await part.owner.guard()
        owned = [name for part in parts for name in part.has]
        assert len(owned) == len(set(owned)), "two owners at once"


async def test_who_joins_later_gets_its_part(bench: Bench) -> None:
    a, b, c = (Part(bench, node) for node in "abc")
    await turns(bench, [a], 1)
    assert set(a.has) == set(NAMES)
    await turns(bench, [a, b], 8)
    assert sorted(len(part.has) for part in (a, b)) == [2, 2]
    await turns(bench, [a, b, c], 12)
    assert sorted(len(part.has) for part in (a, b, c)) == [1, 1, 2]
    bench.wanted.discard(next(iter(c.has)))
    await turns(bench, [a, b, c], 2)
    assert sorted({name for part in (a, b, c) for name in part.has}) == sorted(bench.wanted)


async def test_a_dead_worker_is_followed_within_a_term(bench: Bench) -> None:
    a, b = Part(bench, "a"), Part(bench, "b")
    await turns(bench, [a, b], 6)
    before = dict(a.has)
    assert before
    await turns(bench, [b], TERM_S - 2)
    assert not before.keys() & b.has.keys()
    await turns(bench, [b], 3)
    assert set(b.has) == set(NAMES)
    assert all(b.has[name] == epoch + 1 for name, epoch in before.items())


async def test_who_cannot_renew_stops_before_its_term_ends(bench: Bench) -> None:
    a = Part(bench, "a")
    await turns(bench, [a], 1)
    bench.time_s += TERM_S * 0.8
    await a.owner.guard()
    assert a.has
    bench.time_s += TERM_S * 0.1
    await a.owner.guard()
    assert not a.has


async def test_a_clean_stop_hands_over_at_once(bench: Bench) -> None:
    a, b = Part(bench, "a"), Part(bench, "b")
    await turns(bench, [a, b], 6)
    await a.owner.stop()
    assert not a.has
    await turns(bench, [b], 1)
    assert set(b.has) == set(NAMES)
