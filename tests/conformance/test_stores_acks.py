"""Acknowledgements of push messages, from the token to the event: the same on both engines."""

from __future__ import annotations

from typing import Any

import pytest

from store_world import MINUTE, NOW, PROJECT, World
from tidings.delivery.acks import AckEvent, Acks, marked, read_token
from tidings.delivery.receive import Receiver
from tidings.domain.errors import Forbidden, NotFound, Overloaded
from tidings.domain.push import ACK_KEY, PushContent
from tidings.store.contract import Begin, NewMessage


async def pushed(world: World, kind: str = "sent", **more: Any) -> tuple[NewMessage, Begin]:
    """A push message to two devices, and its attempt."""
    message = world.message("tok-1", channel="push", owner="w1", job_due_ms=NOW + MINUTE)
    await world.accept(message)
    begin = await world.begin(message, channel="push", parts=2, user_ref=77)
    if kind != "sending":
        await world.settle(begin, kind, **more)
    return message, begin


def token_of(world: World, begin: Begin, part: int = 0) -> str:
    """What the app finds among the data of the message."""
    content = marked(world.ring, PushContent(body="Hi", data={"k": "v"}), begin.project, begin.attempt)
    assert isinstance(content, PushContent)
    assert content.data["k"] == "v"
    return f"{content.data[ACK_KEY]}.{part}"


def taker(world: World) -> Acks:
    """As the node wires it."""
    receiver = Receiver(world.store, world.ring)

    async def received(provider: str, receipts: Any, inbound: Any) -> None:
        assert provider == "p1"
        await receiver.received("", receipts, inbound)

    return Acks(world.store, world.ring, received)


async def ack(world: World, text: str, event: AckEvent = "delivered", at_ms: int = NOW + 500) -> None:
    await taker(world).take(read_token(world.ring, text), event, at_ms)


async def test_an_attempt_with_its_ids(world: World) -> None:
    message, begin = await pushed(world, refs=("r1", "r2"))
    found = await world.store.acks.find(PROJECT, begin.attempt)
    assert found is not None
    assert (found.message, found.provider, found.status, found.refs) == (message.id, "p1", "sent", ("r1", "r2"))
    assert (found.to_hash, found.user_ref, found.created_ms) == (message.to_hash, 77, NOW)
    assert await world.store.acks.find("prj_b", begin.attempt) is None
    assert await world.store.acks.find(PROJECT, "att_none") is None
    _, text = await world.started("+4917000002")
    assert await world.store.acks.find(PROJECT, text.attempt) is None  # an SMS is not acknowledged


@pytest.mark.parametrize("part", [0, 1])
async def test_one_device_is_enough(world: World, part: int) -> None:
    message, begin = await pushed(world, refs=("r1", "r2"))
    await ack(world, token_of(world, begin, part))
    assert await world.status(message) == "delivered"
    await ack(world, token_of(world, begin, part))
    await ack(world, token_of(world, begin, 1 - part))
    assert await world.log(message) == ["message.accepted", "message.sent", "message.delivered"]
    assert await world.store.lists.receipts(None, None, 10) == []


async def test_a_device_whose_answer_was_lost_beside_one_that_was_taken(world: World) -> None:
    message, begin = await pushed(world, refs=("r1", ""), states="su")
    await ack(world, token_of(world, begin, 1))
    assert await world.status(message) == "delivered"


async def test_opened_and_clicked(world: World) -> None:
    message, begin = await pushed(world, refs=("r1", "r2"))
    await ack(world, token_of(world, begin), "opened")  # what was opened was delivered, even if nobody said so
    await ack(world, token_of(world, begin), "clicked")
    await ack(world, token_of(world, begin), "delivered")
    log = await world.log(message)
    assert log[:2] == ["message.accepted", "message.sent"]
    assert sorted(log[2:]) == ["message.clicked", "message.delivered", "message.read"]
    found = (await world.store.messages.load(world.ring, PROJECT, [message.id]))[message.id]
    assert found.read_ms == NOW + 500


async def test_too_early_is_asked_to_come_again(world: World) -> None:
    message, begin = await pushed(world, "sending")
    with pytest.raises(Overloaded) as caught:
        await ack(world, token_of(world, begin))
    assert (caught.value.status, caught.value.retry_after_s) == (503, 1)
    await world.settle(begin, "sent", refs=("r1", "r2"))
    await ack(world, token_of(world, begin))
    assert await world.status(message) == "delivered"


async def test_it_settles_an_outcome_that_was_unknown(world: World) -> None:
    """The push was written, its answer never came: the device knows better. It is not sent a second time."""
    message, begin = await pushed(world, "unknown", due_ms=NOW + MINUTE)
    assert await world.waiting() == 1
    await ack(world, token_of(world, begin))
    await ack(world, token_of(world, begin, 1))
    assert await world.status(message) == "delivered"
    assert await world.waiting() == 0


async def test_one_device_settles_an_unknown_attempt(world: World) -> None:
    """The others may have it or not: the message has reached the person, and is not sent to anybody again."""
    message, begin = await pushed(world, "unknown", due_ms=NOW + MINUTE)
    await ack(world, token_of(world, begin, 1))
    assert await world.status(message) == "delivered"
    assert await world.waiting() == 0


async def test_a_neighbour_that_is_unknown_too_is_left_alone(world: World) -> None:
    one, first = await pushed(world, "unknown", due_ms=NOW + MINUTE)
    message = world.message("tok-1", channel="push", owner="w1", job_due_ms=NOW + MINUTE)
    await world.accept(message)
    other = await world.begin(message, channel="push", parts=1, user_ref=78)
    await world.settle(other, "unknown", due_ms=NOW + MINUTE)
    await ack(world, token_of(world, other))
    assert await world.status(message) == "delivered"
    assert await world.status(one) == "sending"
    found = await world.store.acks.find(PROJECT, first.attempt)
    assert found is not None
    assert found.status == "unknown"


async def test_a_message_that_is_not_kept(world: World) -> None:
    _, begin = await pushed(world, "sending")
    gone = Begin(**{name: getattr(begin, name) for name in Begin.__struct_fields__} | {"attempt": "att_gone"})
    with pytest.raises(NotFound):
        await ack(world, token_of(world, gone))


async def test_tokens_are_good_for_one_attempt_only(world: World) -> None:
    _, begin = await pushed(world, refs=("r1", "r2"))
    project, attempt, signature, part = token_of(world, begin).split(".")
    assert read_token(world.ring, f"{project}.{attempt}.{signature}.{part}").attempt == begin.attempt
    for forged in (
        f"{project}.{attempt[:-1]}0x.{signature}.0", f"prj_b.{attempt}.{signature}.0", f"{project}.{attempt}.{signature[:-1]}.0",
        f"{project}.{attempt}..0", f"{project}.{attempt}.{signature}", f"{project}.{attempt}.{signature}.-1",
        f"{project}.{attempt}.{signature}.0.0", f"{project}.{attempt}.{signature}.٣", "", "é.é.é.0",
    ):  # fmt: skip
        with pytest.raises(Forbidden):
            read_token(world.ring, forged)


async def test_a_part_that_there_never_was(world: World) -> None:
    message, begin = await pushed(world, refs=("r1", "r2"))
    await ack(world, token_of(world, begin, 999))
    assert await world.status(message) == "sent"


async def test_saboteur_without_the_comparison_forged_tokens_pass(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cases above would notice if nobody compared signatures."""
    monkeypatch.setattr("tidings.delivery.acks.hmac.compare_digest", lambda one, other: True)
    assert read_token(world.ring, "prj_b.att_x.forged.0").attempt == "att_x"
