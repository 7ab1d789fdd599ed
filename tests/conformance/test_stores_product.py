"""What every store must do behind the API: lists, keys, suppressions, providers, webhooks. The same cases on both."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from store_world import DAY, MINUTE, NOW, PROJECT, World, execute
from tidings.domain.errors import StoreError
from tidings.kit.ids import new_id
from tidings.store.accounts import Claim, First, NewKey, NewProject, NewSuppression, StoredKey, StoredProject, owner
from tidings.store.hooks import DeliveryRow, Disable, Done, EndpointRow, NewEndpoint
from tidings.store.lists import EventFilter, MessageFilter


def message_id(at_ms: int, n: int = 0) -> str:
    return f"msg_{at_ms:012x}{n:020x}"


FILTERS: list[tuple[dict[str, Any], list[int]]] = [
    ({}, [3, 2, 1, 0]),
    ({"status": "failed"}, [1]),
    ({"channel": "email"}, [2]),
    ({"template": "t"}, [3]),
    ({"reference": "ref"}, [3, 1]),
    ({"tag": "x"}, [2, 0]),
    ({"tag": "x y"}, [3]),
    ({"to": "+4911"}, [2, 0]),
    ({"to": "+4911", "channel": "email"}, [2]),
    ({"since_ms": NOW + 2 * MINUTE}, [3, 2]),
    ({"until_ms": NOW + 2 * MINUTE}, [1, 0]),
    ({"since_ms": NOW + MINUTE, "until_ms": NOW + 2 * MINUTE}, [1]),
    ({"tag": "none"}, []),
    ({"project": "prj_b"}, []),
]


@pytest.mark.parametrize(("wanted", "expected"), FILTERS)
async def test_messages_by_filter(world: World, wanted: dict[str, Any], expected: list[int]) -> None:
    made = [
        world.message("+4911", tags='["x"]'),
        world.message("+4912", reference="ref"),
        world.message("+4911", tags='["y","x"]', channel="email"),
        world.message("+4913", template="t", reference="ref", tags='["x y"]'),
    ]
    times = [NOW + n * MINUTE for n in range(4)]
    made = [msgspec.structs.replace(m, id=message_id(at), created_ms=at) for m, at in zip(made, times, strict=True)]
    await world.accept(*made)
    await world.store.jobs.end([world.end(made[1], "failed")])
    if "to" in wanted:
        wanted = {**{k: v for k, v in wanted.items() if k != "to"}, "to_hash": world.ring.lookup(wanted["to"])}
    asked = MessageFilter(**({"project": PROJECT, "limit": 10} | wanted))
    page, more = await world.store.lists.messages(world.ring, asked)
    assert [made[n].id for n in expected] == [m.message.id for m in page]
    assert more is None
    first, at = await world.store.lists.messages(world.ring, msgspec.structs.replace(asked, limit=1))
    assert [m.message.id for m in first] == [made[n].id for n in expected[:1]]
    rest, _ = await world.store.lists.messages(world.ring, msgspec.structs.replace(asked, before=at or "msg_"))
    assert [m.message.id for m in rest] == [made[n].id for n in expected[1:]]


async def test_ids_are_ordered_byte_by_byte(world: World) -> None:
    ids = ["msg_B", "msg_a", "msg_b", "msg_Z", "msg_-", "msg_1"]
    await world.accept(*(world.message(id=id) for id in ids))
    page, _ = await world.store.lists.messages(world.ring, MessageFilter(project=PROJECT, limit=10))
    assert [m.message.id for m in page] == sorted(ids, reverse=True)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, ["failed", "accepted", "accepted"]),
        ({"types": ("message.accepted",)}, ["accepted", "accepted"]),
        ({"types": ("message.failed", "message.sent")}, ["failed"]),
        ({"since_ms": NOW + 5}, ["failed"]),
        ({"until_ms": NOW + 5}, ["accepted", "accepted"]),
        ({"limit": 1}, ["failed"]),
        ({"project": "prj_b"}, ["accepted"]),
    ],
)
async def test_events_by_filter(world: World, wanted: dict[str, Any], expected: list[str]) -> None:
    message = world.message()
    await world.accept(message, world.message(), world.message(project="prj_b"))
    await world.store.jobs.end([world.end(message, "failed")])
    found, more = await world.store.lists.events(EventFilter(**({"project": PROJECT, "limit": 10} | wanted)))
    assert [event.type for event in found] == [f"message.{word}" for word in expected]
    assert (more is not None) == ("limit" in wanted)
    mine, _ = await world.store.lists.events(EventFilter(project=PROJECT, limit=10, message=message.id))
    assert [event.type for event in mine] == ["message.failed", "message.accepted"]


async def test_the_log_page_by_page(world: World) -> None:
    for _ in range(7):
        await world.accept(world.message())
    seen: list[int] = []
    before = None
    while True:
        page, before = await world.store.lists.events(EventFilter(project=PROJECT, limit=3, before=before))
        seen += [event.seq for event in page]
        if before is None:
            break
    assert len(seen) == len(set(seen)) == 7
    assert seen == sorted(seen, reverse=True)
    assert seen[0] == await world.store.lists.log_end()
    after, followed = 0, list[int]()
    while True:
        events, subjects = await world.store.lists.follow(world.ring, PROJECT, after, 2)
        if not events:
            break
        assert set(subjects.messages) == {event.message for event in events}
        followed += [event.seq for event in events]
        after = followed[-1]
    assert followed == seen[::-1]
    assert max(followed) < 2**53, "what JSON readers take for an integer"


async def test_timelines(world: World) -> None:
    message = await world.sent()
    events = await world.store.lists.timeline(PROJECT, message.id, 0, 1)
    assert events is not None
    assert [e.type for e in events] == ["message.accepted"]
    rest = await world.store.lists.timeline(PROJECT, message.id, events[0].seq, 10)
    assert rest is not None
    assert [e.type for e in rest] == ["message.sent"]
    assert await world.store.lists.timeline(PROJECT, "msg_none", 0, 10) is None
    assert await world.store.lists.timeline("prj_b", message.id, 0, 10) is None


async def test_followers_see_inbound_too(world: World) -> None:
    item = world.inbound()
    await world.store.inbound.receive([item])
    events, subjects = await world.store.lists.follow(world.ring, PROJECT, 0, 10)
    assert [e.message for e in events] == [item.id]
    assert subjects.inbound[item.id].text == "hi"
    assert (await world.store.lists.inbound_by_id(world.ring, "prj_b", [item.id])) == {}


def key(id: str, **fields: Any) -> StoredKey:
    row: dict[str, Any] = {
        "id": id, "project": PROJECT, "name": id, "mode": "live", "scopes": ["messages:read"], "hash": f"hash {id}",
        "hint": "wxyz", "created_ms": NOW,
    }  # fmt: skip
    return StoredKey(**(row | fields))


async def test_the_first_project_is_made_once(world: World) -> None:
    again = First(project="prj_z", keys=[key("key_2"), key("key_3")], preset=False, now_ms=NOW)
    assert await world.store.keys.first(again) is False
    assert await world.store.keys.by_hash("hash key_2") is None
    assert await world.store.keys.first(msgspec.structs.replace(again, preset=True)) is False
    found = await world.store.keys.by_hash("hash key_2")
    assert found is not None
    assert (found[0].project, found[1]) == (PROJECT, PROJECT)
    assert await world.store.keys.by_hash("hash key_3") is None


async def test_keys(world: World) -> None:
    keys = world.store.keys
    claim = Claim(project=PROJECT, key_hash="c", body_hash="b", resource="key_4", now_ms=NOW)
    made = NewKey(key=key("key_4", expires_ms=NOW + DAY), claim=claim)
    assert await keys.create(made) == ("new", "key_4")
    assert await keys.create(NewKey(key=key("key_5"), claim=claim)) == ("replay", "key_4")
    other = msgspec.structs.replace(claim, body_hash="b2")
    assert await keys.create(NewKey(key=key("key_5"), claim=other)) == ("reused", "key_4")
    assert await keys.create(NewKey(key=key("key_5"))) == ("new", "key_5")
    assert await keys.get(PROJECT, "key_4") == made.key
    assert await keys.get("prj_b", "key_4") is None
    assert [k.id for k in await keys.page(PROJECT, None, 2)] == ["key_5", "key_4"]
    assert [k.id for k in await keys.page(PROJECT, "key_4", 2)] == ["key_1"]
    for at in (NOW + 1, NOW + 2):
        revoked = await keys.revoke(PROJECT, "key_4", at)
        assert revoked is not None
        assert revoked.revoked_ms == NOW + 1
    assert await keys.by_hash("hash key_4") is None
    assert await keys.revoke(PROJECT, "key_9", NOW) is None


async def test_projects(world: World) -> None:
    claim = Claim(project=PROJECT, key_hash="c", body_hash="b", resource="prj_n", now_ms=NOW)
    made = NewProject(project=StoredProject(id="prj_n", name="new", created_ms=NOW), claim=claim)
    assert await world.store.keys.create_project(made) == ("new", "prj_n")
    assert await world.store.keys.create_project(made) == ("replay", "prj_n")
    assert [p.id for p in await world.store.keys.projects(None, None, 10)] == ["prj_n", PROJECT]
    assert [p.id for p in await world.store.keys.projects(PROJECT, None, 10)] == [PROJECT]
    assert [p.name for p in await world.store.keys.projects(None, "prj_n", 10)] == ["default"]


async def test_claims(world: World) -> None:
    def claim(body: str, resource: str, at: int = NOW) -> Claim:
        return Claim(project=PROJECT, key_hash="c", body_hash=body, resource=resource, now_ms=at)

    claims = [claim("b", "one"), claim("b", "two"), claim("x", "three"), claim("b", "four", NOW + 3 * DAY)]
    answers = [await world.store.keys.claim(item) for item in claims]
    assert answers == [("new", "one"), ("replay", "one"), ("reused", "one"), ("new", "four")]


def suppression(world: World, to: str, **fields: Any) -> NewSuppression:
    hashed = world.ring.lookup(to)
    sealed = world.ring.seal(b'{"to":"%s"}' % to.encode(), owner("sms", hashed))
    row: dict[str, Any] = {
        "project": PROJECT, "channel": "sms", "to_hash": hashed, "reason": "manual", "created_ms": NOW, "key_id": "k1",
        "sealed": sealed,
    }  # fmt: skip
    return NewSuppression(**(row | fields))


async def test_suppressions(world: World) -> None:
    them = world.store.suppressions
    first, second = suppression(world, "+491"), suppression(world, "+492")
    assert await them.add(first) == ("new", first.to_hash)
    assert await them.add(msgspec.structs.replace(first, reason="bounce", created_ms=NOW + 1)) == ("new", first.to_hash)
    await them.add(second)
    found = await them.get(world.ring, PROJECT, "sms", first.to_hash)
    assert found is not None
    assert (found.to, found.reason, found.created_ms) == ("+491", "manual", NOW)
    order = sorted((first, second), key=lambda item: item.to_hash)
    page = await them.page(world.ring, PROJECT, ("", ""), 1)
    assert [s.to_hash for s in page] == [order[0].to_hash]
    page = await them.page(world.ring, PROJECT, ("sms", order[0].to_hash), 9)
    assert [s.to_hash for s in page] == [order[1].to_hash]
    await execute(world.store, "delete from personal")
    erased = await them.get(world.ring, PROJECT, "sms", first.to_hash)
    assert erased is not None
    assert erased.to is None
    assert await them.remove(PROJECT, "sms", first.to_hash) is True
    assert await them.remove(PROJECT, "sms", first.to_hash) is False
    assert await them.get(world.ring, PROJECT, "sms", first.to_hash) is None


async def test_providers(world: World) -> None:
    providers = world.store.providers
    row = (PROJECT, "prv_1", "own", "sms.smpp", "k1", "sealed")
    await providers.insert((*row, NOW))
    with pytest.raises(StoreError):
        await providers.insert((PROJECT, "prv_2", "own", "sms.smpp", "k1", "sealed", NOW))
    assert await providers.load() == [row]
    leased = world.message(provider="own", owner="w1", job_due_ms=NOW + MINUTE)
    routed, other = world.message(provider="own"), world.message(provider="p2")
    await world.accept(routed, leased, other)
    await providers.set_paused("own", True)
    await providers.set_paused("p2", False)
    assert await providers.paused() == {"own"}
    assert await world.leased_ids(provider="p3") == [routed.id]
    assert await world.leased_ids(provider="own", routed_only=True, now_ms=NOW + MINUTE) == [leased.id]
    await providers.set_paused("own", False)
    assert await providers.paused() == set()
    waiting = world.message(provider="own")
    await world.accept(waiting)
    await providers.delete(PROJECT, "prv_1", "own")
    assert await providers.load() == []
    assert await world.leased_ids(provider="p3") == [waiting.id]


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
    assert await hooks.news(0, 10) == (set(), 0)
    for n, project in enumerate((PROJECT, "prj_b", "prj_c")):
        await world.accept(world.message(project=project, created_ms=NOW + n * 10 * MINUTE))
    projects, cursor = await hooks.news(0, 2)
    assert projects == {PROJECT, "prj_b"}
    assert await hooks.news(cursor, 10) == ({"prj_c"}, await world.store.lists.log_end())
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


async def test_probing(world: World) -> None:
    commits = world.store.engine.commits
    for at in (NOW, NOW + 1):
        await world.store.probe(at)
    assert world.store.engine.commits == commits + 2


async def test_a_failing_read_leaves_its_connection_usable(world: World) -> None:
    def bad(connection: Any) -> Any:
        sql = "select 1 from nowhere"
        return connection.fetch(sql) if world.store.engine.dialect == "postgres" else connection.execute(sql)

    for _ in range(6):  # more than there are readers
        with pytest.raises(Exception, match="nowhere"):
            await world.store.engine.read(bad)
    assert await world.store.lists.log_end() == 0
