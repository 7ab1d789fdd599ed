"""Projects and API keys. Keys are kept as hashes; the hash is the only way in."""

from collections.abc import Sequence
from typing import Any

import msgspec

from tidings.store.accounts import Claim, First, NewKey, NewProject, StoredKey, StoredProject
from tidings.store.postgres import idempotency, locks
from tidings.store.postgres.session import Session

_COLUMNS = "id, project, name, mode, scopes, hash, hint, created_ms, expires_ms, revoked_ms"


def _key(row: Any) -> StoredKey:
    return StoredKey(
        id=row[0], project=row[1], name=row[2], mode=row[3], scopes=msgspec.json.decode(row[4]), hash=row[5],
        hint=row[6], created_ms=row[7], expires_ms=row[8], revoked_ms=row[9],
    )  # fmt: skip


async def by_hash(session: Session, hashed: str) -> tuple[StoredKey, str] | None:
    """The key with this hash that is not revoked, and the id of the first project. A read."""
    row = await session.fetchrow(f"select {_COLUMNS} from keys where hash = $1 and revoked_ms is null", hashed)
    return None if row is None else (_key(row), await first_project(session))


async def revoked(session: Session, hashes: list[str]) -> list[str]:
    """Those of these hashes whose key is revoked. A read."""
    sql = "select hash from keys where hash = any($1::text[]) and revoked_ms is not null"
    return [row[0] for row in await session.fetch(sql, hashes)]


async def first_project(session: Session) -> str:
    """The project made at the first start, or ''. A read."""
    return str(await session.fetchval("select min(id) from projects") or "")


async def claim(session: Session, items: list[Claim]) -> list[tuple[str, str]]:
    """Claims idempotency keys: ("new" | "replay" | "reused", resource) for each."""
    wanted = [(item.project, item.key_hash, item.body_hash, item.resource) for item in items]
    return await idempotency.claim_all(session, wanted, items[0].now_ms) if items else []


async def claimed(session: Session, items: Sequence[tuple[Claim | None, str]]) -> list[tuple[str, str]]:
    """Within a write: the claims of (claim, resource), ("new", resource) where one came without a key."""
    answers = iter(await claim(session, [one for one, _ in items if one is not None]))
    return [("new", resource) if one is None else next(answers) for one, resource in items]


async def first(session: Session, items: list[First]) -> list[bool]:
    """Makes the first project and its keys, if there is no project; says whether it did."""
    await locks.first(session)
    answers: list[bool] = []
    for item in items:
        project = await first_project(session)
        fresh = not project
        if fresh:
            project = item.project
            await session.execute("insert into projects values ($1, $2, $3)", project, "default", item.now_ms)
        for key in item.keys if fresh else item.keys[: int(item.preset)]:
            await _insert(session, msgspec.structs.replace(key, project=project))
        answers.append(fresh)
    return answers


async def _insert(session: Session, key: StoredKey) -> None:
    await session.execute(
        f"insert into keys ({_COLUMNS}) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict do nothing",
        key.id, key.project, key.name, key.mode, msgspec.json.encode(key.scopes).decode(), key.hash, key.hint,
        key.created_ms, key.expires_ms, key.revoked_ms,
    )  # fmt: skip


async def create(session: Session, items: list[NewKey]) -> list[tuple[str, str]]:
    """Stores keys: ("new" | "replay" | "reused", id of the key) for each."""
    answers = await claimed(session, [(item.claim, item.key.id) for item in items])
    fresh = [item.key for item, answer in zip(items, answers, strict=True) if answer[0] == "new"]
    for key in sorted(fresh, key=lambda key: key.id):
        await _insert(session, key)
    return answers


async def revoke(session: Session, items: list[tuple[str, str, int]]) -> list[StoredKey | None]:
    """(project, id, now_ms) → the key, revoked now or before; None if there is no such key."""
    for project, id, now_ms in sorted(items):
        await session.execute(
            "update keys set revoked_ms = $1 where project = $2 and id = $3 and revoked_ms is null", now_ms, project, id
        )
    return [await get(session, project, id) for project, id, _ in items]


async def get(session: Session, project: str, id: str) -> StoredKey | None:
    """One key of the project. A read."""
    row = await session.fetchrow(f"select {_COLUMNS} from keys where project = $1 and id = $2", project, id)
    return None if row is None else _key(row)


async def page(session: Session, project: str, before: str | None, limit: int) -> list[StoredKey]:
    """Keys of the project, newest first. A read."""
    found = await session.fetch(
        f"select {_COLUMNS} from keys where project = $1 and id < coalesce($2::text, 'z') order by id desc limit $3",
        project,
        before,
        limit,
    )
    return [_key(row) for row in found]


async def create_project(session: Session, items: list[NewProject]) -> list[tuple[str, str]]:
    """Stores projects: ("new" | "replay" | "reused", id) for each."""
    answers = await claimed(session, [(item.claim, item.project.id) for item in items])
    fresh = [item.project for item, answer in zip(items, answers, strict=True) if answer[0] == "new"]
    for project in sorted(fresh, key=lambda project: project.id):
        await session.execute("insert into projects values ($1, $2, $3)", project.id, project.name, project.created_ms)
    return answers


async def projects(session: Session, only: str | None, before: str | None, limit: int) -> list[StoredProject]:
    """Projects, newest first; only the one called `only`, if given. A read."""
    found = await session.fetch(
        "select id, name, created_ms from projects where ($1::text is null or id = $1) and id < coalesce($2::text, 'z')"
        " order by id desc limit $3",
        only,
        before,
        limit,
    )
    return [StoredProject(id=row[0], name=row[1], created_ms=row[2]) for row in found]
