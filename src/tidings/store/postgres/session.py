"""What an operation gets: one transaction."""

from typing import Any

import asyncpg

Row = asyncpg.Record


class HeldBack(Exception):
    """A read found nothing, because what it could give waits for a neighbour's commit: worth another look."""


class Session:
    """A transaction on a connection. `events`: what it will append to the log (project, id, type, message, at_ms, data).

    `final`: a read that must give what it has (see HeldBack).
    """

    __slots__ = ("_raw", "events", "final")

    def __init__(self, raw: "asyncpg.Connection[Any]", *, final: bool = True) -> None:
        self._raw = raw
        self.events: list[tuple[Any, ...]] = []
        self.final = final

    async def fetch(self, sql: str, *values: Any) -> list[Row]:
        """All rows."""
        return await self._raw.fetch(sql, *values)

    async def fetchrow(self, sql: str, *values: Any) -> Row | None:
        """The first row, or None."""
        return await self._raw.fetchrow(sql, *values)

    async def fetchval(self, sql: str, *values: Any) -> Any:
        """The first column of the first row, or None."""
        return await self._raw.fetchval(sql, *values)

    async def execute(self, sql: str, *values: Any) -> int:
        """How many rows a statement touched."""
        word = (await self._raw.execute(sql, *values)).rpartition(" ")[2]
        return int(word) if word.isdigit() else 0
