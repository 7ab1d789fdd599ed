"""Status changes of messages: the one place where a message's status is written after acceptance."""

from typing import Any

from tidings.domain.status import ENDS, may_follow
from tidings.store import chain
from tidings.store.contract import Change
from tidings.store.sqlite import fallback
from tidings.store.sqlite.link import Connection

_STATUSES = "select project, id, status, chain from messages where project = ? and id = ?"
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
    found = list(connection.executemany(_STATUSES, keys))
    status = {(row[0], row[1]): str(row[2]) for row in found}
    chains = {(row[0], row[1]): str(row[3]) for row in found if row[3] is not None}
    turned = _chained(connection, changes, chains, status) if chains else frozenset[str]()
    done: list[bool] = []
    updates: dict[tuple[str, str], list[Any]] = {}
    events: list[tuple[Any, ...]] = []
    for change in changes:
        key = (change.project, change.message)
        allowed = key in status and may_follow(status[key], change.status)
        done.append(allowed)
        if not allowed or change.event in turned:
            continue
        status[key] = change.status
        _merge(updates, key, change)
        kind = f"message.{change.status}"
        events.append((change.project, change.event, kind, change.message, change.at_ms, change.data))
    connection.executemany(_UPDATE, updates.values())
    add_events(connection, events)
    return done


def _chained(
    connection: Connection,
    changes: list[Change],
    chains: dict[tuple[Any, Any], str],
    status: dict[tuple[Any, Any], str],
) -> frozenset[str]:
    """What changes mean for messages with several channels. The events of those that the next channel takes the place of."""
    due: list[tuple[str, str, int]] = []
    over: list[tuple[str, str]] = []
    turned: set[str] = set()
    for change in changes:
        key = (change.project, change.message)
        if key not in chains or not may_follow(status[key], change.status):
            continue
        due_ms = chain.next_due_ms(chains[key], change)
        if due_ms is not None:
            due.append((*key, due_ms))
            if change.status in chain.FAILING:
                turned.add(change.event)
        elif chain.over(chains[key], change):
            over.append(key)
    fallback.put(connection, due)
    fallback.drop(connection, over)
    return frozenset(turned)


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
