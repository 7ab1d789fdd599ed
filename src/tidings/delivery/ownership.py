"""Which places (`store/owners.py`) this worker owns: taken when free, shared out fairly, given up before anybody else may.

A node lives as long as its beats reach the store. Its own term is counted from the START of its last beat and is over
`_EARLY` before the end; others count from the moment at which they first SAW that beat, and bury it after a whole term. Both
by the monotonic clock: so two owners never hold a bind at once, whatever wall clocks do. The epoch fences the rest.
"""

import asyncio
import contextlib
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final, Protocol

from tidings.bus.contract import Bus
from tidings.domain.errors import SettingsError, StoreError
from tidings.kit.clock import Clock
from tidings.store.owners import DUTY, Alive, Hold, NodeRow, Owned, Ownership, Place

_log = logging.getLogger(__name__)
_EARLY: Final = 1 / 4  # of the term: links are down before another may open them
_TURN: Final = 1 / 12  # of the term: ten beats may be lost
_WAIT: Final = 1 / 3  # of the term, for one turn; the store may be away for longer
TOPIC: Final = "places"


class Taker(Protocol):
    """Who does what owning means: links and leases, or a duty."""

    async def take(self, place: Place, epoch: int) -> None:
        """It is ours under this epoch. Raises StoreError, SettingsError: then it is given back."""
        ...

    async def drop(self, place: Place, *, drain: bool) -> None:
        """Lease no more, close the links; `drain`: wait for answers first, it is ours until this returns.

        May be called without `drain` while it drains: then it is ours no longer."""
        ...


def to_take(node: str, nodes: Collection[str], wanted: Mapping[str, int], owned: Mapping[Place, str]) -> list[Place]:
    """The free places that this node should take now: at most one of a provider, and their part for those who have less.

    Where all who could take a place have their part already, the poorest of them does: `to_give` shares out anew.
    `wanted`: how many places there are of each name (a duty: 0). Pure.
    """
    count = Counter(dict.fromkeys((*nodes, node), 0))
    count.update(owned.values())
    most = _most(nodes, wanted)
    taken: list[Place] = []
    for name in sorted(wanted):
        place = next((place for place in _places(name, wanted[name]) if place not in owned), None)
        holders = {of for place, of in owned.items() if place.name == name}
        if place is None or node in holders:
            continue
        able = [one for one in count if one not in holders]
        poorest = min(able, key=lambda one: (count[one], one))
        if count[node] < most or poorest == node:
            taken.append(place)
            count[node] += 1
    return taken


def to_give(node: str, nodes: Collection[str], wanted: Mapping[str, int], owned: Mapping[Place, str]) -> Place | None:
    """One place that this node should give up: it has two more than somebody who could take it, and nobody has more. Pure."""
    count = dict.fromkeys(sorted({*nodes, node}), 0)
    for of in owned.values():
        count[of] = count.get(of, 0) + 1
    poorest = min(count, key=lambda one: (count[one], one))
    richest = min(one for one in count if count[one] == max(count.values()))
    if richest != node or count[node] - count[poorest] < 2:
        return None
    of_poorest = {place.name for place, of in owned.items() if of == poorest}
    for name, slots in wanted.items():  # first what is free is shared out
        if name not in of_poorest and any(place not in owned for place in _places(name, slots)):
            return None
    return max((place for place, of in owned.items() if of == node and place.name not in of_poorest), default=None)


def _places(name: str, slots: int) -> list[Place]:
    return [Place(name, slot) for slot in range(slots)] if slots else [Place(name, DUTY)]


def _most(nodes: Collection[str], wanted: Mapping[str, int]) -> int:
    """A fair share: of a name with many places no more count than there are nodes to take them."""
    there = max(1, len(nodes))
    return math.ceil(sum(min(max(1, slots), there) for slots in wanted.values()) / there)


class Keeping(Protocol):
    """Decides what this process owns: `Owner` among others, `Only` alone."""

    async def start(self) -> None:
        """Takes what is free. Raises StoreError."""
        ...

    async def changed(self) -> None:
        """Something else is wanted now. Raises StoreError, SettingsError."""
        ...

    def holds(self) -> bool:
        """Whether what this process took is surely still its own."""
        ...

    async def stop(self) -> None:
        """Drains the binds and gives them back."""
        ...

    async def leave(self) -> None:
        """After what came of `stop` is stored: gives back the rest."""
        ...


