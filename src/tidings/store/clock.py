"""What the store knows of time: the last time seen, and everything that waits for a moment relative to it."""

from typing import Final, NamedTuple

from tidings.store.engine import Aggregate, Engine

#: Times from here on are no moments but marks (`NEVER`, held by a restore).
MARKS_MS: Final = 8_000_000_000_000_000
PAGE: Final = 5_000  # jobs of one transaction


class Shift(NamedTuple):
    """Moves what is due after `from_ms` by `by_ms`; jobs page by page, behind (project, message).

    `firm_ms` instead of `from_ms` for leases and waits for a late receipt: what was set by the new clock already stays.
    """

    by_ms: int
    from_ms: int
    firm_ms: int
    project: str
    message: str


class StoreClock(Aggregate):
    """Not for messages that name a time (`send_at`, `valid_until`): those mean the clock, whatever it shows."""

    module = "clock"

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)

    async def server_ms(self) -> int | None:
        """The database server's clock, which all nodes share; None where the database has none of its own."""
        return await self._engine.read(self._sql.server_ms)

    async def seen_ms(self) -> int | None:
        """The last time that was noted."""
        return await self._engine.read(self._sql.seen_ms)

    async def last_id(self) -> str | None:
        """The greatest id of the last events: what is made from now on should sort after it."""
        return await self._engine.read(self._sql.last_id)

    async def note(self, now_ms: int) -> None:
        """It is `now_ms`."""
        await self._engine.write(self._sql.note, [now_ms])

    async def claim(self, old_ms: int, new_ms: int) -> bool:
        """The clock went from `old_ms` to `new_ms`: whether this node is the first to see it, and is to shift."""
        return (await self._engine.write(self._sql.claim, [(old_ms, new_ms)]))[0]

    async def shift(self, by_ms: int, from_ms: int) -> None:
        """Moves retries, waits for a late receipt, leases, calls of webhooks and ends of codes that are due after `from_ms`.

        And waits for the other parts of an inbound message: they count from when a part came. Back, a part that came before
        the jump is one from well ahead of `from_ms`, for there are new ones, too; what is left out waits twice as long.
        """
        firm_ms = from_ms + max(0, -by_ms // 2)
        await self._engine.write(self._sql.shift_deliveries, [(by_ms, from_ms)])
        await self._engine.write(self._sql.shift_parts, [(by_ms, from_ms, firm_ms)])
        last: tuple[str, str] | None = ("", "")
        while last is not None:
            shift = Shift(by_ms, from_ms, firm_ms, *last)
            last = (await self._engine.write(self._sql.shift_jobs, [shift]))[0]
