"""`/v1/webhooks`: endpoints, their deliveries, replay, rotation of secrets."""

import datetime as dt
from typing import Annotated, Literal

import msgspec
from litestar import Response, Router
from litestar.params import FromPath
from msgspec import UNSET, Meta, UnsetType

from tidings.domain.request import millis
from tidings.http import paging
from tidings.http.body import invalid
from tidings.http.problem import field_error
from tidings.http.route import Call, answer, body_of, claim_of, no_content, query_of, route, services
from tidings.http.v1.inbound import ListQuery
from tidings.kit.clock import rfc3339

Types = Annotated[list[Annotated[str, Meta(min_length=1, max_length=64)]], Meta(max_length=50)]


class EndpointRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to call, and for which types (none: all)."""

    url: Annotated[str, Meta(min_length=1, max_length=2000, examples=["https://example.com/hook"])]
    types: Types = msgspec.field(default_factory=list[str])
    description: Annotated[str, Meta(max_length=500)] = ""


class EndpointChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to change; what is not given stays."""

    url: Annotated[str, Meta(min_length=1, max_length=2000)] | UnsetType = UNSET
    types: Types | UnsetType = UNSET
    description: Annotated[str, Meta(max_length=500)] | UnsetType = UNSET
    status: Literal["enabled", "disabled"] | UnsetType = UNSET


class ReplayRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From when on every wanted event is sent again."""

    since: dt.datetime


class EndpointView(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint. `status` disabled: nothing is called; `reason` says why, where it was not you."""

    id: str
    url: str
    types: list[str]
    description: str
    status: str
    reason: str | None
    failing_since: dt.datetime | None
    created_at: dt.datetime


class NewEndpointView(EndpointView, frozen=True, kw_only=True):
    """An endpoint with its signing secret, which is in this answer only."""

    secret: str | UnsetType = UNSET


class DeliveryView(msgspec.Struct, frozen=True, kw_only=True):
    """One event's way to an endpoint."""

    id: str
    webhook_id: str
    event_id: str
    type: str
    status: str
    tries: int
    http_status: int | None
    error: str | None
    latency_ms: int | None
    next_try_at: dt.datetime | None
    created_at: dt.datetime
    updated_at: dt.datetime


class EndpointPage(msgspec.Struct, frozen=True, kw_only=True):
    """Endpoints, newest first."""

    data: list[EndpointView]
    next_cursor: str | None


class DeliveryPage(msgspec.Struct, frozen=True, kw_only=True):
    """Deliveries, newest first."""

    data: list[DeliveryView]
    next_cursor: str | None


class ReplayView(msgspec.Struct, frozen=True, kw_only=True):
    """How many events are sent again. `next_since`: there are more; replay again from then on."""

    queued: int
    next_since: dt.datetime | None


@route(
    "POST", "/v1/webhooks", scope="webhooks:write", summary="Make a webhook endpoint", body=EndpointRequest,
    answers={201: NewEndpointView}, problems=(409, 422, 507), idempotent=True,
    description="The signing secret is in this answer only. The endpoint hears of what happens from now on.",
)  # fmt: skip
async def create_endpoint(request: Call) -> Response[bytes]:
    """Makes it."""
    wanted = await body_of(request, EndpointRequest)
    claim = await claim_of(request, "")
    idempotency = (claim.key_hash, claim.body_hash) if claim is not None else None
    made, replayed = await services(request).webhooks.create(
        request.auth.project, wanted.url, wanted.types, wanted.description, idempotency
    )
    return answer(made, 201, replayed=replayed)


@route(
    "GET", "/v1/webhooks", scope="webhooks:read", summary="List webhook endpoints", query=ListQuery,
    answers={200: EndpointPage},
)  # fmt: skip
async def list_endpoints(request: Call) -> Response[bytes]:
    """One page."""
    asked = query_of(request, ListQuery)
    before = paging.decode_cursor(asked.cursor)
    found = await services(request).webhooks.page(request.auth.project, before, asked.limit + 1)
    return answer(paging.page(found, asked.limit, [item["id"] for item in found]))


@route(
    "GET", "/v1/webhooks/{endpoint_id:str}", scope="webhooks:read", summary="Read a webhook endpoint",
    answers={200: EndpointView}, problems=(404,),
)  # fmt: skip
async def get_endpoint(request: Call, endpoint_id: FromPath[str]) -> Response[bytes]:
    """One endpoint, without its secret."""
    return answer(await services(request).webhooks.get(request.auth.project, endpoint_id))


