"""Which providers there are: declared in the settings, made over the API, or the sandbox; and which ones are paused.

Every process knows all of them, whoever owns their binds: accepting and routing need no link.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from tidings.bus.contract import Bus
from tidings.channels import registry
from tidings.channels.contract import ProviderSpec
from tidings.delivery.fleet import Fleet
from tidings.delivery.router import Router
from tidings.delivery.watch import Watch
from tidings.domain.errors import StoreError
from tidings.kit.limits import ROSTER_S
from tidings.kit.secrets import KeyRing
from tidings.routing.match import Placed
from tidings.routing.route import Route
from tidings.store.chain import NOBODY
from tidings.store.store import Store

_log = logging.getLogger(__name__)
TOPIC: Final = "providers"


class Roster:
    """Keeps the fleet's list as the settings and the store have it."""

    def __init__(
        self, store: Store, ring: KeyRing, fleet: Fleet, bus: Bus, router: Router, watch: Watch
    ) -> None:  # fmt: skip
        self._store, self._ring, self._fleet, self._bus = store, ring, fleet, bus
        self._router, self._watch = router, watch
        self._declared: Sequence[ProviderSpec] = ()
        self._routes: Sequence[Route] = ()

    async def start(self, declared: Sequence[ProviderSpec], routes: Sequence[Route] = ()) -> None:
        """Reads them. Raises SettingsError for a bad configuration, StoreError."""
        if not self._bus.alone:
            for spec in declared:
                registry.check(spec)
        self._declared, self._routes = declared, routes
        await self.refresh()

    async def refresh(self) -> bool:
        """Reads them again; whether anything has changed. Raises StoreError."""
        states = await self._store.providers.states()
        stored = await self._store.providers.load()
        specs: list[ProviderSpec] = []
        for spec in [*self._declared, *(self._spec(row) for row in stored)]:
            paused, generation = states.get(spec.name, (False, 0))
            specs.append(msgspec.structs.replace(spec, paused=paused, generation=generation))
        changed = specs != self._fleet.specs()
        self._fleet.know(specs)
        self._watch.know(await self._store.routes.health())
        await self.reread()
        return changed

    async def reread(self) -> None:
        """Reads the routes again. Raises StoreError."""
        stored = [Placed(row.project, _route(row.route)) for row in await self._store.routes.load()]
        self._router.know(self._fleet.candidates(), [*(Placed("", route) for route in self._routes), *stored])

    def routes(self) -> Sequence[Route]:
        """Those of the settings."""
        return self._routes

    async def follow(self, told: Callable[[], Awaitable[None]]) -> None:
        """Until cancelled: looks when rung and every ROSTER_S, and calls `told` where something has changed."""
        bell = self._bus.subscribe(TOPIC)
        try:
            while True:
                await bell.wait(ROSTER_S)
                try:
                    if await self.refresh():
                        await told()
                except StoreError as error:
                    _log.warning("the list of providers cannot be read: %s", error)
        finally:
            self._bus.unsubscribe(TOPIC, bell)

    def wanted(self) -> dict[str, int]:
        """How many workers may hold binds of each provider that is not paused."""
        specs = [spec for spec in self._fleet.specs() if not spec.paused]
        return {spec.name: 1 if self._bus.alone else registry.slots(spec) for spec in specs}

    async def reroute(self) -> int:
        """Jobs that wait for a provider that is no more wait for any; how many there were. Raises StoreError."""
        return await self._store.providers.reroute([NOBODY, *(spec.name for spec in self._fleet.specs())])

    def _spec(self, row: tuple[str, str, str, str, str, str]) -> ProviderSpec:
        project, provider, name, kind, key_id, sealed = row
        config = msgspec.json.decode(self._ring.unseal(sealed, provider, key_id), type=dict[str, Any])
        return ProviderSpec(name=name, type=kind, config=config, origin="api", project=project, id=provider)


_route = msgspec.json.Decoder(Route).decode


class Strays:
    """A duty of the sweeper: after each change, jobs of providers that are gone are looked for, for a while."""

    def __init__(self, roster: Roster, monotonic: Callable[[], float]) -> None:
        self._roster, self._monotonic = roster, monotonic
        self._until_s = self._next_s = 0.0

    def changed(self) -> None:
        """A process that has not heard of it yet may still route to what is gone."""
        self._until_s = self._monotonic() + 12 * ROSTER_S
        self._next_s = 0.0

    async def turn(self) -> None:
        """A look, where it is time. Raises StoreError."""
        now_s = self._monotonic()
        if self._next_s <= now_s <= self._until_s:
            self._next_s = now_s + 3 * ROSTER_S
            count = await self._roster.reroute()
            if count:
                _log.warning("%d jobs waited for a provider that is gone; they go to any", count)


async def forever(work: Callable[[], Awaitable[None]], every_s: float) -> None:
    """Runs it again and again until cancelled; what fails is told and tried again."""
    while True:
        try:
            await work()
        except StoreError as error:
            _log.warning("%s: %s", getattr(work, "__qualname__", "work"), error)
        await asyncio.sleep(every_s)
