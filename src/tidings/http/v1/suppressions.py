"""`/v1/suppressions`: who must not be written to."""

from typing import Annotated, Literal

import msgspec
from litestar import Response, Router
from msgspec import Meta

from tidings.domain.address import address_key
from tidings.domain.channel import CHANNELS
from tidings.domain.errors import FieldError, NotFound
from tidings.domain.message import Personal
from tidings.http import paging
from tidings.http.body import invalid
from tidings.http.problem import field_error
from tidings.http.route import (
    Call,
    answer,
    body_of,
    claim_of,
    no_content,
    query_of,
    raw_body,
    route,
    services,
    settle_claim,
)  # fmt: skip
from tidings.http.v1.inbound import ListQuery
from tidings.http.views import SuppressionView, suppression_view
from tidings.store.accounts import NewSuppression, Suppression
from tidings.store.accounts import owner as personal_owner
from tidings.store.sealed import encode_personal

Channel = Literal["sms", "email", "whatsapp", "push", "other"]


class SuppressionRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom to suppress, on which channel, and why."""

    to: str
    channel: Channel = "sms"
    reason: Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9_]+$")] = "manual"


class LiftQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom to write to again; given here or as a JSON body."""

    to: str | None = None
    channel: Channel | None = None


class LiftRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom to write to again."""

    to: str
    channel: Channel = "sms"
    reason: str | None = None


class SuppressionPage(msgspec.Struct, frozen=True, kw_only=True):
    """Suppressions, in no particular but stable order."""

    data: list[SuppressionView]
    next_cursor: str | None


def _check(request: SuppressionRequest) -> list[FieldError]:
    rules = CHANNELS[request.channel]
    problem = rules.address_problem(request.to)
    return [field_error("/to", rules.code, problem)] if problem else []


@route(
    "GET", "/v1/suppressions", scope="suppressions:read", summary="List suppressions", query=ListQuery,
    answers={200: SuppressionPage},
)  # fmt: skip
async def list_suppressions(request: Call) -> Response[bytes]:
    """One page."""
    asked, back, project = query_of(request, ListQuery), services(request), request.auth.project
    channel, _, to_hash = (paging.decode_cursor(asked.cursor) or "").partition("/")
    found = await back.store.suppressions.page(back.ring, project, (channel, to_hash), asked.limit + 1)
    at = [f"{item.channel}/{item.to_hash}" for item in found]
    return answer(paging.page([suppression_view(item) for item in found], asked.limit, at))


@route(
    "POST", "/v1/suppressions", scope="suppressions:write", summary="Suppress a recipient", body=SuppressionRequest,
    answers={201: SuppressionView}, problems=(422, 507), idempotent=True,
    description="After this answer no attempt to this recipient is begun. Suppressing twice is the same as once.",
)  # fmt: skip
async def add_suppression(request: Call) -> Response[bytes]:
    """Adds it, or leaves the one that is there."""
    wanted, back = await body_of(request, SuppressionRequest, _check, {"to": "+15005550001"}), services(request)
    caller, to_hash = request.auth, address_key(back.ring, wanted.to)
    item = NewSuppression(
        project=caller.project, channel=wanted.channel, to_hash=to_hash, reason=wanted.reason, created_ms=back.now(),
        key_id=back.ring.current,
        sealed=back.ring.seal(encode_personal(Personal(to=wanted.to)), personal_owner(wanted.channel, to_hash)),
        claim=await claim_of(request, to_hash),
    )  # fmt: skip
    _, replayed = settle_claim(await back.store.suppressions.add(item))
    found = await back.store.suppressions.get(back.ring, caller.project, wanted.channel, to_hash)
    if found is None:  # lifted meanwhile
        found = Suppression(
            channel=wanted.channel, to_hash=to_hash, reason=wanted.reason, created_ms=item.created_ms, to=wanted.to
        )
    return answer(suppression_view(found), 201, replayed=replayed)


@route(
    "DELETE", "/v1/suppressions", scope="suppressions:write", summary="Lift a suppression", query=LiftQuery,
    body=LiftRequest, answers={204: None}, problems=(404, 422),
    description="Whom: as JSON body, or as query parameters for clients that send no body with DELETE.",
)  # fmt: skip
async def lift_suppression(request: Call) -> Response[bytes]:
    """Removes it."""
    asked, back = query_of(request, LiftQuery), services(request)
    to, channel = asked.to, asked.channel or "sms"
    if await raw_body(request):
        wanted = await body_of(request, LiftRequest)
        to, channel = wanted.to, wanted.channel
    if to is None:
        raise invalid([field_error("/to", "required", "is required")])
    gone = await back.store.suppressions.remove(request.auth.project, channel, address_key(back.ring, to))
    if not gone:
        raise NotFound("there is no such suppression in this project")
    return no_content()


router = Router("/", route_handlers=[list_suppressions, add_suppression, lift_suppression])
