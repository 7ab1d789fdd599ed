"""The pump against real sockets and a real store: order of things, retries, dead and slow endpoints, crashes."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tidings.kit import limits
from tidings.kit.clock import wall_ms
from tidings.kit.outbound import Outbound
from tidings.store.hooks import News
from tidings.store.sqlite import webhooks as store
from tidings.store.sqlite.link import Connection
from tidings.webhooks import call, pump, retry, service

from .conftest import HANG, OTHER, PROJECT, Room, Sink

NewSink = Callable[[], Awaitable[Sink]]


async def test_wanted_events_are_called_and_recorded_with_the_cursor(room: Room, sink: Sink) -> None:
    made = await room.endpoint(sink.url, "message.sent", "provider.*")
    ids = await room.emit("message.accepted", "message.sent", "provider.degraded", "message.delivered")
    await room.emit("message.sent", project=OTHER)
    await room.until_deliveries(2, "delivered")
    assert {call.id for call in sink.calls} == set(ids[1:3])
    rows = await room.deliveries()
    assert [row["event_id"] for row in rows] == ids[1:3]
    assert [(row["tries"], row["http_status"], row["next_ms"]) for row in rows] == [(1, 200, None)] * 2
    assert await room.cursor(made) >= 3


async def test_an_endpoint_hears_only_of_what_comes_after_it(room: Room, sink: Sink) -> None:
    await room.emit("message.sent")
    await room.endpoint(sink.url)
    (later,) = await room.emit("message.sent")
    await room.until_deliveries(1)
    assert [call.id for call in sink.calls] == [later]


async def test_many_events_go_over_few_connections_and_at_most_sixteen_at_once(room: Room, sink: Sink) -> None:
    sink.delay_s = 0.002
    await room.endpoint(sink.url)
    ids = await room.emit(*["message.sent"] * 1_200)
    await room.until_deliveries(1_200, "delivered")
    assert sorted(call.id for call in sink.calls) == sorted(ids)
    assert sink.most == limits.WEBHOOK_CONCURRENCY
    assert sink.connections <= limits.WEBHOOK_CONCURRENCY


@pytest.mark.parametrize("status", [301, 307, 400, 404, 500])
async def test_anything_but_2xx_is_tried_again_later(room: Room, sink: Sink, status: int) -> None:
    sink.status = lambda call: status
    await room.endpoint(sink.url)
    await room.emit("message.sent")
    await room.until_deliveries(1, "pending")
    (row,) = await room.deliveries()
    assert (row["tries"], row["http_status"], row["error"]) == (1, status, f"HTTP {status}")
    assert 2 < (row["next_ms"] - wall_ms()) / 1000 < 5.6
    assert [call.path for call in sink.calls] == ["/hook"], "a redirect was followed"


async def test_retries_keep_the_id_follow_the_table_and_end(room: Room, sink: Sink) -> None:
    sink.status = lambda call: 500
    room.at_ms = 1_700_000_000_000
    made = await room.endpoint(sink.url)
    (event,) = await room.emit("message.sent")
    waits: list[float] = []
    for tries in range(1, len(limits.WEBHOOK_RETRY_S) + 1):

        async def reached(tries: int = tries) -> bool:
            return [row["tries"] for row in await room.deliveries()] == [tries]

        await room.until(reached)
        (row,) = await room.deliveries()
        waits.append((row["next_ms"] - room.at_ms) / 1000)
        room.at_ms = row["next_ms"]
        await room.restart()  # the schedule is in the store, not in memory
    await room.until_deliveries(1, "failed")
    assert all(0.9 * s <= w <= 1.1 * s for s, w in zip(limits.WEBHOOK_RETRY_S, waits, strict=True)), waits
    assert {call.id for call in sink.calls} == {event}
    assert len(sink.calls) == len(limits.WEBHOOK_RETRY_S) + 1
    assert (await room.service.get(PROJECT, made["id"]))["status"] == "enabled"


async def test_a_retry_that_succeeds_ends_it(room: Room, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "WEBHOOK_RETRY_S", (0.05, 0.05))
    sink.status = lambda call: 200 if len(sink.calls) > 1 else 500
    await room.endpoint(sink.url)
    await room.emit("message.sent")
    await room.until_deliveries(1, "delivered")
    (row,) = await room.deliveries()
    assert (row["tries"], row["error"], len(sink.calls)) == (2, None, 2)
    assert sink.calls[0].body == sink.calls[1].body


async def test_410_disables_at_once_with_an_event(room: Room, new_sink: NewSink) -> None:
    gone, other = await new_sink(), await new_sink()
    gone.status = lambda call: 410
    made = await room.endpoint(gone.url, "message.*")
    await room.endpoint(other.url, "webhook.disabled")
    await room.emit("message.sent")
    await room.until(lambda: other.calls)
    shown = await room.service.get(PROJECT, made["id"])
    assert (shown["status"], shown["reason"]) == ("disabled", "the endpoint answered 410 Gone")
    said = other.calls[0].json
    assert (said["type"], said["data"]["event"]["endpoint_id"]) == ("webhook.disabled", made["id"])
    await room.emit("message.sent")
    await asyncio.sleep(0.1)
    assert len(gone.calls) == 1


async def test_five_days_of_nothing_but_failures_disable(room: Room, sink: Sink) -> None:
    sink.status = lambda call: 500
    room.at_ms = 1_700_000_000_000
    made = await room.endpoint(sink.url)
    await room.emit("message.sent")
    await room.until_deliveries(1)
    room.at_ms += limits.WEBHOOK_DISABLE_AFTER_S * 1000 - 1
    await room.emit("message.sent")
    await room.until_deliveries(2)
    assert (await room.service.get(PROJECT, made["id"]))["status"] == "enabled"
    room.at_ms += 2
    await room.emit("message.sent")

    async def disabled() -> bool:
        return (await room.service.get(PROJECT, made["id"]))["status"] == "disabled"

    await room.until(disabled)
    assert "5 days" in (await room.service.get(PROJECT, made["id"]))["reason"]


async def test_one_success_starts_the_five_days_anew(room: Room, sink: Sink) -> None:
    sink.status = lambda call: 500 if len(sink.calls) != 2 else 200
    room.at_ms = 1_700_000_000_000
    made = await room.endpoint(sink.url)
    for n in range(3):
        await room.emit("message.sent")
        await room.until_deliveries(n + 1)
        room.at_ms += limits.WEBHOOK_DISABLE_AFTER_S * 600
    shown = await room.service.get(PROJECT, made["id"])
    assert (shown["status"], shown["failing_since"] is not None) == ("enabled", True)


async def test_a_dead_endpoint_slows_nobody_and_stops_being_waited_for(
    room: Room, new_sink: NewSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dead one's events become pending deliveries without a time-out each; the other one gets all of its calls."""
    monkeypatch.setattr(pump, "WEBHOOK_PROBE_S", 0.2)
    dead, live = await new_sink(), await new_sink()
    dead.status = lambda call: HANG
    monkeypatch.setattr(service, "Outbound", functools.partial(Outbound, timeout_s=0.3))
    await room.restart()
    made = await room.endpoint(dead.url)
    await room.endpoint(live.url)
    ids = await room.emit(*["message.sent"] * 1_000)
    await room.until(lambda: len({call.id for call in live.calls}) == 1_000)
    await room.until_deliveries(1_000, "pending")
    assert len(dead.calls) < 3 * limits.WEBHOOK_CONCURRENCY, "a dead endpoint is only probed"
    dead.status = lambda call: 200  # it comes back
    async with asyncio.timeout(60):
        while await room.count("delivered") < 2_000:  # on a busy machine 0.3 s may be too short for a call again
            await room.run("update deliveries set next_ms = 0 where next_ms is not null")
            room.service._wake(PROJECT, made["id"])  # pyright: ignore[reportPrivateUsage]
            await asyncio.sleep(1)
    assert {call.id for call in dead.calls} == set(ids)


