"""What a device's acknowledgement is about: an attempt, by its id."""

from typing import Any

import msgspec

from tidings.store.engine import Aggregate


class AckedAttempt(msgspec.Struct, frozen=True):
    """An attempt as far as an acknowledgement needs it. `refs`: the service's id of each part, empty where there is none."""

    message: str
    provider: str
    status: str
    to_hash: str
    user_ref: int | None
    created_ms: int
    refs: tuple[str, ...]


def acked(row: tuple[Any, ...]) -> AckedAttempt:
    """The attempt of a row: its columns in the order of the fields, `refs` as JSON or none."""
    message, provider, status, to_hash, user_ref, created_ms, refs = row
    return AckedAttempt(
        message, provider, status, to_hash, user_ref, created_ms, tuple(msgspec.json.decode(refs or "[]"))
    )


class Acks(Aggregate):
    """Attempts that devices acknowledge."""

    module = "acks"

    async def find(self, project: str, attempt: str) -> AckedAttempt | None:
        """The attempt; None if it is not kept any more."""
        return await self._engine.read(lambda c: self._sql.find(c, project, attempt))
