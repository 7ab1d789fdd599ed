"""Receipts: matched to attempts by provider + carrier's id + destination, or kept until they can be."""

from typing import Any

import msgspec

from tidings.kit.ids import new_id
from tidings.kit.limits import RECEIPT_KEPT_S
from tidings.store.contract import Change, ReceiptRow
from tidings.store.receipt import (
    ENGAGED,
    LETTER,
    Match,
    Unanswered,
    accounted,
    around,
    attempt_status,
    change_of,
    engagement_data,
    looked_for,
    unanswered,
)
from tidings.store.sqlite import jobs, routes, transitions
from tidings.store.sqlite.link import Connection, rows

# two look-ups by key: as a join SQLite takes five times as long for it
_REF = "select ?1, project, attempt, part from refs where provider = ?2 and ref = ?3 and to_hash = ?4"
_REF_OF_ANYBODY = "select ?1, project, attempt, part from refs where provider = ?2 and ref = ?3"
_ATTEMPT = "select message, status, part_states, parts, channel, to_hash from attempts where project = ? and id = ?"
_ATTEMPTS = """
update attempts set part_states = ?3, status = ?4, ended_ms = coalesce(?5, ended_ms) where project = ?1 and id = ?2"""
_OPEN = (
    f"select {', '.join(Unanswered._fields)} from attempts"
    " where status in ('sending', 'unknown') and provider = ? and to_hash = ? and created_ms between ? and ?"
)
_PARK = "insert into receipts (provider, ref, to_hash, receipt, received_ms) values (?, ?, ?, ?, ?)"
_encode = msgspec.json.encode
_decode = msgspec.json.Decoder(ReceiptRow).decode


def receive(connection: Connection, items: list[ReceiptRow]) -> list[bool]:
    """Applies receipts; says which were matched. The others are kept (receipt before answer) and listed."""
    found = _find(connection, items)
    _apply(connection, [(items[n], found[n]) for n in sorted(found)])
    matched = [n in found or _place(connection, item) for n, item in enumerate(items)]
    for item, placed in zip(items, matched, strict=True):
        if not placed:
            _park(connection, item)
    return matched


def _find(connection: Connection, items: list[ReceiptRow]) -> dict[int, Match]:
    to = [(n, item.provider, ref, item.to_hash) for n, item in enumerate(items) if item.to_hash for ref in item.refs]
    anybody = [(n, item.provider, ref) for n, item in enumerate(items) if not item.to_hash for ref in item.refs]
    refs = [*connection.executemany(_REF, to), *connection.executemany(_REF_OF_ANYBODY, anybody)]
    found: dict[int, list[Match]] = {}
    for n, project, attempt, part in refs:
        row = connection.execute(_ATTEMPT, (project, attempt)).fetchone()
        if row is None:
            continue
        match = Match(str(project), str(attempt), int(part), *row)
        matches = found.setdefault(int(n), [])
        if match not in matches:
            matches.append(match)
    # without a destination only one candidate will do; the spellings are ordered, the first is the canonical one
    return {n: matches[0] for n, matches in found.items() if len(matches) == 1 or items[n].to_hash is not None}


def _park(connection: Connection, item: ReceiptRow) -> None:
    connection.execute("delete from receipts where received_ms < ?", (item.received_ms - RECEIPT_KEPT_S * 1000,))
    known = connection.execute(
        "select 1 from receipts where provider = ? and ref = ? and receipt = ?",
        (item.provider, item.refs[0], _encode(item).decode()),
    ).fetchone()
    if known is None:
        row = (item.provider, item.refs[0], item.unanswered_hash, _encode(item).decode(), item.received_ms)
        connection.execute(_PARK, row)


def apply_parked(connection: Connection, refs: list[tuple[Any, ...]]) -> None:
    """Receipts that came before the answer that named their message: (provider, ref, to_hash)."""
    if not refs or connection.execute("select 1 from receipts limit 1").fetchone() is None:
        return
    early = list(
        connection.execute(
            "select r.id, r.receipt from json_each(?) e join receipts r on r.provider = e.value->>0"
            " and exists (select 1 from json_each(r.receipt, '$.refs') x where x.value = e.value->>1)",
            rows(refs),
        )
    )
    if early:
        connection.execute(
            "delete from receipts where id in (select value from json_each(?))", rows([r[0] for r in early])
        )
        receive(connection, [_decode(str(row[1])) for row in early])


