"""Routes as an operator sees them: those of `tidings.toml`, read-only, and a project's own, made over the API."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from tidings.delivery.fleet import Fleet
from tidings.delivery.roster import Roster
from tidings.delivery.router import Router
from tidings.domain.channel import CHANNELS
from tidings.domain.errors import Conflict, FieldError, IdempotencyReused, InvalidRequest, NotFound, RequestError
from tidings.kit.clock import Clock, rfc3339
from tidings.kit.ids import new_id
from tidings.kit.limits import ROUTES
from tidings.routing.route import Route, missing, problems
from tidings.store.accounts import Claim
from tidings.store.routes import NewRoute, RouteRow
from tidings.store.store import Store

_decode = msgspec.json.Decoder(Route).decode


class RouteAdmin:
    """What may be done with routes. `changed`: reads them anew here, and tells the other processes."""

    def __init__(
        self, store: Store, fleet: Fleet, roster: Roster, router: Router, changed: Callable[[], Awaitable[None]],
        now: Clock,
    ) -> None:  # fmt: skip
        self._store, self._fleet, self._roster, self._router = store, fleet, roster, router
        self._changed, self._now = changed, now

    async def list(self, project: str) -> Sequence[dict[str, Any]]:
        """Views of all that may decide for this project's messages, by name. Raises StoreError."""
        shares = self._router.shares()
        declared = [_view(route, f"rte_{route.name}", "config", None, shares) for route in self._roster.routes()]
        own = [
            _view(_decode(row.route), row.id, "api", row, shares)
            for row in await self._store.routes.load()
            if row.project == project
        ]
        return sorted([*declared, *own], key=lambda view: (str(view["name"]), str(view["id"])))

    async def get(self, project: str, id: str) -> dict[str, Any]:
        """One view, by id or name. Raises NotFound, StoreError."""
        views = await self.list(project)
        for view in [*(v for v in views if v["id"] == id), *(v for v in views if v["name"] == id)]:
            return view
        raise NotFound(f"there is no route {id!r}")

    async def create(self, project: str, route: Route, claim: Claim | None, id: str) -> tuple[dict[str, Any], bool]:
        """Checks and stores it under this id; whether an earlier request did. Raises RequestError, StoreError."""
        self._check(project, route)
        at_ms = self._now()
        row = _row(project, id, route, at_ms, at_ms)
        kind, found = await self._store.routes.create(NewRoute(row=row, most=ROUTES, claim=claim))
        if kind in ("taken", "full", "reused"):
            raise _refusal(kind, route.name)
        await self._changed()
        return await self.get(project, found), kind == "replay"

    async def change(self, project: str, id: str, route: Route) -> dict[str, Any]:
        """Puts this one in its place. Raises NotFound, Conflict, InvalidRequest, StoreError."""
        view = await self._own(project, id)
        self._check(project, route)
        row = _row(project, str(view["id"]), route, 0, self._now())
        answer = await self._store.routes.change(row)
        if answer == "taken":
            raise _refusal(answer, route.name)
        if answer == "gone":
            raise NotFound(f"there is no route {id!r}")
        await self._changed()
        return await self.get(project, row.id)

    async def delete(self, project: str, id: str) -> None:
        """Removes it; what waits is routed by the others. Raises NotFound, Conflict, StoreError."""
        view = await self._own(project, id)
        if not await self._store.routes.delete(project, str(view["id"])):
            raise NotFound(f"there is no route {id!r}")
        await self._changed()

    def _check(self, project: str, route: Route) -> None:
        providers = [spec.name for spec in self._fleet.specs() if spec.project in ("", project)]
        found: list[FieldError] = [*problems(route), *missing(route, list(CHANNELS), providers)]
        if found:
            raise InvalidRequest("the route cannot be used", errors=tuple(found))

    async def _own(self, project: str, id: str) -> dict[str, Any]:
        view = await self.get(project, id)
        if view["origin"] != "api":
            raise Conflict(f"{view['name']} is declared in tidings.toml and read-only here", code="read_only")
        return view


def new_route_id() -> str:
    """For a route to be made."""
    return new_id("rte")


def _refusal(kind: str, name: str) -> RequestError:
    if kind == "taken":
        return Conflict(
            f"the project has a route {name!r} already; choose another name, or change that one", code="name_taken"
        )
    if kind == "full":
        detail = f"a project may have {ROUTES} routes; one route may name many destinations in `to`"
        return Conflict(detail, code="too_many")
    return IdempotencyReused("this Idempotency-Key was used with another request; use a new key for a new request")


def _row(project: str, id: str, route: Route, created_ms: int, updated_ms: int) -> RouteRow:
    return RouteRow(
        project=project, id=id, name=route.name, route=msgspec.json.encode(route).decode(), created_ms=created_ms,
        updated_ms=updated_ms,
    )  # fmt: skip


def _view(route: Route, id: str, origin: str, row: RouteRow | None, shares: Any) -> dict[str, Any]:
    view: dict[str, Any] = {"id": id, "origin": origin, **msgspec.to_builtins(route)}
    for target in view["targets"]:
        target["share"] = shares.get(target["provider"], 1.0)
    view["created_at"] = rfc3339(row.created_ms) if row is not None else None
    view["updated_at"] = rfc3339(row.updated_ms) if row is not None else None
    return view
