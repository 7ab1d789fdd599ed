"""The lists that customers read: messages by filter, the log, timelines, inbound, receipts, suppressions.

Every list is keyed by (project, id), so that a page costs its rows. A filter without an index of its own looks at
`LIST_SCAN_ROWS` rows at most: such a page may be short, and its cursor goes on behind what was looked at.
"""

from typing import Any

import msgspec

from tidings.domain.event import Event
from tidings.domain.view import StoredMessage
from tidings.kit.limits import LIST_SCAN_ROWS
from tidings.kit.secrets import KeyRing
from tidings.store.lists import EventFilter, MessageFilter, StoredInbound, StoredReceipt, Subjects
from tidings.store.sealed import COLUMNS, JOIN, personal, stored
from tidings.store.sqlite import messages as message_rows
from tidings.store.sqlite import verifications
from tidings.store.sqlite.link import Connection

_SINCE_SLACK_MS = 1_000  # an id is made up to this long after the time of its row


def _id_bounds(wanted: MessageFilter) -> tuple[list[str], list[Any]]:
    where, values = ["m.project = ?"], list[Any]([wanted.project])
    if wanted.before is not None:
        where.append("m.id < ?")
        values.append(wanted.before)
    if wanted.since_ms is not None:
        where += ["m.id >= ?", "m.created_ms >= ?"]
        values += [f"msg_{max(0, wanted.since_ms - _SINCE_SLACK_MS):012x}", wanted.since_ms]
    if wanted.until_ms is not None:
        where += ["m.id < ?", "m.created_ms < ?"]
        values += [f"msg_{max(0, wanted.until_ms + _SINCE_SLACK_MS):012x}", wanted.until_ms]
    return where, values


def messages(connection: Connection, ring: KeyRing, wanted: MessageFilter) -> tuple[list[StoredMessage], str | None]:
    """One page, newest first, and the id to go on behind (None at the end). A read."""
    where, values = _id_bounds(wanted)
    source = f"from messages m {JOIN}"
    if wanted.reference is not None:
        source = f"from messages m indexed by messages_reference {JOIN}"
        where.append("m.reference = ?")
        values.append(wanted.reference)
    if wanted.to_hash is not None:
        source = (
            "from personal p indexed by personal_to cross join messages m on m.project = p.project and m.id = p.owner"
        )
        where.append("p.to_hash = ?")
        values.append(wanted.to_hash)
    floor = None
    scans = [wanted.status, wanted.channel, wanted.template, wanted.tag]
    if wanted.reference is None and wanted.to_hash is None and any(scan is not None for scan in scans):
        floor = _floor(connection, where, values)
        if floor is not None:
            where.append("m.id >= ?")
            values.append(floor)
    for column, value in (("status", wanted.status), ("channel", wanted.channel), ("template", wanted.template)):
        if value is not None:
            where.append(f"m.{column} = ?")
            values.append(value)
    if wanted.tag is not None:
        where.append("exists (select 1 from json_each(m.tags) t where t.value = ?)")
        values.append(wanted.tag)
    order = "p.owner" if wanted.to_hash is not None else "m.id"
    sql = f"select {COLUMNS} {source} where {' and '.join(where)} order by {order} desc limit ?"
    found = [stored(ring, row) for row in connection.execute(sql, (*values, wanted.limit + 1))]
    if len(found) > wanted.limit:
        return found[: wanted.limit], found[wanted.limit - 1].message.id
    return found, floor


def _floor(connection: Connection, where: list[str], values: list[Any]) -> str | None:
    """The id of the last row that this page may look at; None if the rows end before."""
    row = connection.execute(
        f"select m.id from messages m where {' and '.join(where)} order by m.id desc limit 1 offset ?",
        (*values, LIST_SCAN_ROWS - 1),
    ).fetchone()
    return None if row is None else str(row[0])


_EVENT = "seq, project, id, type, message, at_ms, data"


def _event(row: tuple[Any, ...]) -> Event:
    return Event(
        seq=row[0], project=row[1], id=row[2], type=row[3], message=row[4], at_ms=row[5],
        data=msgspec.json.decode(row[6]) if row[6] else None,
    )  # fmt: skip


def events(connection: Connection, wanted: EventFilter) -> tuple[list[Event], int | None]:
    """One page of the log, newest first, and the sequence number to go on behind. A read."""
    where, values = ["project = ?"], list[Any]([wanted.project])
    if wanted.before is not None:
        where.append("seq < ?")
        values.append(wanted.before)
    if wanted.message is not None:
        where.append("message = ?")
        values.append(wanted.message)
    floor = None
    if wanted.message is None and (wanted.types or wanted.since_ms is not None or wanted.until_ms is not None):
        row = connection.execute(
            f"select seq from events where {' and '.join(where)} order by seq desc limit 1 offset ?",
            (*values, LIST_SCAN_ROWS - 1),
        ).fetchone()
        if row is not None:
            floor = int(row[0])
            where.append("seq >= ?")
            values.append(floor)
    if wanted.types:
        where.append(f"type in ({', '.join('?' * len(wanted.types))})")
        values += wanted.types
    for sign, value in ((">=", wanted.since_ms), ("<", wanted.until_ms)):
        if value is not None:
            where.append(f"at_ms {sign} ?")
            values.append(value)
    sql = f"select {_EVENT} from events where {' and '.join(where)} order by seq desc limit ?"
    found = [_event(row) for row in connection.execute(sql, (*values, wanted.limit + 1))]
    if len(found) > wanted.limit:
        return found[: wanted.limit], found[wanted.limit - 1].seq
    return found, floor


