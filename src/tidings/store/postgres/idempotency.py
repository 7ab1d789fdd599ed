"""Idempotency records: (project, key hash) → body hash and resource, kept for today and `IDEMPOTENCY_DAYS - 1` days more.

The unique index decides between two callers who come at once: the second one waits for the first one's commit.
"""

from collections.abc import Sequence
from typing import Final

from tidings.kit.limits import IDEMPOTENCY_DAYS
from tidings.store.postgres.rowset import rowset, turned
from tidings.store.postgres.session import Session

_DAY_MS: Final = 86_400_000
_COLUMNS = "project text, key_hash text, body_hash text, resource text"
# An expired record is as good as none. Rows go in by key: two transactions with the same keys meet at the first of them.
_CLAIM = f"""
insert into idempotency as i (project, key_hash, body_hash, resource, day)
select e.project, e.key_hash, e.body_hash, e.resource, $5 from {rowset("e", _COLUMNS)} order by e.project, e.key_hash
on conflict (project, key_hash) do update
  set body_hash = excluded.body_hash, resource = excluded.resource, day = excluded.day where i.day < $6
returning project, key_hash"""
_KNOWN = f"""
select i.project, i.key_hash, i.body_hash, i.resource from {rowset("e", "project text, key_hash text")}
join idempotency i on i.project = e.project and i.key_hash = e.key_hash"""
# Twice as many old ones go as new ones come: the table never holds more than it must, and no moment has to clear a day.
_EXPIRE = """
delete from idempotency where (project, key_hash) in (
  select project, key_hash from idempotency where day < $1 order by day limit $2 for update skip locked)"""

Wanted = tuple[str, str, str, str]  # project, key_hash, body_hash, resource


async def claim_all(session: Session, wanted: Sequence[Wanted], now_ms: int) -> list[tuple[str, str]]:
    """For each ("new", its resource), ("replay", the first resource) or ("reused", the first resource)."""
    ours: dict[tuple[str, str], Wanted] = {}
    for item in wanted:
        ours.setdefault(item[:2], item)
    today = now_ms // _DAY_MS
    oldest = today - IDEMPOTENCY_DAYS + 1
    claimed = {(row[0], row[1]) for row in await session.fetch(_CLAIM, *turned(ours.values()), today, oldest)}
    lost = [key for key in ours if key not in claimed]
    known = {key: item[2:] for key, item in ours.items() if key in claimed}
    if lost:
        known |= {(row[0], row[1]): (row[2], row[3]) for row in await session.fetch(_KNOWN, *turned(lost))}
    await session.execute(_EXPIRE, oldest, 2 * len(ours))
    answers: list[tuple[str, str]] = []
    for item in wanted:
        key = item[:2]
        body_hash, resource = known[key]
        if key in claimed and ours[key] is item:
            answers.append(("new", resource))
        else:
            answers.append(("replay" if body_hash == item[2] else "reused", resource))
    return answers


async def forget(session: Session, project: str, key_hash: str) -> None:
    """What was claimed came to nothing; the key may be used again."""
    await session.execute("delete from idempotency where project = $1 and key_hash = $2", project, key_hash)
