"""What people send to us: parts kept until their siblings come, whole messages matched to what they answer."""

from typing import Any

import msgspec

from tidings.kit.limits import INBOUND_DEDUP_S
from tidings.store.contract import InboundPartRow, InboundRow, PartKey
from tidings.store.sqlite import transitions, windows
from tidings.store.sqlite.link import Connection, rows

_PART = """
insert or ignore into inbound_parts
select value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8 from json_each(?)"""
_OF = "provider = ? and from_hash = ? and to_hash = ? and ref = ? and total = ?"


def keep_parts(connection: Connection, items: list[InboundPartRow]) -> list[list[tuple[Any, ...]]]:
    """Stores parts; for the item that completes its message, the rows (part, key_id, sealed), else []."""
    fresh = [not item.dedup or _first_time(connection, item) for item in items]
    connection.execute(_PART, rows([item for item, first in zip(items, fresh, strict=True) if first]))
    answers: list[list[tuple[Any, ...]]] = []
    done: set[PartKey] = set()
    for item in items:
        key: PartKey = (item.provider, item.from_hash, item.to_hash, item.ref, item.total)
        parts = [] if key in done else parts_of(connection, key)
        whole = len(parts) == item.total
        if whole:
            done.add(key)
        answers.append(parts if whole else [])
    return answers


def parts_of(connection: Connection, key: PartKey) -> list[tuple[Any, ...]]:
    """(part, key_id, sealed, received_ms) of what is there, in order."""
    return list(
        connection.execute(
            f"select part, key_id, sealed, received_ms from inbound_parts where {_OF} order by part", key
        )
    )


def stale_parts(connection: Connection, before_ms: int) -> list[PartKey]:
    """Incomplete messages whose first part came before `before_ms`. A read."""
    found = connection.execute(
        "select distinct provider, from_hash, to_hash, ref, total from inbound_parts where received_ms < ? limit 200",
        (before_ms,),
    )
    return [(str(r[0]), str(r[1]), str(r[2]), int(r[3]), int(r[4])) for r in found]


def receive(connection: Connection, items: list[InboundRow]) -> list[str | None]:
    """Stores whole messages with their events; the project of each, or None for one that was here already."""
    answers: list[str | None] = []
    for item in items:
        if item.of is not None:
            connection.execute(f"delete from inbound_parts where {_OF}", item.of)
            if not connection.changes():
                answers.append(None)
                continue
        elif not _first_time(connection, item):
            answers.append(None)
            continue
        project, reply = _answered(connection, item)
        _insert(connection, item, project, reply)
        answers.append(project)
    windows.opened(connection, [item for item, project in zip(items, answers, strict=True) if project is not None])
    return answers


def _first_time(connection: Connection, item: InboundRow | InboundPartRow) -> bool:
    connection.execute("delete from inbound_seen where received_ms < ?", (item.received_ms - INBOUND_DEDUP_S * 1000,))
    connection.execute("insert or ignore into inbound_seen values (?, ?)", (item.dedup, item.received_ms))
    return connection.changes() == 1


def _answered(connection: Connection, item: InboundRow) -> tuple[str, str | None]:
    """Project and the message that this one answers: the one it names, else the latest one to this person through here."""
    for ref in item.answers:
        named = connection.execute(_NAMED, (item.provider, ref, item.provider_project)).fetchone()
        if named is not None:
            return str(named[0]), str(named[1])
    row = connection.execute(
        "select m.project, m.id from personal p join messages m on m.project = p.project and m.id = p.owner"
        " where p.to_hash = ?1 and m.provider = ?2 and (?3 = '' or m.project = ?3) order by p.owner desc limit 1",
        (item.from_hash, item.provider, item.provider_project),
    ).fetchone()
    if row is not None:
        return str(row[0]), str(row[1])
    if item.provider_project:
        return item.provider_project, None
    first = connection.execute("select min(id) from projects").fetchone()
    assert first is not None
    return str(first[0]), None


_NAMED = (
    "select a.project, a.message from refs r join attempts a on a.project = r.project and a.id = r.attempt"
    " where r.provider = ?1 and r.ref = ?2 and (?3 = '' or a.project = ?3) limit 1"
)


def _insert(connection: Connection, item: InboundRow, project: str, reply: str | None) -> None:
    connection.execute(
        "insert into inbound values (?, ?, ?, ?, ?, ?, ?, ?)",
        (project, item.id, item.provider, item.channel, reply, item.parts, item.missing, item.received_ms),
    )
    connection.execute(
        "insert into personal values (?, ?, ?, ?, ?)", (project, item.id, item.key_id, item.from_hash, item.sealed)
    )
    data = msgspec.json.encode(
        {"provider": item.provider, "in_reply_to": reply, "missing_parts": item.missing}
    ).decode()
    events: list[tuple[object, ...]] = [(project, item.events[0], "message.received", item.id, item.received_ms, data)]
    if reply is not None:
        connection.execute(
            "update messages set replied_ms = coalesce(replied_ms, ?) where project = ? and id = ?",
            (item.received_ms, project, reply),
        )
        answered = msgspec.json.encode({"inbound_id": item.id}).decode()
        events.append((project, item.events[1], "message.replied", reply, item.received_ms, answered))
    events += _consent(connection, item, project, reply)
    transitions.add_events(connection, events)


def _consent(connection: Connection, item: InboundRow, project: str, reply: str | None) -> list[tuple[object, ...]]:
    """STOP suppresses the person for the project on this channel, START lifts that."""
    if item.stop == "start":
        connection.execute(
            "delete from suppressions where project = ? and channel = ? and to_hash = ? and reason = 'stop'",
            (project, item.channel, item.from_hash),
        )
        return []
    if item.stop != "stop":
        return []
    connection.execute(
        "insert or ignore into suppressions values (?, ?, ?, 'stop', ?)",
        (project, item.channel, item.from_hash, item.received_ms),
    )
    if reply is None:
        return [(project, item.events[2], "contact.unsubscribed", item.id, item.received_ms, None)]
    connection.execute(
        "update messages set unsubscribed_ms = coalesce(unsubscribed_ms, ?) where project = ? and id = ?",
        (item.received_ms, project, reply),
    )
    return [(project, item.events[2], "message.unsubscribed", reply, item.received_ms, None)]
