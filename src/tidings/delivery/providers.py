"""Providers declared over the API: stored sealed, added to the running fleet, paused, resumed, drained and removed."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from tidings.channels import registry
from tidings.channels.contract import ProviderSpec
from tidings.delivery.dispatch import Dispatcher
from tidings.delivery.fleet import Fleet, Member
from tidings.domain.errors import Conflict, FieldError, InvalidRequest, NotFound, SettingsError
from tidings.kit.clock import Clock, rfc3339
from tidings.kit.ids import new_id
from tidings.kit.limits import DRAIN_S
from tidings.kit.secrets import KeyRing
from tidings.store.store import Store

_SECRETS = ("password", "secret", "token", "key")


Views = list[dict[str, Any]]


class ProviderAdmin:
    """What an operator may do with providers. A project sees its own and the shared ones, and changes its own."""

    def __init__(self, store: Store, ring: KeyRing, fleet: Fleet, dispatcher: Dispatcher, now: Clock) -> None:
        self._store, self._ring, self._fleet, self._dispatcher, self._now = store, ring, fleet, dispatcher, now
        self._lock = asyncio.Lock()

    async def start(self, declared: Sequence[ProviderSpec]) -> None:
        """Starts what is declared, and what the store holds."""
        paused = await self._store.providers.paused()
        stored = await self._store.providers.load()
        for spec in [*declared, *(self._spec(row) for row in stored)]:
            await self._add(msgspec.structs.replace(spec, paused=spec.name in paused))

    async def list(self, project: str) -> "Views":
        """Views of all that this project may use."""
        return self._visible(project)

    async def get(self, project: str, id: str) -> dict[str, Any]:
        """One view, by name or id. Raises NotFound."""
        return self._find(project, id)

    async def create(self, project: str, spec: dict[str, Any]) -> dict[str, Any]:
        """Checks, stores and starts it: `{"name", "type", "config"}`. Raises InvalidRequest, Conflict."""
        name, kind, config = str(spec["name"]), str(spec["type"]), dict[str, Any](spec.get("config") or {})
        async with self._lock:
            if any(name == view["name"] for view in self._everything()):
                raise Conflict(f"the provider name {name!r} is taken; choose another", code="name_taken")
            wanted = ProviderSpec(name=name, type=kind, config=config, origin="api", project=project, id=new_id("prv"))
            try:
                registry.check(wanted)
            except SettingsError as error:
                field = FieldError(pointer="/config", code="invalid_config", detail=str(error))
                raise InvalidRequest("the provider's configuration is wrong", errors=(field,)) from error
            sealed = self._ring.seal(msgspec.json.encode(config), wanted.id)
            row = (project, wanted.id, name, kind, self._ring.current, sealed, self._now())
            await self._store.providers.insert(row)
            await self._add(wanted)
        return self._find(project, name)

    async def delete(self, project: str, id: str) -> None:
        """Drains and removes it; what waits for it goes to another. Raises NotFound, Conflict."""
        view = self._own(project, id)
        async with self._lock:
            await self._store.providers.delete(project, str(view["id"]), str(view["name"]))
            await self._remove(str(view["name"]))
        self._dispatcher.wake("")

    async def pause(self, project: str, id: str) -> dict[str, Any]:
        """Drains and stops it; messages wait or go elsewhere. Raises NotFound, Conflict."""
        view = self._own(project, id)
        async with self._lock:
            await self._store.providers.set_paused(str(view["name"]), True)
            spec = await self._remove(str(view["name"]))
            if spec is not None:
                await self._fleet.add(msgspec.structs.replace(spec, paused=True))
        return self._find(project, str(view["name"]))

    async def resume(self, project: str, id: str) -> dict[str, Any]:
        """Starts it again, also after a refused password. Raises NotFound, Conflict."""
        view = self._own(project, id)
        async with self._lock:
            await self._store.providers.set_paused(str(view["name"]), False)
            spec = await self._remove(str(view["name"]))
            if spec is not None:
                await self._add(msgspec.structs.replace(spec, paused=False))
        self._dispatcher.wake("")
        return self._find(project, str(view["name"]))

    def _visible(self, project: str) -> "Views":
        running = [self._view(member) for member in self._fleet.members() if member.spec.project in ("", project)]
        paused = [_view(spec, "paused", []) for spec in self._fleet.paused() if spec.project in ("", project)]
        return sorted(running + paused, key=lambda view: str(view["name"]))

    def _find(self, project: str, name: str) -> dict[str, Any]:
        for view in self._visible(project):
            if name in (view["name"], view["id"]):
                return view
        raise NotFound(f"there is no provider {name!r}")

    async def _add(self, spec: ProviderSpec) -> None:
        member = await self._fleet.add(spec)
        if member is not None:
            await self._dispatcher.join(member)

    async def _remove(self, name: str) -> ProviderSpec | None:
        await self._dispatcher.leave(name)
        return await self._fleet.remove(name, DRAIN_S)

    def _own(self, project: str, name: str) -> dict[str, Any]:
        view = self._find(project, name)
        if view["origin"] != "api":
            raise Conflict(
                f"{view['name']} is declared in {_WHERE[view['origin']]} and read-only here", code="read_only"
            )
        return view

    def _everything(self) -> "Views":
        return [self._view(m) for m in self._fleet.members()] + [_view(s, "paused", []) for s in self._fleet.paused()]

    def _spec(self, row: tuple[str, str, str, str, str, str]) -> ProviderSpec:
        project, provider, name, kind, key_id, sealed = row
        config = msgspec.json.decode(self._ring.unseal(sealed, provider, key_id), type=dict[str, Any])
        return ProviderSpec(name=name, type=kind, config=config, origin="api", project=project, id=provider)

    def _view(self, member: Member) -> dict[str, Any]:
        links = member.provider.links()
        states = {link.state for link in links}
        status = "up" if "up" in states else "auth_failed" if states == {"auth_failed"} else "connecting"
        if states == {"backoff"} or states <= {"down", "draining"}:
            status = "down"
        shown = [
            {"kind": link.kind, "state": link.state, "since": rfc3339(link.since_ms), "in_flight": link.in_flight,
             "last_error": link.last_error}
            for link in links
        ]  # fmt: skip
        return _view(member.spec, status, shown)


_WHERE = {"config": "tidings.toml", "sandbox": "the server (the built-in sandbox)"}


def _view(spec: ProviderSpec, status: str, links: list[dict[str, Any]]) -> dict[str, Any]:
    config = {k: "redacted" if any(word in k for word in _SECRETS) else v for k, v in spec.config.items()}
    return {
        "id": spec.id or f"prv_{spec.name}",
        "name": spec.name,
        "type": spec.type,
        "status": status,
        "origin": spec.origin,
        "links": links,
        "config": config,
    }
