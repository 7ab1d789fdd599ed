"""`/v1/providers`: the ways to carriers, and the state of their links."""

from typing import Annotated, Any

import msgspec
from litestar import Response, Router
from litestar.params import FromPath
from msgspec import Meta

from tidings.domain.errors import NotFound
from tidings.http.paging import decode_cursor, page
from tidings.http.route import (
    Call,
    answer,
    body_of,
    claim_of,
    no_content,
    query_of,
    route,
    services,
    settle_claim,
)  # fmt: skip
from tidings.http.v1.inbound import ListQuery
from tidings.http.views import ProviderView


class ProviderRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A provider to be declared. `config` holds the keys of its type (see docs), as in `tidings.toml`."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
    type: Annotated[str, Meta(pattern=r"^[a-z_]{1,32}\.[a-z0-9_]{1,32}$", examples=["sms.smpp"])]
    config: dict[str, Any] = {}


class ProviderPage(msgspec.Struct, frozen=True, kw_only=True):
    """Providers that the project may use, by name."""

    data: list[ProviderView]
    next_cursor: str | None


@route(
    "GET",
    "/v1/providers",
    scope="providers:read",
    summary="List providers",
    query=ListQuery,
    answers={200: ProviderPage},
)
async def list_providers(request: Call) -> Response[bytes]:
    """One page."""
    asked = query_of(request, ListQuery)
    after = decode_cursor(asked.cursor) or ""
    found = [view for view in await services(request).providers.list(request.auth.project) if str(view["name"]) > after]
    return answer(page(found[: asked.limit + 1], asked.limit, [str(view["name"]) for view in found]))


@route(
    "POST", "/v1/providers", scope="providers:write", summary="Declare a provider", body=ProviderRequest,
    answers={201: ProviderView}, problems=(409, 422, 507), idempotent=True,
    description="For this project only. Secrets are stored sealed and never shown again.",
)  # fmt: skip
async def create_provider(request: Call) -> Response[bytes]:
    """Stores and starts it."""
    wanted, back, project = await body_of(request, ProviderRequest), services(request), request.auth.project
    claim = await claim_of(request, wanted.name)
    if claim is not None:
        name, replayed = settle_claim(await back.store.keys.claim(claim))
        if replayed:
            try:
                return answer(await back.providers.get(project, name), 201, replayed=True)
            except NotFound:
                pass  # the first request claimed the key and got no further: this one goes on
    return answer(await back.providers.create(project, msgspec.to_builtins(wanted)), 201)


@route(
    "GET", "/v1/providers/{provider_id:str}", scope="providers:read", summary="Read a provider",
    answers={200: ProviderView}, problems=(404,), description="By id or by name.",
)  # fmt: skip
async def read_provider(request: Call, provider_id: FromPath[str]) -> Response[bytes]:
    """One of them."""
    return answer(await services(request).providers.get(request.auth.project, provider_id))


@route(
    "DELETE", "/v1/providers/{provider_id:str}", scope="providers:write", summary="Remove a provider",
    answers={204: None}, problems=(404, 409), description="Drains it first. What waits for it goes to another one.",
)  # fmt: skip
async def delete_provider(request: Call, provider_id: FromPath[str]) -> Response[bytes]:
    """Only those declared over the API."""
    await services(request).providers.delete(request.auth.project, provider_id)
    return no_content()


@route(
    "POST", "/v1/providers/{provider_id:str}/pause", scope="providers:write", summary="Pause a provider",
    answers={200: ProviderView}, problems=(404, 409, 422), description="Pausing twice is the same as once.",
)  # fmt: skip
async def pause_provider(request: Call, provider_id: FromPath[str]) -> Response[bytes]:
    """It drains, and gets nothing more."""
    return answer(await services(request).providers.pause(request.auth.project, provider_id))


@route(
    "POST", "/v1/providers/{provider_id:str}/resume", scope="providers:write", summary="Resume a provider",
    answers={200: ProviderView}, problems=(404, 409, 422), description="Also after a refused password.",
)  # fmt: skip
async def resume_provider(request: Call, provider_id: FromPath[str]) -> Response[bytes]:
    """It gets messages again."""
    return answer(await services(request).providers.resume(request.auth.project, provider_id))


router = Router(
    "/",
    route_handlers=[
        list_providers, create_provider, read_provider, delete_provider, pause_provider, resume_provider,
    ],
)  # fmt: skip
