"""What a device's acknowledgement is about."""

from tidings.store.acks import AckedAttempt, acked
from tidings.store.postgres.session import Session

_FIND = """
select message, provider, status, to_hash, user_ref, created_ms, refs::text from attempts
where project = $1 and id = $2 and channel = 'push'"""


async def find(session: Session, project: str, attempt: str) -> AckedAttempt | None:
    """The attempt of a push message. A read."""
    row = await session.fetchrow(_FIND, project, attempt)
    return None if row is None else acked(tuple(row))
