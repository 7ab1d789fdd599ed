"""Endpoints as customers manage them, and the pumps that serve them."""

import asyncio
import contextlib
import logging
import random
from typing import Any
from urllib.parse import urlsplit

import msgspec

from tidings.bus.local import Doorbell, LocalBus
from tidings.domain.errors import Conflict, FieldError, IdempotencyReused, InvalidRequest, NotFound, StoreError
from tidings.kit.clock import Clock, rfc3339
from tidings.kit.ids import new_id
from tidings.kit.limits import WEBHOOK_ENDPOINTS, WEBHOOK_REPLAY_EVENTS, WEBHOOK_ROTATION_S
from tidings.kit.outbound import Guard, Outbound
from tidings.kit.secrets import KeyRing
from tidings.store.sqlite import webhooks as store
from tidings.store.sqlite.engine import Engine
from tidings.store.sqlite.webhooks import DeliveryRow, Done, NewEndpoint
from tidings.webhooks.endpoint import FAMILIES, Endpoint, Secret, from_row, to_row, view
from tidings.webhooks.pump import Pump
from tidings.webhooks.sign import new_secret

_log = logging.getLogger(__name__)
_RESTART_S = 1.0
_URL_CHARS = 2_000
_DESCRIPTION_CHARS = 500
Key = tuple[str, str]  # project, endpoint


