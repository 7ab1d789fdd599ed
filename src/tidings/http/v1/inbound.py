"""`/v1/inbound`: what people sent to us."""

import base64

import msgspec
from litestar import Response, Router
from litestar.params import FromPath

from tidings.domain.errors import NotFound
from tidings.http import paging
from tidings.http.route import Call, answer, query_of, route, services
from tidings.http.v1.messages import Cursor, Limit
from tidings.http.views import InboundView, inbound_view
from tidings.kit.limits import PAGE_DEFAULT


class ListQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which page."""

    limit: Limit = PAGE_DEFAULT
    cursor: Cursor | None = None


class InboundPage(msgspec.Struct, frozen=True, kw_only=True):
    """Inbound messages, newest first."""

    data: list[InboundView]
    next_cursor: str | None


@route(
    "GET", "/v1/inbound", scope="messages:read", summary="List inbound messages", query=ListQuery,
    answers={200: InboundPage},
)  # fmt: skip
async def list_inbound(request: Call) -> Response[bytes]:
    """One page."""
    asked, back = query_of(request, ListQuery), services(request)
    project, before = request.auth.project, paging.decode_cursor(asked.cursor)
    found = await back.store.lists.inbound(back.ring, project, before, asked.limit + 1)
    return answer(paging.page([inbound_view(item) for item in found], asked.limit, [item.id for item in found]))


@route(
    "GET", "/v1/inbound/{inbound_id:str}", scope="messages:read", summary="Read an inbound message",
    answers={200: InboundView}, problems=(404,),
)  # fmt: skip
async def read_inbound(request: Call, inbound_id: FromPath[str]) -> Response[bytes]:
    """One of them."""
    back, project = services(request), request.auth.project
    found = await back.store.lists.inbound_by_id(back.ring, project, [inbound_id])
    if inbound_id not in found:
        raise NotFound("there is no such inbound message in this project")
    return answer(inbound_view(found[inbound_id]))


@route(
    "GET", "/v1/inbound/{inbound_id:str}/attachments/{number:int}", scope="messages:read",
    summary="An attachment of an inbound message", answers={200: bytes}, problems=(404,),
    media="application/octet-stream", description="Its octets. The media type that the sender gave is in the message.",
)  # fmt: skip
async def read_attachment(request: Call, inbound_id: FromPath[str], number: FromPath[int]) -> Response[bytes]:
    """Never as the type that the sender says: a browser shows nothing of it."""
    back, project = services(request), request.auth.project
    found = (await back.store.lists.inbound_by_id(back.ring, project, [inbound_id])).get(inbound_id)
    files: list[dict[str, str]] = (found.content or {}).get("attachments", []) if found is not None else []
    data = files[number].get("data") if 0 <= number < len(files) else None
    if data is None:
        raise NotFound("there is no such attachment in this project")
    headers = {"content-disposition": "attachment", "cache-control": "private, no-store"}
    return Response(base64.b64decode(data), media_type="application/octet-stream", headers=headers)


router = Router("/", route_handlers=[list_inbound, read_inbound, read_attachment])
