"""What owning a place means in this process: the provider's links are open and jobs are leased for it, or a duty runs."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Protocol

from tidings.delivery.dispatch import Dispatcher
from tidings.delivery.fleet import Fleet
from tidings.kit.limits import DRAIN_S
from tidings.store.owners import DUTY, Place


class Duty(Protocol):
    """Work that one process at a time does."""

    async def start(self) -> None:
        """Begins in the background. Raises StoreError."""
        ...

    async def stop(self) -> None:
        """Ends; may be started again."""
        ...


class Keeper:
    """Implements `ownership.Taker`. `drain_s`: how long answers are waited for."""

    def __init__(self, fleet: Fleet, dispatcher: Dispatcher, duties: Mapping[str, Duty]) -> None:
        self._fleet, self._dispatcher, self.duties = fleet, dispatcher, dict(duties)
        self.drain_s = DRAIN_S
        self._held: dict[str, tuple[Place, int]] = {}
        self._locks: dict[Place, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def take(self, place: Place, epoch: int) -> None:
        """See `Taker`."""
        async with self._locks[place]:
            if place.slot == DUTY:
                await self.duties[place.name].start()
                return
            self._held[place.name] = (place, epoch)
            await self._open(place, epoch)

    async def drop(self, place: Place, *, drain: bool) -> None:
        """See `Taker`."""
        if not drain and place.slot != DUTY:  # whoever drains it is not waited for
            self._held.pop(place.name, None)
            await self._close(place.name, 0)
        async with self._locks[place]:
            if place.slot == DUTY:
                await self.duties[place.name].stop()
                return
            self._held.pop(place.name, None)
            await self._close(place.name, self.drain_s if drain else 0)

    async def renew(self) -> None:
        """Starts those anew that were changed, or resumed, by an operator. Raises SettingsError."""
        for name, (place, epoch) in list(self._held.items()):
            member, spec = self._fleet.member(name), self._fleet.spec(name)
            if spec is None or spec.paused or (member is not None and member.spec == spec):
                continue
            async with self._locks[place]:
                await self._close(name, self.drain_s)
                if self._held.get(name) == (place, epoch):
                    await self._open(place, epoch)

    async def _open(self, place: Place, epoch: int) -> None:
        member = await self._fleet.start(place.name, place.slot)
        if member is not None:
            self._dispatcher.join(member, epoch)

    async def _close(self, name: str, drain_s: float) -> None:
        await self._dispatcher.leave(name, drain=drain_s > 0)
        await self._fleet.stop(name, drain_s)
