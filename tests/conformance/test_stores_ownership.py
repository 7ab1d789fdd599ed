"""Who owns binds and duties: the same on both engines."""

from __future__ import annotations

import asyncio

from store_world import MINUTE, NOW, World
from tidings.store.owners import DUTY, Alive, Hold, LinkReport, NodeRow, Owned, Place

P9 = Place("p9")


async def entered(world: World, *nodes: str, home: str = "") -> None:
    for node in nodes:
        await world.store.ownership.enter(NodeRow(node, home, NOW))


async def stamp(world: World, node: str) -> int:
    return {alive.node: alive.stamp for alive in (await world.store.ownership.survey())[0]}[node]


async def test_only_what_is_free_is_taken(world: World) -> None:
    owners = world.store.ownership
    await entered(world, "a", "b")
    assert await owners.acquire(P9, "a") == 1
    assert await owners.acquire(P9, "b") == 0
    assert await owners.acquire(Place("p9", 1), "b") == 1, "another slot is another place"
    assert await owners.acquire(Place("p9", DUTY), "b") == 1
    assert await owners.acquire(P9, "a") == 2, "who takes it again has a new epoch"
    assert await owners.acquire(Place("p8"), "stranger") == 0, "who has not entered owns nothing"


async def test_one_of_many_gets_it(world: World) -> None:
    await entered(world, *(f"n{n}" for n in range(10)))
    epochs = await asyncio.gather(*(world.store.ownership.acquire(P9, f"n{n}") for n in range(10)))
    assert sorted(epochs) == [0] * 9 + [1]


async def test_giving_back_names_owner_and_epoch(world: World) -> None:
    owners = world.store.ownership
    await entered(world, "a", "b")
    epoch = await owners.acquire(P9, "a")
    for wrong in (Hold(P9, "b", epoch), Hold(P9, "a", epoch + 1), Hold(Place("p8"), "a", epoch)):
        assert not await owners.release(wrong)
    assert await owners.acquire(P9, "b") == 0
    assert await owners.release(Hold(P9, "a", epoch))
    assert not await owners.release(Hold(P9, "a", epoch))
    assert await owners.acquire(P9, "b") == epoch + 1


async def test_what_a_node_that_is_gone_owned_is_free(world: World) -> None:
    owners = world.store.ownership
    await entered(world, "a", "b")
    assert [await owners.acquire(Place(f"p{n}"), "a") for n in (7, 8)] == [1, 1]
    seen = Alive("a", await stamp(world, "a"))
    assert await owners.beat("a", NOW)
    assert not await owners.bury(seen, NOW), "it has beaten since"
    assert await owners.acquire(Place("p7"), "b") == 0
    assert await owners.bury(Alive("a", seen.stamp + 1), NOW)
    assert not await owners.beat("a", NOW), "it is told that it is dead"
    assert await owners.acquire(Place("p7"), "b") == 2
    await entered(world, "a")
    assert await owners.acquire(Place("p7"), "a") == 0
    assert await owners.acquire(Place("p8"), "a") == 2


async def test_jobs_of_the_dead_are_due(world: World) -> None:
    owners, later = world.store.ownership, NOW + MINUTE
    mine, others = world.message(owner="a", job_due_ms=later), world.message(owner="b", job_due_ms=later)
    await world.accept(mine, others)
    await entered(world, "a", "b")
    assert await world.leased_ids(owner="c") == []
    await owners.bury(Alive("a", await stamp(world, "a")), NOW)
    assert await world.leased_ids(owner="c", until_ms=later) == [mine.id]
    await owners.leave("b", NOW)
    assert await world.leased_ids(owner="c", until_ms=later) == [others.id]


async def test_a_process_takes_the_place_of_the_one_before(world: World) -> None:
    owners = world.store.ownership
    message = world.message(owner="a", job_due_ms=NOW + MINUTE)
    await world.accept(message)
    await entered(world, "x", "y")  # without a home: nobody's place
    await entered(world, "a", home="here")
    assert await owners.acquire(P9, "a") == 1
    assert await owners.enter(NodeRow("b", "here", NOW)) == 1
    assert [alive.node for alive in (await owners.survey())[0]] == ["b", "x", "y"]
    assert await owners.acquire(P9, "b") == 2
    assert await owners.enter(NodeRow("b", "here", NOW)) == 0, "itself it does not bury"
    assert not await owners.beat("a", NOW)


