"""Endpoints and deliveries. A delivery row is written once, after its first attempt, in one commit with the cursor."""

from typing import Any

import msgspec
from msgspec.structs import astuple

from tidings.domain.event import Event
from tidings.kit.secrets import KeyRing
from tidings.store.hooks import DeliveryRow, Disable, Done, Due, EndpointRow, Followed, NewEndpoint, News, news_of
from tidings.store.lists import NO_SUBJECTS
from tidings.store.sqlite import idempotency, queries, transitions
from tidings.store.sqlite.link import Connection, rows

_ENDPOINT = (
    "select project, id, key_id, sealed, types, description, status, reason, cursor, failing_since_ms, created_ms"
    " from endpoints"
)
_DELIVERY = (
    "select project, id, endpoint, event_seq, event_id, type, status, tries, next_ms, http_status, error, latency_ms,"
    " created_ms, updated_ms from deliveries"
)
_UPSERT = "insert or replace into deliveries values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def _endpoint(row: tuple[Any, ...]) -> EndpointRow:
    return EndpointRow(
        project=row[0], id=row[1], key_id=row[2], sealed=row[3], types=msgspec.json.decode(row[4]), description=row[5],
        status=row[6], reason=row[7], cursor=row[8], failing_since_ms=row[9], created_ms=row[10],
    )  # fmt: skip


def all_endpoints(connection: Connection) -> list[EndpointRow]:
    """Every enabled endpoint. A read."""
    return [_endpoint(row) for row in connection.execute(f"{_ENDPOINT} where status = 'enabled'")]


def endpoints(connection: Connection, project: str, before: str | None, limit: int) -> list[EndpointRow]:
    """A page of a project's endpoints, newest first. A read."""
    sql = f"{_ENDPOINT} where project = ? and id < ? order by id desc limit ?"
    return [_endpoint(row) for row in connection.execute(sql, (project, before or "~", limit))]


def endpoint(connection: Connection, project: str, endpoint_id: str) -> EndpointRow | None:
    """One endpoint. A read."""
    row = connection.execute(f"{_ENDPOINT} where project = ? and id = ?", (project, endpoint_id)).fetchone()
    return None if row is None else _endpoint(row)


def create(connection: Connection, items: list[NewEndpoint]) -> list[tuple[str, str]]:
    """("new" | "replay" | "reused" | "full", id). A new endpoint hears of what happens from now on."""
    answers: list[tuple[str, str]] = []
    for item in items:
        try:
            with connection:  # a savepoint: where there is no room, the idempotency key stays free too
                answers.append(_create(connection, item))
        except _NoRoom:
            answers.append(("full", item.row.id))
    return answers


class _NoRoom(Exception):
    pass


def _create(connection: Connection, item: NewEndpoint) -> tuple[str, str]:
    row = item.row
    if item.key_hash is not None:
        kind, resource = idempotency.claim(
            connection, row.project, item.key_hash, item.body_hash or "", row.id, row.created_ms
        )
        if kind != "new":
            return kind, resource
    have = connection.execute("select count(*) from endpoints where project = ?", (row.project,)).fetchone()
    if have is not None and have[0] >= item.most:
        raise _NoRoom
    last = connection.execute("select max(seq) from events").fetchone()
    connection.execute(
        "insert into endpoints (project, id, key_id, sealed, types, description, status, reason, cursor,"
        " failing_since_ms, created_ms) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (row.project, row.id, row.key_id, row.sealed, msgspec.json.encode(row.types).decode(), row.description,
         row.status, row.reason, (last[0] if last else None) or 0, row.failing_since_ms, row.created_ms),
    )  # fmt: skip
    return "new", row.id


def change(connection: Connection, items: list[EndpointRow]) -> list[bool]:
    """Writes what a customer may change; the cursor is its pump's alone. False: there is no such endpoint."""
    done: list[bool] = []
    for row in items:
        connection.execute(
            "update endpoints set key_id = ?, sealed = ?, types = ?, description = ?, status = ?, reason = ?,"
            " failing_since_ms = ? where project = ? and id = ?",
            (row.key_id, row.sealed, msgspec.json.encode(row.types).decode(), row.description, row.status, row.reason,
             row.failing_since_ms, row.project, row.id),
        )  # fmt: skip
        done.append(connection.changes() == 1)
    return done


