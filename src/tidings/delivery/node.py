"""The delivery path put together: everything between `accept` and the carriers, in one object that starts and stops."""

import asyncio
import contextlib
import random
from collections.abc import Sequence

from tidings.bus.contract import Bus
from tidings.bus.local import LocalBus
from tidings.channels.callback import CallbackTaker
from tidings.channels.contract import Link, ProviderSpec
from tidings.delivery.accept import Acceptor
from tidings.delivery.control import Control
from tidings.delivery.dispatch import Dispatcher
from tidings.delivery.fleet import Fleet
from tidings.delivery.inquire import Inquiry
from tidings.delivery.providers import ProviderAdmin
from tidings.delivery.receive import Receiver
from tidings.delivery.settle import UnknownWait
from tidings.delivery.sweep import Sweeper
from tidings.delivery.timekeeper import Timekeeper
from tidings.domain.attempt import CarrierReceipt, InboundPart, Outcome
from tidings.kit.clock import Clock, SteadyClock, wall_ms
from tidings.kit.limits import DRAIN_S, UNKNOWN_WAIT_OTP_S, UNKNOWN_WAIT_S
from tidings.kit.secrets import KeyRing
from tidings.store.store import Store

DEFAULT_WAIT = UnknownWait(UNKNOWN_WAIT_OTP_S, UNKNOWN_WAIT_S)


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
    ) -> None:
        self.store, self.ring, self.now = store, ring, now
        self.bus: Bus = bus if bus is not None else LocalBus()
        self.fleet = Fleet(self)
        self.dispatcher = Dispatcher(store, ring, self.bus, self.fleet, now, wait, rng or random.Random())
        self.acceptor = Acceptor(store, ring, self.dispatcher, now)
        self.control = Control(store, ring, self.fleet, now)
        self.receiver = Receiver(store, ring)
        self.providers = ProviderAdmin(store, ring, self.fleet, self.dispatcher, now)
        self._sweeper = Sweeper(store, self.receiver, Inquiry(store, self.fleet, self.received), self.bus, now)
        self._timekeeper = Timekeeper(store.clock, now) if isinstance(now, SteadyClock) else None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, specs: list[ProviderSpec]) -> None:
        """Takes over what an earlier process held, opens the links, begins to deliver."""
        if self._timekeeper is not None:
            await self._timekeeper.start()
            self._tasks.append(asyncio.create_task(self._timekeeper.run(), name="time"))
        await self.dispatcher.start()
        await self.providers.start(specs)
        self._tasks.append(asyncio.create_task(self._sweeper.run(), name="sweep"))

    async def stop(self, drain_s: float = DRAIN_S) -> None:
        """Leases nothing more, waits for the carriers' answers, settles them."""
        self.dispatcher.drain()
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.fleet.stop(drain_s)
        await self.dispatcher.stop()

    def taker(self, provider: str) -> CallbackTaker | None:
        """Who reads the callbacks of this provider's carrier."""
        return self.fleet.taker(provider)

    # -- channels.contract.Sink

    def outcomes(self, provider: str, batch: Sequence[Outcome]) -> None:
        """See `Sink`."""
        self.dispatcher.outcomes(provider, batch)

    async def received(self, provider: str, receipts: Sequence[CarrierReceipt], inbound: Sequence[InboundPart]) -> None:
        """See `Sink`."""
        await self.receiver.received(self.fleet.project(provider), receipts, inbound)
        self.bus.ring("events")

    def ready(self, provider: str) -> None:
        """See `Sink`."""
        self.dispatcher.ready(provider)

    def link_changed(self, provider: str, link: Link) -> None:
        """See `Sink`."""
        if link.state == "up":
            self.dispatcher.wake(provider)
