"""Webhook endpoints and deliveries, as the store keeps them."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import msgspec

from tidings.domain.event import Event
from tidings.store.lists import Subjects


class EndpointRow(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint as stored."""

    project: str
    id: str
    key_id: str
    sealed: str
    types: list[str]
    description: str
    status: str
    reason: str | None
    cursor: int
    failing_since_ms: int | None
    created_ms: int


class DeliveryRow(msgspec.Struct, frozen=True, array_like=True):
    """One event's way to one endpoint. `status`: delivered, pending (a retry is due at `next_ms`), failed."""

    project: str
    id: str
    endpoint: str
    event_seq: int
    event_id: str
    type: str
    status: str
    tries: int
    next_ms: int | None
    http_status: int | None
    error: str | None
    latency_ms: int | None
    created_ms: int
    updated_ms: int


class Disable(msgspec.Struct, frozen=True):
    """That an endpoint is called no more, with the event that says so."""

    reason: str
    event: str
    at_ms: int


class Done(msgspec.Struct, frozen=True):
    """A batch of an endpoint: its deliveries, and how far its cursor goes (None: retries, the cursor stays)."""

    project: str
    endpoint: str
    deliveries: list[DeliveryRow]
    cursor: int | None
    failing_since_ms: int | None
    disable: Disable | None = None


class NewEndpoint(msgspec.Struct, frozen=True):
    """An endpoint to be made, with the caller's idempotency record."""

    row: EndpointRow
    key_hash: str | None
    body_hash: str | None
    most: int


class News(msgspec.Struct, frozen=True):
    """What happened in a project: the types of the events, and the number of the last one."""

    types: set[str]
    upto: int


def news_of(rows: Iterable[Any], cursor: int) -> tuple[dict[str, News], int]:
    """From rows of (seq, project, type), in order: the news by project, and the cursor behind them."""
    types, ends = defaultdict[str, set[str]](set), dict[str, int]()
    for cursor, project, kind in rows:
        types[project].add(kind)
        ends[project] = cursor
    return {project: News(types[project], end) for project, end in ends.items()}, cursor


class Followed(msgspec.Struct, frozen=True):
    """Events that an endpoint wants; `upto` is how far the log was looked through, `more` whether it goes on."""

    events: list[Event]
    subjects: Subjects
    upto: int
    more: bool


class Due(msgspec.Struct, frozen=True):
    """Deliveries that are due with their events (a delivery whose event is gone has none); else when the next one is."""

    rows: list[DeliveryRow]
    events: dict[int, Event]
    subjects: Subjects
    next_ms: int | None