def timeline(connection: Connection, project: str, message: str, after: int, limit: int) -> list[Event] | None:
    """Events of one message, oldest first; None if there is no such message. A read."""
    if connection.execute("select 1 from messages where project = ? and id = ?", (project, message)).fetchone() is None:
        return None
    sql = f"select {_EVENT} from events where project = ? and message = ? and seq > ? order by seq limit ?"
    return [_event(row) for row in connection.execute(sql, (project, message, after, limit))]


def log_after(connection: Connection, project: str, after: int, limit: int) -> list[Event]:
    """The log behind `after`, oldest first. A read."""
    sql = f"select {_EVENT} from events where project = ? and seq > ? order by seq limit ?"
    return [_event(row) for row in connection.execute(sql, (project, after, limit))]


def log_end(connection: Connection) -> int:
    """The last sequence number. A read."""
    row = connection.execute("select max(seq) from events").fetchone()
    return int(row[0]) if row and row[0] else 0


_INBOUND = (
    "select i.id, i.provider, i.channel, i.in_reply_to, i.parts, i.missing, i.received_ms, p.key_id, p.sealed"
    " from inbound i left join personal p on p.project = i.project and p.owner = i.id"
)


def _inbound(ring: KeyRing, row: tuple[Any, ...]) -> StoredInbound:
    who = personal(ring, row[0], row[7], row[8])
    return StoredInbound(
        id=row[0], provider=row[1], channel=row[2], sender=who.sender, to=who.to, text=who.text, content=who.content,
        in_reply_to=row[3],
        parts=row[4], missing=row[5], received_ms=row[6],
    )  # fmt: skip


def inbound(connection: Connection, ring: KeyRing, project: str, before: str | None, limit: int) -> list[StoredInbound]:
    """What came in, newest first. A read."""
    sql = f"{_INBOUND} where i.project = ?1 and i.id < coalesce(?2, 'z') order by i.id desc limit ?3"
    return [_inbound(ring, row) for row in connection.execute(sql, (project, before, limit))]


def inbound_by_id(connection: Connection, ring: KeyRing, project: str, ids: list[str]) -> dict[str, StoredInbound]:
    """Those of these ids that belong to the project. A read."""
    sql = f"{_INBOUND} where i.project = ? and i.id in (select value from json_each(?))"
    found = connection.execute(sql, (project, msgspec.json.encode(ids).decode()))
    return {row[0]: _inbound(ring, row) for row in found}


def receipts(connection: Connection, project: str | None, before: int | None, limit: int) -> list[StoredReceipt]:
    """Unmatched receipts of the project's own providers (None: of all), newest first. A read."""
    sql = (
        "select id, provider, ref, receipt, received_ms from receipts where id < coalesce(?1, 9223372036854775807)"
        " and (?2 is null or provider in (select name from providers where project = ?2)) order by id desc limit ?3"
    )
    found: list[StoredReceipt] = []
    for row in connection.execute(sql, (before, project, limit)):
        receipt = msgspec.json.decode(row[3])
        found.append(
            StoredReceipt(
                id=row[0], provider=row[1], ref=row[2], state=str(receipt.get("state")),
                carrier_state=str(receipt.get("carrier_state")), error_code=receipt.get("error_code"), received_ms=row[4],
            )
        )  # fmt: skip
    return found


def follow(connection: Connection, ring: KeyRing, project: str, after: int, limit: int) -> tuple[list[Event], Subjects]:
    """The log behind `after`, oldest first, with what the events are about. A read."""
    found = log_after(connection, project, after, limit)
    return found, subjects(connection, ring, project, found)


def subjects(connection: Connection, ring: KeyRing, project: str, found: list[Event]) -> Subjects:
    """What these events are about; all messages in one query. A read."""
    ids = list({event.message for event in found if event.message is not None})
    sent = message_rows.load(connection, ring, project, ids)
    verified = [key for key in ids if key.startswith("ver_")]
    rest = [key for key in ids if key not in sent and not key.startswith("ver_")]
    return Subjects(
        sent,
        inbound_by_id(connection, ring, project, rest) if rest else {},
        verifications.by_id(connection, ring, project, verified) if verified else {},
    )
