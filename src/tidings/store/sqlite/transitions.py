"""Status changes of messages: the one place where a message's status is written after acceptance."""

from typing import Any

from tidings.domain.status import ENDS, may_follow
from tidings.store.contract import Change
from tidings.store.sqlite.link import Connection

_STATUSES = "select project, id, status from messages where project = ? and id = ?"
_UPDATE = """
update messages set status = ?3, error = coalesce(?4, error), sent_ms = coalesce(sent_ms, ?5),
  delivered_ms = coalesce(?6, delivered_ms), ended_ms = ?7
where project = ?1 and id = ?2"""
_EVENTS = "insert into events (project, id, type, message, at_ms, data) values (?, ?, ?, ?, ?, ?)"


def apply(connection: Connection, changes: list[Change]) -> list[bool]:
    """Applies the changes in order; says which of them the message's status allowed. Others leave no trace."""
    if not changes:
        return []
    keys = {(change.project, change.message) for change in changes}
    status = {(row[0], row[1]): str(row[2]) for row in connection.executemany(_STATUSES, keys)}
    done: list[bool] = []
    updates: dict[tuple[str, str], list[Any]] = {}
    events: list[tuple[Any, ...]] = []
    for change in changes:
        key = (change.project, change.message)
        allowed = key in status and may_follow(status[key], change.status)
        done.append(allowed)
        if not allowed:
            continue
        status[key] = change.status
        _merge(updates, key, change)
        kind = f"message.{change.status}"
        events.append((change.project, change.event, kind, change.message, change.at_ms, change.data))
    connection.executemany(_UPDATE, updates.values())
    add_events(connection, events)
    return done


def _merge(updates: dict[tuple[str, str], list[Any]], key: tuple[str, str], change: Change) -> None:
    row = updates.get(key)
    if row is None:
        row = updates[key] = [*key, None, None, None, None, None]
    row[2] = change.status
    if change.error is not None:
        row[3] = change.error
    if change.status == "sent":
        row[4] = change.at_ms
    if change.status == "delivered":
        row[5] = change.at_ms
    row[6] = change.at_ms if change.status in ENDS else None


def add_events(connection: Connection, events: list[tuple[Any, ...]]) -> None:
    """Appends to the log: (project, id, type, message, at_ms, data as JSON or None)."""
    connection.executemany(_EVENTS, events)
