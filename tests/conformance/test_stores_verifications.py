"""What every store must do for verifications: the same cases on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from store_world import DAY, NOW, PROJECT, World, execute
from tidings.domain.errors import StoreError
from tidings.domain.message import Personal
from tidings.kit import limits
from tidings.kit.ids import new_id
from tidings.policy.velocity import Mark
from tidings.store import verifying
from tidings.store.accounts import Claim
from tidings.store.verifying import Act, Done, NewVerification, VerificationFilter, Withdrawal, begun

SECOND = 1_000
VALID = limits.VERIFY_VALID_DEFAULT_S * SECOND
TO = "+4917000001"


def claim(key: str, body: str = "b") -> Claim:
    return Claim(project=PROJECT, key_hash=key, body_hash=body, resource="", now_ms=NOW)


def verification(world: World, to: str = TO, **fields: Any) -> NewVerification:
    at = fields.get("created_ms", NOW)
    id = fields.pop("id", None) or f"ver_{at:012x}{new_id('x')[14:]}"
    marks: tuple[Mark, ...] = (("to", world.ring.lookup(to)),)
    row: dict[str, Any] = {
        "project": PROJECT, "id": id, "mode": "live", "channel": "sms", "channels": '["sms"]', "country": "DE",
        "locale": None, "reference": None, "code_hash": "right", "code_length": 6, "max_attempts": 5, "created_ms": at,
        "expires_ms": at + VALID, "key_id": "k1", "to_hash": world.ring.lookup(to),
        "sealed": world.ring.seal(msgspec.json.encode(Personal(to=to, text="{{ code }}")), id), "event": new_id("evt"),
        "marks": marks,
    }  # fmt: skip
    item = NewVerification(**(row | fields))
    return item if item.claim is None else replace(item, claim=replace(item.claim, resource=item.id))


async def started(world: World, to: str = TO, **fields: Any) -> NewVerification:
    item = verification(world, to, **fields)
    answer = await world.store.verifications.start(item)
    assert (answer.kind, answer.id) == ("new", item.id)
    return item


def act(item: NewVerification, code: str = "", at_ms: int = NOW + SECOND, **fields: Any) -> Act:
    row: dict[str, Any] = {
        "project": item.project, "mode": item.mode, "id": item.id, "now_ms": at_ms, "event": new_id("evt"),
        "code_hash": code,
    }  # fmt: skip
    return Act(**(row | fields))


async def check(world: World, item: NewVerification, code: str, at_ms: int = NOW + SECOND, **fields: Any) -> Done:
    return await world.store.verifications.check(act(item, code, at_ms, **fields))


async def status(world: World, item: NewVerification) -> tuple[str, int, int]:
    found = await world.store.verifications.get(world.ring, item.project, item.mode, item.id)
    assert found is not None
    return found.status, found.attempts, found.sends


async def test_what_is_begun_reads_as_it_was_told(world: World) -> None:
    item = await started(world, reference="r", locale="de", channels='["sms","email"]')
    found = await world.store.verifications.get(world.ring, PROJECT, "live", item.id)
    assert found == begun(item, Personal(to=TO, text="{{ code }}"))


async def test_a_right_code_counts_once(world: World) -> None:
    item = await started(world)
    assert await check(world, item, "wrong") == Done("pending", 4)
    assert await check(world, item, "right", NOW + 7 * SECOND) == Done("approved")
    assert await check(world, item, "right") == Done("already")
    assert await check(world, item, "wrong") == Done("already")
    found = await world.store.verifications.get(world.ring, PROJECT, "live", item.id)
    assert found is not None
    assert (found.status, found.attempts, found.time_to_verify_ms) == ("approved", 1, 7 * SECOND)
    assert found.personal.to == TO
    assert await world.types() == ["verification.approved", "verification.started"]


async def test_the_last_wrong_code_ends_it(world: World) -> None:
    item = await started(world, max_attempts=3)
    answers = [(await check(world, item, code)).kind for code in ("a", "b", "c", "right", "right")]
    assert answers == ["pending", "pending", "max_attempts", "max_attempts", "max_attempts"]
    assert await status(world, item) == ("max_attempts", 3, 1)
    assert await world.types() == ["verification.failed", "verification.started"]


async def wrong_at_once(world: World, tries: int) -> Counter[str]:
    """How wrong codes end that come at the same moment."""
    item = await started(world)
    answers = await asyncio.gather(*(check(world, item, f"wrong {n}") for n in range(tries)))
    return Counter(answer.kind for answer in answers)


async def test_checks_at_once_cannot_exceed_the_limit(world: World) -> None:
    assert await wrong_at_once(world, 30) == {"pending": 4, "max_attempts": 26}


async def test_without_the_rule_the_limit_would_not_hold(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "may_try", lambda attempts, most: True)
    assert (await wrong_at_once(world, 30))["pending"] == 30


async def test_what_does_not_match_is_not_there(world: World) -> None:
    item = await started(world)
    for other in ({"project": "prj_b"}, {"mode": "test"}, {"id": new_id("ver")}):
        assert await check(world, item, "right", **other) == Done("gone")
        assert await world.store.verifications.resend(act(item, **other)) == Done("gone")
        assert await world.store.verifications.cancel(act(item, **other)) == Done("gone")
        asked: dict[str, Any] = {"project": PROJECT, "mode": "live", "id": item.id} | other
        assert await world.store.verifications.get(world.ring, **asked) is None
    assert await status(world, item) == ("pending", 0, 1)


async def test_codes_are_compared_in_constant_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What decides is `hmac.compare_digest`, and nothing before it."""
    compared: list[tuple[str, str]] = []

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return True

    monkeypatch.setattr(verifying, "compare_digest", compare)
    item = await started(world)
    assert await check(world, item, "wrong") == Done("approved")
    assert compared == [("right", "wrong")]


