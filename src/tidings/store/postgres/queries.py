"""The lists that customers read: messages by filter, the log, timelines, inbound, receipts.

Every list is keyed by (project, id), so that a page costs its rows. A filter without an index of its own looks at
`LIST_SCAN_ROWS` rows at most: such a page may be short, and its cursor goes on behind what was looked at.
The log is read below `log.bound`, see there.
"""

from typing import Any

import msgspec

from tidings.domain.event import Event
from tidings.domain.view import StoredMessage
from tidings.kit.limits import LIST_SCAN_ROWS
from tidings.kit.secrets import KeyRing
from tidings.store.lists import EventFilter, MessageFilter, StoredInbound, StoredReceipt, Subjects
from tidings.store.postgres import log, verifications
from tidings.store.postgres import messages as message_rows
from tidings.store.postgres.session import Session
from tidings.store.sealed import COLUMNS, JOIN, personal, stored

_SINCE_SLACK_MS = 1_000  # an id is made up to this long after the time of its row


class _Where:
    """Conditions with their parameters, numbered as they come."""

    def __init__(self) -> None:
        self._conditions: list[str] = []
        self.values: list[Any] = []

    def add(self, condition: str, value: Any) -> None:
        """`{}` stands for the parameter. None: no condition."""
        if value is not None:
            self.values.append(value)
            self._conditions.append(condition.format(f"${len(self.values)}"))

    def __str__(self) -> str:
        return " and ".join(self._conditions)


def _message_bounds(wanted: MessageFilter) -> _Where:
    where = _Where()
    where.add("m.project = {}", wanted.project)
    where.add("m.id < {}", wanted.before)
    if wanted.since_ms is not None:
        where.add("m.id >= {}", f"msg_{max(0, wanted.since_ms - _SINCE_SLACK_MS):012x}")
        where.add("m.created_ms >= {}", wanted.since_ms)
    if wanted.until_ms is not None:
        where.add("m.id < {}", f"msg_{max(0, wanted.until_ms + _SINCE_SLACK_MS):012x}")
        where.add("m.created_ms < {}", wanted.until_ms)
    where.add("m.reference = {}", wanted.reference)
    return where


async def messages(session: Session, ring: KeyRing, wanted: MessageFilter) -> tuple[list[StoredMessage], str | None]:
    """One page, newest first, and the id to go on behind (None at the end). A read."""
    where, order = _message_bounds(wanted), "m.id"
    source = f"from messages m {JOIN}"
    if wanted.to_hash is not None:
        source = "from personal p join messages m on m.project = p.project and m.id = p.owner"
        order = "p.owner"
        where.add("p.to_hash = {}", wanted.to_hash)
    floor = None
    scans = [wanted.status, wanted.channel, wanted.template, wanted.tag]
    if wanted.reference is None and wanted.to_hash is None and any(scan is not None for scan in scans):
        floor = await session.fetchval(
            f"select m.id from messages m where {where} order by m.id desc limit 1 offset {LIST_SCAN_ROWS - 1}",
            *where.values,
        )
        where.add("m.id >= {}", floor)
    where.add("m.status = {}", wanted.status)
    where.add("m.channel = {}", wanted.channel)
    where.add("m.template = {}", wanted.template)
    where.add("m.tags::jsonb ? {}", wanted.tag)
    sql = f"select {COLUMNS} {source} where {where} order by {order} desc limit {wanted.limit + 1:d}"
    found = [stored(ring, tuple(row)) for row in await session.fetch(sql, *where.values)]
    if len(found) > wanted.limit:
        return found[: wanted.limit], found[wanted.limit - 1].message.id
    return found, floor


_EVENT = "seq, project, id, type, message, at_ms, data"


def event(row: Any) -> Event:
    """An event from a row of (seq, project, id, type, message, at_ms, data)."""
    return Event(
        seq=row[0], project=row[1], id=row[2], type=row[3], message=row[4], at_ms=row[5],
        data=msgspec.json.decode(row[6]) if row[6] else None,
    )  # fmt: skip


async def events(session: Session, wanted: EventFilter) -> tuple[list[Event], int | None]:
    """One page of the log, newest first, and the sequence number to go on behind. A read."""
    bound = await log.bound(session)
    if wanted.before is None:
        await log.wait_for_held(session, bound, wanted.project)
    where = _Where()
    where.add("project = {}", wanted.project)
    where.add("seq < {}", bound if wanted.before is None else min(bound, wanted.before))
    where.add("message = {}", wanted.message)
    floor = None
    if wanted.message is None and (wanted.types or wanted.since_ms is not None or wanted.until_ms is not None):
        floor = await session.fetchval(
            f"select seq from events where {where} order by seq desc limit 1 offset {LIST_SCAN_ROWS - 1}",
            *where.values,
        )
        where.add("seq >= {}", floor)
    where.add("type = any({}::text[])", list(wanted.types) or None)
    where.add("at_ms >= {}", wanted.since_ms)
    where.add("at_ms < {}", wanted.until_ms)
    sql = f"select {_EVENT} from events where {where} order by seq desc limit {wanted.limit + 1:d}"
    found = [event(row) for row in await session.fetch(sql, *where.values)]
    if len(found) > wanted.limit:
        return found[: wanted.limit], found[wanted.limit - 1].seq
    return found, floor


