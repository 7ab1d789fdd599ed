"""What every store must do for webhooks: the same cases on SQLite and on PostgreSQL."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from store_world import MINUTE, NOW, PROJECT, World
from tidings.kit.ids import new_id
from tidings.store.hooks import DeliveryRow, Disable, Done, EndpointRow, NewEndpoint, News


def endpoint(id: str, **fields: Any) -> EndpointRow:
    row: dict[str, Any] = {
        "project": PROJECT, "id": id, "key_id": "k1", "sealed": "sealed", "types": ["message.*"], "description": "d",
        "status": "enabled", "reason": None, "cursor": 0, "failing_since_ms": None, "created_ms": NOW,
    }  # fmt: skip
    return EndpointRow(**(row | fields))


async def made_endpoint(world: World, id: str = "end_1") -> EndpointRow:
    assert await world.store.webhooks.create(NewEndpoint(endpoint(id), None, None, 50)) == ("new", id)
    found = await world.store.webhooks.endpoint(PROJECT, id)
    assert found is not None
    return found


async def test_endpoints(world: World) -> None:
    hooks = world.store.webhooks
    await world.accept(world.message())
    answers = [
        await hooks.create(NewEndpoint(endpoint(id), key_hash, body_hash, 2))
        for id, key_hash, body_hash in (
            ("end_1", "k", "b"),
            ("end_2", "k", "b"),
            ("end_3", "k", "x"),
            ("end_4", None, None),
            ("end_5", "k5", "b"),
        )
    ]
    assert answers == [("new", "end_1"), ("replay", "end_1"), ("reused", "end_1"), ("new", "end_4"), ("full", "end_5")]
    page = await hooks.endpoints(PROJECT, None, 1)
    assert [e.id for e in page] == ["end_4"]
    assert [e.id for e in await hooks.endpoints(PROJECT, "end_4", 9)] == ["end_1"]
    assert await hooks.change(endpoint("end_4", status="disabled", reason="manual", types=["message.sent"])) is True
    assert await hooks.change(endpoint("end_9")) is False
    assert [e.id for e in await hooks.all_endpoints()] == ["end_1"]
    changed = await hooks.endpoint(PROJECT, "end_4")
    assert changed is not None
    assert (changed.status, changed.reason, changed.types) == ("disabled", "manual", ["message.sent"])
    assert await hooks.delete(PROJECT, "end_4") is True
    assert await hooks.delete(PROJECT, "end_4") is False
    # the idempotency key of the one that found no room is still free
    assert await hooks.create(NewEndpoint(endpoint("end_6"), "k5", "b", 2)) == ("new", "end_6")


async def test_an_endpoint_hears_of_what_happens_from_now_on(world: World) -> None:
    await world.accept(world.message())
    end = await made_endpoint(world)
    follow = world.store.webhooks.follow
    before = await follow(world.ring, PROJECT, end.cursor, [], (100, 100), True)
    assert (before.events, before.more) == ([], False)
    message = world.message()
    await world.accept(message, world.message(project="prj_b"))
    after = await follow(world.ring, PROJECT, end.cursor, [], (100, 100), True)
    assert [e.message for e in after.events] == [message.id]
    assert set(after.subjects.messages) == {message.id}
    assert after.upto == after.events[-1].seq


@pytest.mark.parametrize(
    ("types", "limits", "given", "more"),
    [
        ([], (100, 100), ["accepted", "sent", "delivered"], False),
        (["message.sent"], (100, 100), ["sent"], False),
        (["message.*"], (100, 100), ["accepted", "sent", "delivered"], False),
        (["attempt.*"], (100, 100), [], False),
        ([], (100, 2), ["accepted", "sent"], True),
        ([], (2, 100), ["accepted", "sent"], True),
        (["message.delivered"], (2, 100), [], True),
    ],
)
async def test_following(world: World, types: list[str], limits: tuple[int, int], given: list[str], more: bool) -> None:
    await world.sent()
    await world.receive("r1")
    hooks = world.store.webhooks
    found = await hooks.follow(world.ring, PROJECT, 0, types, limits, False)
    assert [e.type for e in found.events] == [f"message.{word}" for word in given]
    assert found.more is more
    rest = await hooks.follow(world.ring, PROJECT, found.upto, types, (100, 100), False)
    everything = await hooks.wanted(PROJECT, 0, await world.store.lists.log_end(), types, 100)
    assert [e.seq for e in (*found.events, *rest.events)] == [e.seq for e in everything]


async def test_news_and_times(world: World) -> None:
    hooks = world.store.webhooks
    assert await hooks.news(0, 10) == ({}, 0)
    for n, project in enumerate((PROJECT, "prj_b", "prj_c")):
        await world.accept(world.message(project=project, created_ms=NOW + n * 10 * MINUTE))
    found, cursor = await hooks.news(0, 2)
    assert list(found) == [PROJECT, "prj_b"]
    assert found["prj_b"] == News({"message.accepted"}, cursor)
    end = await world.store.lists.log_end()
    assert await hooks.news(cursor, 10) == ({"prj_c": News({"message.accepted"}, end)}, end)
    await world.accept(world.message(created_ms=NOW + 60 * MINUTE))
    behind = await hooks.seq_since(PROJECT, NOW + 60 * MINUTE)
    end = await world.store.lists.log_end()
    assert [e.at_ms for e in await hooks.wanted(PROJECT, behind, end, [], 10)] == [NOW + 60 * MINUTE]
    assert await hooks.seq_since(PROJECT, 0) == 0


def delivery(id: str, seq: int, **fields: Any) -> DeliveryRow:
    row: dict[str, Any] = {
        "project": PROJECT, "id": id, "endpoint": "end_1", "event_seq": seq, "event_id": "evt", "type": "message.sent",
        "status": "pending", "tries": 1, "next_ms": NOW + 100, "http_status": 500, "error": "no", "latency_ms": 3,
        "created_ms": NOW, "updated_ms": NOW,
    }  # fmt: skip
    return DeliveryRow(**(row | fields))


async def test_deliveries(world: World) -> None:
    hooks = world.store.webhooks
    message = world.message()
    await made_endpoint(world)
    await world.accept(message)
    seq = await world.store.lists.log_end()
    rows = [delivery("dlv_1", seq), delivery("dlv_2", seq, next_ms=NOW + 50), delivery("dlv_3", 1, status="failed")]
    rows[2] = msgspec.structs.replace(rows[2], next_ms=None)
    await hooks.record(Done(PROJECT, "end_1", rows, seq, NOW))
    found = await hooks.endpoint(PROJECT, "end_1")
    assert found is not None
    assert (found.cursor, found.failing_since_ms) == (seq, NOW)
    waiting = await hooks.due(world.ring, PROJECT, "end_1", NOW, 10)
    assert (waiting.rows, waiting.next_ms) == ([], NOW + 50)
    due = await hooks.due(world.ring, PROJECT, "end_1", NOW + 100, 10)
    assert [row.id for row in due.rows] == ["dlv_2", "dlv_1"]
    assert due.events[seq].message == message.id
    assert set(due.subjects.messages) == {message.id}
    done = delivery("dlv_2", seq, status="delivered", next_ms=None, tries=2, http_status=200, error=None)
    await hooks.record(Done(PROJECT, "end_1", [done], None, None))
    assert await hooks.delivery(PROJECT, "dlv_2") == done
    assert await hooks.delivery("prj_b", "dlv_2") is None
    found = await hooks.endpoint(PROJECT, "end_1")
    assert found is not None
    assert (found.cursor, found.failing_since_ms) == (seq, None)
    await hooks.queue([delivery("dlv_4", 999_999, next_ms=NOW)])
    lost = await hooks.due(world.ring, PROJECT, "end_1", NOW, 10)
    assert ([row.id for row in lost.rows], lost.events) == (["dlv_4"], {})
    assert [d.id for d in await hooks.deliveries(PROJECT, "end_1", None, 2)] == ["dlv_4", "dlv_3"]
    assert [d.id for d in await hooks.deliveries(PROJECT, "end_1", "dlv_3", 9)] == ["dlv_2", "dlv_1"]
    assert await hooks.delete_deliveries(PROJECT, "end_1", 3) == 3
    assert await hooks.delete_deliveries(PROJECT, "end_1", 3) == 1


async def test_an_endpoint_is_disabled_once(world: World) -> None:
    hooks = world.store.webhooks
    end = await made_endpoint(world)
    for _ in range(2):
        how = Disable("failing", new_id("evt"), NOW)
        await hooks.record(Done(PROJECT, end.id, [], end.cursor, NOW, how))
    found = await hooks.endpoint(PROJECT, end.id)
    assert found is not None
    assert (found.status, found.reason) == ("disabled", "failing")
    assert await world.types() == ["webhook.disabled"]
