"""What a carrier does beside carrying messages: its approved templates, its files, and read marks for people."""

from typing import Annotated, Any, TypeVar

import msgspec
from litestar import Response, Router
from litestar.params import FromPath
from msgspec import Meta

from tidings.channels.errands import ErrandFailed, ReadMarker, TemplateLister, TemplateStatus, Uploader
from tidings.domain.errors import Conflict, NotFound
from tidings.http import paging
from tidings.http.body import invalid
from tidings.http.problem import field_error
from tidings.http.route import Call, answer, body_of, no_content, query_of, route, services
from tidings.http.v1.inbound import ListQuery

_Able = TypeVar("_Able")


class TemplatePage(msgspec.Struct, frozen=True, kw_only=True):
    """The carrier's templates, as it has them now, by name and language."""

    data: list[TemplateStatus]
    next_cursor: str | None


class MediaRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file for the carrier to keep. `data`: base64."""

    media_type: Annotated[str, Meta(pattern=r"^[a-z]+/[a-z0-9.+-]+$", max_length=127, examples=["image/png"])]
    data: bytes


class MediaView(msgspec.Struct, frozen=True, kw_only=True):
    """The carrier's id of a file, to be named in a content (`image.id`)."""

    id: str
    media_type: str
    size: int


@route(
    "GET", "/v1/providers/{provider_id:str}/templates", scope="providers:read", summary="List a carrier's templates",
    answers={200: TemplatePage}, problems=(404, 409), query=ListQuery,
    description="With the state of their approval. 409 if the carrier has none, or cannot be asked now.",
)  # fmt: skip
async def list_templates(request: Call, provider_id: FromPath[str]) -> Response[bytes]:
    """Asked of the carrier at this moment."""
    asked = query_of(request, ListQuery)
    lister = await _able(request, provider_id, TemplateLister, "lists no templates")
    try:
        found = sorted(await lister.templates(), key=lambda item: (item.name, item.language))
    except ErrandFailed as error:
        raise Conflict(str(error), code="carrier_refused") from error
    start = paging.decode_number(asked.cursor) or 0
    shown = found[start : start + asked.limit + 1]
    return answer(paging.page(shown, asked.limit, [str(start + n + 1) for n in range(len(shown))]))


@route(
    "POST", "/v1/providers/{provider_id:str}/media", scope="messages:write", summary="Upload a file to a carrier",
    body=MediaRequest, answers={201: MediaView}, problems=(404, 409, 413, 422),
    description="For a message that names it by `id`. WhatsApp keeps it for 30 days.",
)  # fmt: skip
async def upload_media(request: Call, provider_id: FromPath[str]) -> Response[bytes]:
    """Each call makes a file of its own."""
    uploader = await _able(request, provider_id, Uploader, "keeps no files")
    file = await body_of(request, MediaRequest)
    problem = uploader.upload_problem(file.media_type, len(file.data))
    if problem is not None:
        raise invalid([field_error("/media_type", "unsupported", problem)])
    try:
        made = await uploader.upload(file.media_type, file.data)
    except ErrandFailed as error:
        raise Conflict(str(error), code="carrier_refused") from error
    return answer(MediaView(id=made, media_type=file.media_type, size=len(file.data)), 201)


@route(
    "POST", "/v1/inbound/{inbound_id:str}/read", scope="messages:write", summary="Mark an inbound message as read",
    answers={204: None}, problems=(404, 409),
    description="The person sees that it, and all they wrote before it, was read. Marking twice is the same as once.",
)  # fmt: skip
async def mark_read(request: Call, inbound_id: FromPath[str]) -> Response[bytes]:
    """Over the provider that it came by."""
    back, project = services(request), request.auth.project
    found = (await back.store.lists.inbound_by_id(back.ring, project, [inbound_id])).get(inbound_id)
    if found is None:
        raise NotFound("there is no such inbound message in this project")
    marker = await _able(request, found.provider, ReadMarker, "cannot mark messages as read")
    ref = (found.content or {}).get("ref")
    if not isinstance(ref, str):
        raise Conflict("the carrier gave this message no id", code="not_supported")
    try:
        await marker.mark_read(ref)
    except ErrandFailed as error:
        raise Conflict(str(error), code="carrier_refused") from error
    return no_content()


async def _able(request: Call, provider_id: str, kind: type[_Able], not_able: str) -> _Able:
    """The provider, if this project may use it and its carrier does such things. Raises NotFound, Conflict."""
    back = services(request)
    name = str((await back.providers.get(request.auth.project, provider_id))["name"])
    found: Any = back.callbacks.taker(name) if back.callbacks is not None else None
    if not isinstance(found, kind):
        raise Conflict(f"provider {name!r} {not_able}", code="not_supported")
    return found


router = Router("/", route_handlers=[list_templates, upload_media, mark_read])
