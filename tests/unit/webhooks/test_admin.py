"""Endpoints as customers manage them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tidings.domain.errors import Conflict, IdempotencyReused, InvalidRequest, NotFound
from tidings.kit import limits
from tidings.webhooks import admin

from .conftest import OTHER, PROJECT, Room, Sink

BAD = [
    ("ftp://example.com", [], "/url"),
    ("http://", [], "/url"),
    ("http://user:pw@example.com/", [], "/url"),
    ("https://example.com/#x", [], "/url"),
    ("https://exa mple.com/", [], "/url"),
    ("https://example.com/\r\nx: y", [], "/url"),
    ("https://example.com:99999/", [], "/url"),
    ("http://169.254.169.254/latest", [], "/url"),
    ("https://example.com/" + "x" * 2_000, [], "/url"),
    ("https://example.com/", ["message.nope"], "/types/0"),
    ("https://example.com/", ["message.sent", "*"], "/types/1"),
    ("https://example.com/", ["message"], "/types/0"),
]


@pytest.mark.parametrize(("url", "types", "pointer"), BAD)
async def test_what_cannot_be_used_is_refused(room: Room, url: str, types: list[str], pointer: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await room.service.create(PROJECT, url, types, "")
    assert [error.pointer for error in caught.value.errors] == [pointer]


async def test_the_secret_is_shown_once(room: Room, sink: Sink) -> None:
    made, replayed = await room.service.create(PROJECT, sink.url, [], "mine", ("key", "body"))
    assert made["secret"].startswith("whsec_")
    assert not replayed
    assert "secret" not in await room.service.get(PROJECT, made["id"])
    assert all("secret" not in item for item in await room.service.page(PROJECT, None, 10))
    stored = await room.rows("select sealed from endpoints")
    assert made["secret"] not in stored[0][0]
    assert sink.url not in stored[0][0]
    again, replayed = await room.service.create(PROJECT, sink.url, [], "mine", ("key", "body"))
    assert (again, replayed) == (made, True)
    with pytest.raises(IdempotencyReused):
        await room.service.create(PROJECT, sink.url, [], "other", ("key", "other"))
    await room.emit("message.sent")
    await room.until_deliveries(1)
    assert len(sink.calls) == 1, "the replay made a second endpoint or pump"


async def test_a_project_has_so_many_endpoints(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "WEBHOOK_ENDPOINTS", 2)
    first, _ = await room.service.create(PROJECT, "https://example.com/", [], "", ("k1", "b"))
    await room.endpoint("https://example.com/")
    for _ in range(2):  # a refusal keeps no idempotency record
        with pytest.raises(Conflict):
            await room.service.create(PROJECT, "https://example.com/", [], "", ("k3", "b"))
    assert (await room.service.create(PROJECT, "https://example.com/", [], "", ("k1", "b")))[0]["id"] == first["id"]
    await room.endpoint("https://example.com/", project=OTHER)
    await room.service.delete(PROJECT, first["id"])
    await room.service.create(PROJECT, "https://example.com/", [], "", ("k3", "b"))


async def test_other_projects_see_and_change_nothing(room: Room, sink: Sink) -> None:
    made = await room.endpoint(sink.url)
    await room.emit("message.sent")
    await room.until_deliveries(1)
    (row,) = await room.service.deliveries(PROJECT, made["id"], None, 10)
    service, id = room.service, made["id"]
    for act in (
        service.get(OTHER, id), service.update(OTHER, id, {"status": "disabled"}), service.delete(OTHER, id),
        service.rotate(OTHER, id), service.deliveries(OTHER, id, None, 10), service.delivery(OTHER, row["id"]),
        service.replay(OTHER, row["id"]), service.replay_since(OTHER, id, 0),
    ):  # fmt: skip
        with pytest.raises(NotFound):
            await act
    assert await service.page(OTHER, None, 10) == []
    await room.emit("message.sent")
    await room.until_deliveries(2)


async def test_rotation_signs_with_both_for_a_day(room: Room, sink: Sink) -> None:
    made = await room.endpoint(sink.url)
    rotated = await room.service.rotate(PROJECT, made["id"])
    assert rotated["secret"] != made["secret"]
    await room.emit("message.sent")
    await room.until(lambda: len(sink.calls) == 1)
    assert sink.calls[0].headers["webhook-signature"].count("v1,") == 2
    for secret in (made["secret"], rotated["secret"]):
        Webhook(secret).verify(sink.calls[0].body, sink.calls[0].headers)
    room.at_ms = room.now() + limits.WEBHOOK_ROTATION_S * 1000 + 1
    await room.emit("message.sent")
    await room.until(lambda: len(sink.calls) == 2)
    assert sink.calls[1].headers["webhook-signature"].count("v1,") == 1
    with pytest.raises(WebhookVerificationError):
        Webhook(made["secret"]).verify(sink.calls[1].body, sink.calls[1].headers | _now(sink.calls[0].headers))


def _now(headers: dict[str, str]) -> dict[str, str]:
    return {"webhook-timestamp": headers["webhook-timestamp"]}


async def test_rotating_often_keeps_every_secret_for_its_day_and_then_says_no(room: Room, sink: Sink) -> None:
    made = await room.endpoint(sink.url)
    for _ in range(limits.WEBHOOK_SECRETS - 1):
        await room.service.rotate(PROJECT, made["id"])
    with pytest.raises(Conflict):
        await room.service.rotate(PROJECT, made["id"])
    await room.emit("message.sent")
    await room.until_deliveries(1)
    Webhook(made["secret"]).verify(sink.calls[0].body, sink.calls[0].headers)


async def test_a_change_takes_effect_and_keeps_the_place(room: Room, sink: Sink) -> None:
    made = await room.endpoint(sink.url, "message.sent")
    await room.emit("message.sent")
    await room.until_deliveries(1)
    changed = await room.service.update(PROJECT, made["id"], {"types": ["message.failed"], "description": "x"})
    assert (changed["types"], changed["description"]) == (["message.failed"], "x")
    (_, wanted) = await room.emit("message.sent", "message.failed")
    await room.until_deliveries(2)
    assert [call.id for call in sink.calls][1:] == [wanted]


async def test_disabled_means_silence_and_enabled_goes_on(room: Room, sink: Sink) -> None:
    made = await room.endpoint(sink.url)
    await room.service.update(PROJECT, made["id"], {"status": "disabled"})
    ids = await room.emit("message.sent")
    await asyncio.sleep(0.1)
    assert sink.calls == []
    with pytest.raises(Conflict):
        await room.service.replay_since(PROJECT, made["id"], 0)
    await room.service.update(PROJECT, made["id"], {"status": "enabled"})
    await room.until_deliveries(1)
    assert [call.id for call in sink.calls] == ids


async def test_changes_at_the_same_time_leave_one_pump(room: Room, sink: Sink) -> None:
    made = await room.endpoint(sink.url)
    changes: list[dict[str, Any]] = [{"description": str(n)} for n in range(8)]
    await asyncio.gather(*(room.service.update(PROJECT, made["id"], change) for change in changes))
    await room.emit(*["message.sent"] * 50)
    await room.until_deliveries(50)
    await asyncio.sleep(0.1)
    assert len(sink.calls) == 50


async def test_deleting_stops_the_pump_and_removes_the_deliveries(room: Room, sink: Sink) -> None:
    made = await room.endpoint(sink.url)
    await room.emit("message.sent")
    await room.until_deliveries(1)
    await room.service.delete(PROJECT, made["id"])
    with pytest.raises(NotFound):
        await room.service.get(PROJECT, made["id"])
    with pytest.raises(NotFound):
        await room.service.delete(PROJECT, made["id"])
    await room.emit("message.sent")
    await asyncio.sleep(0.1)
    assert len(sink.calls) == 1
    assert await room.deliveries() == []


async def test_one_delivery_is_replayed_with_its_id(room: Room, sink: Sink) -> None:
    made = await room.endpoint(sink.url)
    (event,) = await room.emit("message.sent")
    await room.until_deliveries(1)
    (old,) = await room.service.deliveries(PROJECT, made["id"], None, 10)
    fresh = await room.service.replay(PROJECT, old["id"])
    assert fresh["id"] != old["id"]
    await room.until_deliveries(2, "delivered")
    assert [call.id for call in sink.calls] == [event, event]
    assert (await room.service.delivery(PROJECT, fresh["id"]))["tries"] == 1


async def test_everything_since_a_time_is_replayed(room: Room, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "WEBHOOK_CHUNK_ROWS", 7)
    start_ms = room.now() - 10_000_000
    made = await room.endpoint(sink.url, "message.sent")
    ids: list[str] = []
    for n in range(30):
        ids += (await room.emit("message.sent", "message.failed", at_ms=start_ms + n * 100_000))[:1]
    await room.until_deliveries(30, "delivered")
    sink.calls.clear()
    assert await room.service.replay_since(PROJECT, made["id"], start_ms + 10 * 100_000) == (20, None)
    await room.until_deliveries(50, "delivered")
    assert sorted(call.id for call in sink.calls) == sorted(ids[10:])


async def test_a_replay_too_long_says_where_to_go_on(room: Room, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "WEBHOOK_CHUNK_ROWS", 5)
    monkeypatch.setattr(admin, "WEBHOOK_REPLAY_EVENTS", 10)
    made = await room.endpoint(sink.url)
    for n in range(14):
        await room.emit("message.sent", at_ms=1_000_000 + n * 1_000)
    await room.until_deliveries(14, "delivered")
    queued, more_ms = await room.service.replay_since(PROJECT, made["id"], 0)
    assert (queued, more_ms) == (10, 1_010_000)
    assert more_ms is not None
    assert await room.service.replay_since(PROJECT, made["id"], more_ms) == (4, None)
    await room.until_deliveries(28, "delivered")