async def timeline(session: Session, project: str, message: str, after: int, limit: int) -> list[Event] | None:
    """Events of one message, oldest first; None if there is no such message. A read."""
    if not await session.fetchval("select 1 from messages where project = $1 and id = $2", project, message):
        return None
    bound = await log.bound(session)
    await log.wait_for_held(session, bound, project)
    sql = f"select {_EVENT} from events where project = $1 and message = $2 and seq > $3 and seq < $4 order by seq limit $5"
    return [event(row) for row in await session.fetch(sql, project, message, after, bound, limit)]


async def log_after(session: Session, project: str, after: int, limit: int) -> list[Event]:
    """The log behind `after`, oldest first. A read."""
    bound = await log.bound(session)
    sql = f"select {_EVENT} from events where project = $1 and seq > $2 and seq < $3 order by seq limit $4"
    found = [event(row) for row in await session.fetch(sql, project, after, bound, limit)]
    if not found:
        await log.wait_for_held(session, bound, project)
    return found


async def log_end(session: Session) -> int:
    """The last sequence number that followers may read. A read."""
    return await log.end(session)


_INBOUND = (
    "select i.id, i.provider, i.channel, i.in_reply_to, i.parts, i.missing, i.received_ms, p.key_id, p.sealed"
    " from inbound i left join personal p on p.project = i.project and p.owner = i.id"
)


def _inbound(ring: KeyRing, row: Any) -> StoredInbound:
    who = personal(ring, row[0], row[7], row[8])
    return StoredInbound(
        id=row[0], provider=row[1], channel=row[2], sender=who.sender, to=who.to, text=who.text, content=who.content,
        in_reply_to=row[3],
        parts=row[4], missing=row[5], received_ms=row[6],
    )  # fmt: skip


async def inbound(session: Session, ring: KeyRing, project: str, before: str | None, limit: int) -> list[StoredInbound]:
    """What came in, newest first. A read."""
    sql = f"{_INBOUND} where i.project = $1 and i.id < coalesce($2::text, 'z') order by i.id desc limit $3"
    return [_inbound(ring, row) for row in await session.fetch(sql, project, before, limit)]


async def inbound_by_id(session: Session, ring: KeyRing, project: str, ids: list[str]) -> dict[str, StoredInbound]:
    """Those of these ids that belong to the project. A read."""
    sql = f"{_INBOUND} where i.project = $1 and i.id = any($2::text[])"
    return {row[0]: _inbound(ring, row) for row in await session.fetch(sql, project, ids)}


async def receipts(session: Session, project: str | None, before: int | None, limit: int) -> list[StoredReceipt]:
    """Unmatched receipts of the project's own providers (None: of all), newest first. A read."""
    sql = (
        "select id, provider, ref, receipt, received_ms from receipts where id < coalesce($1::bigint, 9223372036854775807)"
        " and ($2::text is null or provider in (select name from providers where project = $2)) order by id desc limit $3"
    )
    found: list[StoredReceipt] = []
    for row in await session.fetch(sql, before, project, limit):
        receipt = msgspec.json.decode(row[3])
        found.append(
            StoredReceipt(
                id=row[0], provider=row[1], ref=row[2], state=str(receipt.get("state")),
                carrier_state=str(receipt.get("carrier_state")), error_code=receipt.get("error_code"), received_ms=row[4],
            )
        )  # fmt: skip
    return found


async def follow(session: Session, ring: KeyRing, project: str, after: int, limit: int) -> tuple[list[Event], Subjects]:
    """The log behind `after`, oldest first, with what the events are about. A read."""
    found = await log_after(session, project, after, limit)
    return found, await subjects(session, ring, project, found)


async def subjects(session: Session, ring: KeyRing, project: str, found: list[Event]) -> Subjects:
    """What these events are about; all messages in one query. A read."""
    ids = list({event.message for event in found if event.message is not None})
    if not ids:
        return Subjects({}, {})
    sent = await message_rows.load(session, ring, project, ids)
    verified = [key for key in ids if key.startswith("ver_")]
    rest = [key for key in ids if key not in sent and not key.startswith("ver_")]
    return Subjects(
        sent,
        await inbound_by_id(session, ring, project, rest) if rest else {},
        await verifications.by_id(session, ring, project, verified) if verified else {},
    )
