"""What every store must do with what carriers and people send: the same cases on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from store_world import DAY, MINUTE, NOW, PROJECT, World, execute
from tidings.kit.ids import new_id
from tidings.store.contract import InboundPartRow
from tidings.store.lists import StoredReceipt


async def unmatched(world: World) -> list[StoredReceipt]:
    return await world.store.lists.receipts(None, None, 50)


async def test_delivered(world: World) -> None:
    message = await world.sent(refs=("r1",))
    assert await world.receive("r1")
    found, attempts = await world.store.messages.with_attempts(world.ring, PROJECT, message.id)
    assert found is not None
    assert (found.message.status, found.delivered_ms, found.ended_ms) == ("delivered", NOW + 100, NOW + 100)
    assert (attempts[0].status, attempts[0].ended_ms) == ("delivered", NOW + 100)
    assert await world.receive("r1"), "a repeated one is matched"
    assert await world.log(message) == ["message.accepted", "message.sent", "message.delivered"]
    assert await unmatched(world) == []


async def test_undelivered_says_why_and_delivered_wins(world: World) -> None:
    message = await world.sent()
    assert await world.receive("r1", state="undelivered", carrier_state="rejected", error_code="42")
    found = (await world.store.messages.load(world.ring, PROJECT, [message.id]))[message.id]
    assert found.error is not None
    assert (found.message.status, found.error["code"], found.error["provider_code"]) == (
        "undelivered",
        "carrier_rejected",
        "42",
    )
    assert await world.receive("r1", received_ms=NOW + 500)
    assert await world.status(message) == "delivered"
    assert await world.receive("r1", state="undelivered")
    assert await world.status(message) == "delivered"
    assert await world.log(message) == [
        *("message.accepted", "message.sent", "message.undelivered", "message.delivered"),
    ]


async def test_delivered_turns_an_end_of_ours(world: World) -> None:
    message, begin = await world.started()
    await world.settle(begin, "sent", refs=("r1",))
    await world.store.jobs.end([world.end(message, "expired")])
    assert await world.receive("r1")
    assert await world.status(message) == "delivered"


async def test_parts_are_counted(world: World) -> None:
    message = await world.sent(refs=("a", "b", "c"))
    assert await world.receive("b")
    assert await world.status(message) == "sent"
    assert await world.receive("a", state="undelivered")
    assert await world.status(message) == "sent"
    assert await world.receive("c")
    assert await world.status(message) == "partially_delivered"
    assert await world.receive("a")
    assert await world.status(message) == "delivered"


async def test_parts_of_one_batch(world: World) -> None:
    message = await world.sent(refs=("a", "b"))
    items = [world.receipt("a"), world.receipt("x"), world.receipt("b")]
    assert await world.store.receipts.receive(items) == [True, False, True]
    assert await world.status(message) == "delivered"


async def test_receipt_before_the_answer(world: World) -> None:
    message, begin = await world.started()
    assert not await world.receive("r1")
    assert [r.ref for r in await unmatched(world)] == ["r1"]
    await world.settle(begin, "sent", refs=("r1",))
    assert await world.status(message) == "delivered"
    assert await unmatched(world) == []


async def test_receipts_and_answers_at_once(world: World) -> None:
    """Whichever commits first: none is left over."""
    pairs = [await world.started(f"+4917{n:05}") for n in range(25)]
    settle = [world.settle(begin, "sent", refs=(f"r{n}",)) for n, (_, begin) in enumerate(pairs)]
    receive = [world.receive(f"r{n}", f"+4917{n:05}") for n in range(25)]
    await asyncio.gather(*(call for both in zip(receive, settle, strict=True) for call in both))
    assert {await world.status(message) for message, _ in pairs} == {"delivered"}
    assert await unmatched(world) == []


async def test_unmatched_are_listed_and_forgotten(world: World) -> None:
    await world.store.providers.insert((PROJECT, "prv_1", "p1", "sms.smpp", "k1", "sealed", NOW))
    receipt = world.receipt("r1", state="undelivered", carrier_state="expired", error_code="7")
    for _ in range(2):
        assert await world.store.receipts.receive([receipt]) == [False]
    assert not await world.receive("r2", provider="p2", received_ms=NOW + 200)
    found = await unmatched(world)
    assert [(r.provider, r.ref) for r in found] == [("p2", "r2"), ("p1", "r1")]
    assert (found[1].state, found[1].carrier_state, found[1].error_code) == ("undelivered", "expired", "7")
    own = await world.store.lists.receipts(PROJECT, None, 50)
    assert [r.ref for r in own] == ["r1"]
    assert [r.ref for r in await world.store.lists.receipts(None, found[0].id, 50)] == ["r1"]
    assert await world.store.lists.receipts("prj_other", None, 50) == []
    assert not await world.receive("r3", received_ms=NOW + 8 * DAY)
    assert [r.ref for r in await unmatched(world)] == ["r3"]


@pytest.mark.parametrize(
    ("fields", "matched"),
    [
        ({}, True),
        ({"to": None}, True),
        ({"to": "+4917000002"}, False),
        ({"provider": "p2"}, False),
        ({"refs": ("R-1", "r1")}, True),
    ],
)
async def test_what_a_receipt_is_matched_by(world: World, fields: dict[str, Any], matched: bool) -> None:
    await world.sent(refs=("r1",))
    assert await world.receive("r1", **fields) is matched


async def test_without_a_destination_only_one_candidate_will_do(world: World) -> None:
    first = await world.sent("+491", refs=("same",))
    await world.sent("+492", refs=("same",))
    assert not await world.receive("same", to=None)
    assert await world.receive("same", to="+491")
    assert await world.status(first) == "delivered"


async def test_read(world: World) -> None:
    message = await world.sent()
    for at in (NOW + 300, NOW + 400):
        assert await world.receive("r1", state="sent", carrier_state="read", engagement="read", received_ms=at)
    found = (await world.store.messages.load(world.ring, PROJECT, [message.id]))[message.id]
    assert (found.message.status, found.read_ms) == ("sent", NOW + 300)
    assert await world.log(message) == ["message.accepted", "message.sent", "message.read"]


async def test_another_attempt_is_still_under_way(world: World) -> None:
    """An undelivered receipt of the first attempt does not end a message that is being sent again."""
    message, first = await world.started()
    await world.settle(first, "unknown", due_ms=NOW + 20)
    await world.lease(now_ms=NOW + 20)
    second = await world.begin(message)
    await world.settle(first, "sent", refs=("r1",), status=None)
    assert await world.receive("r1", state="undelivered")
    assert await world.status(message) == "sending"
    await world.settle(second, "sent", refs=("r2",))
    assert await world.receive("r2")
    assert await world.status(message) == "delivered"


@pytest.mark.parametrize(
    ("attempts", "receipt", "winner"),
    [
        ([{"sender": "Shop"}], {}, 0),
        ([{"sender": "Shop"}], {"sender": "shop"}, 0),
        ([{"sender": "Shop"}], {"sender": "Bank"}, None),
        ([{"user_ref": 1}, {"user_ref": 2}], {"user_ref": 2}, 1),
        ([{"user_ref": 1}, {"user_ref": 2}], {}, None),
        ([{"sender": "Shop"}, {"sender": "Bank"}], {"sender": "Bank"}, 1),
        ([{"at_ms": NOW - 10 * MINUTE}], {}, None),
        ([{"at_ms": NOW - 10 * MINUTE}], {"submit_at_ms": NOW - 10 * MINUTE}, 0),
        ([{"at_ms": NOW + 30_000}], {"submit_at_ms": NOW + 30_000}, None),  # begun when the receipt was here already
        # our clock was set back by an hour, or by 5 s, between two to one person: which of them it is nobody can tell
        ([{"at_ms": NOW}, {"at_ms": NOW - 60 * MINUTE}], {"submit_at_ms": NOW - 60 * MINUTE}, None),
        ([{"at_ms": NOW}, {"at_ms": NOW + 3_000}], {"submit_at_ms": NOW + 3_000}, None),
        ([{"at_ms": NOW}, {"at_ms": NOW + 30_000}], {"submit_at_ms": NOW}, 0),  # the second came long after the receipt
    ],
)
@pytest.mark.parametrize("first", ["receipt", "unknown"])
async def test_a_receipt_settles_an_unknown(
    world: World, attempts: list[dict[str, Any]], receipt: dict[str, Any], winner: int | None, first: str
) -> None:
    pairs = [await world.started(**fields) for fields in attempts]
    item = world.receipt("r9", **receipt)
    settlements = [world.settlement(begin, "unknown", due_ms=NOW + MINUTE) for _, begin in pairs]
    if first == "receipt":
        await world.store.receipts.receive([item])
    await world.store.attempts.settle(settlements)
    if first == "unknown":
        assert await world.store.receipts.receive([item]) == [winner is not None]
    statuses = [await world.status(message) for message, _ in pairs]
    assert statuses == ["delivered" if n == winner else "sending" for n in range(len(pairs))]
    assert await world.waiting() == len(pairs) - (winner is not None)
    assert len(await unmatched(world)) == (winner is None)


@pytest.mark.parametrize("first", ["receipt", "unknown"])
@pytest.mark.parametrize(
    ("ended_at", "user_ref", "settled"),
    [("+4917000001", 2, True), ("+4917000001", 3, False), ("+4917000001", None, False), ("+4917000002", 2, False)],
)
async def test_where_a_message_ended_settles_an_unknown_that_is_named(
    world: World, ended_at: str, user_ref: int | None, settled: bool, first: str
) -> None:
    """A bounce says where a mail came to, after any forwarding: only one that also names the attempt is its own."""
    message, begin = await world.started(user_ref=2)
    item = world.receipt("r9", None, "undelivered", ended_hash=world.ring.lookup(ended_at), user_ref=user_ref)
    if first == "receipt":
        await world.store.receipts.receive([item])
    await world.settle(begin, "unknown", due_ms=NOW + MINUTE)
    if first == "unknown":
        assert await world.store.receipts.receive([item]) == [settled]
    assert await world.status(message) == ("undelivered" if settled else "sending")
    assert len(await unmatched(world)) == (not settled)


async def test_suppressed_stays_and_the_attempt_has_the_receipt(world: World) -> None:
    """The first attempt was on the wire when the person said STOP; what was to follow it is suppressed for good."""
    message, first = await world.started()
    await world.settle(first, "unknown", refs=("r1",), due_ms=NOW + 20)
    await world.store.jobs.end([world.end(message, "suppressed")])
    assert await world.receive("r1")
    assert await world.status(message) == "suppressed"
    _, attempts = await world.store.messages.with_attempts(world.ring, PROJECT, message.id)
    assert [attempt.status for attempt in attempts] == ["delivered"]
    assert await world.log(message) == ["message.accepted", "attempt.unknown", "message.suppressed"]


async def test_every_part_of_an_unknown_is_accounted_for(world: World) -> None:
    """The carrier answered the first of three parts; receipts tell of the others one by one."""
    message, begin = await world.started(parts=3)
    await world.settle(begin, "unknown", refs=("a", "", ""), due_ms=NOW + MINUTE)
    assert await world.receive("b")
    assert (await world.status(message), await world.waiting()) == ("sending", 1)
    items = [world.receipt("c"), world.receipt("c"), world.receipt("d")]
    assert await world.store.receipts.receive(items) == [True, True, False]
    assert (await world.status(message), await world.waiting()) == ("sent", 0)
    assert await world.receive("a")
    assert await world.status(message) == "delivered"


async def test_a_receipt_waits_for_an_attempt_on_the_wire(world: World) -> None:
    """Two to the same person, one unknown, one on its way: the receipt may be of either."""
    unknown, begin = await world.started()
    flying, other = await world.started()
    await world.settle(begin, "unknown", due_ms=NOW + MINUTE)
    assert not await world.receive("r1")
    await world.settle(other, "sent", refs=("r2",))
    assert (await world.status(unknown), await world.status(flying)) == ("delivered", "sent")
    assert await unmatched(world) == []


@pytest.mark.parametrize(
    ("kind", "status", "ended"),
    [("sent", "sent", "sent"), ("refused", "failed", "refused"), ("unknown", None, "unknown")],
)
@pytest.mark.parametrize("since", ["waits", "sent again", "over"])
async def test_a_late_answer(world: World, kind: str, status: str | None, ended: str, since: str) -> None:
    """It settles its attempt; its message only where that still waits for it."""
    message, begin = await world.started()
    await world.settle(begin, "unknown", due_ms=NOW + 20)
    if since == "sent again":
        await world.lease(now_ms=NOW + 20)
        await world.begin(message)
    elif since == "over":
        await world.store.jobs.end([world.end(message, "expired")])
    before = await world.status(message)
    refs = ("r1",) if kind == "sent" else ()
    await world.settle(begin, kind, refs=refs, status=status, late=True, due_ms=NOW + 20)
    _, attempts = await world.store.messages.with_attempts(world.ring, PROJECT, message.id)
    assert attempts[0].status == ended
    waited = since == "waits" and kind != "unknown"
    assert await world.status(message) == (status if waited else before)
    assert await world.waiting() == int(since == "sent again" or (since == "waits" and kind == "unknown"))


async def test_what_to_ask_a_carrier_of(world: World) -> None:
    message = await world.sent(refs=("a", "b", "c"))
    other = await world.sent("+492", refs=("x",))
    assert await world.receive("b")
    asked = await world.store.overdue.questions([(PROJECT, message.id), (PROJECT, other.id), (PROJECT, "msg_none")])
    assert sorted(asked) == [("p1", "a", "Shop"), ("p1", "c", "Shop"), ("p1", "x", "Shop")]
    assert await world.store.overdue.questions([]) == []


async def test_parts_are_kept_once(world: World) -> None:
    """A part that comes again, also after its message was complete, is the same delivery."""
    keep = world.store.inbound.keep_parts
    first, second = (InboundPartRow("p1", "f", "t", 1, 2, n, "k1", "sealed", NOW, f"d{n}") for n in (1, 2))
    assert await keep([first]) == [[]]
    assert [len(rows) for rows in await keep([second])] == [2]
    key = ("p1", "f", "t", 1, 2)
    assert await world.store.inbound.receive([world.inbound(of=key, parts=2)]) == [PROJECT]
    assert await keep([first, second]) == [[], []]
    assert await world.store.inbound.parts_of(key) == []


async def test_overdue_receipts(world: World) -> None:
    late, done = await world.sent("+491", refs=("a",)), await world.sent("+492", refs=("b",))
    await world.receive("b", "+492")
    store = world.store.overdue
    assert (await store.find(NOW, NOW)).messages == ()
    found = await store.find(NOW + DAY, NOW + DAY)
    assert found.messages == ((PROJECT, late.id),)
    await store.record(found)
    assert (await world.log(late))[-1] == "message.receipt_overdue"
    assert "message.receipt_overdue" not in await world.log(done)
    again = await store.find(NOW + 2 * DAY, NOW + DAY)
    assert again.messages == ()
    assert again.cursor == found.upto


async def test_inbound_is_stored_once(world: World) -> None:
    item = world.inbound(dedup="d1")
    twin = world.inbound(dedup="d1")
    assert await world.store.inbound.receive([item, twin]) == [PROJECT, None]
    assert await world.store.inbound.receive([world.inbound(dedup="d1")]) == [None]
    listed = await world.store.lists.inbound(world.ring, PROJECT, None, 10)
    assert [(i.id, i.sender, i.to, i.text) for i in listed] == [(item.id, "+4917000001", "12345", "hi")]
    assert await world.store.lists.inbound(world.ring, PROJECT, item.id, 10) == []
    assert await world.types() == ["message.received"]
    assert await world.store.inbound.receive([world.inbound(dedup="d1", received_ms=NOW + 2 * DAY)]) == [PROJECT]


async def test_inbound_answers_the_latest_message(world: World) -> None:
    await world.sent(refs=("a",))
    latest = await world.sent(refs=("b",))
    await world.sent("+4917000002", refs=("c",))
    item = world.inbound()
    assert await world.store.inbound.receive([item]) == [PROJECT]
    assert (await world.store.lists.inbound(world.ring, PROJECT, None, 1))[0].in_reply_to == latest.id
    found = (await world.store.messages.load(world.ring, PROJECT, [latest.id]))[latest.id]
    assert found.replied_ms == NOW + 200
    assert (await world.log(latest))[-1] == "message.replied"


@pytest.mark.parametrize(("own", "expected"), [("", "prj_b"), ("prj_a", "prj_a"), ("prj_c", "prj_c")])
async def test_the_project_of_inbound(world: World, own: str, expected: str) -> None:
    await world.sent(refs=("a",))
    await world.sent(refs=("b",), project="prj_b")
    assert await world.store.inbound.receive([world.inbound(provider_project=own)]) == [expected]


async def test_stop_and_start(world: World) -> None:
    message = await world.sent()
    stranger = "+4917000009"
    stops = [world.inbound(stop="stop"), world.inbound(stranger, stop="stop")]
    assert await world.store.inbound.receive(stops) == [PROJECT, PROJECT]
    found = (await world.store.messages.load(world.ring, PROJECT, [message.id]))[message.id]
    assert found.unsubscribed_ms == NOW + 200
    assert (await world.log(message))[-1] == "message.unsubscribed"
    assert "contact.unsubscribed" in await world.types()
    page = await world.store.suppressions.page(world.ring, PROJECT, ("", ""), 10)
    assert {(s.to, s.reason) for s in page} == {("+4917000001", "stop"), (stranger, "stop")}
    await world.store.inbound.receive([world.inbound(stop="start")])
    page = await world.store.suppressions.page(world.ring, PROJECT, ("", ""), 10)
    assert [s.to for s in page] == [stranger]


def part(n: int, total: int = 3, ref: int = 7, at: int = NOW) -> InboundPartRow:
    return InboundPartRow("p1", "from", "to", ref, total, n, "k1", f"sealed {n}", at)


async def test_inbound_parts(world: World) -> None:
    keep = world.store.inbound.keep_parts
    assert await keep([part(3), part(1)]) == [[], []]
    assert await keep([part(1), part(1, ref=8)]) == [[], []]
    key = ("p1", "from", "to", 7, 3)
    assert [row[0] for row in await world.store.inbound.parts_of(key)] == [1, 3]
    whole = [row for rows in await keep([part(2)]) for row in rows]
    assert [tuple(row) for row in whole] == [(n, "k1", f"sealed {n}", NOW) for n in (1, 2, 3)]
    items = [world.inbound(of=key, parts=3), world.inbound(of=key, parts=3)]
    assert await world.store.inbound.receive(items) == [PROJECT, None]
    assert await world.store.inbound.parts_of(key) == []
    assert await world.store.inbound.stale_parts(NOW) == []
    assert await world.store.inbound.stale_parts(NOW + 1) == [("p1", "from", "to", 8, 3)]


async def test_parts_that_come_at_once_are_completed_once(world: World) -> None:
    answers = await asyncio.gather(*(world.store.inbound.keep_parts([part(n, 12)]) for n in range(1, 13)))
    assert sorted(len(answer[0]) for answer in answers) == [0] * 11 + [12]


async def test_erased_people_leave_no_trace(world: World) -> None:
    message = await world.sent()
    await world.store.inbound.receive([world.inbound()])
    await execute(world.store, "delete from personal")
    found = (await world.store.messages.load(world.ring, PROJECT, [message.id]))[message.id]
    assert (found.message.personal.to, found.message.personal.text) == ("", None)
    listed = await world.store.lists.inbound(world.ring, PROJECT, None, 10)
    assert [(i.sender, i.text) for i in listed] == [(None, None)]
    assert await world.receive("r1")
    assert await world.status(message) == "delivered"


async def test_an_unreadable_row_is_like_an_erased_one(world: World) -> None:
    message = world.message(sealed=world.ring.seal(b"{}", new_id("msg")))
    await world.accept(message)
    found = (await world.store.messages.load(world.ring, PROJECT, [message.id]))[message.id]
    assert found.message.personal.to == ""


async def test_delivered_and_read_at_once_are_two_events(world: World) -> None:
    message = await world.sent()
    assert await world.receive("r1", engagement="read")
    events = await world.store.lists.timeline(PROJECT, message.id, 0, 100)
    assert [event.type for event in events or []][-2:] == ["message.delivered", "message.read"]
    assert len({event.id for event in events or []}) == 4


@pytest.mark.parametrize(
    ("engagement", "column"),
    [("clicked", "clicked_ms"), ("complained", "complained_ms"), ("unsubscribed", "unsubscribed_ms")],
)
async def test_engagement_moves_no_status_and_is_told_once(world: World, engagement: str, column: str) -> None:
    message = await world.sent()
    for at in (NOW + 300, NOW + 400):
        assert await world.receive("r1", state="pending", engagement=engagement, received_ms=at)
    found = (await world.store.messages.load(world.ring, PROJECT, [message.id]))[message.id]
    assert (found.message.status, getattr(found, column)) == ("sent", NOW + 300)
    assert await world.log(message) == ["message.accepted", "message.sent", f"message.{engagement}"]


async def test_a_receipt_suppresses_the_address_on_the_attempts_channel(world: World) -> None:
    address = "ada@example.com"
    await world.sent(address, channel="email")
    assert await world.receive("r1", address, state="undelivered", suppress="bounced")
    found = await world.store.suppressions.get(world.ring, PROJECT, "sms", world.ring.lookup(address))
    assert found is not None, "the attempt of this world is one of SMS"
    assert (found.reason, found.to) == ("bounced", address)
    assert await world.store.suppressions.among(PROJECT, "sms", [world.ring.lookup(address), "x"]) == [
        world.ring.lookup(address)
    ]


async def test_a_carriers_own_error_is_kept(world: World) -> None:
    message = await world.sent()
    error = '{"code":"mailbox_full","detail":"it is full","permanent":true,"retryable":false}'
    assert await world.receive("r1", state="undelivered", error=error)
    found = (await world.store.messages.load(world.ring, PROJECT, [message.id]))[message.id]
    assert found.error is not None
    assert found.error["code"] == "mailbox_full"


async def test_inbound_answers_what_it_names(world: World) -> None:
    """By the carrier's id of ours, the best first; else the latest message to the person."""
    first, _ = await world.sent(refs=("r1",)), await world.sent(refs=("r2",))
    await world.store.inbound.receive([world.inbound(answers=("gone", "r1", "r2"), channel="whatsapp")])
    found = (await world.store.lists.inbound(world.ring, PROJECT, None, 5))[0]
    assert (found.in_reply_to, found.channel) == (first.id, "whatsapp")