async def test_a_slow_endpoint_s_deliveries_are_recorded_meanwhile(
    room: Room, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last calls get no answer before the first deliveries are recorded."""
    monkeypatch.setattr(call, "WEBHOOK_BATCH_S", 0.1)
    recorded = asyncio.Event()
    sink.delay_s = 0.05

    async def answering(asked: Any, writer: asyncio.StreamWriter) -> None:
        if len(sink.calls) >= 100:
            await recorded.wait()
        await answer(asked, writer)

    answer, sink._reply = sink._reply, answering  # type: ignore[method-assign]
    await room.endpoint(sink.url)
    await room.emit(*["message.sent"] * 200)
    await room.until_deliveries(16, "delivered")
    assert len(await room.deliveries()) < 200, "the batch was recorded as a whole only"
    recorded.set()
    await room.until_deliveries(200, "delivered")
    assert len({call.id for call in sink.calls}) == len(sink.calls) == 200


async def test_a_restart_repeats_nothing_that_was_recorded(room: Room, sink: Sink) -> None:
    await room.endpoint(sink.url)
    await room.emit(*["message.sent"] * 30)
    await room.until_deliveries(30)
    await room.restart()
    (last,) = await room.emit("message.sent")
    await room.until_deliveries(31)
    assert len(sink.calls) == 31
    assert sink.calls[-1].id == last


async def test_what_happens_while_the_server_is_down_is_sent_at_the_next_start(room: Room, sink: Sink) -> None:
    await room.endpoint(sink.url)
    await room.service.stop()
    await room.emit("message.sent", "message.delivered")
    room.service = room.make_service()
    await room.service.start()
    await room.until_deliveries(2, "delivered")


async def test_passing_unwanted_events_writes_nothing_for_each(room: Room, sink: Sink) -> None:
    made = await room.endpoint(sink.url, "message.failed")
    before = room.engine.commits
    for _ in range(20):
        await room.emit(*["message.sent"] * 10)
        await asyncio.sleep(0.005)
    assert room.engine.commits - before <= 20 + 1
    await room.emit(*["message.sent"] * 1_000)

    async def moved() -> bool:
        return await room.cursor(made) >= 1_200

    await room.until(moved)
    assert sink.calls == []
    assert await room.deliveries() == []


async def test_a_backlog_is_worked_off_without_a_ring(room: Room, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than one look reaches, most of it unwanted, and nothing new that would wake the pump."""
    monkeypatch.setattr(pump, "WEBHOOK_SCAN_EVENTS", 100)
    monkeypatch.setattr(pump, "WEBHOOK_READ_EVENTS", 10)
    await room.endpoint(sink.url, "message.failed")
    await room.service.stop()
    for _ in range(8):
        await room.emit(*["message.sent"] * 130, *["message.failed"] * 15)
    room.service = room.make_service()
    await room.service.start()
    await room.until_deliveries(8 * 15, "delivered")


async def _crash_and_count(
    room: Room, sink: Sink, monkeypatch: pytest.MonkeyPatch, record: Any, failed: list[int]
) -> tuple[int, int]:
    """Of 40 events, how many were called and how many deliveries stored, when the cursor has passed them all, after the
    first commit `failed` and a restart."""
    monkeypatch.setattr(store, "record", record)
    monkeypatch.setattr(pump, "WEBHOOK_READ_EVENTS", 20)
    made = await room.endpoint(sink.url)
    await room.emit(*["message.sent"] * 40)
    await room.until(lambda: failed)
    await room.restart()

    async def passed() -> bool:
        return await room.cursor(made) >= 40

    await room.until(passed)
    return len({call.id for call in sink.calls}), len(await room.deliveries())


_record = store.record


class _Crash(Exception):
    pass


async def test_a_failed_commit_repeats_calls_and_loses_none(
    room: Room, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit fails after the calls (as a crash would): the same ids are called again, and all are recorded."""
    failed: list[int] = []

    def record(connection: Connection, items: list[Any]) -> list[None]:
        if not failed and any(item.deliveries for item in items):
            failed.append(1)
            raise _Crash
        return _record(connection, items)

    called, stored = await _crash_and_count(room, sink, monkeypatch, record, failed)
    assert failed
    assert (called, stored) == (40, 40)
    assert len(sink.calls) > 40


async def test_saboteur_the_cursor_without_its_deliveries_is_noticed(
    room: Room, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Takes the protection out: the cursor commits alone. The check above must then go red."""
    failed: list[int] = []

    def record(connection: Connection, items: list[Any]) -> list[None]:
        connection.execute("update endpoints set cursor = ?", (max(item.cursor or 0 for item in items),))
        if not failed:
            failed.append(1)
            connection.execute("commit")
            connection.execute("begin immediate")
            raise _Crash
        return _record(connection, items)

    _, stored = await _crash_and_count(room, sink, monkeypatch, record, failed)
    assert failed
    assert stored < 40, "the check cannot see a cursor that runs ahead of its deliveries"


async def test_events_that_nobody_wants_are_not_read_and_the_cursor_passes_them(
    room: Room, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    follow = store.follow

    def counted(*args: Any) -> Any:
        reads.append(args[3])
        return follow(*args)

    made = await room.endpoint(sink.url, "message.delivered")
    await room.emit("message.delivered", "message.sent")
    await room.until_deliveries(1, "delivered")
    monkeypatch.setattr(store, "follow", counted)
    await room.emit("message.sent")  # the pump looks once more: it has heard nothing of its project yet
    await asyncio.sleep(0.1)
    reads.clear()
    for _ in range(10):
        await room.emit("message.accepted", "message.sent", project=PROJECT)
        await asyncio.sleep(0.02)
    assert reads == [], "nobody wanted any of it"
    (wanted,) = await room.emit("message.delivered")
    await room.until_deliveries(2, "delivered")
    assert reads[0] == 23, "from behind what it passed"
    assert sink.calls[-1].id == wanted
    await room.service.update(PROJECT, made["id"], {"types": []})
    assert await room.cursor(made) >= 24, "what was passed before a change is not sent after it"


async def _busy_while_events_come(room: Room, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The events lost: one is wanted while an earlier call is under way, then comes one that nobody wants."""
    monkeypatch.setattr(pump, "_SWEEP_S", 0.2)
    sink.delay_s = 0.3
    await room.endpoint(sink.url, "message.delivered")
    sent = await room.emit("message.delivered")
    await room.until(lambda: sink.calls)
    sent += await room.emit("message.delivered")
    for _ in range(2):
        await asyncio.sleep(0.05)
        await room.emit("message.sent")
    await asyncio.sleep(1)
    return set(sent) - {call.id for call in sink.calls}


async def test_a_busy_pump_passes_nothing(room: Room, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await _busy_while_events_come(room, sink, monkeypatch) == set()


async def test_saboteur_a_busy_pump_that_passes_events_is_noticed(
    room: Room, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hear(self: pump.Pump, news: News) -> None:
        if any(map(self.endpoint.wants, news.types)):
            self.events.ring()
        else:
            self._cursor = news.upto  # pyright: ignore[reportPrivateUsage]

    monkeypatch.setattr(pump.Pump, "hear", hear)
    assert await _busy_while_events_come(room, sink, monkeypatch)