class Only:
    """The only process there is: everything that is wanted is its own, at once."""

    def __init__(
        self, acquire: Callable[[str], Awaitable[int]], taker: Taker, wanted: Callable[[], Mapping[str, int]]
    ) -> None:
        self._acquire, self._taker, self._wanted = acquire, taker, wanted
        self._mine: list[Place] = []

    async def start(self) -> None:
        """See `Keeping`. Raises SettingsError as well."""
        await self.changed()

    async def changed(self) -> None:
        """See `Keeping`. What is wanted runs when this returns, and what is not has drained."""
        wanted = [place for name, slots in self._wanted().items() for place in _places(name, min(slots, 1))]
        for place in [place for place in self._mine if place not in wanted]:
            self._mine.remove(place)
            await self._taker.drop(place, drain=True)
        for place in [place for place in wanted if place not in self._mine]:
            epoch = 0 if place.slot == DUTY else await self._acquire(place.name)
            await self._taker.take(place, epoch)
            self._mine.append(place)

    def holds(self) -> bool:
        """See `Keeping`."""
        return True

    async def stop(self) -> None:
        """See `Keeping`."""
        await self._drop([place for place in self._mine if place.slot != DUTY])

    async def leave(self) -> None:
        """See `Keeping`."""
        await self._drop(list(self._mine))

    async def _drop(self, places: list[Place]) -> None:
        self._mine = [place for place in self._mine if place not in places]
        await asyncio.gather(*(self._taker.drop(place, drain=True) for place in places))


