"""The pump of one endpoint: follows the log with a cursor of its own, so that no endpoint waits for another.

The order: read events, drop the types that are not wanted, render, call (several at once), then write the delivery rows
and the cursor in ONE commit. A crash between a call and its commit repeats the call with the same `webhook-id`.
"""

import asyncio
import random
import time

from tidings.bus.local import Doorbell
from tidings.domain.event import Event
from tidings.kit.clock import Clock
from tidings.kit.ids import new_id
from tidings.kit.limits import (
    WEBHOOK_CONCURRENCY,
    WEBHOOK_DISABLE_AFTER_S,
    WEBHOOK_IDLE_S,
    WEBHOOK_READ_EVENTS,
    WEBHOOK_RETRY_S,
)
from tidings.kit.outbound import Answer, Outbound
from tidings.kit.secrets import KeyRing
from tidings.store.sqlite import webhooks as store
from tidings.store.sqlite.engine import Connection, Engine
from tidings.store.sqlite.webhooks import DeliveryRow, Done
from tidings.webhooks.endpoint import Endpoint
from tidings.webhooks.payload import bodies
from tidings.webhooks.sign import key_of, sign

_SAVE_CURSOR_EVERY = 1_000  # events passed over before the cursor is written for its own sake


class Pump:
    """One endpoint's work. `run` ends when the endpoint is disabled."""

    def __init__(
        self, engine: Engine, ring: KeyRing, outbound: Outbound, bell: Doorbell, now: Clock, endpoint: Endpoint,
        rng: random.Random,
    ) -> None:  # fmt: skip
        self._engine, self._ring, self._outbound, self._bell, self._now = engine, ring, outbound, bell, now
        self.endpoint = endpoint
        self._rng = rng
        self._cursor = self._saved = endpoint.cursor
        self._failing_since_ms = endpoint.failing_since_ms
        self._slots = asyncio.Semaphore(WEBHOOK_CONCURRENCY)
        self._retry_at = 0.0

    async def run(self) -> None:
        """Until cancelled, or until the endpoint is disabled."""
        while True:
            if time.monotonic() >= self._retry_at and not await self._retry():
                return
            events = await self._engine.read(self._read)
            if not events:
                await self._bell.wait(WEBHOOK_IDLE_S)
                continue
            wanted = [event for event in events if self.endpoint.wants(event.type)]
            self._cursor = events[-1].seq
            if wanted:
                if not await self._send([(event, None) for event in wanted], self._cursor):
                    return
            elif self._cursor - self._saved >= _SAVE_CURSOR_EVERY:
                await self._write([], self._cursor, None)

    def _read(self, connection: Connection) -> list[Event]:
        return store.events_after(connection, self.endpoint.project, self._cursor, WEBHOOK_READ_EVENTS)

    async def _retry(self) -> bool:
        """Calls again what is due; False if the endpoint is disabled now."""
        now_ms = self._now()
        endpoint = self.endpoint

        def read(connection: Connection) -> list[tuple[Event, DeliveryRow | None]]:
            due = store.due(connection, endpoint.project, endpoint.id, now_ms, WEBHOOK_READ_EVENTS)
            events = store.events_of(connection, endpoint.project, [row.event_seq for row in due])
            return [(events[row.event_seq], row) for row in due if row.event_seq in events]

        work = await self._engine.read(read)
        self._retry_at = time.monotonic() + WEBHOOK_IDLE_S
        return await self._send(work, None) if work else True

    async def _send(self, work: list[tuple[Event, DeliveryRow | None]], cursor: int | None) -> bool:
        endpoint = self.endpoint
        events = [event for event, _ in work]
        rendered = await self._engine.read(lambda c: bodies(c, self._ring, endpoint.project, events))
        answers = await asyncio.gather(*(self._call(e, body) for e, body in zip(events, rendered, strict=True)))
        rows = [self._row(event, old, *answer) for (event, old), answer in zip(work, answers, strict=True)]
        now_ms = self._now()
        if any(answer.ok for answer, _ in answers):
            self._failing_since_ms = None
        elif self._failing_since_ms is None:
            self._failing_since_ms = now_ms
        disable = None
        if any(answer.status == 410 for answer, _ in answers):
            disable = "the endpoint answered 410 Gone"
        elif self._failing_since_ms is not None and now_ms - self._failing_since_ms > WEBHOOK_DISABLE_AFTER_S * 1000:
            disable = "every call has failed for days"
        await self._write(rows, cursor, disable)
        return disable is None

    async def _call(self, event: Event, body: bytes) -> tuple[Answer, int]:
        async with self._slots:
            now_ms = self._now()
            secrets = self.endpoint.secrets
            keys = [key_of(one.value) for one in secrets if one.until_ms is None or one.until_ms > now_ms]
            stamp = now_ms // 1000
            headers = {
                "content-type": "application/json",
                "webhook-id": event.id,
                "webhook-timestamp": str(stamp),
                "webhook-signature": sign(keys, event.id, stamp, body),
            }
            start = time.monotonic()
            answer = await self._outbound.post(self.endpoint.url, headers, body)
            return answer, int((time.monotonic() - start) * 1000)

    def _row(self, event: Event, old: DeliveryRow | None, answer: Answer, latency_ms: int) -> DeliveryRow:
        now_ms = self._now()
        tries = old.tries + 1 if old else 1
        status, next_ms = "delivered", None
        if not answer.ok:
            status, next_ms = self._next(tries, now_ms)
        error = None if answer.ok else answer.error or f"HTTP {answer.status}"
        return DeliveryRow(
            event.project, old.id if old else new_id("whd"), self.endpoint.id, event.seq, event.id, event.type, status,
            tries, next_ms, answer.status, error, latency_ms, old.created_ms if old else now_ms, now_ms,
        )  # fmt: skip

    def _next(self, tries: int, now_ms: int) -> tuple[str, int | None]:
        if tries > len(WEBHOOK_RETRY_S):
            return "failed", None
        jitter = 0.9 + 0.2 * self._rng.random()
        return "pending", now_ms + int(WEBHOOK_RETRY_S[tries - 1] * 1000 * jitter)

    async def _write(self, rows: list[DeliveryRow], cursor: int | None, disable: str | None) -> None:
        done = Done(self.endpoint.project, self.endpoint.id, rows, cursor, self._failing_since_ms, disable)
        await self._engine.write(store.record, [done])
        if cursor is not None:
            self._saved = cursor
