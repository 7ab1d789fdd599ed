"""Who owns what: a provider's binds, or a duty that one process at a time has. Rows of `provider_leases`, slot 0."""

import msgspec

from tidings.store.engine import Aggregate


class Claim(msgspec.Struct, frozen=True, array_like=True):
    """`node` wants to own `name` until `until_ms`, if it is free, its owner's term is over, or it is this node's already."""

    name: str
    node: str
    now_ms: int
    until_ms: int


class Hold(msgspec.Struct, frozen=True, array_like=True):
    """`node` owns `name` under `epoch`. `until_ms`: the new end of its term, or the time at which it is given back."""

    name: str
    node: str
    epoch: int
    until_ms: int


class Owned(msgspec.Struct, frozen=True):
    """One row: nobody's if `node` is empty."""

    name: str
    node: str
    epoch: int
    until_ms: int


class Ownership(Aggregate):
    """Conditional everywhere: what another owns, or owns by now, is never touched."""

    module = "ownership"

    async def acquire(self, item: Claim) -> int:
        """The epoch, one more than the owner before had; 0 while another owns it."""
        return (await self._engine.write(self._sql.acquire, [item]))[0]

    async def renew(self, items: list[Hold]) -> list[bool]:
        """Which of them are still owned under that epoch, and now are until `until_ms`."""
        return await self._engine.write(self._sql.renew, items)

    async def release(self, items: list[Hold]) -> list[bool]:
        """Gives back what is still owned under that epoch; says which."""
        return await self._engine.write(self._sql.release, items)

    async def beat(self, node: str, now_ms: int, until_ms: int) -> None:
        """The node is alive until then; nodes whose time is over are forgotten. `until_ms` 0: it leaves."""
        await self._engine.write(self._sql.beat, [(node, now_ms, until_ms)])

    async def survey(self, now_ms: int) -> tuple[list[str], list[Owned]]:
        """The nodes alive, and all rows, both in order."""
        return await self._engine.read(lambda c: self._sql.survey(c, now_ms))
