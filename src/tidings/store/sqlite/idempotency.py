"""Idempotency records: (project, key hash) → body hash and resource, in one table a day; expiry drops whole tables."""

import datetime as dt

from tidings.kit.limits import IDEMPOTENCY_DAYS
from tidings.store.sqlite.link import Connection


def _table(now_ms: int, days_ago: int = 0) -> str:
    day = dt.datetime.fromtimestamp(now_ms / 1000, dt.UTC) - dt.timedelta(days=days_ago)
    return f"idempotency_{day:%Y%m%d}"


def tables(connection: Connection, now_ms: int) -> list[str]:
    """The tables to look in, today's (made if missing) first; older ones are dropped."""
    today = _table(now_ms)
    wanted = [_table(now_ms, ago) for ago in range(IDEMPOTENCY_DAYS)]
    existing = {
        str(row[0])
        for row in connection.execute("select name from sqlite_schema where name like 'idempotency\\_%' escape '\\'")
    }
    if today not in existing:
        connection.execute(
            f"create table {today} (project text not null, key_hash text not null, body_hash text not null,"
            " resource text not null, primary key (project, key_hash)) without rowid"
        )
        for name in existing - set(wanted):
            if name < wanted[-1]:
                connection.execute(f"drop table {name}")
    return [name for name in wanted if name in existing or name == today]


def claim(
    connection: Connection, project: str, key_hash: str, body_hash: str, resource: str, now_ms: int
) -> tuple[str, str]:
    """Within a write: ("new", resource), ("replay", the first resource) or ("reused", the first resource)."""
    names = tables(connection, now_ms)
    for name in names:
        for found in connection.execute(
            f"select body_hash, resource from {name} where project = ? and key_hash = ?", (project, key_hash)
        ):
            return ("replay" if found[0] == body_hash else "reused"), str(found[1])
    connection.execute(f"insert into {names[0]} values (?, ?, ?, ?)", (project, key_hash, body_hash, resource))
    return "new", resource


def forget(connection: Connection, project: str, key_hash: str, now_ms: int) -> None:
    """Within a write: what was claimed came to nothing; the key may be used again."""
    for name in tables(connection, now_ms):
        connection.execute(f"delete from {name} where project = ? and key_hash = ?", (project, key_hash))
