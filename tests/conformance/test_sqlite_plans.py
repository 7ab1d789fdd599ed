"""The judge of `sqlite_plans` sees what it is there for; what the conformance suite says to SQLite is judged as it goes."""

from __future__ import annotations

from pathlib import Path

import pytest

import sqlite_plans
from tidings.store.sqlite.link import connect
from tidings.store.sqlite.migrate import migrate


@pytest.mark.parametrize(
    ("sql", "walk"),
    [
        ("select n from attempts a indexed by attempts_message where a.project = ? and a.message = ?", False),
        ("select provider from json_each(?1) e cross join attempts a on a.project = ?2 and a.message = e.value", True),
        ("select count(*) from messages", True),
        ("select sealed from personal where to_hash = ?2 and project = ?1 order by owner desc limit 1", True),
        ("select sealed from personal p indexed by personal_to where to_hash = ? and project = ?", False),
        ("select id from messages m where m.project = ? order by m.id desc limit ?", False),
        ("select id from messages where project = ?1 and id < coalesce(?2, 'z') order by id desc limit ?3", False),
        ("select id from messages where project = ?1 and (?2 is null or id < ?2) order by id desc limit ?3", True),
        ("select provider from jobs where project = ?", False),
    ],
)
def test_what_walks_is_seen(tmp_path: Path, sql: str, walk: bool) -> None:
    connection = connect(tmp_path / "tidings.db", "OFF")
    migrate(connection)
    try:
        assert bool(sqlite_plans.walks(connection, sql)) == walk
    finally:
        connection.close()


def test_the_product_goes_past_the_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: one index left out, and the judgement is red."""
    monkeypatch.setattr(sqlite_plans, "_seen", {"select provider from attempts where project = ? and message = ?"})
    monkeypatch.setattr(sqlite_plans, "_judged", set[str]())
    connection = connect(tmp_path / "tidings.db", "OFF")
    migrate(connection)
    connection.close()
    with pytest.raises(AssertionError, match="attempts"):
        sqlite_plans.judge(tmp_path / "tidings.db")