def match_parked_unknown(connection: Connection, people: set[tuple[str, str]]) -> None:
    """Attempts to these (provider, to_hash) have been settled: a receipt that is kept may be that of an unknown one."""
    if not people or connection.execute("select 1 from receipts limit 1").fetchone() is None:
        return
    kept = list(
        connection.execute(
            "select r.id, r.receipt from json_each(?) e join receipts r on r.provider = e.value->>0 and r.to_hash = e.value->>1"
            " order by r.id",
            rows(sorted(people)),
        )
    )
    for row in kept:
        if _place(connection, _decode(str(row[1]))):
            connection.execute("delete from receipts where id = ?", (row[0],))


def _place(connection: Connection, item: ReceiptRow) -> bool:
    """Finds a home for one receipt, if there is one. One before it may have told us which part has this carrier's id."""
    match = _find(connection, [item]).get(0) or _unknown(connection, item)
    if match is None:
        return False
    _apply(connection, [(item, match)])
    return True


def _unknown(connection: Connection, item: ReceiptRow) -> Match | None:
    """The part of an unknown attempt that this receipt is for, see `receipt.unanswered`.

    The attempt stays unknown, and its job waits, until every part is accounted for.
    """
    who = item.unanswered_hash
    if who is None:
        return None
    chosen = unanswered(item, connection.execute(_OPEN, (item.provider, who, *looked_for(item))))
    if chosen is None:
        return None
    project, attempt, message, parts = chosen.project, chosen.id, chosen.message, chosen.parts
    states = chosen.part_states.ljust(parts, "?")
    part = states.find("?")
    if part < 0:
        return None
    states = states[:part] + "s" + states[part + 1 :]
    ref = (item.provider, item.refs[0], who, project, attempt, part)
    connection.execute("insert or replace into refs values (?, ?, ?, ?, ?, ?)", ref)
    connection.execute("update attempts set part_states = ? where project = ? and id = ?", (states, project, attempt))
    if accounted(states, chosen.channel):
        jobs.finish(connection, [(project, message)])
        sent = Change(project=project, message=message, status="sent", at_ms=around(item), event=new_id("evt"))
        transitions.apply(connection, [sent])
    return Match(project, attempt, part, message, "sent", states, parts, chosen.channel, who)


def _apply(connection: Connection, matched: list[tuple[ReceiptRow, Match]]) -> None:
    states: dict[str, list[Any]] = {}
    changes: list[Change] = []
    ended: list[tuple[str, str]] = []
    for item, match in matched:
        letter = LETTER.get(item.state)
        if letter is None:
            continue
        row = states.get(match.attempt)
        old = row[2] if row else match.part_states.ljust(match.parts, "s")
        if old[match.part] in ("d", letter):
            continue
        new = old[: match.part] + letter + old[match.part + 1 :]
        status = attempt_status(new, match.channel)
        over = status not in ("sent", "unknown")
        states[match.attempt] = [match.project, match.attempt, new, status, item.received_ms if over else None]
        if over and status != "undelivered":
            ended.append((match.project, match.message))
        if over and not (status == "undelivered" and _another_way(connection, match)):
            changes.append(change_of(item, match, status))
    connection.executemany(_ATTEMPTS, states.values())
    routes.come(connection, ended)
    transitions.apply(connection, changes)
    _engaged(connection, matched)


def _another_way(connection: Connection, match: Match) -> bool:
    """A failing end is written only when no attempt is left (design §2)."""
    row = connection.execute(
        "select 1 from attempts indexed by attempts_message"
        " where project = ?1 and message = ?2 and id <> ?3 and status in ('sending', 'sent', 'unknown')"
        " union all select 1 from jobs where project = ?1 and message = ?2 and kind <> 'fallback' limit 1",
        (match.project, match.message, match.attempt),
    ).fetchone()
    return row is not None


def _engaged(connection: Connection, matched: list[tuple[ReceiptRow, Match]]) -> None:
    """What people did, told once each, and addresses that must not be written to again."""
    for item, match in matched:
        column = ENGAGED.get(item.engagement or "")
        if column is not None:
            connection.execute(
                f"update messages set {column} = ? where project = ? and id = ? and {column} is null",
                (item.received_ms, match.project, match.message),
            )
            if connection.changes():
                kind, data = f"message.{item.engagement}", engagement_data(item, match)
                event = (match.project, new_id("evt"), kind, match.message, item.received_ms, data)
                transitions.add_events(connection, [event])
        if item.suppress is not None:
            connection.execute(
                "insert or ignore into suppressions values (?, ?, ?, ?, ?)",
                (match.project, match.channel, match.to_hash, item.suppress, item.received_ms),
            )
