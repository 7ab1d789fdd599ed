"""What every store must do for the SMPP server for customers: the same cases on SQLite and on PostgreSQL."""

from __future__ import annotations

from typing import Any

from store_world import MINUTE, NOW, PROJECT, World
from tidings.kit.ids import new_id
from tidings.store.accounts import NewKey, StoredKey
from tidings.store.customers import GIVEN_UP, WAITING, Customers, PartRow

KEY = "key_1"


def customers(world: World) -> Customers:
    return Customers(world.store.engine)


def part(n: int, **fields: Any) -> PartRow:
    row: dict[str, Any] = {
        "project": PROJECT, "id": new_id("prt"), "key": KEY, "grp": "g", "total": 2, "part": n, "content": f"c{n}",
        "key_id": "k1", "sealed": f"sealed {n}", "received_ms": NOW,
    }  # fmt: skip
    return PartRow(**(row | fields))


async def test_keys_by_system_id(world: World) -> None:
    for id, fields in (("key_0123456789abcde", {}), ("key_x123456789abcde", {"expires_ms": NOW})):
        key = StoredKey(
            id=id, project=PROJECT, name=id, mode="live", scopes=[], hash=id, hint="h", created_ms=NOW, **fields
        )
        await world.store.keys.create(NewKey(key=key))
    found = await customers(world).by_name("0123456789abcde")
    assert [key.id for key in found] == ["key_0123456789abcde"]
    assert await customers(world).good([KEY, "key_x123456789abcde", "key_none"], NOW) == {KEY}
    await world.store.keys.revoke(PROJECT, "key_0123456789abcde", NOW)
    assert await customers(world).by_name("0123456789abcde") == []


async def test_one_process_delivers_to_a_key(world: World) -> None:
    them = customers(world)
    await world.accept(world.message())
    assert await them.claim(KEY, "n1", NOW, NOW + MINUTE) is None
    for _ in range(2):
        await them.open(KEY, PROJECT, NOW)
    cursor = await them.claim(KEY, "n1", NOW, NOW + MINUTE)
    assert cursor is not None
    assert (await world.store.lists.follow(world.ring, PROJECT, cursor, 9))[0] == []
    later = world.message()
    await world.accept(later)
    events, _ = await world.store.lists.follow(world.ring, PROJECT, cursor, 9)
    assert [event.message for event in events] == [later.id]
    assert await them.claim(KEY, "n2", NOW, NOW + MINUTE) is None
    assert await them.save(KEY, "n1", events[0].seq, NOW + MINUTE)
    assert await them.claim(KEY, "n2", NOW + MINUTE, NOW + 2 * MINUTE) == events[0].seq
    assert not await them.save(KEY, "n1", events[0].seq + 1, NOW)
    assert await them.save(KEY, "n2", 0, 0), "the cursor does not go back"
    assert await them.claim(KEY, "n3", NOW, NOW + MINUTE) == events[0].seq


async def test_parts_of_long_messages(world: World) -> None:
    them = customers(world)
    first, second = part(1), part(2)
    (kept,) = await them.keep_parts([first])
    assert (kept.id, kept.whole) == (first.id, None)
    (again,) = await them.keep_parts([part(1)])
    assert again.id == first.id, "the same content is the same part"
    (whole,) = await them.keep_parts([second])
    assert whole.whole == first.id
    assert [p.part for p in await them.parts_of(first.id)] == [1, 2]
    assert await them.unsent(NOW, 9) == [first.id]
    assert await them.message_of(PROJECT, second.id) == WAITING
    await them.sent(first.id, "msg_1")
    assert await them.unsent(NOW + 1, 9) == []
    assert [await them.message_of(PROJECT, p.id) for p in (first, second)] == ["msg_1", "msg_1"]
    assert await them.message_of("prj_b", first.id) is None
    await them.purge(NOW + 1)
    assert await them.message_of(PROJECT, first.id) is None


async def test_a_reference_used_again_cuts_the_message_before(world: World) -> None:
    them = customers(world)
    first, other = part(1), part(1, content="other")
    await them.keep_parts([first])
    (kept,) = await them.keep_parts([other])
    assert (kept.id, kept.cut, kept.whole) == (other.id, first.id, None)
    assert await them.unsent(NOW, 9) == [first.id]
    await them.sent(first.id, GIVEN_UP)
    assert await them.unsent(NOW, 9) == []
    await them.close([other.id])
    assert await them.unsent(NOW, 9) == [other.id]
