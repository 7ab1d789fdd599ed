"""The delivery path put together: everything between `accept` and the carriers, in one object that starts and stops."""

import asyncio
import contextlib
import random
import time
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from tidings.bus.contract import Bus
from tidings.bus.local import LocalBus
from tidings.channels.callback import CallbackTaker
from tidings.channels.contract import Link, ProviderSpec
from tidings.delivery.accept import Acceptor
from tidings.delivery.acks import Acks
from tidings.delivery.control import Control
from tidings.delivery.dispatch import Dispatcher
from tidings.delivery.fallback import Fallback
from tidings.delivery.fleet import Fleet
from tidings.delivery.inquire import Inquiry
from tidings.delivery.keeper import Duty, Keeper
from tidings.delivery.linkboard import LinkBoard
from tidings.delivery.ownership import Keeping, Only, Owner
from tidings.delivery.providers import ProviderAdmin
from tidings.delivery.receive import Receiver
from tidings.delivery.roster import TOPIC, Roster, Strays, forever
from tidings.delivery.router import Router
from tidings.delivery.routes import RouteAdmin
from tidings.delivery.settle import UnknownWait
from tidings.delivery.sweep import Sweeper
from tidings.delivery.timekeeper import Timekeeper
from tidings.delivery.watch import Watch
from tidings.domain.attempt import CarrierReceipt, InboundPart, Outcome
from tidings.kit.clock import Clock, SteadyClock, wall_ms
from tidings.kit.limits import DRAIN_S, LINKS_S, OWNER_TERM_S, UNKNOWN_WAIT_OTP_S, UNKNOWN_WAIT_S
from tidings.kit.secrets import KeyRing
from tidings.routing.pace import Limit
from tidings.routing.route import Route
from tidings.store.store import Store

