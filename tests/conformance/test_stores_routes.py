"""What every store must do for routing: routes, health of carriers, waits for a receipt. The same cases on both."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from store_world import DAY, MINUTE, NOW, PROJECT, World
from tidings.kit.ids import new_id
from tidings.routing.pace import Bucket
from tidings.store.accounts import Claim
from tidings.store.contract import Begin, NewMessage
from tidings.store.lists import EventFilter
from tidings.store.routes import HealthRow, NewHealth, NewRoute, RouteRow

LATER = NOW + 5_000


def row(id: str = "rte_1", **fields: Any) -> RouteRow:
    made: dict[str, Any] = {"project": PROJECT, "name": id, "route": "{}", "created_ms": NOW, "updated_ms": NOW}
    return RouteRow(id=id, **(made | fields))


async def create(
    world: World, wanted: RouteRow, most: int = 10, key: str | None = None, body: str = "b"
) -> tuple[str, str]:
    claim = None
    if key is not None:
        claim = Claim(project=wanted.project, key_hash=key, body_hash=body, resource=wanted.id, now_ms=NOW)
    return await world.store.routes.create(NewRoute(row=wanted, most=most, claim=claim))


async def test_routes_are_made_changed_and_removed(world: World) -> None:
    assert await create(world, row("rte_1")) == ("new", "rte_1")
    assert await create(world, row("rte_2", project="prj_b")) == ("new", "rte_2")
    changed = row("rte_1", name="other", route='{"a":1}', updated_ms=NOW + 1)
    assert await world.store.routes.change(changed) == "changed"
    assert await world.store.routes.load() == [changed, row("rte_2", project="prj_b")]
    assert await world.store.routes.change(row("rte_2", name="free")) == "gone", "it is another project's"
    assert await world.store.routes.delete("prj_b", "rte_1") is False
    assert await world.store.routes.delete(PROJECT, "rte_1") is True
    assert await world.store.routes.delete(PROJECT, "rte_1") is False


async def test_names_are_taken_and_projects_full(world: World) -> None:
    await create(world, row("rte_1", name="a"))
    assert (await create(world, row("rte_2", name="a"), key="k"))[0] == "taken"
    assert (await create(world, row("rte_3", name="b"), most=1, key="k"))[0] == "full"
    assert await create(world, row("rte_4", name="b"), key="k") == ("new", "rte_4"), "the key stayed free"
    assert await create(world, row("rte_5", name="c"), key="k") == ("replay", "rte_4")
    assert (await create(world, row("rte_6", name="c"), key="k", body="other"))[0] == "reused"
    assert await world.store.routes.change(row("rte_4", name="a")) == "taken"
    assert await world.store.routes.change(row("rte_4", name="b")) == "changed"


def health(share: float, **fields: Any) -> NewHealth:
    made: dict[str, Any] = {"provider": "p1", "slot": 0, "share": share, "reason": "failures", "since_ms": NOW}
    told = {k: fields.pop(k) for k in ("event", "project") if k in fields}
    return NewHealth(row=HealthRow(**(made | fields)), event_id=new_id("evt"), data='{"provider":"p1"}', **told)


async def test_health_is_kept_while_it_is_bad(world: World) -> None:
    note = world.store.routes.note
    await note(health(0.3))
    await note(health(0.0, reason="link_down"))
    await note(health(0.6, slot=1))
    kept = {(one.provider, one.slot): (one.share, one.reason) for one in await world.store.routes.health()}
    assert kept == {("p1", 0): (0.0, "link_down"), ("p1", 1): (0.6, "failures")}
    await note(health(1.0))
    assert [one.slot for one in await world.store.routes.health()] == [1]


@pytest.mark.parametrize(("project", "told"), [("", PROJECT), ("prj_b", "prj_b")])
async def test_health_is_told(world: World, project: str, told: str) -> None:
    await world.store.routes.note(health(0.0, event="provider.degraded", project=project))
    found, _ = await world.store.lists.events(EventFilter(project=told, limit=10))
    assert [(event.type, event.message, event.data) for event in found] == [
        ("provider.degraded", None, {"provider": "p1"})
    ]


async def test_who_waits_for_a_carrier_that_gets_less_is_free(world: World) -> None:
    mine, leased = world.message(provider="p1"), world.message(provider="p1", owner="w9", job_due_ms=NOW + MINUTE)
    await world.accept(mine, leased)
    assert await world.leased_ids(provider="p2", owner="w2") == []
    await world.store.routes.note(health(0.1))
    assert await world.leased_ids(provider="p2", owner="w2") == [mine.id]
    assert leased.id not in await world.leased_ids(now_ms=NOW + MINUTE, provider="p2"), "what is in hand stays"


async def test_getting_more_moves_nobody(world: World) -> None:
    await world.store.routes.note(health(0.1))
    await world.accept(world.message(provider="p1"))
    await world.store.routes.note(health(0.3))
    await world.store.routes.note(health(1.0))
    assert await world.leased_ids(provider="p2", owner="w2") == []


async def waiting(world: World, **fields: Any) -> tuple[NewMessage, Begin]:
    """A message that is sent and waits for its receipt until LATER."""
    message, begin = await world.started(**fields)
    await world.settle(begin, "sent", refs=("r1",), receipt_by_ms=LATER)
    return message, begin


async def test_a_missing_receipt_makes_a_job(world: World) -> None:
    message, begin = await waiting(world)
    assert await world.waiting() == 0
    assert await world.store.routes.overdue(LATER - 1, 10) == []
    assert await world.store.routes.overdue(LATER, 10) == [(PROJECT, message.id)]
    assert await world.store.routes.overdue(LATER, 10) == [], "once"
    assert await world.log(message) == ["message.accepted", "message.sent", "message.failover"]
    [leased] = await world.lease(now_ms=LATER, provider="p2", owner="w2")
    tries, kind, owner, open_attempt, provider, _, rescues, strikes, tried = leased[-9:]
    assert (tries, kind, owner, open_attempt, provider, rescues, strikes) == (1, "again", None, None, "", 0, 0)
    assert msgspec.json.decode(tried) == ["p1"]
    assert begin.provider == "p1"
    assert await world.status(message) == "sent"


@pytest.mark.parametrize("state", ["delivered", "undelivered"])
async def test_a_receipt_ends_the_wait(world: World, state: str) -> None:
    message, _ = await waiting(world)
    assert await world.receive("r1", state=state)
    assert await world.status(message) == state
    assert await world.store.routes.overdue(LATER, 10) == []
    assert await world.waiting() == 0


async def test_waits_are_taken_in_bits(world: World) -> None:
    for n in range(3):
        _, begin = await world.started(f"+491700000{n}")
        await world.settle(begin, "sent", refs=(f"r{n}",), receipt_by_ms=LATER + n)
    assert [len(await world.store.routes.overdue(LATER + 9, 2)) for _ in range(3)] == [2, 1, 0]


async def test_a_receipt_takes_the_job_away_even_in_hand(world: World) -> None:
    """Between the look at the wait and the attempt: then nothing is sent again."""
    message, _ = await waiting(world)
    await world.store.routes.overdue(LATER, 10)
    assert await world.leased_ids(now_ms=LATER, owner="w2") == [message.id]
    assert await world.receive("r1")
    assert (await world.begun(message, owner="w2")).kind == "gone"
    assert await world.status(message) == "delivered"


async def test_undelivered_while_another_carrier_is_about_to_try(world: World) -> None:
    message, _ = await waiting(world)
    await world.store.routes.overdue(LATER, 10)
    await world.receive("r1", state="undelivered")
    assert await world.status(message) == "sent", "there is another way"
    [_] = await world.lease(now_ms=LATER, owner="w2")
    second = await world.begin(message, owner="w2")
    await world.settle(second, "sent", refs=("r2",))
    await world.receive("r2", state="undelivered")
    assert await world.status(message) == "undelivered"


async def again(world: World) -> tuple[NewMessage, Begin]:
    """A message whose second attempt is on the wire because the receipt of the first did not come."""
    message, _ = await waiting(world)
    await world.store.routes.overdue(LATER, 10)
    await world.lease(now_ms=LATER, owner="w2")
    return message, await world.begin(message, owner="w2", at_ms=LATER)


AFTER: list[tuple[str, dict[str, Any], int]] = [
    ("sent", {"refs": ("r2",)}, 0),
    ("refused", {"status": None}, 0),
    ("unknown", {"due_ms": LATER + 1}, 0),
    ("retry", {"status": "queued", "due_ms": LATER + 1, "goes_to": "p3"}, 1),
    ("retry", {"status": None}, 0),
]


@pytest.mark.parametrize(("kind", "fields", "jobs"), AFTER)
async def test_the_second_attempt_never_lowers_the_message(
    world: World, kind: str, fields: dict[str, Any], jobs: int
) -> None:
    message, second = await again(world)
    await world.settle(second, kind, again=True, **fields)
    assert await world.status(message) == "sent"
    assert await world.waiting() == jobs
    if jobs:
        [leased] = await world.lease(now_ms=LATER + 1, provider="p3", owner="w3")
        assert leased[-8] == "again"
    assert await world.receive("r1")
    assert await world.status(message) == "delivered"
    assert await world.waiting() == 0


async def test_nobody_else_can_take_it(world: World) -> None:
    message, _ = await waiting(world)
    await world.store.routes.overdue(LATER, 10)
    await world.lease(now_ms=LATER, owner="w2")
    await world.store.routes.give_up([(PROJECT, message.id, "w1")])
    assert await world.waiting() == 1, "another worker's"
    await world.store.routes.give_up([(PROJECT, message.id, "w2")])
    assert await world.waiting() == 0
    assert await world.status(message) == "sent"


async def test_a_retry_goes_to_its_provider_and_knows_who_was_tried(world: World) -> None:
    message, begin = await world.started()
    await world.settle(begin, "retry", due_ms=NOW + 10, goes_to="p2")
    assert await world.lease(now_ms=NOW + 10) == []
    [leased] = await world.lease(now_ms=NOW + 10, provider="p2", owner="w2")
    assert leased[1] == message.id
    assert msgspec.json.decode(leased[-1]) == ["p1"]


async def test_a_retry_stays_with_its_provider_otherwise(world: World) -> None:
    message, begin = await world.started()
    await world.settle(begin, "retry", due_ms=NOW + 10)
    assert await world.lease(now_ms=NOW + 10, provider="p2") == []
    assert await world.leased_ids(now_ms=NOW + 10) == [message.id]


async def test_a_message_of_a_sequence_lets_the_next_one_go(world: World) -> None:
    first, begin = await world.started(sequence="s")
    second = world.message(sequence="s")
    await world.accept(second)
    await world.settle(begin, "sent", refs=("r1",), receipt_by_ms=LATER)
    assert await world.leased_ids() == [second.id]
    assert await world.store.routes.overdue(LATER, 10) == [(PROJECT, first.id)]


BUCKET = Bucket("k", 100_000, 2, NOW // DAY, 5)


async def test_a_rate_is_kept(world: World) -> None:
    take = world.store.routes.take
    assert await take([], NOW) == []
    assert await take([(BUCKET,)] * 4, NOW) == [0, 0, NOW + 100, NOW + 200]
    assert await take([(BUCKET,)], NOW + 99) == [NOW + 100]
    assert await take([(BUCKET,), (BUCKET,)], NOW + 100) == [0, NOW + 200]
    assert await take([(), (BUCKET._replace(key="other"),)], NOW) == [0, 0]


async def test_a_day_is_kept(world: World) -> None:
    quick = BUCKET._replace(burst=100)
    answers = await world.store.routes.take([(quick,)] * 7, NOW)
    assert answers[:5] == [0] * 5
    assert answers[5] == (NOW // DAY + 1) * DAY
    assert await world.store.routes.take([(quick._replace(day=quick.day + 1),)], NOW + DAY) == [0]


async def test_of_many_at_once_no_more_leave(world: World) -> None:
    """As several workers ask."""
    answers = await asyncio.gather(*(world.store.routes.take([(BUCKET,)], NOW) for _ in range(12)))
    assert [answer[0] for answer in answers].count(0) == 2


async def test_what_names_nobody_does_not_wait_behind_all_that_comes_for_us(world: World) -> None:
    """Freed from an ill carrier they are older than what comes for a busy one; they get half of its room."""
    free = [world.message(due=NOW - 100) for _ in range(4)]
    named = [world.message(provider="p1", due=NOW - n) for n in range(10)]
    await world.accept(*named, *free)
    first = await world.leased_ids(room=(4, 4, 4))
    assert sorted(id in {m.id for m in free} for id in first) == [False, False, True, True]
    assert set(await world.leased_ids(room=(1, 1, 1))) <= {m.id for m in free}
    rest = await world.leased_ids()
    assert len(first) + 1 + len(rest) == 14
