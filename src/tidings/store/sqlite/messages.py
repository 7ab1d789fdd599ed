"""Reading messages and attempts back, with their personal data unsealed."""

import msgspec

from tidings.domain.view import StoredAttempt, StoredMessage
from tidings.kit.secrets import KeyRing
from tidings.store.sealed import COLUMNS, JOIN, stored
from tidings.store.sqlite.link import Connection, rows


def load(connection: Connection, ring: KeyRing, project: str, ids: list[str]) -> dict[str, StoredMessage]:
    """The messages of `project` with these ids; missing ones are absent."""
    # cross join: SQLite would else look for the project first, and walk all of its messages
    sql = f"select {COLUMNS} from json_each(?1) e cross join messages m on m.project = ?2 and m.id = e.value {JOIN}"
    found = connection.execute(sql, (*rows(ids), project))
    return {row[1]: stored(ring, row) for row in found}


def attempts(connection: Connection, project: str, ids: list[str]) -> list[StoredAttempt]:
    """All attempts of these messages, in order."""
    sql = (
        "select a.id, a.message, a.n, a.provider, a.status, a.parts, a.created_ms, a.sent_ms, a.ended_ms, a.error, a.cost,"
        " a.channel"
        " from json_each(?1) e cross join attempts a indexed by attempts_message"  # it would walk the project's else
        " on a.project = ?2 and a.message = e.value order by a.message, a.n"
    )
    return [
        StoredAttempt(
            id=row[0], message=row[1], n=row[2], provider=row[3], status=row[4], parts=row[5], created_ms=row[6],
            sent_ms=row[7], ended_ms=row[8], error=msgspec.json.decode(row[9]) if row[9] else None, cost=row[10],
            channel=row[11],
        )
        for row in connection.execute(sql, (*rows(ids), project))
    ]  # fmt: skip


def with_attempts(
    connection: Connection, ring: KeyRing, project: str, message: str
) -> tuple[StoredMessage | None, list[StoredAttempt]]:
    """One message with its attempts. A read."""
    return load(connection, ring, project, [message]).get(message), attempts(connection, project, [message])
