"""Reading messages and attempts back, with their personal data unsealed."""

import msgspec

from tidings.domain.view import StoredAttempt, StoredMessage
from tidings.kit.secrets import KeyRing
from tidings.store.postgres.session import Session
from tidings.store.sealed import COLUMNS, JOIN, stored

_MESSAGES = f"select {COLUMNS} from messages m {JOIN} where m.project = $1 and m.id = any($2::text[])"
_ATTEMPTS = """
select id, message, n, provider, status, parts, created_ms, sent_ms, ended_ms, error, cost, channel
from attempts
where project = $1 and message = any($2::text[]) order by message, n"""


async def load(session: Session, ring: KeyRing, project: str, ids: list[str]) -> dict[str, StoredMessage]:
    """The messages of `project` with these ids; missing ones are absent."""
    return {row[1]: stored(ring, tuple(row)) for row in await session.fetch(_MESSAGES, project, ids)}


async def attempts(session: Session, project: str, ids: list[str]) -> list[StoredAttempt]:
    """All attempts of these messages, in order."""
    return [
        StoredAttempt(
            id=row[0], message=row[1], n=row[2], provider=row[3], status=row[4], parts=row[5], created_ms=row[6],
            sent_ms=row[7], ended_ms=row[8], error=msgspec.json.decode(row[9]) if row[9] else None, cost=row[10],
            channel=row[11],
        )
        for row in await session.fetch(_ATTEMPTS, project, ids)
    ]  # fmt: skip


async def with_attempts(
    session: Session, ring: KeyRing, project: str, message: str
) -> tuple[StoredMessage | None, list[StoredAttempt]]:
    """One message with its attempts. A read."""
    found = await load(session, ring, project, [message])
    return found.get(message), await attempts(session, project, [message])
