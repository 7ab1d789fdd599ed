"""What the SMPP server for customers keeps: who may bind, how far each key's receipts went, parts of long messages."""

import msgspec

from tidings.store.accounts import StoredKey
from tidings.store.engine import Aggregate

#: What stands in place of the message of a part: it is not complete yet, or was refused for good.
WAITING = ""
GIVEN_UP = "-"


class PartRow(msgspec.Struct, frozen=True, kw_only=True):
    """A part that came. `grp`: keyed hash of what its siblings share; `content`: hash of all that it says."""

    project: str
    id: str
    key: str
    grp: str
    total: int
    part: int
    content: str
    key_id: str
    sealed: str
    received_ms: int


class KeptPart(msgspec.Struct, frozen=True):
    """The id that the part is answered with: that of its first copy. `whole`: set by the part that completes it.

    `cut`: the parts of a message that was never completed and whose reference is used again.
    """

    id: str
    whole: str | None = None
    cut: str | None = None


class StoredPart(msgspec.Struct, frozen=True):
    """One part of a whole, in order."""

    project: str
    key: str
    id: str
    part: int
    key_id: str
    sealed: str
    received_ms: int


class Customers(Aggregate):
    """Operations of the SMPP server for customers."""

    module = "smppd"

    async def by_name(self, name: str) -> list[StoredKey]:
        """The keys that bind under this system_id and are not revoked: one, but for a rare coincidence."""
        return await self._engine.read(lambda c: self._sql.by_name(c, name))

    async def good(self, keys: list[str], now_ms: int) -> set[str]:
        """Those of these keys that are neither revoked nor expired."""
        return await self._engine.read(lambda c: self._sql.good(c, keys, now_ms))

    async def open(self, key: str, project: str, now_ms: int) -> None:
        """Makes the key's cursor at its first bind: it hears of what happens from now on."""
        await self._engine.write(self._sql.open, [(key, project, now_ms)])

    async def take_over(self) -> None:
        """At the start of an only process: every lease of the one before is over now."""
        await self._engine.write(self._sql.take_over, [None])

    async def claim(self, key: str, owner: str, now_ms: int, until_ms: int) -> int | None:
        """The key's cursor, if `owner` delivers to it from now on; None while another process does."""
        return (await self._engine.write(self._sql.claim, [(key, owner, now_ms, until_ms)]))[0]

    async def save(self, key: str, owner: str, cursor: int, until_ms: int) -> bool:
        """Writes the cursor with a longer lease (0: gives it back). False: another process has the key now."""
        return (await self._engine.write(self._sql.save, [(key, owner, cursor, until_ms)]))[0]

    async def keep_parts(self, items: list[PartRow]) -> list[KeptPart]:
        """Stores parts. One that came before, with the same content, is not stored twice."""
        return await self._engine.write(self._sql.keep_parts, items)

    async def close(self, wholes: list[str]) -> None:
        """Nothing more is waited for."""
        await self._engine.write(self._sql.close, wholes)

    async def parts_of(self, whole: str) -> list[StoredPart]:
        """The parts that there are, in order."""
        return await self._engine.read(lambda c: self._sql.parts_of(c, whole))

    async def unsent(self, before_ms: int, limit: int) -> list[str]:
        """Wholes that are not accepted yet: complete, or with a part that came before `before_ms`."""
        return await self._engine.read(lambda c: self._sql.unsent(c, before_ms, limit))

    async def sent(self, whole: str, message: str) -> None:
        """Its parts belong to this message (or GIVEN_UP)."""
        await self._engine.write(self._sql.sent, [(whole, message)])

    async def message_of(self, project: str, part: str) -> str | None:
        """The message of a part's id, or WAITING, or GIVEN_UP; None if there is no such part."""
        return await self._engine.read(lambda c: self._sql.message_of(c, project, part))

    async def purge(self, before_ms: int) -> None:
        """Forgets parts of accepted messages that came before."""
        await self._engine.write(self._sql.purge, [before_ms])
