"""Judges how SQLite would run every statement that the product makes: none may walk what grows with each message.

Without statistics SQLite takes the primary key (project, …), of which only the project is given, before a narrower index; then
reading one message looks at all attempts of its project. Statements are gathered while the conformance suite runs.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import apsw

from tidings.store.sqlite import engine
from tidings.store.sqlite.link import Connection, connect

#: Tables with rows for each message, event or person. The others are queues, or what operators declare.
GROWN = frozenset(
    {"messages", "personal", "attempts", "refs", "events", "inbound", "deliveries", "verifications", "smpp_parts"}
)  # fmt: skip
_NAMED = re.compile(
    r"\b(?:from|join|update|into)\s+(\w+)(?:\s+(?:as\s+)?(?!indexed\b|where\b|set\b|on\b|cross\b|left\b|join\b|order\b)(\w+))?"
)
_WALKS = re.compile(r"(?:SCAN (\w+)(?! VIRTUAL)|SEARCH (\w+) USING .*\(project=\?\))(?: USING .*)?(?: LEFT-JOIN)?")
#: A page, newest first, reads the rows that it shows (or LIST_SCAN_ROWS); not where it looks for one person or reference.
_PAGE = re.compile(r"order by (?:\w+\.)?(?:id|seq) desc limit|order by (?:\w+\.)?seq limit|max\(seq\)|limit 1 offset")
_CURSOR = re.compile(r"\b(?:id|seq) [<>] ")
_FROM_CURSOR = re.compile(r"\b(?:id|seq|rowid)[<>]\?")
#: Partial indexes: they hold only what waits.
_WAITING = re.compile(r"deliveries_due|smpp_parts_unsent")
_SOUGHT = re.compile(r"to_hash = \?|reference = \?")

_seen: set[str] = set()
_judged: set[str] = set()


def _note(_cursor: apsw.Cursor, sql: str, _bindings: object) -> bool:
    if str(sys._getframe(1).f_globals.get("__name__")).startswith("tidings.store.sqlite."):
        _seen.add(sql)
    return True


def watch(connection: Connection) -> None:
    """Notes what the product says to this connection."""
    connection.exec_trace = _note


def _watched(path: Path, synchronous: str, *, read_only: bool = False) -> Connection:
    made = connect(path, synchronous, read_only=read_only)
    watch(made)
    return made


engine.connect = _watched  # type: ignore[attr-defined]


def walks(connection: Connection, sql: str) -> list[str]:
    """The steps of its plan that look at rows of no end."""
    names = {alias or table: table for table, alias in _NAMED.findall(sql)} | {
        table: table for table, _ in _NAMED.findall(sql)
    }
    page = _PAGE.search(sql) and not _SOUGHT.search(sql)
    cursor = _CURSOR.search(sql)
    if page and cursor is None:
        return []
    try:
        steps = [str(row[3]) for row in connection.execute(f"explain query plan {sql}", _values(sql))]
    except apsw.SQLError as error:
        if "no such table: idempotency_" in str(error):  # of a day that is gone
            return []
        raise
    if page and cursor is not None:  # a later page begins where the one before ended
        return [] if any(_FROM_CURSOR.search(step) for step in steps) else steps
    found = [(step, _WALKS.fullmatch(step)) for step in steps]
    return [s for s, walk in found if walk and names.get(walk[1] or walk[2], "") in GROWN and not _WAITING.search(s)]


def _values(sql: str) -> list[None]:
    """One for each that it takes."""
    numbers = [int(number) for number in re.findall(r"\?(\d+)", sql)]
    return [None] * (max(numbers) if numbers else sql.count("?"))


def judge(path: Path) -> None:
    """Fails on statements that are new since the last call and walk."""
    new = [sql for sql in _seen - _judged if re.match(r"\s*(?:select|with|insert|update|delete)\b", sql)]
    _judged.update(_seen)
    connection = connect(path, "OFF", read_only=True)
    try:
        bad = {" ".join(sql.split())[:300]: found for sql in new if (found := walks(connection, sql))}
    finally:
        connection.close()
    assert not bad, bad