async def test_a_check_made_twice_counts_once(world: World) -> None:
    item = await started(world)
    assert await check(world, item, "wrong", claim=claim("k1")) == Done("pending", 4)
    assert await check(world, item, "wrong", claim=claim("k1")) == Done("pending", 4, replayed=True)
    assert (await check(world, item, "right", claim=claim("k1", "other"))).kind == "reused"
    assert await check(world, item, "right", claim=claim("k2")) == Done("approved")
    assert await check(world, item, "right", claim=claim("k2")) == Done("approved", replayed=True)
    assert await check(world, item, "wrong", claim=claim("k1")) == Done("already", replayed=True)
    assert await status(world, item) == ("approved", 1, 1)


async def test_time_ends_it(world: World) -> None:
    late, swept, open_ = [await started(world, f"+49170{n}") for n in range(3)]
    assert await check(world, late, "right", NOW + VALID) == Done("expired")
    assert await check(world, open_, "right", NOW + VALID - 1) == Done("approved")
    assert await world.store.verifications.overdue(NOW + VALID - 1, NOW, NOW, 9) == (0, 0, 0)
    assert await world.store.verifications.overdue(NOW + VALID, NOW, NOW, 9) == (1, 0, 0)
    assert await world.store.verifications.expire(NOW + VALID, [new_id("evt") for _ in range(5)]) == 1
    assert await world.store.verifications.expire(NOW + VALID, [new_id("evt") for _ in range(5)]) == 0
    assert [(await status(world, item))[0] for item in (late, swept, open_)] == ["expired", "expired", "approved"]
    assert Counter(await world.types()) == Counter(
        {"verification.started": 3, "verification.expired": 2, "verification.approved": 1}
    )
    await world.store.clock.shift(DAY, NOW + VALID)  # nothing pending: a jump of the clock changes nothing
    assert (await status(world, open_))[0] == "approved"


async def test_a_jump_of_the_clock_moves_the_end(world: World) -> None:
    item = await started(world)
    await world.store.clock.shift(DAY, NOW)
    assert await check(world, item, "wrong", NOW + DAY) == Done("pending", 4)


