"""Endpoints and deliveries. A delivery row is written once, after its first attempt, in one commit with the cursor."""

from typing import Any

import msgspec

from tidings.domain.event import Event
from tidings.kit.secrets import KeyRing
from tidings.store.hooks import DeliveryRow, Disable, Done, Due, EndpointRow, Followed, NewEndpoint, News, news_of
from tidings.store.lists import NO_SUBJECTS
from tidings.store.postgres import idempotency, log, queries, transitions
from tidings.store.postgres.rowset import columns, rowset
from tidings.store.postgres.session import Session

_ENDPOINT = (
    "select project, id, key_id, sealed, types, description, status, reason, cursor, failing_since_ms, created_ms"
    " from endpoints"
)
_COLUMNS = (
    "project text, id text, endpoint text, event_seq bigint, event_id text, type text, status text, tries int,"
    " next_ms bigint, http_status int, error text, latency_ms bigint, created_ms bigint, updated_ms bigint"
)
_NAMES = [column.split()[0] for column in _COLUMNS.split(",")]
_DELIVERY = f"select {', '.join(_NAMES)} from deliveries"
_UPSERT = f"""
insert into deliveries ({", ".join(_NAMES)}) select * from {rowset("e", _COLUMNS)} order by e.project, e.id
on conflict (project, id) do update set {", ".join(f"{name} = excluded.{name}" for name in _NAMES[2:])}"""


def _endpoint(row: Any) -> EndpointRow:
    return EndpointRow(
        project=row[0], id=row[1], key_id=row[2], sealed=row[3], types=msgspec.json.decode(row[4]), description=row[5],
        status=row[6], reason=row[7], cursor=row[8], failing_since_ms=row[9], created_ms=row[10],
    )  # fmt: skip


async def all_endpoints(session: Session) -> list[EndpointRow]:
    """Every enabled endpoint. A read."""
    return [_endpoint(row) for row in await session.fetch(f"{_ENDPOINT} where status = 'enabled'")]


async def endpoints(session: Session, project: str, before: str | None, limit: int) -> list[EndpointRow]:
    """A page of a project's endpoints, newest first. A read."""
    sql = f"{_ENDPOINT} where project = $1 and id < $2 order by id desc limit $3"
    return [_endpoint(row) for row in await session.fetch(sql, project, before or "~", limit)]


async def endpoint(session: Session, project: str, endpoint_id: str) -> EndpointRow | None:
    """One endpoint. A read."""
    row = await session.fetchrow(f"{_ENDPOINT} where project = $1 and id = $2", project, endpoint_id)
    return None if row is None else _endpoint(row)


async def create(session: Session, items: list[NewEndpoint]) -> list[tuple[str, str]]:
    """("new" | "replay" | "reused" | "full", id). A new endpoint hears of what happens from now on."""
    projects = sorted({item.row.project for item in items})
    # who makes endpoints of a project does so alone: their number is limited
    await session.fetch("select 1 from projects where id = any($1::text[]) order by id for update", projects)
    last = await log.bound(session) - 1  # what is committed behind it happened at the same time: it is heard of
    return [await _create(session, item, last) for item in items]


async def _create(session: Session, item: NewEndpoint, last: int) -> tuple[str, str]:
    row = item.row
    await session.execute("savepoint endpoint")  # where there is no room, the idempotency key stays free too
    if item.key_hash is not None:
        wanted = [(row.project, item.key_hash, item.body_hash or "", row.id)]
        kind, resource = (await idempotency.claim_all(session, wanted, row.created_ms))[0]
        if kind != "new":
            await session.execute("release savepoint endpoint")
            return kind, resource
    have = await session.fetchval("select count(*) from endpoints where project = $1", row.project)
    if have >= item.most:
        await session.execute("rollback to savepoint endpoint")
        return "full", row.id
    await session.execute(
        "insert into endpoints (project, id, key_id, sealed, types, description, status, reason, cursor,"
        " failing_since_ms, created_ms) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        row.project, row.id, row.key_id, row.sealed, msgspec.json.encode(row.types).decode(), row.description,
        row.status, row.reason, last, row.failing_since_ms, row.created_ms,
    )  # fmt: skip
    await session.execute("release savepoint endpoint")
    return "new", row.id


