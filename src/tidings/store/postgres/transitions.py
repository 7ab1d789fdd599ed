"""Status changes of messages: the one place where a message's status is written after acceptance."""

from collections.abc import Iterable
from typing import Any

import msgspec

from tidings.domain.status import ENDS, may_follow
from tidings.store import chain
from tidings.store.contract import Change
from tidings.store.postgres import fallback, locks
from tidings.store.postgres.rowset import rowset, turned
from tidings.store.postgres.session import Session

Key = tuple[str, str]  # project, message

_LOCK = f"""
select m.project, m.id, m.status, m.sequence, m.chain from {rowset("e", "project text, id text")}
join messages m on m.project = e.project and m.id = e.id order by m.project, m.id for no key update of m"""
_UPDATE = f"""
update messages m set status = e.status, error = coalesce(e.error, m.error), sent_ms = coalesce(m.sent_ms, e.sent_ms),
  delivered_ms = coalesce(e.delivered_ms, m.delivered_ms), ended_ms = e.ended_ms
from {rowset("e", "project text, id text, status text, error text, sent_ms bigint, delivered_ms bigint, ended_ms bigint")}
where m.project = e.project and m.id = e.id"""


class Locked(msgspec.Struct):
    """Messages that this transaction holds: nobody else changes them, their jobs or their attempts before its end."""

    status: dict[Key, str]
    chains: dict[Key, str] = msgspec.field(default_factory=dict[Key, str])  # of those with several channels


async def lock(session: Session, keys: Iterable[Key]) -> Locked:
    """Locks messages in the order of their keys, then the sequences they are in. Missing ones are absent."""
    wanted = list(set(keys))
    found = await session.fetch(_LOCK, *turned(wanted)) if wanted else []
    sequenced = {f"{row[0]}/{row[3]}" for row in found if row[3] is not None}
    if sequenced:
        await locks.sequences(session, sequenced)
    chains = {(row[0], row[1]): row[4] for row in found if row[4] is not None}
    return Locked({(row[0], row[1]): row[2] for row in found}, chains)


async def apply(session: Session, changes: list[Change], locked: Locked) -> list[bool]:
    """Applies the changes in order; says which of them the message's status allowed. Others leave no trace."""
    done: list[bool] = []
    updates: dict[Key, list[Any]] = {}
    status = locked.status
    turned_into_next = await _chained(session, changes, locked) if locked.chains else frozenset[str]()
    for change in changes:
        key = (change.project, change.message)
        allowed = key in status and may_follow(status[key], change.status)
        done.append(allowed)
        if not allowed or change.event in turned_into_next:
            continue
        status[key] = change.status
        _merge(updates, key, change)
        kind = f"message.{change.status}"
        add_events(session, [(change.project, change.event, kind, change.message, change.at_ms, change.data)])
    if updates:
        await session.execute(_UPDATE, *turned(updates.values()))
    return done


async def _chained(session: Session, changes: list[Change], locked: Locked) -> frozenset[str]:
    """What changes mean for messages with several channels. The events of those that the next channel takes the place of."""
    due: list[tuple[str, str, int]] = []
    over: list[Key] = []
    taken: set[str] = set()
    for change in changes:
        key = (change.project, change.message)
        if key not in locked.chains or not may_follow(locked.status[key], change.status):
            continue
        due_ms = chain.next_due_ms(locked.chains[key], change)
        if due_ms is not None:
            due.append((*key, due_ms))
            if change.status in chain.FAILING:
                taken.add(change.event)
        elif chain.over(locked.chains[key], change):
            over.append(key)
    if due:
        await fallback.put(session, due)
    if over:
        await fallback.drop(session, over)
    return frozenset(taken)


def _merge(updates: dict[Key, list[Any]], key: Key, change: Change) -> None:
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


def add_events(session: Session, events: list[tuple[Any, ...]]) -> None:
    """Appends to the log at the end of this transaction: (project, id, type, message, at_ms, data as JSON or None)."""
    session.events += events
