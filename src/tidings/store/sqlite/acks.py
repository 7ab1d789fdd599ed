"""What a device's acknowledgement is about."""

from tidings.store.acks import AckedAttempt, acked
from tidings.store.sqlite.link import Connection

_FIND = """
select message, provider, status, to_hash, user_ref, created_ms, refs from attempts
where project = ? and id = ? and channel = 'push'"""


def find(connection: Connection, project: str, attempt: str) -> AckedAttempt | None:
    """The attempt of a push message. A read."""
    row = connection.execute(_FIND, (project, attempt)).fetchone()
    return None if row is None else acked(tuple(row))