async def change(session: Session, items: list[EndpointRow]) -> list[bool]:
    """Writes what a customer may change; the cursor is its pump's alone. False: there is no such endpoint."""
    done = [False] * len(items)
    for n in sorted(range(len(items)), key=lambda n: (items[n].project, items[n].id)):
        row = items[n]
        touched = await session.execute(
            "update endpoints set key_id = $1, sealed = $2, types = $3, description = $4, status = $5, reason = $6,"
            " failing_since_ms = $7 where project = $8 and id = $9",
            row.key_id, row.sealed, msgspec.json.encode(row.types).decode(), row.description, row.status, row.reason,
            row.failing_since_ms, row.project, row.id,
        )  # fmt: skip
        done[n] = touched == 1
    return done


async def delete_deliveries(session: Session, items: list[tuple[str, str, int]]) -> list[int]:
    """Removes up to so many deliveries of endpoints (project, id, most); how many it was."""
    return [
        await session.execute(
            "delete from deliveries where (project, id) in"
            " (select project, id from deliveries where project = $1 and endpoint = $2 order by id limit $3"
            " for update)",
            *item,
        )
        for item in sorted(items)
    ]


async def delete(session: Session, items: list[tuple[str, str]]) -> list[bool]:
    """Removes endpoints (project, id), whose deliveries are gone. False: there is none."""
    return [await session.execute("delete from endpoints where project = $1 and id = $2", *key) == 1 for key in items]


async def news(session: Session, cursor: int, limit: int) -> tuple[dict[str, News], int]:
    """What happened since the cursor, by project, and the cursor now. A read."""
    bound = await log.bound(session)
    found = await session.fetch(
        "select seq, project, type from events where seq > $1 and seq < $2 order by seq limit $3", cursor, bound, limit
    )
    if not found:
        await log.wait_for_held(session, max(bound, cursor + 1))
    return news_of(found, cursor)


async def scan_end(session: Session, project: str, cursor: int, limit: int) -> tuple[int, bool]:
    """How far the project's log goes, `limit` events behind the cursor at most, and whether it goes on. A read."""
    bound = await log.bound(session)
    seq = await session.fetchval(
        "select seq from events where project = $1 and seq > $2 and seq < $3 order by seq limit 1 offset $4",
        project, cursor, bound, limit - 1,
    )  # fmt: skip
    if seq is not None:
        return int(seq), True
    upto = max(cursor, await _log_end(session, project, bound))
    if upto == cursor:
        await log.wait_for_held(session, max(bound, cursor + 1), project)
    return upto, False


async def _log_end(session: Session, project: str, bound: int) -> int:
    sql = "select max(seq) from events where project = $1 and seq < $2"
    return int(await session.fetchval(sql, project, bound) or 0)


_BETWEEN = (
    "select seq, project, id, type, message, at_ms, data from events"
    " where project = $1 and seq > $2 and seq <= $3 and seq < $4{} order by seq limit $5"
)
_OF_TYPES = " and (type = any($6::text[]) or split_part(type, '.', 1) || '.*' = any($6::text[]))"


async def wanted(session: Session, project: str, after: int, upto: int, types: list[str], limit: int) -> list[Event]:
    """The project's events in (after, upto], in order; of these types (`message.*`: a family), or all if there are
    none. A read."""
    values = (project, after, upto, await log.bound(session), limit)
    if not types:
        found = await session.fetch(_BETWEEN.format(""), *values)
    else:
        found = await session.fetch(_BETWEEN.format(_OF_TYPES), *values, types)
    return [queries.event(row) for row in found]


async def follow(
    session: Session,
    ring: KeyRing,
    project: str,
    cursor: int,
    types: list[str],
    limits: tuple[int, int],
    about: bool,
) -> Followed:
    """Events behind an endpoint's cursor; `limits`: how many to look at, and to give. A read."""
    upto, more = await scan_end(session, project, cursor, limits[0])
    if upto <= cursor:
        return Followed([], NO_SUBJECTS, cursor, False)
    events = await wanted(session, project, cursor, upto, types, limits[1])
    if len(events) == limits[1]:
        upto, more = events[-1].seq, True
    subjects = await queries.subjects(session, ring, project, events) if about else NO_SUBJECTS
    return Followed(events, subjects, upto, more)