@route(
    "PATCH", "/v1/webhooks/{endpoint_id:str}", scope="webhooks:write", summary="Change a webhook endpoint",
    body=EndpointChange, answers={200: EndpointView}, problems=(404, 422),
)  # fmt: skip
async def update_endpoint(request: Call, endpoint_id: FromPath[str]) -> Response[bytes]:
    """Changes what is given."""
    wanted = await body_of(request, EndpointChange)
    changes = {k: v for k, v in msgspec.structs.asdict(wanted).items() if v is not UNSET}
    return answer(await services(request).webhooks.update(request.auth.project, endpoint_id, changes))


@route(
    "DELETE", "/v1/webhooks/{endpoint_id:str}", scope="webhooks:write", summary="Remove a webhook endpoint",
    answers={204: None}, problems=(404,),
)  # fmt: skip
async def delete_endpoint(request: Call, endpoint_id: FromPath[str]) -> Response[bytes]:
    """Removes it with its deliveries."""
    await services(request).webhooks.delete(request.auth.project, endpoint_id)
    return no_content()


@route(
    "POST", "/v1/webhooks/{endpoint_id:str}/rotate", scope="webhooks:write", summary="Rotate the signing secret",
    answers={200: NewEndpointView}, problems=(404, 409),
    description="Both secrets sign for 24 hours: change yours within that time.",
)  # fmt: skip
async def rotate_secret(request: Call, endpoint_id: FromPath[str]) -> Response[bytes]:
    """A new secret."""
    return answer(await services(request).webhooks.rotate(request.auth.project, endpoint_id))


@route(
    "GET", "/v1/webhooks/{endpoint_id:str}/deliveries", scope="webhooks:read", summary="List deliveries",
    query=ListQuery, answers={200: DeliveryPage}, problems=(404,),
)  # fmt: skip
async def list_deliveries(request: Call, endpoint_id: FromPath[str]) -> Response[bytes]:
    """One page."""
    asked = query_of(request, ListQuery)
    before = paging.decode_cursor(asked.cursor)
    found = await services(request).webhooks.deliveries(request.auth.project, endpoint_id, before, asked.limit + 1)
    return answer(paging.page(found, asked.limit, [item["id"] for item in found]))


@route(
    "GET", "/v1/webhooks/deliveries/{delivery_id:str}", scope="webhooks:read", summary="Read a delivery",
    answers={200: DeliveryView}, problems=(404,),
)  # fmt: skip
async def get_delivery(request: Call, delivery_id: FromPath[str]) -> Response[bytes]:
    """One delivery."""
    return answer(await services(request).webhooks.delivery(request.auth.project, delivery_id))


@route(
    "POST", "/v1/webhooks/deliveries/{delivery_id:str}/replay", scope="webhooks:write", summary="Send a delivery again",
    answers={202: DeliveryView}, problems=(404, 409),
    description="A new delivery of the same event, with the same `webhook-id`.",
)  # fmt: skip
async def replay_delivery(request: Call, delivery_id: FromPath[str]) -> Response[bytes]:
    """Queues it."""
    return answer(await services(request).webhooks.replay(request.auth.project, delivery_id), 202)


@route(
    "POST", "/v1/webhooks/{endpoint_id:str}/replay", scope="webhooks:write", summary="Send events again",
    body=ReplayRequest, answers={202: ReplayView}, problems=(404, 409, 422),
)  # fmt: skip
async def replay_since(request: Call, endpoint_id: FromPath[str]) -> Response[bytes]:
    """Queues every wanted event from a time on."""
    wanted = await body_of(request, ReplayRequest)
    if wanted.since.tzinfo is None:
        raise invalid([field_error("/since", "time_zone", "needs a time zone, for example 2026-11-24T10:00:00Z")])
    since_ms = millis(wanted.since) or 0
    queued, next_ms = await services(request).webhooks.replay_since(request.auth.project, endpoint_id, since_ms)
    return answer({"queued": queued, "next_since": rfc3339(next_ms)}, 202)


router = Router(
    "/",
    route_handlers=[
        create_endpoint, list_endpoints, get_endpoint, update_endpoint, delete_endpoint, rotate_secret, list_deliveries,
        get_delivery, replay_delivery, replay_since,
    ],
)  # fmt: skip