async def test_an_owner_of_before_stores_no_attempt(world: World) -> None:
    owners = world.store.ownership
    message, more = (world.message(owner="w1", job_due_ms=NOW + MINUTE) for _ in range(2))
    await world.accept(message, more)
    await entered(world, "a", "b")
    epoch = await owners.acquire(P9, "a")
    assert (await world.begun(message, provider="p9", node="a", epoch=epoch + 1)).kind == "not_owner"
    assert (await world.begun(message, provider="p9", node="a", epoch=epoch)).kind == "ok"
    await owners.release(Hold(P9, "a", epoch))
    assert (await world.begun(more, provider="p9", node="a", epoch=epoch)).kind == "not_owner"
    again = await owners.acquire(P9, "b")
    assert (await world.begun(more, provider="p9", node="a", epoch=epoch)).kind == "not_owner"
    assert (await world.begun(more, provider="p9", node="b", epoch=again)).kind == "ok"


async def test_the_survey_shows_all(world: World) -> None:
    owners = world.store.ownership
    await entered(world, "b", "a")
    await owners.acquire(Place("p9", 1), "a")
    await owners.acquire(Place("sweep", DUTY), "b")
    alive, rows = await owners.survey()
    assert alive == [Alive("a", 1), Alive("b", 1)]
    assert rows[1:] == [Owned(Place("p9", 1), "a", 1), Owned(Place("sweep", DUTY), "b", 1)]
    await owners.beat("a", NOW)
    assert (await owners.survey())[0][0] == Alive("a", 2)


async def test_links_are_shown_as_their_living_owner_sees_them(world: World) -> None:
    owners = world.store.ownership
    await entered(world, "a", "b")
    await owners.acquire(P9, "a")
    await owners.report([LinkReport("p9", 0, "a", "[1]", NOW), LinkReport("p9", 0, "a", "[2]", NOW)])
    await owners.report([LinkReport("p8", 0, "a", "[]", NOW)])
    assert await owners.reports() == [LinkReport("p9", 0, "a", "[2]", NOW)], "p8 it does not own"
    await owners.leave("a", NOW)
    assert await owners.reports() == []
    await owners.acquire(P9, "b")
    assert await owners.reports() == [], "the new owner has said nothing yet"


async def test_jobs_of_providers_that_are_gone(world: World) -> None:
    known, gone = world.message(provider="p1"), world.message(provider="p0")
    leased = world.message(provider="p0", owner="w1", job_due_ms=NOW + MINUTE)
    await world.accept(known, gone, leased)
    assert await world.store.providers.reroute(["p1", "p2"]) == 1
    assert await world.leased_ids(provider="p2") == [gone.id]
    assert await world.leased_ids(provider="p1", routed_only=True) == [known.id]


async def test_pauses_are_counted(world: World) -> None:
    providers = world.store.providers
    assert await providers.states() == {}
    for paused in (True, True, False):
        await providers.set_paused("own", paused)
    assert await providers.states() == {"own": (False, 3)}


async def test_only_its_holder_gives_a_job_back(world: World) -> None:
    from tidings.store.contract import Release

    message = world.message()
    await world.accept(message)
    await world.lease(owner="w2")
    back = Release(message.project, message.id, "p2", NOW, owner="w1")
    await world.store.jobs.release([back])
    assert await world.leased_ids(provider="p2") == []
    await world.store.jobs.release([Release(message.project, message.id, "p2", NOW, owner="w2")])
    assert await world.leased_ids(provider="p2", routed_only=True) == [message.id]


async def test_one_key_ring_for_one_database(world: World) -> None:
    assert await world.store.same_ring("one")
    assert await world.store.same_ring("one")
    assert not await world.store.same_ring("another")


async def test_revoked_keys_are_found(world: World) -> None:
    assert await world.store.keys.revoked(["h1", "h2"]) == []
    await world.store.keys.revoke("prj_a", "key_1", NOW)
    assert await world.store.keys.revoked(["h1", "h2"]) == ["h1"]
