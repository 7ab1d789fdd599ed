"""The pumps of all enabled endpoints: started, woken when something happened in their project, stopped."""

import asyncio
import contextlib
import logging
import random
import time
from typing import cast

import msgspec

from tidings.bus.contract import Bus
from tidings.domain.errors import NotFound, StoreError
from tidings.kit.clock import Clock
from tidings.kit.limits import WEBHOOK_GATHER_S, WEBHOOK_IDLE_S, WEBHOOK_LOOK_S, WEBHOOK_SCAN_EVENTS
from tidings.kit.outbound import Guard, Outbound
from tidings.kit.secrets import KeyRing
from tidings.store.hooks import EndpointRow
from tidings.store.store import Store
from tidings.webhooks.admin import Admin
from tidings.webhooks.endpoint import Endpoint, from_row
from tidings.webhooks.pump import Pump
from tidings.webhooks.twilio_callbacks import EACH_MESSAGE, StatusPump

_log = logging.getLogger(__name__)
_RESTART_S = 1.0
TOPIC = "webhooks"  # the doorbell of endpoints that were changed, or have something queued, by another process


class WebhookService(Admin):
    """One pump for each enabled endpoint; a dead one slows nobody. What customers do is in `Admin`.

    Pumps run between `start` and `stop`, in one process at a time (`delivery.keeper.Duty`); customers may be anywhere.
    """

    def __init__(
        self, store: Store, ring: KeyRing, bus: Bus, now: Clock, allow_private: bool, allow: tuple[str, ...]
    ) -> None:
        super().__init__(store, ring, now, Guard(allow_private=allow_private, allow=allow))
        self._bus = bus
        self._outbound: Outbound | None = None
        self._pumps: dict[str, dict[str, Pump]] = {}  # project, endpoint
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._watches: list[asyncio.Task[None]] = []
        self._known: dict[tuple[str, str], EndpointRow] = {}  # as the pumps were started
        self._rng = random.Random()

    async def start(self) -> None:
        """Starts the pumps of all enabled endpoints. Raises StoreError."""
        self._outbound = Outbound(self.guard)
        cursor = await self._store.lists.log_end()
        self._watches.append(asyncio.create_task(self._watching(cursor), name="webhooks"))
        if not self._bus.alone:
            self._watches.append(asyncio.create_task(self._following(), name="webhook endpoints"))
        for row in await self._store.webhooks.all_endpoints():
            self._begin(row)

    async def stop(self) -> None:
        """Stops the pumps. Calls under way get a moment, then they are cut off and made again at the next start."""
        for watch in self._watches:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
        self._watches.clear()
        keys = [(project, endpoint) for project, pumps in self._pumps.items() for endpoint in pumps]
        await asyncio.gather(*(self._stop_pump(*key) for key in keys))
        if self._outbound is not None:
            await self._outbound.close()
            self._outbound = None
        self._pumps.clear()
        self._known.clear()

    async def refresh(self, project: str, endpoint_id: str) -> None:
        """Stops the endpoint's pump, and starts it as it is stored now."""
        await self._stop_pump(project, endpoint_id)
        row = await self._store.webhooks.endpoint(project, endpoint_id)
        if row is not None:
            self._begin(row)

    # -- what `Admin` needs of the pumps

    def _start_pump(self, endpoint: Endpoint) -> None:
        self._bus.ring_others(TOPIC)
        if endpoint.status != "enabled" or self._outbound is None:
            return
        pump = self._make(endpoint)
        task = asyncio.create_task(self._serve(pump), name=f"webhook:{endpoint.id}")
        self._tasks[endpoint.id] = task

    async def _stop_pump(self, project: str, endpoint_id: str) -> None:
        task = self._tasks.pop(endpoint_id, None)
        if task is not None:
            pump = self._pumps.get(project, {}).get(endpoint_id)
            if pump is not None:
                await pump.stop(task)
            else:  # disabled, or between two pumps
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self._pumps.get(project, {}).pop(endpoint_id, None)

    def _wake(self, project: str, endpoint_id: str) -> None:
        pump = self._pumps.get(project, {}).get(endpoint_id)
        if pump is not None:
            pump.again.ring()
        self._bus.ring_others(TOPIC)

    # -- inside

    def _begin(self, row: EndpointRow) -> None:
        self._known[row.project, row.id] = row
        try:
            endpoint = from_row(self._ring, row)
        except Exception as error:
            _log.error("webhook endpoint %s cannot be opened with this key ring: %s", row.id, type(error).__name__)
            return
        self._start_pump(endpoint)

    def _make(self, endpoint: Endpoint) -> Pump:
        assert self._outbound is not None
        kind = StatusPump if endpoint.url == EACH_MESSAGE else Pump
        pump = kind(self._store, self._ring, self._outbound, self._now, endpoint, self._rng)
        self._pumps.setdefault(endpoint.project, {})[endpoint.id] = pump
        return pump

    async def _serve(self, pump: Pump) -> None:
        """Runs the pump; after a failure a new one goes on from the stored cursor."""
        endpoint = pump.endpoint
        while True:
            try:
                reason = await pump.run()
                break
            except Exception as error:
                _log.warning("the pump of webhook endpoint %s starts again after %s", endpoint.id, _causes(error))
            await asyncio.sleep(_RESTART_S)
            with contextlib.suppress(StoreError):
                try:
                    endpoint = await self._get(endpoint.project, endpoint.id)
                except NotFound:
                    return
                pump = self._make(endpoint)
        if reason is not None:
            _log.warning("webhook endpoint %s is disabled: %s", endpoint.id, reason)
            self._pumps.get(endpoint.project, {}).pop(endpoint.id, None)
            self._bus.ring("events")

    async def _following(self) -> None:
        """What customers change in other processes: their pumps start again with what is stored now."""
        bell = self._bus.subscribe(TOPIC)
        try:
            while True:
                await bell.wait(WEBHOOK_LOOK_S)
                try:
                    await self._follow_once()
                except StoreError as error:
                    _log.warning("the webhook endpoints cannot be read: %s", error)
        finally:
            self._bus.unsubscribe(TOPIC, bell)

    async def _follow_once(self) -> None:
        rows = {(row.project, row.id): row for row in await self._store.webhooks.all_endpoints()}
        for project, pumps in self._pumps.items():
            for endpoint, pump in pumps.items():
                if (project, endpoint) in rows:
                    pump.again.ring()  # something may have been queued
        for key in {*rows, *self._known}:
            old, new = self._known.get(key), rows.get(key)
            if old is not None and new is not None and _told(old) == _told(new):
                continue
            async with self._locks.setdefault(key[1], asyncio.Lock()):
                self._known.pop(key, None)
                await self.refresh(*key)
                if new is None:
                    self._known.pop(key, None)

    async def _watching(self, cursor: int) -> None:
        """One look at the log for all pumps: only those that want something of what happened are woken."""
        bell = self._bus.subscribe("events")
        try:
            while True:
                await bell.wait(WEBHOOK_IDLE_S)
                began = time.monotonic()
                try:
                    cursor = await self._look(cursor)
                except StoreError as error:
                    _log.warning("the event log cannot be read: %s", error)
                await asyncio.sleep(max(0.0, WEBHOOK_GATHER_S - (time.monotonic() - began)))
        finally:
            self._bus.unsubscribe("events", bell)

    async def _look(self, cursor: int) -> int:
        while True:
            since = cursor
            found, cursor = await self._store.webhooks.news(since, WEBHOOK_SCAN_EVENTS)
            for project, news in found.items():
                for pump in self._pumps.get(project, {}).values():
                    pump.hear(news)
            if cursor - since < WEBHOOK_SCAN_EVENTS:
                return cursor


def _told(row: EndpointRow) -> EndpointRow:
    """What a customer has said of the endpoint, without what its pump writes."""
    return msgspec.structs.replace(row, cursor=0, failing_since_ms=None, reason=None)


def _causes(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return ", ".join(_causes(one) for one in cast("BaseExceptionGroup[BaseException]", error).exceptions)
    return f"{type(error).__name__}: {error}"
