"""The SMPP server for customers: keys by system_id, cursors with their leases, parts of long messages."""

import msgspec

from tidings.store.accounts import StoredKey
from tidings.store.customers import KeptPart, PartRow, StoredPart
from tidings.store.postgres import log
from tidings.store.postgres.session import Session

_KEY = "id, project, name, mode, scopes, hash, hint, created_ms, expires_ms, revoked_ms"
#: Parts of one message may come over two processes at once; the locks are taken in order, so that nobody waits in a ring.
_LOCK = (
    "select pg_advisory_xact_lock(hashtextextended(name, 0))"
    " from (select distinct unnest($1::text[]) as name order by 1) as names"
)


async def by_name(connection: Session, name: str) -> list[StoredKey]:
    """Keys that are not revoked and whose id ends so. A read."""
    found = await connection.fetch(
        f"select {_KEY} from keys where right(id, 15) = $1 and revoked_ms is null limit 8", name
    )
    return [
        StoredKey(
            id=row[0], project=row[1], name=row[2], mode=row[3], scopes=msgspec.json.decode(row[4]), hash=row[5],
            hint=row[6], created_ms=row[7], expires_ms=row[8], revoked_ms=row[9],
        )
        for row in found
    ]  # fmt: skip


async def good(connection: Session, wanted: list[str], now_ms: int) -> set[str]:
    """Those that are neither revoked nor expired. A read."""
    found = await connection.fetch(
        "select id from keys where id = any($1::text[]) and revoked_ms is null"
        " and (expires_ms is null or expires_ms > $2)",
        wanted,
        now_ms,
    )
    return {str(row[0]) for row in found}


async def open(connection: Session, items: list[tuple[str, str, int]]) -> list[None]:
    """(key, project, now_ms): a cursor at the end of the log, if the key has none."""
    last = await log.bound(connection) - 1  # what is committed behind it happened at the same time: it is heard of
    for key, project, now_ms in sorted(items):
        await connection.execute(
            "insert into smpp_customers (key, project, cursor, created_ms) values ($1, $2, $3, $4)"
            " on conflict (key) do nothing",
            key,
            project,
            last,
            now_ms,
        )
    return [None] * len(items)


async def take_over(connection: Session, items: list[None]) -> list[None]:
    """Other processes may be at work on this database: their leases end by themselves."""
    return [None] * len(items)


async def claim(connection: Session, items: list[tuple[str, str, int, int]]) -> list[int | None]:
    """(key, owner, now_ms, until_ms) → the cursor, or None while another process has the key."""
    answers: list[int | None] = []
    for key, owner, now_ms, until_ms in items:
        answers.append(
            await connection.fetchval(
                "update smpp_customers set owner = $2, until_ms = $4"
                " where key = $1 and (owner in ('', $2) or until_ms <= $3) returning cursor",
                key,
                owner,
                now_ms,
                until_ms,
            )
        )
    return answers


async def save(connection: Session, items: list[tuple[str, str, int, int]]) -> list[bool]:
    """(key, owner, cursor, until_ms; 0: the key is given back) → whether the key was this owner's."""
    answers: list[bool] = []
    for key, owner, cursor, until_ms in items:
        done = await connection.fetchval(
            "update smpp_customers set cursor = greatest(cursor, $3::bigint), until_ms = $4::bigint,"
            " owner = case when $4::bigint = 0 then '' else owner end where key = $1 and owner = $2 returning 1",
            key,
            owner,
            cursor,
            until_ms,
        )
        answers.append(done is not None)
    return answers


async def keep_parts(connection: Session, items: list[PartRow]) -> list[KeptPart]:
    """Stores parts, and closes what is complete or was left unfinished."""
    await connection.execute(_LOCK, [f"smpp {item.key} {item.grp}" for item in items])
    return [await _keep(connection, item) for item in items]


async def _keep(connection: Session, item: PartRow) -> KeptPart:
    there = await connection.fetch(
        "select whole, part, id, content from smpp_parts where key = $1 and grp = $2 and not closed order by part",
        item.key,
        item.grp,
    )
    same = next((row for row in there if row[1] == item.part), None)
    if same is not None and same[3] == item.content:
        return KeptPart(str(same[2]))
    cut = None
    if same is not None:  # another message under the same reference
        cut = str(same[0])
        await close(connection, [cut])
        there = []
    whole = str(there[0][0]) if there else item.id
    await connection.execute(
        "insert into smpp_parts values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, false, null)",
        item.project, item.id, item.key, whole, item.grp, item.total, item.part, item.content, item.key_id, item.sealed,
        item.received_ms,
    )  # fmt: skip
    if len(there) + 1 < item.total:
        return KeptPart(item.id, None, cut)
    await close(connection, [whole])
    return KeptPart(item.id, whole, cut)


async def close(connection: Session, items: list[str]) -> list[None]:
    """Nothing more is waited for."""
    for whole in items:
        await connection.execute("update smpp_parts set closed = true where whole = $1", whole)
    return [None] * len(items)


async def parts_of(connection: Session, whole: str) -> list[StoredPart]:
    """The parts that there are, in order. A read."""
    found = await connection.fetch(
        "select project, key, id, part, key_id, sealed, received_ms from smpp_parts where whole = $1 order by part",
        whole,
    )
    return [StoredPart(*row) for row in found]


async def unsent(connection: Session, before_ms: int, limit: int) -> list[str]:
    """Wholes that are not accepted yet: complete, or with a part that came before. A read."""
    found = await connection.fetch(
        "select whole from smpp_parts where message is null and (closed or received_ms < $1)"
        " group by whole order by min(received_ms) limit $2",
        before_ms,
        limit,
    )
    return [str(row[0]) for row in found]


async def sent(connection: Session, items: list[tuple[str, str]]) -> list[None]:
    """(whole, message): its parts belong to this message; what they said is there, and is forgotten here."""
    for whole, message in items:
        await connection.execute(
            "update smpp_parts set message = $2, closed = true, sealed = '' where whole = $1", whole, message
        )
    return [None] * len(items)


async def message_of(connection: Session, project: str, part: str) -> str | None:
    """The message of a part's id, WAITING or GIVEN_UP; None if there is no such part. A read."""
    found: str | None = await connection.fetchval(
        "select coalesce(message, '') from smpp_parts where project = $1 and id = $2", project, part
    )
    return found


async def purge(connection: Session, items: list[int]) -> list[None]:
    """Forgets parts of accepted messages that came before."""
    await connection.execute("delete from smpp_parts where received_ms < $1 and message is not null", max(items))
    return [None] * len(items)
