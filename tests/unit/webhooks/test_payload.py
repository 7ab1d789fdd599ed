"""Bodies, rendered when they are sent."""

from __future__ import annotations

from tidings.domain.message import Personal
from tidings.kit.ids import new_id
from tidings.store.sealed import encode_personal

from .conftest import PROJECT, Room, Sink


async def test_a_body_holds_the_message(room: Room, sink: Sink) -> None:
    await room.endpoint(sink.url)
    message = await room.message(text="hello", sender="ACME", metadata={"k": 1})
    (event,) = await room.emit("message.sent", message=message)
    await room.until_deliveries(1)
    said = sink.calls[0].json
    assert said.keys() == {"type", "timestamp", "data"}
    assert said["type"] == "message.sent"
    data = said["data"]
    assert (data["id"], data["event_id"]) == (message, event)
    assert (data["to"], data["from"], data["text"], data["metadata"]) == ("+15005550001", "ACME", "hello", {"k": 1})
    assert data["status"] == "sent", "the status of the event, not of now"


async def test_an_erased_person_is_gone_from_retries_and_replays_too(room: Room, sink: Sink) -> None:
    made = await room.endpoint(sink.url)
    message = await room.message(text="secret")
    await room.emit("message.sent", message=message)
    await room.until_deliveries(1, "delivered")
    assert sink.calls[0].json["data"]["text"] == "secret"
    await room.run("delete from personal where owner = ?", message)
    (old,) = await room.service.deliveries(PROJECT, made["id"], None, 1)
    await room.service.replay(PROJECT, old["id"])
    await room.until_deliveries(2, "delivered")
    data = sink.calls[1].json["data"]
    assert (data["id"], data["to"], data["from"], data["text"], data["metadata"]) == (message, None, None, None, None)
    assert b"secret" not in sink.calls[1].body


async def test_a_message_that_is_gone_leaves_its_id(room: Room, sink: Sink) -> None:
    await room.endpoint(sink.url)
    message = new_id("msg")
    await room.emit("message.sent", message=message)
    await room.until_deliveries(1, "delivered")
    data = sink.calls[0].json["data"]
    assert (data["id"], data["to"], data["text"], data["status"]) == (message, None, None, "sent")


async def test_an_inbound_message(room: Room, sink: Sink) -> None:
    await room.endpoint(sink.url)
    inbound, reply = new_id("msg"), new_id("msg")
    sealed = room.ring.seal(encode_personal(Personal(to="12345", sender="+15005550001", text="YES")), inbound)
    await room.run(
        "insert into inbound (project, id, provider, channel, in_reply_to, parts, missing, received_ms)"
        " values (?, ?, 'acme', 'sms', ?, 1, 0, 1000)", PROJECT, inbound, reply,
    )  # fmt: skip
    await room.run("insert into personal values (?, ?, ?, 'x', ?)", PROJECT, inbound, room.ring.current, sealed)
    await room.emit("message.received", message=inbound)
    await room.until_deliveries(1, "delivered")
    data = sink.calls[0].json["data"]
    assert (data["from"], data["to"], data["text"], data["in_reply_to"]) == ("+15005550001", "12345", "YES", reply)
    assert data["received_at"] == "1970-01-01T00:00:01.000Z"


async def test_an_event_without_a_message(room: Room, sink: Sink) -> None:
    await room.endpoint(sink.url)
    (event,) = await room.emit("provider.degraded")
    await room.until_deliveries(1, "delivered")
    assert sink.calls[0].json["data"] == {"event_id": event}
