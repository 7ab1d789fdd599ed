"""Routes, the health of carriers, and waits for a receipt: rows that every engine takes."""

from typing import Any

import msgspec

from tidings.routing.pace import Bucket
from tidings.store.accounts import Claim
from tidings.store.engine import Aggregate

Wanted = tuple[Bucket, ...]  # of one message
Waiting = tuple[str, str, str, int]  # project, message, attempt, due_ms


class RouteRow(msgspec.Struct, frozen=True, kw_only=True):
    """A route made over the API. `route` is its JSON."""

    project: str
    id: str
    name: str
    route: str
    created_ms: int
    updated_ms: int


class NewRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A route to be made. `most`: of the project."""

    row: RouteRow
    most: int
    claim: Claim | None = None


class HealthRow(msgspec.Struct, frozen=True, kw_only=True):
    """What the owner of a place thinks of its carrier: `share` of its traffic that it gets, 0 to 1."""

    provider: str
    slot: int
    share: float
    reason: str
    since_ms: int


class NewHealth(msgspec.Struct, frozen=True, kw_only=True):
    """A change of it. With an `event` (its type), it is told in `project`, or in the first one where that is empty."""

    row: HealthRow
    event: str = ""
    event_id: str = ""
    project: str = ""
    data: str = ""  # JSON


class Routes(Aggregate):
    """Routes, and what routing has to remember."""

    module = "routes"

    async def load(self) -> list[RouteRow]:
        """All of them, by project and id."""
        return await self._engine.read(self._sql.load)

    async def create(self, item: NewRoute) -> tuple[str, str]:
        """("new" | "replay" | "reused" | "taken" | "full", id). `taken`: the project has one of this name."""
        return (await self._engine.write(self._sql.create, [item]))[0]

    async def change(self, row: RouteRow) -> str:
        """`changed`, `gone`, or `taken`: another one of the project has this name."""
        return (await self._engine.write(self._sql.change, [row]))[0]

    async def delete(self, project: str, id: str) -> bool:
        """Whether there was one."""
        return (await self._engine.write(self._sql.delete, [(project, id)]))[0]

    async def health(self) -> list[HealthRow]:
        """Of all places whose carrier is not well."""
        return await self._engine.read(self._sql.health)

    async def note(self, item: NewHealth) -> None:
        """Keeps what is thought of a carrier now, tells it, and frees jobs that wait for one that gets less."""
        await self._engine.write(self._sql.note, [item])

    async def overdue(self, now_ms: int, limit: int) -> list[tuple[str, str]]:
        """Waits that are over: those still without a receipt get a job of kind `again`; (project, message) of these."""
        if not await self._engine.read(lambda c: self._sql.any_wait(c, now_ms)):
            return []
        found: list[Any] = await self._engine.write(self._sql.overdue, [(now_ms, limit)])
        return found[0]

    async def take(self, wanted: list[Wanted], now_ms: int) -> list[int]:
        """For each message: 0, it has taken one of each of its buckets; or when it may try again (ms)."""
        if not wanted:
            return []
        return (await self._engine.write(self._sql.take, [(now_ms, wanted)]))[0]

    async def give_up(self, items: list[tuple[str, str, str]]) -> None:
        """(project, message, owner): no other carrier can take it; the job goes, the message stays as it is."""
        await self._engine.write(self._sql.give_up, items)
