"""What every store must do behind the API: lists, keys, suppressions, providers. The same cases on both."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from store_world import DAY, MINUTE, NOW, PROJECT, World, execute
from tidings.domain.errors import StoreError
from tidings.store.accounts import Claim, First, NewKey, NewProject, NewSuppression, StoredKey, StoredProject, owner
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