class WebhookService:
    """One pump for each enabled endpoint."""

    def __init__(
        self, engine: Engine, ring: KeyRing, bus: LocalBus, now: Clock, allow_private: bool, allow: tuple[str, ...]
    ) -> None:
        self._engine, self._ring, self._bus, self._now = engine, ring, bus, now
        self._guard = Guard(allow_private=allow_private, allow=allow)
        self._outbound: Outbound | None = None
        self._pumps: dict[Key, tuple[asyncio.Task[None], Doorbell]] = {}
        self._rng = random.Random()

    async def start(self) -> None:
        """Starts the pumps of all enabled endpoints."""
        self._outbound = Outbound(self._guard)
        for row in await self._engine.read(store.all_endpoints):
            self._start(from_row(self._ring, row))

    async def stop(self) -> None:
        """Stops the pumps; calls under way are cut off and will be repeated."""
        for key in list(self._pumps):
            await self._end(key)
        if self._outbound is not None:
            await self._outbound.close()

    # -- what customers do

    async def create(
        self, project: str, url: str, types: list[str], description: str, idempotency: tuple[str, str] | None = None
    ) -> tuple[dict[str, Any], bool]:
        """(the view with its secret, whether it is a replay: then without). Raises InvalidRequest, IdempotencyReused."""
        self._check(url, types, description)
        endpoint = Endpoint(
            project=project, id=new_id("whk"), url=url, secrets=(Secret(new_secret()),), types=frozenset(types),
            description=description, status="enabled", reason=None, cursor=0, failing_since_ms=None, created_ms=self._now(),
        )  # fmt: skip
        key_hash, body_hash = idempotency or (None, None)
        new = NewEndpoint(to_row(self._ring, endpoint), key_hash, body_hash, WEBHOOK_ENDPOINTS)
        kind, made = (await self._engine.write(store.create, [new]))[0]
        if kind == "full":
            raise Conflict(f"a project has at most {WEBHOOK_ENDPOINTS} endpoints; delete one first", code="limit")
        if kind == "reused":
            raise IdempotencyReused("this Idempotency-Key was used with another body")
        found = await self._get(project, made)
        if kind == "replay":
            return view(found), True
        self._start(found)
        return view(found) | {"secret": found.secrets[0].value}, False

    async def get(self, project: str, endpoint_id: str) -> dict[str, Any]:
        """Raises NotFound."""
        return view(await self._get(project, endpoint_id))

    async def page(self, project: str, before: str | None, limit: int) -> list[dict[str, Any]]:
        """Newest first."""
        found = await self._engine.read(lambda c: store.endpoints(c, project, before, limit))
        return [view(from_row(self._ring, row)) for row in found]

    async def update(self, project: str, endpoint_id: str, changes: dict[str, Any]) -> dict[str, Any]:
        """`url`, `types`, `description`, `status` (enabled, disabled). Raises NotFound, InvalidRequest."""
        await self._get(project, endpoint_id)
        await self._end((project, endpoint_id))
        old = await self._get(project, endpoint_id)  # the pump has stopped: its cursor is still
        status = changes.get("status", old.status)
        types = changes.get("types")
        new = msgspec.structs.replace(
            old, url=changes.get("url", old.url), types=old.types if types is None else frozenset(types),
            description=changes.get("description", old.description), status=status,
            reason=None if status == "enabled" else old.reason,
            failing_since_ms=None if status == "enabled" else old.failing_since_ms,
        )  # fmt: skip
        try:
            self._check(new.url, sorted(new.types), new.description)
            await self._engine.write(store.put, [to_row(self._ring, new)])
        except BaseException:
            new = old
            raise
        finally:
            self._start(new)
        return view(new)

    async def delete(self, project: str, endpoint_id: str) -> None:
        """Raises NotFound."""
        await self._end((project, endpoint_id))
        if not (await self._engine.write(store.delete, [(project, endpoint_id)]))[0]:
            raise NotFound(f"there is no webhook endpoint {endpoint_id} in this project")

    async def rotate(self, project: str, endpoint_id: str) -> dict[str, Any]:
        """A new secret; the old one also signs for a day. Raises NotFound."""
        await self._get(project, endpoint_id)
        await self._end((project, endpoint_id))
        old = await self._get(project, endpoint_id)
        until_ms = self._now() + WEBHOOK_ROTATION_S * 1000
        fresh = Secret(new_secret())
        new = msgspec.structs.replace(old, secrets=(fresh, Secret(old.secrets[0].value, until_ms)))
        await self._engine.write(store.put, [to_row(self._ring, new)])
        self._start(new)
        return view(new) | {"secret": fresh.value}

    async def deliveries(self, project: str, endpoint_id: str, before: str | None, limit: int) -> list[dict[str, Any]]:
        """Newest first. Raises NotFound."""
        await self._get(project, endpoint_id)
        found = await self._engine.read(lambda c: store.deliveries(c, project, endpoint_id, before, limit))
        return [_delivery_view(row) for row in found]

    async def delivery(self, project: str, delivery_id: str) -> dict[str, Any]:
        """Raises NotFound."""
        return _delivery_view(await self._delivery(project, delivery_id))

    async def replay(self, project: str, delivery_id: str) -> dict[str, Any]:
        """Calls once more, with the same `webhook-id`, as a new delivery. Raises NotFound, Conflict."""
        old = await self._delivery(project, delivery_id)
        endpoint = await self._get(project, old.endpoint)
        fresh = self._again(endpoint, old.event_seq, old.event_id, old.type)
        await self._queue(endpoint, [fresh])
        return _delivery_view(fresh)

    async def replay_since(self, project: str, endpoint_id: str, since_ms: int) -> int:
        """Calls again for every wanted event from a time on; how many. Raises NotFound, Conflict."""
        endpoint = await self._get(project, endpoint_id)
        events = await self._engine.read(lambda c: store.since(c, project, since_ms, WEBHOOK_REPLAY_EVENTS))
        rows = [self._again(endpoint, e.seq, e.id, e.type) for e in events if endpoint.wants(e.type)]
        await self._queue(endpoint, rows)
        return len(rows)

    # -- inside

    def _again(self, endpoint: Endpoint, seq: int, event: str, kind: str) -> DeliveryRow:
        now_ms = self._now()
        return DeliveryRow(
            endpoint.project, new_id("whd"), endpoint.id, seq, event, kind, "pending", 0, now_ms, None, None, None, now_ms,
            now_ms,
        )  # fmt: skip

    async def _queue(self, endpoint: Endpoint, rows: list[DeliveryRow]) -> None:
        if endpoint.status != "enabled":
            raise Conflict("the endpoint is disabled; enable it first", code="disabled")
        done = Done(endpoint.project, endpoint.id, rows, None, endpoint.failing_since_ms)
        await self._engine.write(store.record, [done])

    def _check(self, url: str, types: list[str], description: str) -> None:
        errors: list[FieldError] = []
        problem = self._url_problem(url)
        if problem is not None:
            errors.append(FieldError(pointer="/url", code="invalid_url", detail=problem))
        for n, kind in enumerate(types):
            family, _, word = kind.partition(".")
            if family not in FAMILIES or not word:
                detail = f"{kind!r} is no event type; for example message.delivered, or message.* for the family"
                errors.append(FieldError(pointer=f"/types/{n}", code="unknown_type", detail=detail))
        if len(description) > _DESCRIPTION_CHARS:
            detail = f"at most {_DESCRIPTION_CHARS} characters"
            errors.append(FieldError(pointer="/description", code="length", detail=detail))
        if errors:
            raise InvalidRequest("the endpoint cannot be used", errors=tuple(errors))

    def _url_problem(self, url: str) -> str | None:
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            return "is not a URL"
        if parts.scheme not in ("https", "http") or not host or len(url) > _URL_CHARS or not url.isprintable():
            return f"must be an http or https URL of at most {_URL_CHARS} characters"
        if parts.username or parts.password or parts.fragment:
            return "must not hold a user name, a password or a fragment"
        return self._guard.refusal(host)

    async def _get(self, project: str, endpoint_id: str) -> Endpoint:
        row = await self._engine.read(lambda c: store.endpoint(c, project, endpoint_id))
        if row is None:
            raise NotFound(f"there is no webhook endpoint {endpoint_id} in this project")
        return from_row(self._ring, row)

    async def _delivery(self, project: str, delivery_id: str) -> DeliveryRow:
        row = await self._engine.read(lambda c: store.delivery(c, project, delivery_id))
        if row is None:
            raise NotFound(f"there is no delivery {delivery_id} in this project")
        return row

    def _start(self, endpoint: Endpoint) -> None:
        if endpoint.status != "enabled" or self._outbound is None:
            return
        key = (endpoint.project, endpoint.id)
        bell = self._bus.subscribe("events")
        self._pumps[key] = (asyncio.create_task(self._serve(endpoint, bell), name=f"webhook:{endpoint.id}"), bell)

    async def _serve(self, endpoint: Endpoint, bell: Doorbell) -> None:
        """Runs the pump; after a failure of the store a new one goes on from the stored cursor."""
        assert self._outbound is not None
        while True:
            try:
                await Pump(self._engine, self._ring, self._outbound, bell, self._now, endpoint, self._rng).run()
                return
            except StoreError as error:
                _log.warning("webhook endpoint %s waits for the store: %s", endpoint.id, error)
                await asyncio.sleep(_RESTART_S)
                with contextlib.suppress(StoreError):
                    endpoint = await self._get(endpoint.project, endpoint.id)

    async def _end(self, key: Key) -> None:
        pump = self._pumps.pop(key, None)
        if pump is None:
            return
        self._bus.unsubscribe("events", pump[1])
        pump[0].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await pump[0]


def _delivery_view(row: DeliveryRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "webhook_id": row.endpoint,
        "event_id": row.event_id,
        "type": row.type,
        "status": row.status,
        "tries": row.tries,
        "http_status": row.http_status,
        "error": row.error,
        "latency_ms": row.latency_ms,
        "next_try_at": rfc3339(row.next_ms),
        "created_at": rfc3339(row.created_ms),
        "updated_at": rfc3339(row.updated_ms),
    }
