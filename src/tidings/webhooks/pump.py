"""The pump of one endpoint: follows the log with a cursor of its own, so that no endpoint waits for another.

Two loops. `_follow` reads events behind the cursor, calls for the wanted ones, and writes their delivery rows and the
cursor in ONE commit: a crash between a call and its commit repeats the call with the same `webhook-id`. `_again` calls
what is due for another try. When the endpoint stops answering, `_follow` no longer calls: it queues deliveries for
`_again`, which probes a few of them, so that a dead endpoint costs no memory and two sockets.
"""

import asyncio
import contextlib
import random
import time

from tidings.bus.local import Doorbell
from tidings.kit.clock import Clock
from tidings.kit.ids import new_id
from tidings.kit.limits import (
    WEBHOOK_CONCURRENCY,
    WEBHOOK_CURSOR_S,
    WEBHOOK_PROBE_S,
    WEBHOOK_PROBES,
    WEBHOOK_READ_EVENTS,
    WEBHOOK_SCAN_EVENTS,
    WEBHOOK_STOP_S,
)
from tidings.kit.outbound import Outbound
from tidings.kit.secrets import KeyRing
from tidings.store.hooks import DeliveryRow, Disable, Done, Followed, News
from tidings.store.store import Store
from tidings.webhooks import retry
from tidings.webhooks.call import Called, Caller
from tidings.webhooks.endpoint import Endpoint
from tidings.webhooks.payload import bodies

_SAVE_CURSOR_EVERY = 1_000  # events passed over before the cursor is written for its own sake
_SWEEP_S = 30.0  # a lost doorbell costs one of these


