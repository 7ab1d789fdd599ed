"""Which providers this worker owns: taken when free, renewed in time, shared out fairly, given up before the term ends.

A term is counted here from the START of the call that got it, by the monotonic clock, and is over `_EARLY` of it before the
store lets another one in: so two owners never hold a bind at once, whatever their clocks say. The epoch fences the rest.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, Protocol

import msgspec

from tidings.domain.errors import StoreError
from tidings.kit.clock import Clock
from tidings.store.owners import Claim, Hold, Owned, Ownership

_log = logging.getLogger(__name__)
_RENEW: Final = 1 / 3  # of the term
_EARLY: Final = 1 / 6  # of the term: links are down before another may open them
_TURN: Final = 1 / 12  # of the term


class Taker(Protocol):
    """Who does what owning means: links, leases, a duty."""

    async def take(self, name: str, epoch: int) -> None:
        """It is ours under this epoch."""
        ...

    async def drop(self, name: str, *, drain: bool) -> None:
        """Lease no more, close the links; `drain`: wait for answers first, it is still ours until this returns.

        May be called without `drain` while it drains: then the term is over."""
        ...


def to_take(node: str, nodes: Sequence[str], wanted: Collection[str], rows: Sequence[Owned], now_ms: int) -> list[str]:
    """The free ones that this node should take now: it leaves their part to those who have less. Pure."""
    owner = _owners(wanted, rows, now_ms)
    free = sorted(name for name in wanted if name not in owner)
    most = math.ceil(len(wanted) / max(1, len({*nodes, node})))
    room = most - sum(of == node for of in owner.values())
    return free[: max(0, room)]


def to_give(node: str, nodes: Sequence[str], wanted: Collection[str], rows: Sequence[Owned], now_ms: int) -> str | None:
    """One that this node should give up: it has two more than somebody else, and nobody has more. Pure."""
    owner = _owners(wanted, rows, now_ms)
    count = {one: sum(of == one for of in owner.values()) for one in {*nodes, node}}
    if len(owner) < len(wanted):  # first what is free is shared out
        return None
    richest = min(one for one in count if count[one] == max(count.values()))
    if richest != node or count[node] - min(count.values()) < 2:
        return None
    return max(name for name, of in owner.items() if of == node)


def _owners(wanted: Collection[str], rows: Sequence[Owned], now_ms: int) -> dict[str, str]:
    return {row.name: row.node for row in rows if row.name in wanted and row.node and row.until_ms > now_ms}


class _Mine(msgspec.Struct):
    epoch: int
    since_s: float  # the start of the call that got or renewed it


class Owner:
    """One node's part. `turn` and `guard` are run by `run`; tests run them by hand."""

    def __init__(
        self, store: Ownership, node: str, taker: Taker, wanted: Callable[[], Collection[str]], term_s: float, now: Clock,
        monotonic: Callable[[], float],
    ) -> None:  # fmt: skip
        self._store, self.node, self._taker, self._wanted = store, node, taker, wanted
        self._term_s, self._now, self._monotonic = term_s, now, monotonic
        self._mine: dict[str, _Mine] = {}
        self._leaving: set[str] = set()
        self._group: asyncio.TaskGroup | None = (
            None  # draining takes longer than a turn may: renewing goes on meanwhile
        )

    def mine(self) -> dict[str, int]:
        """What is owned, with its epoch."""
        return {name: held.epoch for name, held in self._mine.items()}

    async def run(self) -> None:
        """Until cancelled. The guard never waits for the store."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self._forever(self._turn_safely))
            group.create_task(self._forever(self.guard))

    async def _forever(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            await step()
            await asyncio.sleep(self._term_s * _TURN)

    async def _turn_safely(self) -> None:
        try:
            async with asyncio.timeout(self._term_s * _RENEW):
                await self.turn()
        except (StoreError, TimeoutError) as error:
            _log.warning("the ownership of providers cannot be looked after: %s", error or "time-out")

    async def turn(self) -> None:
        """Says that this node is alive, renews, drops what is wanted no more, takes and gives. Raises StoreError."""
        now_ms = self._now()
        await self._store.beat(self.node, now_ms, self._until(now_ms))
        await self._renew()
        wanted = self._wanted()
        for name in [name for name in self._mine if name not in wanted]:
            await self._give(name)
        nodes, rows = await self._store.survey(now_ms)
        for name in to_take(self.node, nodes, wanted, rows, now_ms):
            await self._take(name)
        surplus = to_give(self.node, nodes, wanted, rows, now_ms)
        if surplus is not None and surplus in self._mine:
            await self._give(surplus)

    async def guard(self) -> None:
        """Drops what could not be renewed in time."""
        last_s = self._monotonic() - self._term_s * (1 - _EARLY)
        for name in [name for name, held in self._mine.items() if held.since_s <= last_s]:
            del self._mine[name]
            _log.error("provider %s is given up: its ownership could not be renewed", name)
            await self._taker.drop(name, drain=False)

    async def stop(self) -> None:
        """Drains and gives back everything, so that others need not wait for the end of the term."""
        self._group = None
        await asyncio.gather(*(self._give(name) for name in list(self._mine)))
        with contextlib.suppress(StoreError):
            await self._store.beat(self.node, self._now(), 0)

    def _until(self, now_ms: int) -> int:
        return now_ms + int(self._term_s * 1000)

    async def _renew(self) -> None:
        began_s, until_ms = self._monotonic(), self._until(self._now())
        due = [name for name, held in self._mine.items() if began_s - held.since_s >= self._term_s * _RENEW]
        kept = await self._store.renew([Hold(name, self.node, self._mine[name].epoch, until_ms) for name in due])
        for name, ours in zip(due, kept, strict=True):
            held = self._mine.get(name)
            if held is None:  # the guard was faster
                continue
            if ours:
                held.since_s = began_s
            else:
                del self._mine[name]
                await self._taker.drop(name, drain=False)

    async def _take(self, name: str) -> None:
        began_s, now_ms = self._monotonic(), self._now()
        epoch = await self._store.acquire(Claim(name, self.node, now_ms, self._until(now_ms)))
        if epoch:
            self._mine[name] = _Mine(epoch, began_s)
            await self._taker.take(name, epoch)

    async def _give(self, name: str) -> None:
        if name in self._leaving:
            return
        self._leaving.add(name)
        if self._group is None:
            await self._hand_back(name)
        else:
            self._group.create_task(self._hand_back(name))

    async def _hand_back(self, name: str) -> None:
        try:
            await self._taker.drop(name, drain=True)
            held = self._mine.pop(name, None)
            if held is not None:
                await self._store.release([Hold(name, self.node, held.epoch, self._now())])
        except StoreError as error:
            _log.warning("provider %s is free only when its term ends: %s", name, error)
        finally:
            self._leaving.discard(name)
