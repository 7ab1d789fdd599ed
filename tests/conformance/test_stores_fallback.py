"""Messages with several channels: the same cases on SQLite and on PostgreSQL. The decision is the product's own."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from store_world import MINUTE, NOW, PROJECT, World
from tidings.delivery.control import Control
from tidings.delivery.fallback import Fallback
from tidings.domain.message import Chain, Personal, Step
from tidings.domain.request import Recipient, SendRequest, check
from tidings.kit.ids import new_id
from tidings.store import chain as chains
from tidings.store.accounts import NewSuppression
from tidings.store.contract import Begin, NewMessage
from tidings.store.sealed import encode_personal

PUSH, PHONE, MAIL = "token-1", "+4917000001", "ada@example.com"


def chained(world: World, *on: str, after_s: int = 30, **fields: Any) -> NewMessage:
    """A message over push, SMS and email, due on the first of them."""
    id = new_id("msg")
    steps = (Step(channel="sms", to=PHONE, sender="Shop"), Step(channel="email", to=MAIL, content={"subject": "hi"}))
    personal = Personal(to=PUSH, text="hello", content={"title": "hi"}, steps=steps)
    chain = Chain(channels=("push", "sms", "email"), after_s=after_s, on=on)
    return world.message(
        PUSH, id=id, channel="push", chain=msgspec.json.encode(chain).decode(),
        sealed=world.ring.seal(msgspec.json.encode(personal), id), **fields,
    )  # fmt: skip


async def begun(world: World, message: NewMessage, now_ms: int = NOW, **fields: Any) -> Begin:
    assert message.id in await world.leased_ids(now_ms=now_ms, until_ms=now_ms + MINUTE)
    return await world.begin(message, at_ms=now_ms, **fields)


async def turn(world: World, now_ms: int, hint: str | None = "", missing: tuple[str, ...] = ()) -> int:
    """One look of the sweep. `missing`: channels without a provider."""
    found = Fallback(
        world.store, world.ring, lambda _p, _m, channel: None if channel in missing else hint, lambda _: None,
        lambda: now_ms,
    )  # fmt: skip
    return await found.turn()


async def state(world: World, message: NewMessage) -> tuple[str, str, str]:
    """Channel, address and status as they are now."""
    found = (await world.store.messages.load(world.ring, PROJECT, [message.id]))[message.id].message
    return found.channel, found.personal.to, found.status


async def reasons(world: World, message: NewMessage) -> list[str]:
    events = await world.store.lists.timeline(PROJECT, message.id, 0, 100)
    return [str((e.data or {})["reason"]) for e in events or [] if e.type == "message.fallback"]


async def test_a_refused_channel_gives_way_at_once(world: World) -> None:
    message = chained(world, "failed")
    await world.accept(message)
    first = await begun(world, message, channel="push")
    await world.settle(first, "refused", error='{"code":"unregistered"}')
    assert await world.leased_ids(now_ms=NOW + MINUTE) == [], "no provider carries a job that waits for its channel"
    assert await turn(world, NOW + 11) == 1
    assert await state(world, message) == ("sms", PHONE, "queued")
    assert await reasons(world, message) == ["failed"]
    second = await begun(world, message, NOW + 11, channel="sms", to_hash=world.ring.lookup(PHONE))
    await world.settle(second, "sent", refs=("r1",))
    assert await world.waiting() == 0, "`failed` asks for nothing after it was sent"
    assert await world.receive("r1")
    assert (await state(world, message))[2] == "delivered"
    log = await world.log(message)
    assert log == ["message.accepted", "message.fallback", "message.sent", "message.delivered"]


async def test_the_last_channel_ends_the_message(world: World) -> None:
    message = chained(world, "failed")
    await world.accept(message)
    for n in range(3):
        attempt = await begun(world, message, NOW + n)
        await world.settle(attempt, "refused", at_ms=NOW + n, error='{"code":"refused"}')
        await turn(world, NOW + n)
    assert (await state(world, message))[2] == "failed"
    assert await world.waiting() == 0
    assert (await world.log(message))[-3:] == ["message.fallback", "message.fallback", "message.failed"]


async def again(world: World, *, skip: tuple[str, ...] = ()) -> SendRequest:
    """What a retry asks for, once the message has ended on the last channel."""
    message = chained(world, "failed", after_s=7)
    await world.accept(message)
    for n in range(3 - len(skip)):
        attempt = await begun(world, message, NOW + n)
        await world.settle(attempt, "refused", at_ms=NOW + n, error='{"code":"refused"}')
        await turn(world, NOW + n, missing=skip)
    assert (await state(world, message))[2] == "failed"
    nobody: Any = None
    request, mode = await Control(world.store, world.ring, nobody, nobody, lambda: NOW).retry_request(
        PROJECT, message.id
    )
    assert mode == "live"
    return request


@pytest.mark.parametrize("skip", [(), ("sms",)])
async def test_a_retry_begins_with_the_first_channel(world: World, skip: tuple[str, ...]) -> None:
    request = await again(world, skip=skip)
    assert request.channels == ["push", "sms", "email"]
    assert request.to == Recipient(push=[PUSH], phone=PHONE, email=MAIL)
    assert request.content == {"push": {"title": "hi"}, "email": {"subject": "hi"}}
    assert (request.sender, request.text) == ({"sms": "Shop"}, "hello")
    assert request.fallback is not None
    assert (request.fallback.after_s, request.fallback.on) == (7, ["failed"])
    assert check(request, NOW) == []


async def test_without_what_was_kept_a_retry_would_begin_with_the_last(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgetful(personal: Personal) -> bytes:
        return encode_personal(msgspec.structs.replace(personal, past=()))

    monkeypatch.setattr("tidings.delivery.fallback.encode_personal", forgetful)
    request = await again(world)
    assert (request.channel, request.channels, request.to) == ("email", None, MAIL)


@pytest.mark.parametrize(
    ("on", "receipt", "engagement", "goes_on"),
    [
        (("failed",), None, None, None), (("not_delivered",), None, None, "not_delivered"),
        (("not_delivered",), "delivered", None, None), (("not_read",), None, None, "not_delivered"),
        (("not_read",), "delivered", None, "not_read"), (("not_read",), "delivered", "read", None),
        (("not_delivered",), "pending", "read", None),
    ],
)  # fmt: skip
async def test_what_is_waited_for(
    world: World, on: tuple[str, ...], receipt: str | None, engagement: str | None, goes_on: str | None
) -> None:
    message = chained(world, *on)
    await world.accept(message)
    await world.settle(await begun(world, message, channel="push"), "sent", refs=("r1",))
    assert await turn(world, NOW + 10 + 29_999) == 0, "not before its time"
    if receipt is not None:
        assert await world.receive("r1", PUSH, state=receipt, engagement=engagement)
    await turn(world, NOW + 10 + 30_000)
    assert await reasons(world, message) == ([goes_on] if goes_on else [])
    assert (await state(world, message))[0] == ("sms" if goes_on else "push")
    assert await world.waiting() == (1 if goes_on else 0)


async def test_an_undelivered_receipt_does_not_wait(world: World) -> None:
    message = chained(world, "not_delivered")
    await world.accept(message)
    await world.settle(await begun(world, message, channel="push"), "sent", refs=("r1",))
    assert await world.receive("r1", PUSH, state="undelivered")
    assert await turn(world, NOW + 100) == 1
    assert await state(world, message) == ("sms", PHONE, "sent")
    assert await reasons(world, message) == ["failed"]


async def test_a_late_receipt_of_an_earlier_channel(world: World) -> None:
    """It is recorded, wins if it is `delivered`, and stops what has not left; a failure of it lowers nothing."""
    message, other = chained(world, "not_delivered"), chained(world, "not_delivered")
    await world.accept(message, other)
    await world.lease()
    for one, ref in ((message, "r1"), (other, "r2")):
        await world.settle(await world.begin(one, channel="push"), "sent", refs=(ref,))
    assert await turn(world, NOW + MINUTE) == 2
    assert await world.receive("r1", PUSH)
    assert (await state(world, message))[2] == "delivered"
    assert await world.leased_ids(now_ms=NOW + MINUTE, until_ms=NOW + 2 * MINUTE) == [other.id]
    second = await world.begin(other, channel="sms", at_ms=NOW + MINUTE, to_hash=world.ring.lookup(PHONE))
    await world.settle(second, "sent", refs=("r3",), at_ms=NOW + MINUTE)
    assert await world.receive("r3")
    assert await world.receive("r2", PUSH, state="undelivered")
    _, attempts = await world.store.messages.with_attempts(world.ring, PROJECT, other.id)
    assert [(one.channel, one.status) for one in attempts] == [("push", "undelivered"), ("sms", "delivered")]
    assert (await state(world, other))[2] == "delivered"


async def test_a_suppressed_address_gives_way(world: World) -> None:
    message = chained(world, "failed")
    await world.store.suppressions.add(
        NewSuppression(
            project=PROJECT, channel="push", to_hash=world.ring.lookup(PUSH), reason="unregistered", created_ms=NOW,
            key_id="k1", sealed="",
        )
    )  # fmt: skip
    await world.accept(message)
    await world.lease()
    assert (await world.begun(message, channel="push")).kind == "suppressed"
    assert await turn(world, NOW) == 1
    assert await state(world, message) == ("sms", PHONE, "accepted")


async def test_a_channel_without_a_provider_is_left_out(world: World) -> None:
    message = chained(world, "failed")
    await world.accept(message)
    await world.settle(await begun(world, message), "refused", error='{"code":"x"}')
    await turn(world, NOW + 10, missing=("sms",))
    assert await state(world, message) == ("email", MAIL, "queued")
    await world.settle(await begun(world, message, NOW + 10), "refused", error='{"code":"x"}')
    assert (await state(world, message))[2] == "failed"


@pytest.mark.parametrize("status", ["expired", "canceled"])
async def test_other_ends_end_the_chain(world: World, status: str) -> None:
    message = chained(world, "failed", "not_delivered")
    await world.accept(message)
    await world.store.jobs.end([world.end(message, status)])
    assert await turn(world, NOW + MINUTE) == 0
    assert (await state(world, message))[2] == status


async def test_a_next_channel_that_comes_too_late_expires(world: World) -> None:
    message = chained(world, "failed", valid_until_ms=NOW + 5)
    await world.accept(message)
    await world.settle(await begun(world, message), "refused", error='{"code":"x"}')
    await turn(world, NOW + 10)
    assert (await state(world, message))[2] == "expired"
    assert await world.waiting() == 0


async def test_a_sequence_goes_on_behind_the_last_channel(world: World) -> None:
    first, second = chained(world, "failed", sequence="s"), chained(world, "failed", sequence="s")
    await world.accept(first, second)
    await world.settle(await begun(world, first), "refused", error='{"code":"x"}')
    assert await world.leased_ids(now_ms=NOW + MINUTE) == []
    await turn(world, NOW + 10)
    await world.settle(await begun(world, first, NOW + 10), "sent", refs=("r1",))
    assert await world.leased_ids(now_ms=NOW + MINUTE) == [second.id]


async def test_a_crash_between_the_end_and_the_job(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is due stays due until it was done: the next process finishes it."""
    message = chained(world, "failed", valid_until_ms=NOW + 5)
    await world.accept(message)
    await world.settle(await begun(world, message), "refused", error='{"code":"x"}')

    async def killed(_: list[tuple[str, str]]) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(world.store.fallbacks, "stop", killed)
        with pytest.raises(ConnectionError):
            await turn(world, NOW + 10)
    assert await turn(world, NOW + 10) == 1
    assert await world.waiting() == 0
    assert (await world.log(message)).count("message.expired") == 1


async def test_saboteur_without_the_turn_the_message_ends_on_its_first_channel(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chains, "next_due_ms", lambda *_: None)
    with pytest.raises(AssertionError):
        await test_a_refused_channel_gives_way_at_once(world)