async def test_stop_suppresses_the_channel_it_came_on(world: World) -> None:
    await world.sent()
    await world.store.inbound.receive([world.inbound(text="STOP", stop="stop", channel="whatsapp")])
    hashed = world.ring.lookup("+4917000001")
    assert await world.store.suppressions.among(PROJECT, "whatsapp", [hashed]) == [hashed]
    assert await world.store.suppressions.among(PROJECT, "sms", [hashed]) == []
    await world.store.inbound.receive([world.inbound(text="START", stop="start", channel="whatsapp")])
    assert await world.store.suppressions.among(PROJECT, "whatsapp", [hashed]) == []


async def test_one_device_of_several(world: World) -> None:
    """A push message is delivered where one of its devices is; refused ones count for nothing."""
    message, begin = await world.started("token-1", parts=3)
    begin_push = world.attempt(message, attempt=begin.attempt, parts=3)
    await world.settle(begin_push, "sent", refs=("d1", "", "d3"), states="sus", cost=0.5)
    await execute(world.store, f"update attempts set channel = 'push' where id = '{begin.attempt}'")
    assert await world.receive("d3", None)
    found, attempts = await world.store.messages.with_attempts(world.ring, PROJECT, message.id)
    assert found is not None
    assert (found.message.status, attempts[0].status, attempts[0].cost) == ("delivered", "delivered", 0.5)