class Owner:
    """One node's part in sharing out. `turn` and `guard` are run by `run`; tests run them by hand."""

    def __init__(
        self, store: Ownership, bus: Bus, node: str, home: str, taker: Taker, wanted: Callable[[], Mapping[str, int]],
        term_s: float, now: Clock, monotonic: Callable[[], float],
    ) -> None:  # fmt: skip
        self._store, self._bus, self.node, self._home, self._taker, self._wanted = store, bus, node, home, taker, wanted
        self._term_s, self._now, self._monotonic = term_s, now, monotonic
        self._mine: dict[Place, int] = {}
        self._leaving: set[Place] = set()
        self._beaten_s: float | None = None  # the start of the last beat that reached the store
        self._seen: dict[str, tuple[int, float]] = {}  # node → its stamp, and when it was first seen here
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()

    def mine(self) -> dict[Place, int]:
        """What is owned, with its epoch."""
        return dict(self._mine)

    async def start(self) -> None:
        """Enters, and takes what is free; goes on in the background. Raises StoreError."""
        self._bell = self._bus.subscribe(TOPIC)
        await self.turn()
        for step in (self._turn_safely, self.guard):
            self._spawn(self._forever(step))

    async def changed(self) -> None:
        """See `Keeping`: the next turn is at once, and does not wait for anybody's drain."""
        self._bell.ring()

    async def stop(self) -> None:
        """Drains and gives back all binds, at once; it is beaten meanwhile, as draining may outlast the term."""
        self._stopping = True
        await asyncio.gather(*(self._hand_back(place) for place in list(self._mine) if place.slot != DUTY))

    async def leave(self) -> None:
        """After `stop`, and after what came of it is stored: the others need not wait for the end of the term."""
        await asyncio.gather(*(self._hand_back(place) for place in list(self._mine)))
        for task in list(self._tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._bus.unsubscribe(TOPIC, self._bell)
        try:
            await self._store.leave(self.node, self._now())
        except StoreError as error:
            _log.warning("the other workers take over when the term ends: %s", error)
        self._bus.ring(TOPIC)

    async def turn(self) -> None:
        """Says that this node is alive; looks who is not; drops what is wanted no more, takes and gives. Raises StoreError."""
        await self._beat()
        nodes, rows = await self._store.survey()
        alive = await self._alive(nodes)
        if self._stopping:
            return
        wanted = self._wanted()
        for place in [place for place in self._mine if place not in _places(place.name, wanted.get(place.name, -1))]:
            self._give(place)
        owned = {
            place: of for place, of in _owned(rows, alive, wanted).items() if of != self.node or place in self._mine
        }
        for place in to_take(self.node, alive, wanted, owned):
            await self._take(place)
        surplus = to_give(self.node, alive, wanted, owned)
        if surplus is not None and surplus in self._mine:
            self._give(surplus)

    def holds(self) -> bool:
        """See `Keeping`. False sooner than `guard` acts where the process was frozen: timers and sockets may come first."""
        return self._beaten_s is not None and self._monotonic() - self._beaten_s < self._term_s * (1 - _EARLY)

    async def guard(self) -> None:
        """Drops everything where no beat has reached the store in time. Never waits for the store."""
        if self._beaten_s is not None and not self.holds():
            self._beaten_s = None
            if self._mine:
                _log.error("all binds are given up: this node could not say that it lives")
            await self._lose()

    # -- inside

    async def _beat(self) -> None:
        began_s = self._monotonic()
        if self._beaten_s is None or not await self._store.beat(self.node, self._now()):
            if self._mine:
                _log.error("this node was taken for dead; it begins anew")
            await self._lose()
            freed = await self._store.enter(NodeRow(self.node, self._home, self._now()))
            if freed:
                _log.warning("%d jobs of the process before are due", freed)
            self._bus.ring(TOPIC)
        self._beaten_s = began_s

    async def _alive(self, nodes: Sequence[Alive]) -> list[str]:
        """Those that still beat; the others are buried once they have been watched for a whole term."""
        now_s, alive = self._monotonic(), list[str]()
        self._seen = {node.node: self._since(node, now_s) for node in nodes}
        for node in nodes:
            if node.node == self.node or now_s - self._seen[node.node][1] < self._term_s:
                alive.append(node.node)
            elif await self._store.bury(node, self._now()):
                _log.warning("node %s is dead: its binds are free, its jobs are due", node.node)
                self._bus.ring(TOPIC)
        return alive

    def _since(self, node: Alive, now_s: float) -> tuple[int, float]:
        before = self._seen.get(node.node)
        return before if before is not None and before[0] == node.stamp else (node.stamp, now_s)

    async def _take(self, place: Place) -> None:
        epoch = await self._store.acquire(place, self.node)
        if not epoch:
            return
        self._mine[place] = epoch
        try:
            await self._taker.take(place, epoch)
        except (StoreError, SettingsError) as error:
            _log.error("%s cannot be started here: %s", place.name, error)
            await self._hand_back(place)

    def _give(self, place: Place) -> None:
        """In the background: draining takes longer than a turn may."""
        if place not in self._leaving:
            self._spawn(self._hand_back(place))

    async def _hand_back(self, place: Place) -> None:
        if place in self._leaving:
            return
        self._leaving.add(place)
        try:
            await self._taker.drop(place, drain=True)
            epoch = self._mine.pop(place, None)
            if epoch is not None:
                await self._store.release(Hold(place, self.node, epoch))
        except StoreError as error:
            _log.warning("%s is free only when this node ends: %s", place.name, error)
        finally:
            self._leaving.discard(place)
            self._bus.ring(TOPIC)

    async def _lose(self) -> None:
        lost, self._mine = list(self._mine), {}
        await asyncio.gather(*(self._taker.drop(place, drain=False) for place in lost))

    async def _forever(self, step: Callable[[], Awaitable[None]]) -> None:
        bell = self._bell if step == self._turn_safely else None
        while True:
            if bell is None:
                await asyncio.sleep(self._term_s * _TURN)
            elif await bell.wait(self._term_s * _TURN):
                await asyncio.sleep(self._term_s * _TURN / 10)  # many rings are one
            await step()

    async def _turn_safely(self) -> None:
        try:
            async with asyncio.timeout(self._term_s * _WAIT):
                await self.turn()
        except (StoreError, TimeoutError) as error:
            _log.warning("the ownership of binds cannot be looked after: %s", str(error) or "time-out")

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("the owner of binds failed", exc_info=task.exception())


def _owned(rows: Sequence[Owned], alive: Collection[str], wanted: Mapping[str, int]) -> dict[Place, str]:
    return {
        row.place: row.node for row in rows
        if row.node in alive and row.place in _places(row.place.name, wanted.get(row.place.name, -1))
    }  # fmt: skip
