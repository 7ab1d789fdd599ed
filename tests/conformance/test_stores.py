"""What every store must do on the delivery path: the same cases on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from store_world import DAY, MINUTE, NODE, NOW, PROJECT, World, execute
from tidings.domain.errors import StoreError
from tidings.kit.ids import new_id
from tidings.store.contract import End, NewMessage, Release


async def test_accepted_is_read_back(world: World) -> None:
    message = world.message(
        reference="order 1", tags='["a","b"]', sequence="s", template="t", locale="de", valid_until_ms=NOW + DAY, lane=0
    )
    assert await world.accept(message) == [message.id]
    found = (await world.store.messages.load(world.ring, PROJECT, [message.id, "msg_missing"]))[message.id]
    m = found.message
    assert (m.personal.to, m.personal.text, m.reference, m.tags) == ("+4917000001", "hello", "order 1", ("a", "b"))
    assert (m.sequence, m.template, m.locale, m.valid_until_ms, m.lane) == ("s", "t", "de", NOW + DAY, "otp")
    assert (m.status, found.provider, found.sent_ms) == ("accepted", None, None)
    assert await world.log(message) == ["message.accepted"]
    assert await world.store.messages.load(world.ring, "prj_other", [message.id]) == {}


async def test_idempotency(world: World) -> None:
    accept = world.store.accepting.accept

    def keyed(body: str = "b1", **fields: object) -> NewMessage:
        return world.message(key_hash="k", body_hash=body, **fields)

    first, again, other = keyed(), keyed(), keyed("b2")
    answers = await accept([first, again, other, world.message(id="msg_plain")])
    assert [a.kind for a in answers] == ["new", "replay", "reused", "new"]
    assert [a.id for a in answers] == [first.id, first.id, first.id, "msg_plain"]
    later = await accept([keyed(), keyed("b2"), keyed(project="prj_b")])
    assert [(a.kind, a.status) for a in later] == [("replay", "accepted"), ("reused", ""), ("new", "accepted")]
    tomorrow = await accept([keyed(created_ms=NOW + DAY)])
    assert (tomorrow[0].kind, tomorrow[0].created_ms) == ("replay", NOW)
    assert [a.kind for a in await accept([keyed(created_ms=NOW + 3 * DAY)])] == ["new"]
    assert await world.waiting() == 4


async def test_callers_at_once_with_one_key(world: World) -> None:
    answers = await asyncio.gather(
        *(world.store.accepting.accept([world.message(key_hash="k", body_hash="b")]) for _ in range(20))
    )
    kinds = [answer[0].kind for answer in answers]
    assert sorted(set(kinds)) == ["new", "replay"]
    assert kinds.count("new") == 1
    assert len({answer[0].id for answer in answers}) == 1


async def test_one_bad_caller_fails_alone(world: World) -> None:
    known = world.message()
    await world.accept(known)
    good = [world.message() for _ in range(6)]
    bad = world.message(id=known.id)
    answers = await asyncio.gather(
        *(world.store.accepting.accept([item]) for item in (*good[:3], bad, *good[3:])), return_exceptions=True
    )
    assert isinstance(answers[3], StoreError)
    assert [answer[0].kind for n, answer in enumerate(answers) if n != 3] == ["new"] * 6  # pyright: ignore
    assert await world.waiting() == 7
    assert world.store.engine.pending == 0


async def test_a_sequence_goes_one_by_one(world: World) -> None:
    first, second, third = (world.message(sequence="s", owner="w1") for _ in range(3))
    other = world.message(sequence="t", owner="w1", job_due_ms=NOW + MINUTE)
    answers = await world.store.accepting.accept([msgspec.structs.replace(first, owner=None), second, other])
    assert [a.handed for a in answers] == [False, False, True]
    assert [a.handed for a in await world.store.accepting.accept([third])] == [False]
    assert await world.leased_ids() == [first.id]
    await world.settle(await world.begin(first), "sent", refs=("r",))
    assert await world.leased_ids() == [second.id]
    await world.store.jobs.end([world.end(second, "failed")])
    assert await world.leased_ids() == [third.id]
    await world.store.jobs.end([world.end(third, "failed")])
    late = world.message(sequence="s")
    await world.accept(late)
    assert await world.leased_ids() == [late.id]


async def test_cancelling_within_a_sequence_frees_the_next(world: World) -> None:
    first, second, third = (world.message(sequence="s") for _ in range(3))
    await world.accept(first, second, third)
    assert await world.store.jobs.cancel(PROJECT, second.id, new_id("evt"), NOW) == "canceled"
    assert await world.store.jobs.cancel(PROJECT, first.id, new_id("evt"), NOW) == "canceled"
    assert await world.leased_ids() == [third.id]


async def test_lease_takes_what_is_due_once(world: World) -> None:
    late, soon, now = world.message(due=NOW + 1), world.message(due=NOW - 5), world.message(due=NOW)
    await world.accept(late, now, soon)
    rows = await world.lease()
    assert [row[1] for row in rows] == [soon.id, now.id]
    tries, kind, before, open_attempt, provider, to_hash, rescues, strikes = rows[0][31:39]
    assert (tries, kind, before, open_attempt, provider, to_hash) == (0, "deliver", None, None, "", soon.to_hash)
    assert (rescues, strikes) == (0, 0)
    assert len(rows[0]) == 40
    assert await world.leased_ids() == []
    assert await world.leased_ids(now_ms=NOW + 1) == [late.id]


async def test_a_dead_workers_jobs_come_due(world: World) -> None:
    message = world.message()
    await world.accept(message)
    await world.lease(owner="dead")
    begin = await world.begin(message, owner="dead")
    assert await world.lease(now_ms=NOW + MINUTE - 1) == []
    row = (await world.lease(now_ms=NOW + MINUTE, owner="w2"))[0]
    assert row[31:36] == (1, "deliver", "dead", begin.attempt, "p1")
    assert (await world.begun(message, owner="dead")).kind == "gone"


async def test_rescues_and_strikes_are_counted(world: World) -> None:
    """A rescue is a lease of what another one still held; a strike is noted by hand, or as a job goes back."""
    message, other = world.message(), world.message()
    await world.accept(message, other)
    await world.lease(owner="w1")
    again = await world.lease(now_ms=NOW + MINUTE, owner="w2")
    assert [row[37:39] for row in again] == [(1, 0), (1, 0)]
    await world.store.jobs.strike(PROJECT, message.id)
    await world.store.jobs.strike(PROJECT, "msg_gone")
    await world.store.jobs.release(
        [
            Release(PROJECT, message.id, "p1", NOW, strike=1),
            Release(PROJECT, other.id, "p1", NOW),
        ]
    )
    rows = {row[1]: row[37:39] for row in await world.lease(now_ms=NOW + MINUTE, owner="w3")}
    assert rows == {message.id: (1, 2), other.id: (1, 0)}, "what was given back needs no rescue"


async def test_a_jump_back_leaves_the_leases_of_the_new_time(world: World) -> None:
    day_ms = 86_400_000
    old, new = world.message(), world.message()
    await world.accept(old, new)
    await world.lease()
    await world.store.jobs.renew(
        [(PROJECT, old.id, "w1", NOW + MINUTE), (PROJECT, new.id, "w1", NOW - day_ms + MINUTE)]
    )
    await world.store.clock.shift(-day_ms, NOW - day_ms)
    assert await world.leased_ids(now_ms=NOW - day_ms) == []
    assert sorted(await world.leased_ids(now_ms=NOW - day_ms + MINUTE)) == sorted([old.id, new.id])


async def test_a_jump_of_the_clock_moves_what_waits(world: World) -> None:
    day_ms = 86_400_000
    waits, later, first, second = (
        world.message(due=NOW + 500), world.message(due=NOW + 500, status="scheduled"), world.message(sequence="s"),
        world.message(sequence="s"),
    )  # fmt: skip
    await world.accept(waits, later, first, second)
    clock = world.store.clock
    await clock.note(NOW)
    assert await clock.claim(NOW, NOW - day_ms)
    assert not await clock.claim(NOW, NOW - day_ms), "another node tells of the same jump"
    assert await clock.seen_ms() == NOW - day_ms
    await clock.shift(-day_ms, NOW - day_ms)
    assert await world.leased_ids(now_ms=NOW - day_ms) == [first.id]
    await world.store.jobs.end(
        [End(project=PROJECT, message=first.id, status="failed", at_ms=NOW, event=new_id("evt"))]
    )
    assert await world.leased_ids(now_ms=NOW - day_ms) == [second.id], "its turn had come before the jump"
    assert await world.leased_ids(now_ms=NOW - day_ms + 500) == [waits.id]
    assert later.id not in await world.leased_ids(now_ms=NOW + 499)
    assert later.id in await world.leased_ids(now_ms=NOW + 500), "it names its time"


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        ((0, 0, 0), [0, 0, 0]),
        ((1, 1, 1), [1, 0, 0]),
        ((2, 3, 4), [2, 1, 1]),
        ((2, 2, 9), [2, 0, 5]),
        ((9, 9, 9), [3, 3, 3]),
        ((0, 2, 2), [0, 2, 0]),
    ],
)
async def test_lease_by_lane_and_credit(world: World, room: tuple[int, int, int], expected: list[int]) -> None:
    sizes = {0: 3, 1: 3, 2: 5}
    await world.accept(*(world.message(lane=lane) for lane, size in sizes.items() for _ in range(size)))
    rows = await world.lease(room=room)
    assert [sum(row[4] == lane for row in rows) for lane in (0, 1, 2)] == expected
    assert [row[4] for row in rows] == sorted(row[4] for row in rows)
    assert await world.store.jobs.queued(4) == {0: 3, 1: 3, 2: 4}


async def test_tenants_are_served_in_turn(world: World) -> None:
    for project, size in (("prj_a", 50), ("prj_b", 3), ("prj_c", 1)):
        await world.accept(*(world.message(project=project) for _ in range(size)))
    rows = await world.lease(room=(0, 10, 0))
    assert [row[0] for row in rows[:5]] == ["prj_a", "prj_b", "prj_c", "prj_a", "prj_b"]
    assert [[row[0] for row in rows].count(p) for p in ("prj_a", "prj_b", "prj_c")] == [6, 3, 1]
    await world.accept(*(world.message(project=p) for p in ("prj_b", "prj_c")))
    rows = await world.lease(room=(0, 2, 0), after=("", "prj_a", ""))
    assert [row[0] for row in rows] == ["prj_b", "prj_c"]


async def test_lease_by_provider(world: World) -> None:
    mine, others, free = world.message(provider="p1"), world.message(provider="p2"), world.message()
    await world.accept(free, others, mine)
    assert await world.leased_ids(routed_only=True) == [mine.id]
    assert await world.leased_ids() == [free.id]
    assert await world.leased_ids(provider="p2") == [others.id]


async def test_renewing_is_for_the_owner(world: World) -> None:
    mine, lost = world.message(), world.message()
    await world.accept(mine, lost)
    await world.lease()
    until = NOW + 10 * MINUTE
    await world.store.jobs.renew([(PROJECT, mine.id, "w1", until), (PROJECT, lost.id, "w2", until)])
    assert await world.leased_ids(now_ms=NOW + MINUTE) == [lost.id]
    assert await world.leased_ids(now_ms=until) == [lost.id, mine.id]


async def test_releasing(world: World) -> None:
    plain, held = world.message(), world.message()
    await world.accept(plain, held)
    await world.lease()
    await world.store.jobs.release(
        [
            Release(PROJECT, plain.id, "p2", NOW + 5),
            Release(PROJECT, held.id, "", NOW + 7, status="held", event=new_id("evt"), at_ms=NOW + 1),
        ]
    )
    assert (await world.status(plain), await world.status(held)) == ("accepted", "held")
    assert await world.log(held) == ["message.accepted", "message.held"]
    assert await world.leased_ids(now_ms=NOW + 7) == [held.id]
    assert await world.leased_ids(now_ms=NOW + 7, provider="p2") == [plain.id]


async def test_ending_without_an_attempt(world: World) -> None:
    message, gone = world.message(), world.message()
    await world.accept(message, gone)
    error = '{"code":"no_route","detail":"none"}'
    ends = [world.end(message, "failed", error=error), world.end(gone, "expired"), world.end(gone, "failed")]
    assert await world.store.jobs.end(ends) == [True, True, False]
    found = (await world.store.messages.load(world.ring, PROJECT, [message.id]))[message.id]
    assert (found.message.status, found.ended_ms, found.error) == (
        "failed",
        NOW + 5,
        {"code": "no_route", "detail": "none"},
    )
    assert await world.log(gone) == ["message.accepted", "message.expired"]
    assert await world.waiting() == 0


async def test_cancelling(world: World) -> None:
    at_rest, leased = world.message(), world.message(owner="w1", job_due_ms=NOW + MINUTE)
    await world.accept(at_rest, leased)
    cancel = world.store.jobs.cancel
    assert await cancel(PROJECT, at_rest.id, new_id("evt"), NOW) == "canceled"
    assert await cancel(PROJECT, at_rest.id, new_id("evt"), NOW) == "gone"
    assert await cancel(PROJECT, leased.id, new_id("evt"), NOW) == "in_flight"
    assert (await world.status(at_rest), await world.status(leased)) == ("canceled", "accepted")
    begin = await world.begin(leased)
    await world.settle(begin, "unknown", due_ms=NOW + MINUTE)
    assert await cancel(PROJECT, leased.id, new_id("evt"), NOW) == "in_flight"


async def test_expiring(world: World) -> None:
    over, later, none = (world.message(valid_until_ms=until) for until in (NOW - 1, NOW + 1, None))
    leased = world.message(valid_until_ms=NOW - 2, owner="w1", job_due_ms=NOW + MINUTE)
    await world.accept(over, later, none, leased)
    assert await world.store.jobs.expired(NOW, 10) == [(PROJECT, over.id)]
    ends = [world.end(over, "expired"), world.end(leased, "expired")]
    assert await world.store.jobs.expire(ends) == [True, False]
    assert (await world.status(over), await world.status(leased)) == ("expired", "accepted")
    assert await world.store.jobs.expired(NOW, 10) == []


async def test_taking_over(world: World) -> None:
    """The only process of SQLite may; where other workers may live, leases end by themselves."""
    await world.accept(world.message())
    await world.lease()
    alone = world.store.engine.dialect == "sqlite"
    assert await world.store.jobs.take_over(NOW) == int(alone)
    assert len(await world.lease(owner="w2")) == int(alone)


async def test_begin_stores_the_attempt(world: World) -> None:
    message = world.message(owner="w1", job_due_ms=NOW + MINUTE)
    await world.accept(message)
    begin = await world.begin(message, parts=2)
    found, attempts = await world.store.messages.with_attempts(world.ring, PROJECT, message.id)
    assert found is not None
    assert (found.message.status, found.provider, found.parts, found.encoding) == ("sending", "p1", 2, "gsm7")
    assert [(a.id, a.n, a.status, a.parts, a.provider) for a in attempts] == [(begin.attempt, 1, "sending", 2, "p1")]


async def test_begin_looks_again(world: World) -> None:
    names = ("ok", "foreign", "no_job", "stale", "node", "stopped")
    messages = {name: world.message(f"+49170{n}", owner="w1", job_due_ms=NOW + DAY) for n, name in enumerate(names)}
    await world.accept(*messages.values())
    await world.store.jobs.end([world.end(messages["no_job"], "canceled")])
    stop = world.inbound("+491705", stop="stop")
    assert await world.store.inbound.receive([stop]) == [PROJECT]
    fields = {"foreign": {"owner": "w2"}, "stale": {"epoch": world.epoch - 1}, "node": {"node": "node-9"}}
    begins = [world.attempt(message, **fields.get(name, {})) for name, message in messages.items()]
    answers = await world.store.attempts.begin(begins)
    assert [a.kind for a in answers] == ["ok", "gone", "gone", "not_owner", "not_owner", "suppressed"]
    assert await world.status(messages["stopped"]) == "suppressed"
    assert await world.log(messages["stopped"]) == ["message.accepted", "message.suppressed"]
    assert [await world.status(messages[n]) for n in ("foreign", "stale")] == ["accepted", "accepted"]
    assert await world.waiting() == 4


async def test_binds_have_one_owner(world: World) -> None:
    message, again = (world.message(owner="w1", job_due_ms=NOW + DAY) for _ in range(2))
    await world.accept(message, again)
    epoch = await world.store.attempts.acquire("p1", "node-2", NOW + MINUTE)
    assert epoch == world.epoch + 1
    assert (await world.begun(message)).kind == "not_owner"
    assert (await world.begun(message, node="node-2", epoch=epoch)).kind == "ok"
    world.epoch = await world.store.attempts.acquire("p1", NODE, NOW + MINUTE)
    assert world.epoch == epoch + 1
    assert (await world.begun(again)).kind == "ok"


async def test_concatenation_references_count_on_by_recipient(world: World) -> None:
    messages = [world.message(to, owner="w1", job_due_ms=NOW + DAY) for to in ("+491", "+491", "+492", "+491")]
    await world.accept(*messages)
    begins = [world.attempt(m, parts=parts) for m, parts in zip(messages, (2, 3, 2, 1), strict=True)]
    assert [a.concat_ref for a in await world.store.attempts.begin(begins)] == [1, 2, 1, 0]
    await execute(world.store, "update concat_refs set n = 65534")
    more = [world.message("+491", owner="w1", job_due_ms=NOW + DAY) for _ in range(3)]
    await world.accept(*more)
    answers = await world.store.attempts.begin([world.attempt(m, parts=2) for m in more])
    assert [a.concat_ref for a in answers] == [65535, 0, 1]


async def test_settled_as_sent(world: World) -> None:
    message, begin = await world.started(parts=2)
    await world.settle(begin, "sent", refs=("a", "b"))
    found, attempts = await world.store.messages.with_attempts(world.ring, PROJECT, message.id)
    assert found is not None
    assert (found.message.status, found.sent_ms, found.ended_ms) == ("sent", NOW + 10, None)
    assert (attempts[0].status, attempts[0].sent_ms) == ("sent", NOW + 10)
    assert await world.log(message) == ["message.accepted", "message.sent"]
    assert await world.waiting() == 0


async def test_settled_as_refused_for_good(world: World) -> None:
    message, begin = await world.started()
    error = '{"code":"invalid_destination"}'
    await world.settle(begin, "refused", error=error)
    found, attempts = await world.store.messages.with_attempts(world.ring, PROJECT, message.id)
    assert found is not None
    assert (found.message.status, found.error) == ("failed", {"code": "invalid_destination"})
    assert (attempts[0].status, attempts[0].error, attempts[0].ended_ms) == ("refused", found.error, NOW + 10)
    events = await world.store.lists.timeline(PROJECT, message.id, 0, 10)
    assert events is not None
    assert events[-1].data == {"attempt_id": begin.attempt, "provider": "p1", "error": found.error}
    assert await world.waiting() == 0


async def test_settled_for_another_try(world: World) -> None:
    message, begin = await world.started()
    await world.settle(begin, "retry", due_ms=NOW + 500)
    assert await world.status(message) == "queued"
    assert await world.leased_ids(now_ms=NOW + 499) == []
    assert await world.leased_ids(now_ms=NOW + 500) == [message.id]
    second = await world.begin(message)
    await world.settle(second, "sent", refs=("r",))
    _, attempts = await world.store.messages.with_attempts(world.ring, PROJECT, message.id)
    assert [(a.n, a.status) for a in attempts] == [(1, "refused"), (2, "sent")]


async def test_settled_as_unknown(world: World) -> None:
    message, begin = await world.started()
    await world.settle(begin, "unknown", due_ms=NOW + 900)
    assert await world.status(message) == "sending"
    assert await world.log(message) == ["message.accepted", "attempt.unknown"]
    row = (await world.lease(now_ms=NOW + 900))[0]
    assert row[31:36] == (1, "unknown", None, None, "p1")
    # the answer came late after all
    await world.settle(begin, "sent", refs=("r",))
    assert await world.status(message) == "sent"


async def test_many_callers_settle_at_once(world: World) -> None:
    pairs = [await world.started(f"+4917{n:05}") for n in range(30)]
    await asyncio.gather(*(world.settle(begin, "sent", refs=(f"r{n}",)) for n, (_, begin) in enumerate(pairs)))
    assert {await world.status(message) for message, _ in pairs} == {"sent"}
    assert world.store.engine.commits > 0