async def seq_since(session: Session, project: str, from_ms: int) -> int:
    """The sequence number behind which all of the project's events from a time on are found. A read.

    By bisection: the log is in order of its transactions, and times in it are out of order by less than a minute.
    """
    low, high = 0, await _log_end(session, project, await log.bound(session))
    sought_ms = from_ms - _DISORDER_MS
    while low < high:
        middle = (low + high) // 2
        at_ms = await session.fetchval(
            "select at_ms from events where project = $1 and seq > $2 order by seq limit 1", project, middle
        )
        if at_ms is not None and at_ms < sought_ms:
            low = middle + 1
        else:
            high = middle
    return low


_DISORDER_MS = 60_000


async def events_of(session: Session, project: str, seqs: list[int]) -> dict[int, Event]:
    """These events. A read."""
    found = await session.fetch(
        "select seq, project, id, type, message, at_ms, data from events where seq = any($1::bigint[]) and project = $2",
        seqs,
        project,
    )
    return {row[0]: queries.event(row) for row in found}


async def record(session: Session, items: list[Done]) -> list[None]:
    """Deliveries and cursor, together."""
    await _upsert(session, [row for item in items for row in item.deliveries])
    for item in sorted(items, key=lambda item: (item.project, item.endpoint)):
        await session.execute(  # a pump that lost its endpoint to another node does not take the cursor back
            "update endpoints set cursor = greatest(cursor, $1), failing_since_ms = $2 where project = $3 and id = $4",
            item.cursor, item.failing_since_ms, item.project, item.endpoint,
        )  # fmt: skip
        if item.disable is not None:
            await _disable(session, item.project, item.endpoint, item.disable)
    return [None] * len(items)


async def _upsert(session: Session, deliveries: list[DeliveryRow]) -> None:
    if deliveries:
        await session.execute(_UPSERT, *columns(list({(row.project, row.id): row for row in deliveries}.values())))


async def _disable(session: Session, project: str, endpoint_id: str, how: Disable) -> None:
    first = await session.execute(
        "update endpoints set status = 'disabled', reason = $1 where project = $2 and id = $3 and status = 'enabled'",
        how.reason, project, endpoint_id,
    )  # fmt: skip
    if first:  # two calls may both have said so
        data = msgspec.json.encode({"endpoint_id": endpoint_id, "reason": how.reason}).decode()
        transitions.add_events(session, [(project, how.event, "webhook.disabled", None, how.at_ms, data)])


async def queue(session: Session, items: list[DeliveryRow]) -> list[None]:
    """Deliveries that wait for a call."""
    await _upsert(session, items)
    return [None] * len(items)


async def due(session: Session, ring: KeyRing, project: str, endpoint_id: str, now_ms: int, limit: int) -> Due:
    """Deliveries whose retry is due, oldest first, with their events; else when the next one is. A read."""
    found = await session.fetch(
        f"{_DELIVERY} where project = $1 and endpoint = $2 and next_ms <= $3 order by next_ms limit $4",
        project, endpoint_id, now_ms, limit,
    )  # fmt: skip
    listed = [DeliveryRow(*row) for row in found]
    if not listed:
        next_ms = await session.fetchval(
            "select min(next_ms) from deliveries where project = $1 and endpoint = $2 and next_ms is not null",
            project, endpoint_id,
        )  # fmt: skip
        return Due([], {}, NO_SUBJECTS, next_ms)
    events = await events_of(session, project, [row.event_seq for row in listed])
    return Due(listed, events, await queries.subjects(session, ring, project, list(events.values())), None)


async def deliveries(
    session: Session, project: str, endpoint_id: str, before: str | None, limit: int
) -> list[DeliveryRow]:
    """A page of an endpoint's deliveries, newest first. A read."""
    found = await session.fetch(
        f"{_DELIVERY} where project = $1 and endpoint = $2 and id < $3 order by id desc limit $4",
        project, endpoint_id, before or "~", limit,
    )  # fmt: skip
    return [DeliveryRow(*row) for row in found]


async def delivery(session: Session, project: str, delivery_id: str) -> DeliveryRow | None:
    """One delivery. A read."""
    row = await session.fetchrow(f"{_DELIVERY} where project = $1 and id = $2", project, delivery_id)
    return None if row is None else DeliveryRow(*row)
