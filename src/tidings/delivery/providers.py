"""Providers declared over the API: stored sealed; made, paused, resumed and removed in every process."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from tidings.channels import registry
from tidings.channels.contract import Link, ProviderSpec
from tidings.delivery.fleet import Fleet
from tidings.delivery.linkboard import LinkBoard
from tidings.delivery.roster import Roster
from tidings.domain.errors import Conflict, FieldError, InvalidRequest, NotFound, SettingsError
from tidings.kit.clock import Clock, rfc3339
from tidings.kit.ids import new_id
from tidings.kit.secrets import KeyRing
from tidings.store.store import Store

_SECRETS = ("password", "secret", "token", "key")


Views = list[dict[str, Any]]


class ProviderAdmin:
    """What an operator may do with providers. A project sees its own and the shared ones, and changes its own.

    `board`: the links in other processes, None where there are none. `changed`: does here what the store says now, and
    tells the other processes.
    """

    def __init__(
        self, store: Store, ring: KeyRing, fleet: Fleet, roster: Roster, board: LinkBoard | None,
        changed: Callable[[], Awaitable[None]], health: Callable[[], Mapping[str, tuple[float, str]]], now: Clock,
    ) -> None:  # fmt: skip
        """`health`: share and reason of those whose carrier is not well."""
        self._health = health
        self._store, self._ring, self._fleet, self._roster, self._now = store, ring, fleet, roster, now
        self._board, self._changed = board, changed
        self._lock = asyncio.Lock()

    async def list(self, project: str) -> Views:
        """Views of all that this project may use, by name. Raises StoreError."""
        elsewhere: dict[str, list[Link]] = await self._board.read() if self._board is not None else {}
        specs = [spec for spec in self._fleet.specs() if spec.project in ("", project)]
        views = [self._view(spec, elsewhere.get(spec.name, [])) for spec in specs]
        return sorted(views, key=lambda view: str(view["name"]))

    async def get(self, project: str, id: str) -> dict[str, Any]:
        """One view, by name or id. Raises NotFound, StoreError."""
        for view in await self.list(project):
            if id in (view["name"], view["id"]):
                return view
        raise NotFound(f"there is no provider {id!r}")

    async def create(self, project: str, spec: dict[str, Any]) -> dict[str, Any]:
        """Checks, stores and starts it: `{"name", "type", "config"}`. Raises InvalidRequest, Conflict."""
        name, kind, config = str(spec["name"]), str(spec["type"]), dict[str, Any](spec.get("config") or {})
        async with self._lock:
            await self._roster.refresh()
            if self._fleet.spec(name) is not None:
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
            await self._changed()
        return await self.get(project, name)

    async def delete(self, project: str, id: str) -> None:
        """Drains and removes it; what waits for it goes to another. Raises NotFound, Conflict."""
        view = await self._own(project, id)
        async with self._lock:
            await self._store.providers.delete(project, str(view["id"]), str(view["name"]))
            await self._changed()

    async def pause(self, project: str, id: str) -> dict[str, Any]:
        """Drains and stops it; messages wait or go elsewhere. Raises NotFound, Conflict."""
        return await self._set_paused(project, id, True)

    async def resume(self, project: str, id: str) -> dict[str, Any]:
        """Starts it again, also after a refused password. Raises NotFound, Conflict."""
        return await self._set_paused(project, id, False)

    async def _set_paused(self, project: str, id: str, paused: bool) -> dict[str, Any]:
        view = await self._own(project, id)
        async with self._lock:
            await self._store.providers.set_paused(str(view["name"]), paused)
            await self._changed()
        return await self.get(project, str(view["name"]))

    async def _own(self, project: str, name: str) -> dict[str, Any]:
        view = await self.get(project, name)
        if view["origin"] != "api":
            raise Conflict(
                f"{view['name']} is declared in {_WHERE[view['origin']]} and read-only here", code="read_only"
            )
        return view

    def _view(self, spec: ProviderSpec, elsewhere: Sequence[Link]) -> dict[str, Any]:
        if spec.paused:
            return self._whole(spec, "paused", [])
        member = self._fleet.member(spec.name)
        links = [*(member.provider.links() if member is not None else ()), *elsewhere]
        states = {link.state for link in links}
        status = "up" if "up" in states else "auth_failed" if states == {"auth_failed"} else "connecting"
        if states == {"backoff"} or states <= {"down", "draining"}:
            status = "down"
        shown = [
            {"kind": link.kind, "state": link.state, "since": rfc3339(link.since_ms), "in_flight": link.in_flight,
             "last_error": link.last_error}
            for link in links
        ]  # fmt: skip
        return self._whole(spec, status, shown)

    def _whole(self, spec: ProviderSpec, status: str, links: Views) -> dict[str, Any]:
        share, reason = self._health().get(spec.name, (1.0, ""))
        return _view(spec, status, links) | {"share": share, "degraded": reason or None}


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