DEFAULT_WAIT = UnknownWait(UNKNOWN_WAIT_OTP_S, UNKNOWN_WAIT_S)
_FOR_EVER_MS: Final = 10**12


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What a process does where there are others. `delivers`: it may own binds and duties. `home`: see `owners.NodeRow`."""

    delivers: bool = True
    home: str = ""
    term_s: float = OWNER_TERM_S


class Node:
    """Implements the providers' `Sink`. The store is open, migrated and started."""

    def __init__(
        self,
        store: Store,
        ring: KeyRing,
        *,
        now: Clock = wall_ms,
        wait: UnknownWait = DEFAULT_WAIT,
        rng: random.Random | None = None,
        bus: Bus | None = None,
        part: Part | None = None,
        duties: Mapping[str, Duty] | None = None,
    ) -> None:
        """`bus`: without one, or with one that is `alone`, there is no other process. `duties`: beside sweeping."""
        self.store, self.ring, self.now = store, ring, now
        self.bus: Bus = bus or LocalBus()
        part = part or Part()
        self.fleet, self.router = Fleet(self), Router()
        router = self.router
        self.dispatcher = Dispatcher(store, ring, self.bus, router, now, wait, rng or random.Random())
        self.acceptor = Acceptor(store, ring, self.dispatcher, now)
        self.control = Control(store, ring, self.fleet, router, now)
        self.receiver = Receiver(store, ring)
        self.acks = Acks(store, ring, self.received)
        self.watch = Watch(
            store, self.fleet, router, self.dispatcher, now, lambda: self.bus.ring_others(TOPIC), time.monotonic
        )  # fmt: skip
        self.dispatcher.observer = self.watch
        roster = self._roster = Roster(store, ring, self.fleet, self.bus, router, self.watch)
        self._strays = Strays(roster, time.monotonic)
        inquiry = Inquiry(store, self.fleet, self.received)
        fallback = Fallback(store, ring, self.dispatcher.hint, self.dispatcher.wake, now)
        sweeper = Sweeper(store, self.receiver, inquiry, self.bus, now, self._strays, fallback, self.dispatcher.wake)
        self._keeper = Keeper(self.fleet, self.dispatcher, {"sweep": sweeper, **(duties or {})})
        self._owner = self._owner_of(part)
        self._links = LinkBoard(store.ownership, self.fleet, self.dispatcher.node, now)
        board = None if self.bus.alone else self._links
        self.providers = ProviderAdmin(store, ring, self.fleet, roster, board, self._changed, self.watch.view, now)
        self.routes = RouteAdmin(store, self.fleet, roster, router, self._rerouted, now)
        self._timekeeper = Timekeeper(store.clock, now) if isinstance(now, SteadyClock) else None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(
        self, specs: list[ProviderSpec], routes: Sequence[Route] = (), limits: Sequence[Limit] = ()
    ) -> None:
        """Opens the links that are this process's own, begins to deliver. Raises SettingsError, StoreError."""
        if self._timekeeper is not None:
            await self._timekeeper.start()
            self._tasks.append(asyncio.create_task(self._timekeeper.run(), name="time"))
        await self.dispatcher.start()
        self.router.know_limits(limits)
        await self._roster.start(specs, routes)
        if self._owner is not None:
            await self._owner.start()
            self._tasks.append(asyncio.create_task(self.watch.run(), name="health"))
        if not self.bus.alone:
            self._tasks.append(asyncio.create_task(self._roster.follow(self._apply), name="providers"))
            if self._owner is not None:
                self._tasks.append(asyncio.create_task(forever(self._links.turn, LINKS_S), name="links"))

    async def stop(self, drain_s: float = DRAIN_S) -> None:
        """Leases nothing more, waits for the carriers' answers, settles them, hands its binds over."""
        self.dispatcher.drain()
        self._keeper.drain_s = drain_s
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._owner is not None:
            await self._owner.stop()
        await self.dispatcher.stop()
        if self._owner is not None:
            await self._owner.leave()

    def taker(self, provider: str) -> CallbackTaker | None:
        """Who reads the callbacks of this provider's carrier."""
        return self.fleet.taker(provider)

    # -- who owns what

    def _owner_of(self, part: Part) -> Keeping | None:
        if self.bus.alone:
            return Only(self._acquire, self._keeper, self._wanted)
        if not part.delivers:
            return None
        return Owner(
            self.store.ownership, self.bus, self.dispatcher.node, part.home, self._keeper, self._wanted, part.term_s,
            self.now, time.monotonic,
        )  # fmt: skip

    def _wanted(self) -> dict[str, int]:
        return {**self._roster.wanted(), **dict.fromkeys(self._keeper.duties, 0)}

    async def _acquire(self, provider: str) -> int:
        return await self.store.attempts.acquire(provider, self.dispatcher.node, self.now() + _FOR_EVER_MS)

    async def _changed(self) -> None:
        """An operator did something with a provider in this process."""
        await self._roster.refresh()
        await self._apply()
        self.bus.ring_others(TOPIC)

    async def _rerouted(self) -> None:
        """An operator changed a route in this process."""
        await self._roster.reread()
        self.bus.ring_others(TOPIC)

    async def _apply(self) -> None:
        self._strays.changed()
        await self._keeper.renew()
        if self._owner is not None:
            await self._owner.changed()
        self.dispatcher.wake("")

    # -- channels.contract.Sink

    def outcomes(self, provider: str, batch: Sequence[Outcome]) -> None:
        """See `Sink`."""
        self.dispatcher.outcomes(provider, batch)

    async def received(self, provider: str, receipts: Sequence[CarrierReceipt], inbound: Sequence[InboundPart]) -> None:
        """See `Sink`."""
        if receipts and provider in self.router.rivals:
            self.watch.receipts(provider, receipts)
        await self.receiver.received(self.fleet.project(provider), receipts, inbound)
        self.bus.ring("events")

    def ready(self, provider: str) -> None:
        """See `Sink`."""
        self.dispatcher.ready(provider)

    def holds(self, provider: str) -> bool:
        """See `Sink`."""
        return self._owner is not None and self._owner.holds()

    def link_changed(self, provider: str, link: Link) -> None:
        """See `Sink`."""
        if link.state == "up":
            self.dispatcher.wake_here(provider)