def delete_deliveries(connection: Connection, items: list[tuple[str, str, int]]) -> list[int]:
    """Removes up to so many deliveries of endpoints (project, id, most); how many it was."""
    gone: list[int] = []
    for project, endpoint_id, most in items:
        connection.execute(
            "delete from deliveries where (project, id) in"
            " (select project, id from deliveries where project = ? and endpoint = ? limit ?)",
            (project, endpoint_id, most),
        )
        gone.append(connection.changes())
    return gone


def delete(connection: Connection, items: list[tuple[str, str]]) -> list[bool]:
    """Removes endpoints (project, id), whose deliveries are gone. False: there is none."""
    gone: list[bool] = []
    for key in items:
        connection.execute("delete from endpoints where project = ? and id = ?", key)
        gone.append(connection.changes() == 1)
    return gone


def news(connection: Connection, cursor: int, limit: int) -> tuple[dict[str, News], int]:
    """What happened since the cursor, by project, and the cursor now. A read."""
    sql = "select seq, project, type from events where seq > ? order by seq limit ?"
    return news_of(connection.execute(sql, (cursor, limit)), cursor)


_SCANNED = "select max(seq), count(*) from (select seq from events where project = ? and seq > ? order by seq limit ?)"


def scan_end(connection: Connection, project: str, cursor: int, limit: int) -> tuple[int, bool]:
    """How far the project's log goes, `limit` events behind the cursor at most, and whether it goes on. A read."""
    upto, count = next(connection.execute(_SCANNED, (project, cursor, limit)))
    return upto or cursor, count == limit  # pyright: ignore[reportReturnType]


def _log_end(connection: Connection, project: str) -> int:
    row = connection.execute("select max(seq) from events where project = ?", (project,)).fetchone()
    return int(row[0]) if row is not None and row[0] is not None else 0  # pyright: ignore[reportArgumentType]


_BETWEEN = (
    "select seq, id, type, message, at_ms, data from events"
    " where project = ? and seq > ? and seq <= ?{} order by seq limit ?"
)
_OF_TYPES = " and (type in ({0}) or substr(type, 1, instr(type, '.')) || '*' in ({0}))"


def wanted(connection: Connection, project: str, after: int, upto: int, types: list[str], limit: int) -> list[Event]:
    """The project's events in (after, upto], in order; of these types (`message.*`: a family), or all if there are
    none. A read."""
    # listed one by one: to take them from a JSON value costs as much as to read ten events
    listed = _OF_TYPES.format(",".join("?" * len(types))) if types else ""
    found = connection.execute(_BETWEEN.format(listed), (project, after, upto, *types, *types, limit))
    return [_event(project, row) for row in found]


def follow(
    connection: Connection,
    ring: KeyRing,
    project: str,
    cursor: int,
    types: list[str],
    limits: tuple[int, int],
    about: bool,
) -> Followed:
    """Events behind an endpoint's cursor; `limits`: how many to look at, and to give. A read."""
    upto, more = scan_end(connection, project, cursor, limits[0])
    if upto <= cursor:
        return Followed([], NO_SUBJECTS, cursor, False)
    events = wanted(connection, project, cursor, upto, types, limits[1])
    if len(events) == limits[1]:
        upto, more = events[-1].seq, True
    return Followed(events, queries.subjects(connection, ring, project, events) if about else NO_SUBJECTS, upto, more)


def seq_since(connection: Connection, project: str, from_ms: int) -> int:
    """The sequence number behind which all of the project's events from a time on are found. A read.

    By bisection: the log is in order of commit, and times in it are out of order by less than a minute.
    """
    low, high = 0, _log_end(connection, project)
    sought_ms = from_ms - _DISORDER_MS
    while low < high:
        middle = (low + high) // 2
        row = connection.execute(
            "select at_ms from events where project = ? and seq > ? order by seq limit 1", (project, middle)
        ).fetchone()
        if row is not None and row[0] < sought_ms:
            low = middle + 1
        else:
            high = middle
    return low