class Pump:
    """One endpoint's work. `events` and `again` are its doorbells."""

    def __init__(
        self, store: Store, ring: KeyRing, outbound: Outbound, now: Clock, endpoint: Endpoint, rng: random.Random
    ) -> None:
        self._store, self._ring, self._now, self._rng = store, ring, now, rng
        self.endpoint = endpoint
        self.events, self.again = Doorbell(), Doorbell()
        self._caller = Caller(outbound, endpoint, now)
        self._cursor = self._saved = endpoint.cursor
        self._saved_at = time.monotonic()
        self._failing_since_ms = endpoint.failing_since_ms
        self._heard: int | None = None
        self._near = False
        self._rendering = True
        self._ending = asyncio.Event()

    async def run(self) -> str | None:
        """Until `end`, or until the endpoint is disabled; then the reason. Raises an ExceptionGroup of StoreErrors."""
        self._disabled: str | None = None
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._try_again())
        if self._cursor > self._saved and self._disabled is None:
            await self._write(Done(self.endpoint.project, self.endpoint.id, [], self._cursor, self._failing_since_ms))
        return self._disabled

    def hear(self, news: News) -> None:
        """Called with all news of the project, one after the other. Wakes the pump; where nothing of it is wanted, and all
        before is done, the cursor moves on by itself."""
        before, self._heard = self._heard, news.upto
        caught_up = before is not None and self._cursor >= before
        if caught_up and not self._unsaved(news.upto) and not any(map(self.endpoint.wants, news.types)):
            self._cursor = max(self._cursor, news.upto)
        else:
            self.events.ring()

    def end(self) -> None:
        """Ends `run` after the calls under way."""
        self._ending.set()
        self._caller.stop()
        self.events.ring()
        self.again.ring()

    async def stop(self, task: "asyncio.Task[None]") -> None:
        """Ends `run`, which is `task`; calls that hang are cut off."""
        self.end()
        await asyncio.wait({task}, timeout=WEBHOOK_STOP_S)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    # -- first calls

    async def _follow(self) -> None:
        while not self._ending.is_set():
            batch = await self._read()
            if batch.events:
                await self._first(batch)
            elif batch.upto > self._cursor:
                self._cursor = batch.upto
                if self._unsaved(self._cursor):
                    await self._record([], [], self._cursor)
            if not batch.more and self._cursor >= batch.upto:  # not at once: what happens meanwhile makes one batch
                await self.events.wait(_SWEEP_S)

    async def _read(self) -> Followed:
        """While the endpoint fails no call is made, and what the events are about is not read."""
        endpoint, limits = self.endpoint, (WEBHOOK_SCAN_EVENTS, WEBHOOK_READ_EVENTS)
        self._rendering = not self._caller.failing
        batch = await self._store.webhooks.follow(
            self._ring, endpoint.project, self._cursor, sorted(endpoint.types), limits, self._rendering, self._near
        )
        self._near = not batch.more
        return batch

    def _unsaved(self, cursor: int) -> bool:
        """Whether a cursor that only passed over events is to be written."""
        return cursor - self._saved >= _SAVE_CURSOR_EVERY or time.monotonic() - self._saved_at > WEBHOOK_CURSOR_S

    async def _first(self, batch: Followed) -> None:
        calls: list[Called] = []
        now_ms = self._now()
        if not self._rendering or self._caller.failing:
            where = self.endpoint.project, self.endpoint.id
            rows = [retry.queued(*where, (e.seq, e.id, e.type), now_ms, retry.WAITING) for e in batch.events]
            upto = batch.upto
        else:
            calls = await self._caller.all(batch.events, bodies(batch.subjects, batch.events), WEBHOOK_CONCURRENCY)
            now_ms = self._now()
            made = zip(batch.events, calls, strict=False)
            rows = [retry.first(self.endpoint.id, event, called, now_ms, self._rng) for event, called in made]
            upto = batch.upto if len(calls) == len(batch.events) else batch.events[len(calls)].seq - 1
        if rows:
            await self._record(rows, calls, upto)
        self._cursor = max(self._cursor, upto)

    # -- further calls

    async def _try_again(self) -> None:
        while not self._ending.is_set():
            failing = self._caller.failing
            most = WEBHOOK_PROBES if failing else WEBHOOK_READ_EVENTS
            where = self.endpoint.project, self.endpoint.id
            due = await self._store.webhooks.due(self._ring, *where, self._now(), most)
            if due.rows:
                width = WEBHOOK_PROBES if failing else WEBHOOK_CONCURRENCY
                there = [row for row in due.rows if row.event_seq in due.events]
                events = [due.events[row.event_seq] for row in there]
                calls = await self._caller.all(events, bodies(due.subjects, events), width, probe=failing)
                now_ms = self._now()
                rows = [retry.after(row, called, now_ms, self._rng) for row, called in zip(there, calls, strict=False)]
                rows += [retry.lost(row, now_ms) for row in due.rows if row.event_seq not in due.events]
                if rows:
                    await self._record(rows, calls, None)
                if self._caller.failing:
                    await self._pause(WEBHOOK_PROBE_S)
                continue
            left_s = _SWEEP_S if due.next_ms is None else (due.next_ms - self._now()) / 1000
            await self.again.wait(min(max(left_s, 0.01), _SWEEP_S))

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ending.wait()

    # -- the commit

    async def _record(self, rows: list[DeliveryRow], calls: list[Called], cursor: int | None) -> None:
        now_ms = self._now()
        if any(called.answer.ok for called in calls):
            self._failing_since_ms = None
        elif calls and self._failing_since_ms is None:
            self._failing_since_ms = now_ms
        reason = retry.disabled(calls, self._failing_since_ms, now_ms)
        disable = None if reason is None else Disable(reason, new_id("evt"), now_ms)
        await self._write(Done(self.endpoint.project, self.endpoint.id, rows, cursor, self._failing_since_ms, disable))
        if cursor is not None:
            self._saved, self._saved_at = cursor, time.monotonic()
        if any(row.next_ms is not None for row in rows):
            self.again.ring()
        if reason is not None:
            self._disabled = reason
            self.end()

    async def _write(self, done: Done) -> None:
        """Also when cancelled it waits for the commit: whoever stops the pump reads a cursor that stands."""
        write = asyncio.ensure_future(self._store.webhooks.record(done))
        try:
            await asyncio.shield(write)
        except asyncio.CancelledError:
            await asyncio.wait({write})
            raise