async def test_resending(world: World) -> None:
    item = await started(world)
    again = limits.VERIFY_RESEND_S * SECOND
    store = world.store.verifications
    assert await store.resend(act(item, at_ms=NOW + again - 1)) == Done("too_soon", retry_after_s=1)
    assert await store.resend(act(item, at_ms=NOW + 1)) == Done("too_soon", retry_after_s=limits.VERIFY_RESEND_S)
    kept = act(item, at_ms=NOW + again, channel="email", claim=claim("k"))
    assert await store.resend(kept) == Done("sent", n=2)
    assert await store.resend(kept) == Done("sent", n=2, replayed=True)
    found = await store.get(world.ring, PROJECT, "live", item.id)
    assert found is not None
    assert (found.channel, found.sends, found.sent_ms) == ("email", 2, NOW + again)
    at = NOW + again
    while (done := await store.resend(act(item, at_ms=(at := at + again)))).kind == "sent":
        assert done.n <= limits.VERIFY_SENDS
    assert done == Done("too_many")
    assert (await status(world, item))[2] == limits.VERIFY_SENDS
    assert await check(world, item, "wrong", at) == Done("pending", 4), "a new message gives no new attempts"


async def test_resends_at_once_send_once(world: World) -> None:
    item = await started(world)
    acts = [act(item, at_ms=NOW + limits.VERIFY_RESEND_S * SECOND) for _ in range(10)]
    answers = await asyncio.gather(*(world.store.verifications.resend(one) for one in acts))
    assert Counter(answer.kind for answer in answers) == {"sent": 1, "too_soon": 9}


async def test_canceling(world: World) -> None:
    item, approved = await started(world), await started(world, "+4917000002")
    store = world.store.verifications
    await check(world, approved, "right")
    assert [(await store.cancel(act(item))).kind for _ in range(2)] == ["canceled", "canceled"]
    assert (await store.cancel(act(approved))).kind == "already"
    assert await check(world, item, "right") == Done("canceled")
    assert (await store.resend(act(item, at_ms=NOW + 60 * SECOND))).kind == "canceled"
    assert (await world.types()).count("verification.canceled") == 1


async def test_begun_once_for_each_key(world: World) -> None:
    item = await started(world, claim=claim("k"))
    again = verification(world, claim=claim("k"))
    other = verification(world, claim=claim("k", "other"))
    answers = [await world.store.verifications.start(one) for one in (again, other)]
    assert [(answer.kind, answer.id) for answer in answers] == [("replay", item.id), ("reused", item.id)]
    assert await world.types() == ["verification.started"]


async def test_no_more_than_the_limit_begin_at_once(world: World) -> None:
    """Also through the address alone: each comes with an IP address of its own."""
    _, most = limits.VERIFY_STARTS_PER_ADDRESS
    items = [verification(world, marks=(("to", "h"), ("ip", f"i{n}")), claim=claim(f"k{n}")) for n in range(most + 7)]
    answers = await asyncio.gather(*(world.store.verifications.start(item) for item in items))
    assert Counter(answer.kind for answer in answers) == {"new": most, "refused": 7}
    refused = next(n for n, answer in enumerate(answers) if answer.kind == "refused")
    refusal = answers[refused].refusal
    assert refusal is not None
    assert (refusal.code, refusal.kind, refusal.retry_after_s) == (
        "velocity",
        "to",
        limits.VERIFY_STARTS_PER_ADDRESS[0],
    )
    later = NOW + limits.VERIFY_STARTS_PER_ADDRESS[0] * SECOND
    again = replace(items[refused], created_ms=later)
    assert (await world.store.verifications.start(again)).kind == "new", "the key of a refused one is still free"


async def test_projects_and_modes_are_counted_apart(world: World) -> None:
    _, most = limits.VERIFY_STARTS_PER_ADDRESS
    for _ in range(most):
        await started(world)
    assert (await world.store.verifications.start(verification(world))).kind == "refused"
    await started(world, mode="test")
    await started(world, project="prj_b")


