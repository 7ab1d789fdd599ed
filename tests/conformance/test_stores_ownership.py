"""Who owns binds and duties: the same on both engines."""

from __future__ import annotations

import asyncio

from store_world import MINUTE, NOW, World
from tidings.store.owners import Claim, Hold, Owned, Ownership


def claim(node: str, at: int = 0, name: str = "p9", term: int = MINUTE) -> Claim:
    return Claim(name, node, NOW + at, NOW + at + term)


async def test_only_what_is_free_or_over_is_taken(world: World) -> None:
    owners = Ownership(world.store.engine)
    assert await owners.acquire(claim("a")) == 1
    assert await owners.acquire(claim("b")) == 0
    assert await owners.acquire(claim("b", MINUTE - 1)) == 0
    assert await owners.acquire(claim("b", MINUTE)) == 2, "the term ends with its last millisecond"
    assert await owners.acquire(claim("b", MINUTE)) == 3, "who starts again has a new epoch"
    assert await owners.acquire(claim("a", MINUTE)) == 0


async def test_one_of_many_gets_it(world: World) -> None:
    owners = Ownership(world.store.engine)
    epochs = await asyncio.gather(*(owners.acquire(claim(f"n{n}")) for n in range(10)))
    assert sorted(epochs) == [0] * 9 + [1]


async def test_renewing_and_giving_back_name_owner_and_epoch(world: World) -> None:
    owners = Ownership(world.store.engine)
    epoch = await owners.acquire(claim("a"))
    later = NOW + 5 * MINUTE
    wrong = [Hold("p9", "b", epoch, later), Hold("p9", "a", epoch + 1, later), Hold("p8", "a", epoch, later)]
    assert await owners.renew(wrong) == [False, False, False]
    assert await owners.release(wrong) == [False, False, False]
    assert await owners.renew([Hold("p9", "a", epoch, later)]) == [True]
    assert await owners.acquire(claim("b", MINUTE)) == 0
    assert await owners.release([Hold("p9", "a", epoch, NOW)]) == [True]
    assert await owners.renew([Hold("p9", "a", epoch, later)]) == [False]
    assert await owners.acquire(claim("b")) == epoch + 1


async def test_an_owner_of_before_stores_no_attempt(world: World) -> None:
    owners = Ownership(world.store.engine)
    message = world.message(owner="w1", job_due_ms=NOW + MINUTE)
    await world.accept(message)
    epoch = await owners.acquire(claim("a"))
    assert (await world.begun(message, provider="p9", node="a", epoch=epoch + 1)).kind == "not_owner"
    await owners.release([Hold("p9", "a", epoch, NOW)])
    assert (await world.begun(message, provider="p9", node="a", epoch=epoch)).kind == "not_owner"
    again = await owners.acquire(claim("b"))
    assert (await world.begun(message, provider="p9", node="a", epoch=epoch)).kind == "not_owner"
    assert (await world.begun(message, provider="p9", node="b", epoch=again)).kind == "ok"


async def test_who_is_alive(world: World) -> None:
    owners = Ownership(world.store.engine)
    await owners.beat("b", NOW, NOW + MINUTE)
    await owners.beat("a", NOW, NOW + 2 * MINUTE)
    await owners.acquire(claim("a"))
    alive, rows = await owners.survey(NOW)
    assert alive == ["a", "b"]
    assert Owned("p9", "a", 1, NOW + MINUTE) in rows
    assert (await owners.survey(NOW + MINUTE))[0] == ["a"]
    await owners.beat("a", NOW, 0)
    assert (await owners.survey(NOW))[0] == ["b"]