_DISORDER_MS = 60_000


def events_of(connection: Connection, project: str, seqs: list[int]) -> dict[int, Event]:
    """These events. A read."""
    found = connection.execute(
        "select e.seq, e.id, e.type, e.message, e.at_ms, e.data from json_each(?) j cross join events e on e.seq = j.value"
        " where e.project = ?",
        (*rows(seqs), project),
    )
    return {int(row[0]): _event(project, row) for row in found}


def _event(project: str, row: tuple[Any, ...]) -> Event:
    data = msgspec.json.decode(row[5]) if row[5] else None
    return Event(seq=row[0], project=project, id=row[1], type=row[2], message=row[3], at_ms=row[4], data=data)


def record(connection: Connection, items: list[Done]) -> list[None]:
    """Deliveries and cursor, together."""
    connection.executemany(_UPSERT, [astuple(row) for item in items for row in item.deliveries])
    for item in items:
        connection.execute(
            "update endpoints set cursor = coalesce(?, cursor), failing_since_ms = ? where project = ? and id = ?",
            (item.cursor, item.failing_since_ms, item.project, item.endpoint),
        )
        if item.disable is not None:
            _disable(connection, item.project, item.endpoint, item.disable)
    return [None] * len(items)


def _disable(connection: Connection, project: str, endpoint_id: str, how: Disable) -> None:
    connection.execute(
        "update endpoints set status = 'disabled', reason = ? where project = ? and id = ? and status = 'enabled'",
        (how.reason, project, endpoint_id),
    )
    if connection.changes():  # two calls may both have said so
        data = msgspec.json.encode({"endpoint_id": endpoint_id, "reason": how.reason}).decode()
        transitions.add_events(connection, [(project, how.event, "webhook.disabled", None, how.at_ms, data)])


def queue(connection: Connection, items: list[DeliveryRow]) -> list[None]:
    """Deliveries that wait for a call."""
    connection.executemany(_UPSERT, map(astuple, items))
    return [None] * len(items)


def due(connection: Connection, ring: KeyRing, project: str, endpoint_id: str, now_ms: int, limit: int) -> Due:
    """Deliveries whose retry is due, oldest first, with their events; else when the next one is. A read."""
    found = connection.execute(
        f"{_DELIVERY} where project = ? and endpoint = ? and next_ms <= ? order by next_ms limit ?",
        (project, endpoint_id, now_ms, limit),
    )
    listed = [DeliveryRow(*row) for row in found]
    if not listed:
        return Due([], {}, NO_SUBJECTS, _next_due(connection, project, endpoint_id))
    events = events_of(connection, project, [row.event_seq for row in listed])
    return Due(listed, events, queries.subjects(connection, ring, project, list(events.values())), None)


def _next_due(connection: Connection, project: str, endpoint_id: str) -> int | None:
    row = connection.execute(
        "select min(next_ms) from deliveries where project = ? and endpoint = ? and next_ms is not null",
        (project, endpoint_id),
    ).fetchone()
    return None if row is None or row[0] is None else int(row[0])  # pyright: ignore[reportArgumentType]


def deliveries(
    connection: Connection, project: str, endpoint_id: str, before: str | None, limit: int
) -> list[DeliveryRow]:
    """A page of an endpoint's deliveries, newest first. A read."""
    found = connection.execute(
        f"{_DELIVERY} where project = ? and endpoint = ? and id < ? order by id desc limit ?",
        (project, endpoint_id, before or "~", limit),
    )
    return [DeliveryRow(*row) for row in found]


def delivery(connection: Connection, project: str, delivery_id: str) -> DeliveryRow | None:
    """One delivery. A read."""
    row = connection.execute(f"{_DELIVERY} where project = ? and id = ?", (project, delivery_id)).fetchone()
    return None if row is None else DeliveryRow(*row)