@pytest.mark.parametrize(("approve", "answer"), [(0, "refused"), (3, "new")])
async def test_pumping(world: World, approve: int, answer: str) -> None:
    sample, _ = limits.VERIFY_PUMPING_BLOCK
    marks: tuple[Mark, ...] = (("block", "+491700"),)
    for n in range(sample):
        item = await started(world, f"+491700{n:04}", marks=marks)
        if n < approve:
            await check(world, item, "right")
    later = NOW + limits.VERIFY_PUMPING_GRACE_S * SECOND
    new = verification(world, "+4917009999", marks=marks, created_ms=later, prefixes=("+4", "+49", "+491"))
    started_ = await world.store.verifications.start(new)
    assert started_.kind == answer
    if answer == "refused":
        assert started_.refusal is not None
        assert started_.refusal.code == "pumping"
        assert await world.store.verifications.allow("prj_b", "+49", NOW, 9)
        assert (await world.store.verifications.start(new)).kind == "refused"
        assert await world.store.verifications.allow(PROJECT, "+49", NOW, 9)
        assert (await world.store.verifications.start(new)).kind == "new"


async def test_what_could_not_be_sent_counts_for_nothing(world: World) -> None:
    item = await started(world, claim=claim("k"))
    gone = Withdrawal(
        project=PROJECT, mode="live", id=item.id, n=1, now_ms=NOW, event=new_id("evt"), marks=item.marks,
        created_ms=item.created_ms, claim=item.claim,
    )  # fmt: skip
    for _ in range(2):
        await world.store.verifications.withdraw(gone)
    assert await status(world, item) == ("canceled", 0, 0)
    assert await world.types() == ["verification.canceled", "verification.started"]
    _, most = limits.VERIFY_STARTS_PER_ADDRESS
    await started(world, claim=claim("k"))
    for _ in range(most - 1):
        second = await started(world)
    resent = NOW + limits.VERIFY_RESEND_S * SECOND
    assert (await world.store.verifications.resend(act(second, at_ms=resent))).n == 2
    await world.store.verifications.withdraw(replace(gone, id=second.id, n=2))
    assert await status(world, second) == ("pending", 0, 1)


async def test_old_marks_are_forgotten(world: World) -> None:
    for n in range(5):
        await started(world, f"+49170{n}", created_ms=NOW + n)
    store = world.store.verifications
    assert await store.overdue(0, NOW + 3, NOW, 9) == (0, 3, 0)
    assert [await store.forget_marks(NOW + 3, 2) for _ in range(3)] == [2, 1, 0]


async def test_what_ended_long_ago_is_removed(world: World) -> None:
    items = [await started(world, f"+49170{n}", created_ms=NOW - n) for n in range(5)]
    open_ = await started(world, "+491709")
    for n, item in enumerate(items):
        await world.store.verifications.cancel(act(item, at_ms=NOW + n * SECOND))
    store, before_ms = world.store.verifications, NOW + 3 * SECOND
    assert [await store.overdue(0, 0, before_ms, limit) for limit in (9, 2)] == [(0, 0, 3), (0, 0, 2)]
    assert [await store.forget(before_ms, 2) for _ in range(3)] == [2, 1, 0], "in batches"
    left = await store.page(world.ring, VerificationFilter(project=PROJECT, mode="live", limit=9))
    assert {one.id for one in left} == {items[3].id, items[4].id, open_.id}
    assert all(one.personal.to for one in left), "those that stay keep their sealed rows"
    assert await store.overdue(0, 0, NOW + 400 * DAY, 9) == (0, 0, 2), "what has not ended is never old"
    await started(world, "+491700", created_ms=NOW + DAY)  # marks of what is gone are in nobody's way


