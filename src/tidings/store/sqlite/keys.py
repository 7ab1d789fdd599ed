"""Projects and API keys. Keys are kept as hashes; the hash is the only way in."""

from typing import Any

import msgspec

from tidings.store.accounts import Claim, First, NewKey, NewProject, StoredKey, StoredProject
from tidings.store.sqlite import idempotency
from tidings.store.sqlite.link import Connection, rows

_COLUMNS = "id, project, name, mode, scopes, hash, hint, created_ms, expires_ms, revoked_ms"


def _key(row: tuple[Any, ...]) -> StoredKey:
    return StoredKey(
        id=row[0], project=row[1], name=row[2], mode=row[3], scopes=msgspec.json.decode(row[4]), hash=row[5],
        hint=row[6], created_ms=row[7], expires_ms=row[8], revoked_ms=row[9],
    )  # fmt: skip


def by_hash(connection: Connection, hashed: str) -> tuple[StoredKey, str] | None:
    """The key with this hash that is not revoked, and the id of the first project. A read."""
    row = connection.execute(f"select {_COLUMNS} from keys where hash = ? and revoked_ms is null", (hashed,)).fetchone()
    return None if row is None else (_key(row), first_project(connection))


def revoked(connection: Connection, hashes: list[str]) -> list[str]:
    """Those of these hashes whose key is revoked. A read."""
    sql = "select hash from keys where revoked_ms is not null and hash in (select value from json_each(?))"
    return [str(row[0]) for row in connection.execute(sql, rows(hashes))]


def first_project(connection: Connection) -> str:
    """The project made at the first start, or ''. A read."""
    row = connection.execute("select min(id) from projects").fetchone()
    return str(row[0]) if row and row[0] else ""


def claim(connection: Connection, items: list[Claim]) -> list[tuple[str, str]]:
    """Claims idempotency keys: ("new" | "replay" | "reused", resource) for each."""
    return [
        idempotency.claim(connection, item.project, item.key_hash, item.body_hash, item.resource, item.now_ms)
        for item in items
    ]


def claimed(connection: Connection, item: Claim | None, resource: str) -> tuple[str, str]:
    """Within a write: the claim of one item, or ("new", resource) where it came without a key."""
    return ("new", resource) if item is None else claim(connection, [item])[0]


def first(connection: Connection, items: list[First]) -> list[bool]:
    """Makes the first project and its keys, if there is no project; says whether it did."""
    answers: list[bool] = []
    for item in items:
        project = first_project(connection)
        fresh = not project
        if fresh:
            project = item.project
            connection.execute("insert into projects values (?, ?, ?)", (project, "default", item.now_ms))
        for key in item.keys if fresh else item.keys[: int(item.preset)]:
            _insert(connection, msgspec.structs.replace(key, project=project))
        answers.append(fresh)
    return answers


def _insert(connection: Connection, key: StoredKey) -> None:
    connection.execute(
        f"insert or ignore into keys ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            key.id, key.project, key.name, key.mode, msgspec.json.encode(key.scopes).decode(), key.hash, key.hint,
            key.created_ms, key.expires_ms, key.revoked_ms,
        ),
    )  # fmt: skip


def create(connection: Connection, items: list[NewKey]) -> list[tuple[str, str]]:
    """Stores keys: ("new" | "replay" | "reused", id of the key) for each."""
    answers: list[tuple[str, str]] = []
    for item in items:
        answer = claimed(connection, item.claim, item.key.id)
        if answer[0] == "new":
            _insert(connection, item.key)
        answers.append(answer)
    return answers


def revoke(connection: Connection, items: list[tuple[str, str, int]]) -> list[StoredKey | None]:
    """(project, id, now_ms) → the key, revoked now or before; None if there is no such key."""
    answers: list[StoredKey | None] = []
    for project, id, now_ms in items:
        connection.execute(
            "update keys set revoked_ms = ? where project = ? and id = ? and revoked_ms is null", (now_ms, project, id)
        )
        answers.append(get(connection, project, id))
    return answers


def get(connection: Connection, project: str, id: str) -> StoredKey | None:
    """One key of the project. A read."""
    row = connection.execute(f"select {_COLUMNS} from keys where project = ? and id = ?", (project, id)).fetchone()
    return None if row is None else _key(row)


def page(connection: Connection, project: str, before: str | None, limit: int) -> list[StoredKey]:
    """Keys of the project, newest first. A read."""
    found = connection.execute(
        f"select {_COLUMNS} from keys where project = ?1 and id < coalesce(?2, 'z') order by id desc limit ?3",
        (project, before, limit),
    )
    return [_key(row) for row in found]


def create_project(connection: Connection, items: list[NewProject]) -> list[tuple[str, str]]:
    """Stores projects: ("new" | "replay" | "reused", id) for each."""
    answers: list[tuple[str, str]] = []
    for item in items:
        answer = claimed(connection, item.claim, item.project.id)
        if answer[0] == "new":
            project = item.project
            connection.execute("insert into projects values (?, ?, ?)", (project.id, project.name, project.created_ms))
        answers.append(answer)
    return answers


def projects(connection: Connection, only: str | None, before: str | None, limit: int) -> list[StoredProject]:
    """Projects, newest first; only the one called `only`, if given. A read."""
    found = connection.execute(
        "select id, name, created_ms from projects where (?1 is null or id = ?1) and id < coalesce(?2, 'z')"
        " order by id desc limit ?3",
        (only, before, limit),
    )
    return [StoredProject(id=str(row[0]), name=str(row[1]), created_ms=int(row[2])) for row in found]
