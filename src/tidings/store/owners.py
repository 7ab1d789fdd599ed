"""Who owns what: a slot of a provider's binds, or a duty that one process at a time has. Rows of `provider_leases`.

A place belongs to the node that its row names, as long as that node's own row is in `nodes`. No clock is compared: a node's
`stamp` grows with every beat, and who has watched it stand still for a whole term buries the node (`bury`).
"""

from typing import Final, NamedTuple

import msgspec

from tidings.store.engine import Aggregate

#: The slot of a place that is no provider's but a duty.
DUTY: Final = -1


class Place(NamedTuple):
    """What one node at a time owns: slot 0, 1 … of a provider, or a duty (`DUTY`)."""

    name: str
    slot: int = 0


class NodeRow(msgspec.Struct, frozen=True, array_like=True):
    """A process that may own places. `home`: where it was started; there it takes the place of a process before it."""

    node: str
    home: str
    at_ms: int


class Alive(msgspec.Struct, frozen=True):
    """A node that nobody has buried, and how often it has said that it lives."""

    node: str
    stamp: int


class Owned(msgspec.Struct, frozen=True):
    """One row: nobody's if `node` is empty, or not in the list of nodes."""

    place: Place
    node: str
    epoch: int


class Hold(NamedTuple):
    """`node` owns the place under this epoch."""

    place: Place
    node: str
    epoch: int


class LinkReport(msgspec.Struct, frozen=True, array_like=True):
    """The links of a provider's slot as JSON, as the node that owns it sees them."""

    provider: str
    slot: int
    node: str
    links: str
    at_ms: int


class Ownership(Aggregate):
    """Conditional everywhere: what another owns, or owns by now, is never touched."""

    module = "ownership"

    async def enter(self, row: NodeRow) -> int:
        """The node lives; a process before it in the same home is buried. How many jobs of that one are due now."""
        return (await self._engine.write(self._sql.enter, [row]))[0]

    async def beat(self, node: str, at_ms: int) -> bool:
        """The node still lives. False: it was buried, and owns nothing."""
        return (await self._engine.write(self._sql.beat, [(node, at_ms)]))[0]

    async def bury(self, seen: Alive, at_ms: int) -> bool:
        """Whether the node had not beaten since: then its places are free, and the jobs that it had leased are due now."""
        return (await self._engine.write(self._sql.bury, [(seen.node, seen.stamp, at_ms)]))[0]

    async def leave(self, node: str, at_ms: int) -> None:
        """The node ends: as if it were buried."""
        await self._engine.write(self._sql.leave, [(node, at_ms)])

    async def acquire(self, place: Place, node: str) -> int:
        """The epoch, one more than the owner before had; 0 while another owns it, or if `node` was buried."""
        return (await self._engine.write(self._sql.acquire, [(place.name, place.slot, node)]))[0]

    async def release(self, hold: Hold) -> bool:
        """Gives the place back if it is still owned so; says whether it was."""
        return (await self._engine.write(self._sql.release, [(*hold.place, hold.node, hold.epoch)]))[0]

    async def survey(self) -> tuple[list[Alive], list[Owned]]:
        """Nodes and places, both in order."""
        return await self._engine.read(self._sql.survey)

    async def report(self, items: list[LinkReport]) -> None:
        """What the owners of these slots see now."""
        await self._engine.write(self._sql.report, items)

    async def reports(self) -> list[LinkReport]:
        """What living owners see, by provider and slot."""
        return await self._engine.read(self._sql.reports)
