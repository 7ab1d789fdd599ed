"""Endpoints and deliveries as customers manage them."""

import abc
import asyncio
from typing import Any
from urllib.parse import urlsplit

import msgspec

from tidings.domain.errors import Conflict, FieldError, IdempotencyReused, InvalidRequest, NotFound
from tidings.kit.clock import Clock, rfc3339
from tidings.kit.ids import new_id
from tidings.kit.limits import (
    WEBHOOK_CHUNK_ROWS,
    WEBHOOK_ENDPOINTS,
    WEBHOOK_REPLAY_EVENTS,
    WEBHOOK_ROTATION_S,
    WEBHOOK_SECRETS,
)
from tidings.kit.outbound import Guard
from tidings.kit.secrets import KeyRing
from tidings.store.hooks import DeliveryRow, NewEndpoint
from tidings.store.store import Store
from tidings.webhooks.endpoint import Endpoint, Secret, from_row, known_type, to_row, view
from tidings.webhooks.retry import queued
from tidings.webhooks.sign import new_secret

_URL_CHARS = 2_000
_DESCRIPTION_CHARS = 500


class Admin(abc.ABC):
    """Every change stops the endpoint's pump, is made, and starts the pump with what is stored then."""

    def __init__(self, store: Store, ring: KeyRing, now: Clock, guard: Guard) -> None:
        self._store, self._ring, self._now, self.guard = store, ring, now, guard
        self._locks: dict[str, asyncio.Lock] = {}  # one change of an endpoint at a time

    @abc.abstractmethod
    def _start_pump(self, endpoint: Endpoint) -> None:
        """Starts it, if the endpoint is enabled."""

    @abc.abstractmethod
    async def _stop_pump(self, project: str, endpoint_id: str) -> None:
        """Stops it, if there is one; its cursor is stored then."""

    @abc.abstractmethod
    def _wake(self, project: str, endpoint_id: str) -> None:
        """Deliveries were queued."""

    async def create(
        self, project: str, url: str, types: list[str], description: str, idempotency: tuple[str, str] | None = None
    ) -> tuple[dict[str, Any], bool]:
        """(the view with its secret, whether it is a replay). Raises InvalidRequest, IdempotencyReused, Conflict."""
        self._check(url, types, description)
        endpoint = Endpoint(
            project=project, id=new_id("whk"), url=url, secrets=(Secret(new_secret()),), types=frozenset(types),
            description=description, status="enabled", reason=None, cursor=0, failing_since_ms=None, created_ms=self._now(),
        )  # fmt: skip
        key_hash, body_hash = idempotency or (None, None)
        new = NewEndpoint(to_row(self._ring, endpoint), key_hash, body_hash, WEBHOOK_ENDPOINTS)
        kind, made = await self._store.webhooks.create(new)
        if kind == "full":
            raise Conflict(f"a project has at most {WEBHOOK_ENDPOINTS} endpoints; delete one first", code="limit")
        if kind == "reused":
            raise IdempotencyReused("this Idempotency-Key was used with another body")
        found = await self._get(project, made)
        if kind == "new":
            self._start_pump(found)
        return view(found) | {"secret": found.secrets[0].value}, kind == "replay"

    async def get(self, project: str, endpoint_id: str) -> dict[str, Any]:
        """Raises NotFound."""
        return view(await self._get(project, endpoint_id))

    async def page(self, project: str, before: str | None, limit: int) -> list[dict[str, Any]]:
        """Newest first."""
        found = await self._store.webhooks.endpoints(project, before, limit)
        return [view(from_row(self._ring, row)) for row in found]

    async def update(self, project: str, endpoint_id: str, changes: dict[str, Any]) -> dict[str, Any]:
        """`url`, `types`, `description`, `status` (enabled, disabled). Raises NotFound, InvalidRequest."""
        await self._get(project, endpoint_id)

        def changed(old: Endpoint) -> Endpoint:
            new = msgspec.structs.replace(
                old, url=changes.get("url", old.url), types=frozenset(changes.get("types", old.types)),
                description=changes.get("description", old.description), status=changes.get("status", old.status),
            )  # fmt: skip
            self._check(new.url, sorted(new.types), new.description)
            if new.status == "enabled" and (old.status != "enabled" or new.url != old.url):
                new = msgspec.structs.replace(new, reason=None, failing_since_ms=None)
            return new

        return view(await self._change(project, endpoint_id, changed))

    async def rotate(self, project: str, endpoint_id: str) -> dict[str, Any]:
        """A new secret; the old one also signs for a day. Raises NotFound, Conflict."""
        await self._get(project, endpoint_id)
        fresh = new_secret()

        def rotated(old: Endpoint) -> Endpoint:
            now_ms = self._now()
            until_ms = now_ms + WEBHOOK_ROTATION_S * 1000
            older = [one for one in old.secrets[1:] if one.until_ms is not None and one.until_ms > now_ms]
            kept = (Secret(fresh), Secret(old.secrets[0].value, until_ms), *older)
            if len(kept) > WEBHOOK_SECRETS:
                raise Conflict(f"{WEBHOOK_SECRETS} secrets sign already; wait until one is a day old", code="limit")
            return msgspec.structs.replace(old, secrets=kept)

        return view(await self._change(project, endpoint_id, rotated)) | {"secret": fresh}

    async def _change(self, project: str, endpoint_id: str, how: Any) -> Endpoint:
        async with self._locks.setdefault(endpoint_id, asyncio.Lock()):
            new = how(await self._get(project, endpoint_id))  # refused before anything stops
            await self._stop_pump(project, endpoint_id)
            try:
                new = how(await self._get(project, endpoint_id))  # with the cursor that its pump left
                await self._store.webhooks.change(to_row(self._ring, new))
            finally:
                self._start_pump(await self._get(project, endpoint_id))
            return new

    async def delete(self, project: str, endpoint_id: str) -> None:
        """With its deliveries, in chunks. Raises NotFound."""
        await self._get(project, endpoint_id)
        async with self._locks.setdefault(endpoint_id, asyncio.Lock()):
            await self._stop_pump(project, endpoint_id)
            chunk = (project, endpoint_id, WEBHOOK_CHUNK_ROWS)
            while await self._store.webhooks.delete_deliveries(*chunk) == WEBHOOK_CHUNK_ROWS:
                pass
            gone = await self._store.webhooks.delete(project, endpoint_id)
            self._locks.pop(endpoint_id, None)
        if not gone:
            raise NotFound(f"there is no webhook endpoint {endpoint_id} in this project")

    # -- deliveries

    async def deliveries(self, project: str, endpoint_id: str, before: str | None, limit: int) -> list[dict[str, Any]]:
        """Newest first. Raises NotFound."""
        await self._get(project, endpoint_id)
        found = await self._store.webhooks.deliveries(project, endpoint_id, before, limit)
        return [delivery_view(row) for row in found]

    async def delivery(self, project: str, delivery_id: str) -> dict[str, Any]:
        """Raises NotFound."""
        return delivery_view(await self._delivery(project, delivery_id))

    async def replay(self, project: str, delivery_id: str) -> dict[str, Any]:
        """Calls once more, with the same `webhook-id`, as a new delivery. Raises NotFound, Conflict."""
        old = await self._delivery(project, delivery_id)
        endpoint = await self._enabled(project, old.endpoint)
        fresh = queued(project, endpoint.id, (old.event_seq, old.event_id, old.type), self._now())
        await self._store.webhooks.queue([fresh])
        self._wake(project, endpoint.id)
        return delivery_view(fresh)

    async def replay_since(self, project: str, endpoint_id: str, since_ms: int) -> tuple[int, int | None]:
        """Calls again for every wanted event from a time on: how many, and from when on another replay must go on
        (None: that was all). What happens meanwhile comes by itself. Raises NotFound, Conflict."""
        endpoint = await self._enabled(project, endpoint_id)
        end = endpoint.cursor
        after, count = await self._store.webhooks.seq_since(project, since_ms), 0
        while after < end:
            kinds = sorted(endpoint.types)
            events = await self._store.webhooks.wanted(project, after, end, kinds, WEBHOOK_CHUNK_ROWS)
            if events and count >= WEBHOOK_REPLAY_EVENTS:
                return count, events[0].at_ms
            now_ms = self._now()
            made = [queued(project, endpoint.id, (e.seq, e.id, e.type), now_ms) for e in events if e.at_ms >= since_ms]
            await self._store.webhooks.queue(made)
            self._wake(project, endpoint.id)
            count += len(made)
            if len(events) < WEBHOOK_CHUNK_ROWS:
                break
            after = events[-1].seq
        return count, None

    # -- inside

    def _check(self, url: str, types: list[str], description: str) -> None:
        errors: list[FieldError] = []
        problem = self._url_problem(url)
        if problem is not None:
            errors.append(FieldError(pointer="/url", code="invalid_url", detail=problem))
        for n, kind in enumerate(types):
            if not known_type(kind):
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
        if parts.username or parts.password or parts.fragment or " " in url or "\\" in url:
            return "must not hold a user name, a password, a fragment, a space or a backslash"
        return self.guard.refusal(host)

    async def _get(self, project: str, endpoint_id: str) -> Endpoint:
        row = await self._store.webhooks.endpoint(project, endpoint_id)
        if row is None:
            raise NotFound(f"there is no webhook endpoint {endpoint_id} in this project")
        return from_row(self._ring, row)

    async def _enabled(self, project: str, endpoint_id: str) -> Endpoint:
        endpoint = await self._get(project, endpoint_id)
        if endpoint.status != "enabled":
            raise Conflict("the endpoint is disabled; enable it first", code="disabled")
        return endpoint

    async def _delivery(self, project: str, delivery_id: str) -> DeliveryRow:
        row = await self._store.webhooks.delivery(project, delivery_id)
        if row is None:
            raise NotFound(f"there is no delivery {delivery_id} in this project")
        return row


def delivery_view(row: DeliveryRow) -> dict[str, Any]:
    """As the API shows it."""
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
