"""Accepting: message, personal row, job, first event and idempotency record in one commit, and where the path is idle the first
attempt too."""

from collections.abc import Iterable
from operator import itemgetter
from typing import Any, Final

from msgspec.structs import astuple, replace

from tidings.store.contract import NEVER, Accepted, Begun, NewMessage
from tidings.store.sqlite import attempts, idempotency
from tidings.store.sqlite.link import Connection, rows

_MESSAGES = """
insert into messages (project, id, mode, channel, lane, status, created_ms, due_ms, valid_until_ms, sequence, on_unknown,
  template, locale, reference, tags, retry_of, provider, encoding, parts)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_PERSONAL = "insert into personal (project, owner, key_id, to_hash, sealed) values (?, ?, ?, ?, ?)"
_JOBS = """
insert into jobs (project, message, lane, provider, due_ms, ready_ms, expires_ms, sequence, owner, tries)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_EVENTS = "insert into events (project, id, type, message, at_ms) values (?, ?, 'message.' || ?, ?, ?)"
_CHAIN = "update messages set chain = ? where project = ? and id = ?"
_IDEMPOTENCY = "insert into {} values (?, ?, ?, ?)"
# The fields of NewMessage that a statement takes, by place.
_MESSAGE: Final = itemgetter(*range(16))
_BEFORE: Final = itemgetter(*range(5))  # its status, and what is behind it
_BEHIND: Final = itemgetter(*range(6, 16))
_OWNER: Final = itemgetter(0, 1, 16, 17, 18)
_JOB: Final = itemgetter(0, 1, 4, 19, 22, 7, 8, 9, 21)
_EVENT: Final = itemgetter(0, 20, 5, 1, 6)
_KEY: Final = itemgetter(0, 23, 24, 1)
_WAITING = (
    "select distinct j.project, j.sequence from json_each(?) e"
    " join jobs j on j.project = e.value->>0 and j.sequence = e.value->>1"
)


def accept(connection: Connection, items: list[NewMessage]) -> list[Accepted]:
    """Stores the messages whose idempotency key is new; one caller's conflict never touches the others."""
    now_ms = items[0].created_ms
    keyed = any(item.key_hash is not None for item in items)
    names = idempotency.tables(connection, now_ms) if keyed else []
    seen = _known_keys(connection, items, names) if keyed else {}
    results: list[Accepted | None] = []
    fresh: list[NewMessage] = []
    replays: list[tuple[int, str, str]] = []
    for item in items:
        if item.key_hash is not None:
            known = seen.get((item.project, item.key_hash))
            if known is not None:
                if known[0] != item.body_hash:
                    results.append(Accepted("reused", known[1], "", "", 0))
                else:
                    replays.append((len(results), item.project, known[1]))
                    results.append(None)
                continue
            seen[item.project, item.key_hash] = (item.body_hash or "", item.id)
        fresh.append(item)
        handed = item.owner is not None
        results.append(Accepted("new", item.id, item.status, item.channel, item.created_ms, handed))
    begun = _insert(connection, _in_sequence(connection, fresh, results), names)
    _replay(connection, replays, results)
    found = [result for result in results if result is not None]
    return [replace(result, begun=begun[result.id]) if result.id in begun else result for result in found]


def _known_keys(
    connection: Connection, items: Iterable[NewMessage], names: list[str]
) -> dict[tuple[str, str], tuple[str, str]]:
    keys = [(item.project, item.key_hash) for item in items if item.key_hash is not None]
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for name in names:
        for row in connection.execute(
            f"select i.project, i.key_hash, i.body_hash, i.resource from json_each(?) e"
            f" join {name} i on i.project = e.value->>0 and i.key_hash = e.value->>1",
            rows(keys),
        ):
            found[str(row[0]), str(row[1])] = (str(row[2]), str(row[3]))
    return found


def _in_sequence(connection: Connection, fresh: list[NewMessage], results: list[Accepted | None]) -> list[NewMessage]:
    """Jobs behind another one of their sequence wait at NEVER, and are not handed over."""
    keys = {(item.project, item.sequence) for item in fresh if item.sequence is not None}
    if not keys:
        return fresh
    taken = {(row[0], row[1]) for row in connection.execute(_WAITING, rows(list(keys)))}
    ordered: list[NewMessage] = []
    held: set[str] = set()
    for item in fresh:
        key = (item.project, item.sequence)
        if item.sequence is not None and key in taken:
            ordered.append(_waiting(item))
            held.add(item.id)
        else:
            ordered.append(item)
            taken.add(key)
    for n, result in enumerate(results):
        if result is not None and result.handed and result.id in held:
            results[n] = Accepted("new", result.id, result.status, result.channel, result.created_ms, False)
    return ordered


def _waiting(item: NewMessage) -> NewMessage:
    fields = [getattr(item, name) for name in item.__struct_fields__]
    fields[21], fields[22] = None, NEVER
    return NewMessage(*fields)


def _insert(connection: Connection, fresh: list[NewMessage], names: list[str]) -> dict[str, Begun]:
    """What was begun with its message, by message."""
    begins = [item.begin for item in fresh if item.begin is not None]
    stand = attempts.stand(connection, begins) if begins else ()
    first = {begin.message: begin for begin, stands in zip(begins, stand, strict=True) if stands}
    messages: list[tuple[Any, ...]] = []
    jobs: list[tuple[Any, ...]] = []
    values = [astuple(item) for item in fresh]
    for row in values:
        begin = first.get(row[1])
        if begin is None:
            messages.append((*_MESSAGE(row), None, None, None))
            jobs.append((*_JOB(row), 0))
        else:
            messages.append((*_BEFORE(row), "sending", *_BEHIND(row), begin.provider, begin.encoding, begin.parts))
            jobs.append((*_JOB(row), 1))
    connection.executemany(_MESSAGES, messages)
    connection.executemany(_PERSONAL, map(_OWNER, values))
    connection.executemany(_JOBS, jobs)
    connection.executemany(_EVENTS, map(_EVENT, values))
    chained = [(row[25], row[0], row[1]) for row in values if row[25] is not None]
    if chained:
        connection.executemany(_CHAIN, chained)
    keyed = [_KEY(row) for row in values if row[23] is not None]
    if keyed:
        connection.executemany(_IDEMPOTENCY.format(names[0]), keyed)
    begun = dict(zip(first, attempts.insert_first(connection, list(first.values())), strict=True))
    late = [begin for begin in begins if begin.message not in first]
    return begun | dict(zip((i.message for i in late), attempts.begin(connection, late) if late else (), strict=True))


def _replay(connection: Connection, replays: list[tuple[int, str, str]], results: list[Accepted | None]) -> None:
    for n, project, message in replays:
        row = connection.execute(
            "select status, channel, created_ms from messages where project = ? and id = ?", (project, message)
        ).fetchone()
        status, channel, created_ms = row if row else ("accepted", "sms", 0)
        results[n] = Accepted("replay", message, str(status), str(channel), int(created_ms))
