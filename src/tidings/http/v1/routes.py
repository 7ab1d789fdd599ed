"""`/v1/routes`: which provider carries what."""

from typing import Annotated, Literal

import msgspec
from litestar import Response, Router
from litestar.params import FromPath
from msgspec import Meta

from tidings.delivery.routes import new_route_id
from tidings.domain.message import Lane
from tidings.http.paging import decode_cursor, page
from tidings.http.route import Call, answer, body_of, claim_of, no_content, query_of, route, services
from tidings.http.v1.inbound import ListQuery
from tidings.http.views import View
from tidings.routing.route import Need, Prefer, Route, problems


class TargetView(View, frozen=True, kw_only=True):
    """A provider of a route. `share`: of the messages that are its own, how many it gets now; less than 1 where its
    carrier is not well."""

    provider: str
    weight: float
    cost_per_part: float | None
    share: float


class RouteView(View, frozen=True, kw_only=True):
    """A route. Those of `config` origin (`tidings.toml`) are read-only and hold for every project."""

    id: Annotated[str, Meta(examples=["rte_0193b1a2c3d47e5f8a9b0c1d2e3f4a5b"])]
    name: str
    origin: Literal["config", "api"]
    priority: int
    channels: list[str]
    to: list[str]
    lanes: list[Lane] = msgspec.field(name="class")
    tags: list[str]
    senders: list[str] = msgspec.field(name="from")
    needs: list[Need]
    prefer: Prefer
    no_receipt_s: float
    targets: list[TargetView]
    created_at: str | None
    updated_at: str | None


class RoutePage(msgspec.Struct, frozen=True, kw_only=True):
    """Routes that may decide for the project's messages, by name."""

    data: list[RouteView]
    next_cursor: str | None


_FIRST = (
    "Of the routes that fit a message the first one decides: the project's own before those of the server, by `priority`"
    " (lowest first), then by the longest prefix of `to` that fits, then by name. Without a route every provider of the"
    " channel may carry it: the first one by name does, the others stand by."
)
_SPARE = {"name": "spare", "targets": [{"provider": "spare"}]}


@route(
    "GET", "/v1/routes", scope="routes:read", summary="List routes", query=ListQuery, answers={200: RoutePage},
    description=_FIRST,
)  # fmt: skip
async def list_routes(request: Call) -> Response[bytes]:
    """One page."""
    asked = query_of(request, ListQuery)
    after = decode_cursor(asked.cursor) or ""
    found = await services(request).routes.list(request.auth.project)
    rest = [view for view in found if f"{view['name']} {view['id']}" > after]
    return answer(page(rest[: asked.limit + 1], asked.limit, [f"{view['name']} {view['id']}" for view in rest]))


@route(
    "POST", "/v1/routes", scope="routes:write", summary="Make a route", body=Route, answers={201: RouteView},
    problems=(409, 422, 507), idempotent=True, description="For this project. It holds for the next message on.",
)  # fmt: skip
async def create_route(request: Call) -> Response[bytes]:
    """Checks and stores it."""
    wanted, id = await body_of(request, Route, problems, _SPARE), new_route_id()
    claim = await claim_of(request, id)
    made, replayed = await services(request).routes.create(request.auth.project, wanted, claim, id)
    return answer(made, 201, replayed=replayed)


@route(
    "GET", "/v1/routes/{route_id:str}", scope="routes:read", summary="Read a route", answers={200: RouteView},
    problems=(404,), description="By id or by name.",
)  # fmt: skip
async def read_route(request: Call, route_id: FromPath[str]) -> Response[bytes]:
    """One of them."""
    return answer(await services(request).routes.get(request.auth.project, route_id))


@route(
    "PUT", "/v1/routes/{route_id:str}", scope="routes:write", summary="Change a route", body=Route,
    answers={200: RouteView}, problems=(404, 409, 422, 507), description="The whole of it is replaced.",
)  # fmt: skip
async def change_route(request: Call, route_id: FromPath[str]) -> Response[bytes]:
    """Only those made over the API."""
    wanted = await body_of(request, Route, problems, _SPARE)
    return answer(await services(request).routes.change(request.auth.project, route_id, wanted))


@route(
    "DELETE", "/v1/routes/{route_id:str}", scope="routes:write", summary="Remove a route", answers={204: None},
    problems=(404, 409), description="What waits is routed by the others.",
)  # fmt: skip
async def delete_route(request: Call, route_id: FromPath[str]) -> Response[bytes]:
    """Only those made over the API."""
    await services(request).routes.delete(request.auth.project, route_id)
    return no_content()


router = Router("/", route_handlers=[list_routes, create_route, read_route, change_route, delete_route])