async def test_its_address_goes_with_it(world: World) -> None:
    """A sealed row that was left would be in the way of another one of the same owner."""
    kept, gone = await started(world, marks=()), await started(world, "+491701", marks=())
    for item in (kept, gone):
        await world.store.verifications.cancel(act(item))
    await execute(world.store, f"delete from verifications where id = '{kept.id}'")
    with pytest.raises(StoreError):
        await world.store.verifications.start(verification(world, id=kept.id, marks=()))
    assert await world.store.verifications.forget(NOW + DAY, 9) == 1
    assert (await world.store.verifications.start(verification(world, id=gone.id, marks=()))).kind == "new"


async def test_lists(world: World) -> None:
    items = [
        await started(world, f"+49170{n % 2}", created_ms=NOW + n * SECOND, reference=f"r{n % 3}") for n in range(4)
    ]
    await started(world, mode="test")
    await check(world, items[3], "right", NOW + 9 * SECOND)
    for fields, expected in (
        ({}, [3, 2, 1, 0]),
        ({"limit": 1}, [3]),
        ({"before": items[2].id}, [1, 0]),
        ({"status": "approved"}, [3]),
        ({"reference": "r0"}, [3, 0]),
        ({"to_hash": world.ring.lookup("+491701")}, [3, 1]),
        ({"project": "prj_b"}, []),
    ):
        asked: dict[str, Any] = {"project": PROJECT, "mode": "live", "limit": 9} | fields
        found = await world.store.verifications.page(world.ring, VerificationFilter(**asked))
        assert [one.id for one in found] == [items[n].id for n in expected], fields


async def test_tallies(world: World) -> None:
    times = [1, 2, 3, 4, 5, 6, 7, 8, 9, 50]
    for n, seconds in enumerate(times):
        item = await started(world, f"+49170{n}", created_ms=NOW)
        await check(world, item, "right", NOW + seconds * SECOND)
    for n in range(2):
        await started(world, f"a{n}@b.test", channel="email", country=None)
    expired = await started(world, "+331", country="FR", expires_ms=NOW + 1)
    await check(world, expired, "right", NOW + 1)
    tallies, counted = await world.store.verifications.tally(PROJECT, "live", NOW, NOW + 1, 100)
    assert counted == 13
    assert [(t.channel, t.country, t.started, t.approved, t.expired, t.pending) for t in tallies] == [
        ("email", None, 2, 0, 0, 2),
        ("sms", "DE", 10, 10, 0, 0),
        ("sms", "FR", 1, 0, 1, 0),
    ]
    assert [(t.p50_ms, t.p90_ms, t.p99_ms) for t in tallies] == [
        (None, None, None),
        (5 * SECOND, 9 * SECOND, 50 * SECOND),
        (None, None, None),
    ]
    assert (await world.store.verifications.tally(PROJECT, "live", NOW + 1, NOW + 2, 100))[1] == 0
    assert (await world.store.verifications.tally(PROJECT, "live", NOW, NOW + 1, 3))[1] == 3


async def test_the_channel_that_the_code_came_by(world: World) -> None:
    item = await started(world)
    await world.store.verifications.carried(PROJECT, item.id, "email")
    await world.store.verifications.carried("prj_b", item.id, "whatsapp")
    found = await world.store.verifications.get(world.ring, PROJECT, "live", item.id)
    assert found is not None
    assert found.channel == "email"


async def test_allowed_prefixes(world: World) -> None:
    store = world.store.verifications
    assert [await store.allow(PROJECT, p, NOW, 2) for p in ("+49", "+1", "+49", "+33")] == [True, True, True, False]
    assert await store.prefixes(PROJECT, "", 9) == [("+1", NOW), ("+49", NOW)]
    assert await store.prefixes(PROJECT, "+1", 9) == [("+49", NOW)]
    assert [await store.disallow(PROJECT, "+49") for _ in range(2)] == [True, False]
    assert await store.disallow("prj_b", "+1") is False


async def test_nothing_of_a_person_is_left_beside_the_sealed_row(world: World) -> None:
    item = await started(world)
    found = await world.store.verifications.get(world.ring, PROJECT, "live", item.id)
    assert found is not None
    assert TO not in msgspec.json.encode(replace(found, personal=Personal(to=""))).decode()
