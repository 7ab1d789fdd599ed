"""`/v1/verifications`: prove that a person reads what is sent to an address. The code is in no answer but the sandbox's."""

import datetime as dt
from typing import Annotated, Any

import msgspec
from litestar import Response, Router
from litestar.params import FromPath
from msgspec import Meta

from tidings.domain.address import address_key
from tidings.domain.errors import FieldError
from tidings.domain.request import millis
from tidings.domain.verification import VerificationStatus, verification_view
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
)
from tidings.http.v1.messages import Cursor, Limit, Time
from tidings.http.views import View
from tidings.kit.clock import rfc3339
from tidings.kit.ids import new_id
from tidings.kit.limits import PAGE_DEFAULT, VERIFY_STATS_S
from tidings.store.accounts import Claim
from tidings.store.verifying import Done, Tally, VerificationFilter
from tidings.verify.ask import Ask
from tidings.verify.ask import check as check_ask
from tidings.verify.code import typed_code
from tidings.verify.service import Caller

VerificationId = Annotated[str, Meta(pattern="^ver_[0-9a-f]{32}$")]
Prefix = Annotated[
    str, Meta(pattern=r"^\+[0-9]{1,14}$", description="The beginning of E.164 numbers, for example +4915")
]
_SPARE = {"to": "+15005550001"}
_DAY_MS = 86_400_000


class CheckRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the person typed; spaces and hyphens in it, and digits of any script, are understood."""

    code: Annotated[str, Meta(min_length=1, max_length=64, examples=["123456"])]


class ResendRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`channel`: only this one of the verification's channels; without it all, in their order."""

    channel: str | None = None


class PrefixRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose numbers are known to be good."""

    prefix: Prefix


class VerificationQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Filters; all must match."""

    limit: Limit = PAGE_DEFAULT
    cursor: Cursor | None = None
    status: VerificationStatus | None = None
    reference: str | None = None
    to: str | None = None


class StatsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Verifications begun in this time; without `since` in the last 24 hours."""

    since: Time | None = None
    until: Time | None = None


class PrefixQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which page."""

    limit: Limit = PAGE_DEFAULT
    cursor: Cursor | None = None


class VerificationView(View, frozen=True, kw_only=True):
    """A verification. `to` as it was given (an address, or one for each channel); null where the person was erased."""

    id: VerificationId
    project: str
    mode: str
    status: VerificationStatus
    to: str | dict[str, Any] | None
    channel: str
    channels: list[str]
    country: str | None
    locale: str | None
    reference: str | None
    code_length: int
    attempts: int
    attempts_left: int
    sends: int
    sends_left: int
    reason: str | None
    created_at: dt.datetime
    last_sent_at: dt.datetime
    resend_at: dt.datetime | None
    expires_at: dt.datetime
    ended_at: dt.datetime | None
    time_to_verify_ms: int | None


class VerificationPage(View, frozen=True, kw_only=True):
    """Verifications, newest first."""

    data: list[VerificationView]
    next_cursor: str | None


class CheckView(View, frozen=True, kw_only=True):
    """`valid` only where this very code was right: let the person in by this field alone."""

    id: VerificationId
    status: VerificationStatus
    valid: bool
    attempts_left: int


class CodeView(View, frozen=True, kw_only=True):
    """What the sandbox's telephone shows."""

    code: str


class Percentiles(View, frozen=True, kw_only=True):
    """Milliseconds from the start to the right code; null where none was approved."""

    p50: int | None
    p90: int | None
    p99: int | None


class StatsRow(View, frozen=True, kw_only=True):
    """Verifications by one channel to one country. `conversion`: the share of approved among those that have ended."""

    channel: str
    country: str | None
    started: int
    approved: int
    failed: int
    expired: int
    canceled: int
    pending: int
    conversion: float | None
    time_to_verify_ms: Percentiles


class StatsView(View, frozen=True, kw_only=True):
    """`truncated`: there were more than are counted at once; the newest are."""

    since: dt.datetime
    until: dt.datetime
    truncated: bool
    data: list[StatsRow]


class PrefixView(View, frozen=True, kw_only=True):
    """Numbers that begin so are past the pumping guard."""

    prefix: str
    created_at: dt.datetime


class PrefixPage(View, frozen=True, kw_only=True):
    """Allowed prefixes, in their order."""

    data: list[PrefixView]
    next_cursor: str | None


def _caller(request: Call) -> Caller:
    return Caller(request.auth.project, request.auth.mode)


@route(
    "POST", "/v1/verifications", scope="verify", summary="Send a code", body=Ask, answers={201: VerificationView},
    problems=(422, 507), idempotent=True,
    description="The answer never holds the code. 429 `velocity_limited`: too many for this recipient, `ip` or block of"
    " numbers. 403 `pumping_suspected`: almost nobody there enters the codes; see `/v1/verifications/prefixes`.",
)  # fmt: skip
async def start_verification(request: Call) -> Response[bytes]:
    """Stored, then its message accepted: both are durable when this answers."""
    now_ms, worth = services(request).now(), services(request).verify.worth

    def judge(ask: Ask) -> list[FieldError]:
        return check_ask(ask, now_ms, worth)

    ask, id = await body_of(request, Ask, judge, _SPARE), new_id("ver")
    claim = await claim_of(request, id)
    found, replayed = await services(request).verify.start(_caller(request), ask, id, claim)
    return answer(verification_view(found), 201, replayed=replayed)


@route(
    "POST", "/v1/verifications/{verification_id:str}/check", scope="verify", summary="Check a code",
    body=CheckRequest, answers={200: CheckView}, problems=(404, 409, 422), idempotent=True,
    description="Every wrong code costs an attempt, whatever was sent again meanwhile. A right one counts once: 409"
    " `already_approved` afterwards, unless the request is repeated with its Idempotency-Key.",
)  # fmt: skip
async def check_verification(request: Call, verification_id: FromPath[str]) -> Response[bytes]:
    """Compared and counted in one transaction."""
    wanted = await body_of(request, CheckRequest, _check_code)
    code = typed_code(wanted.code) or ""
    claim = _sealed(request, await claim_of(request, verification_id))
    done = await services(request).verify.check(_caller(request), verification_id, code, claim)
    return answer(_check_view(verification_id, done), replayed=done.replayed)


def _check_code(wanted: CheckRequest) -> list[FieldError]:
    return [] if typed_code(wanted.code) else [field_error("/code", "format", "must be digits, for example 123456")]


def _sealed(request: Call, claim: Claim | None) -> Claim | None:
    """A plain hash of the body would be a hash of the code that anybody with the database could try out."""
    if claim is None:
        return None
    hidden = services(request).ring.keyed("verify claim", claim.body_hash).hex()
    return msgspec.structs.replace(claim, body_hash=hidden)


def _check_view(id: str, done: Done) -> dict[str, Any]:
    return {"id": id, "status": done.kind, "valid": done.kind == "approved", "attempts_left": done.attempts_left}


@route(
    "POST", "/v1/verifications/{verification_id:str}/resend", scope="verify", summary="Send the code again",
    body=ResendRequest, answers={200: VerificationView}, problems=(404, 409, 422, 507), idempotent=True,
    description="The same code in a new message; attempts and the end of its validity stay. 409 `resend_too_soon` before"
    " `resend_at`, `resend_limit` after the last one.",
)  # fmt: skip
async def resend_verification(request: Call, verification_id: FromPath[str]) -> Response[bytes]:
    """One more message."""
    wanted = await body_of(request, ResendRequest) if await raw_body(request) else ResendRequest()
    claim = await claim_of(request, verification_id)
    found, replayed = await services(request).verify.resend(_caller(request), verification_id, wanted.channel, claim)
    return answer(verification_view(found), replayed=replayed)


@route(
    "POST", "/v1/verifications/{verification_id:str}/cancel", scope="verify", summary="Cancel a verification",
    answers={200: VerificationView}, problems=(404, 409, 422), idempotent=True,
    description="Its code is worth nothing any more. Canceling twice is the same as once.",
)  # fmt: skip
async def cancel_verification(request: Call, verification_id: FromPath[str]) -> Response[bytes]:
    """Ends it."""
    claim = await claim_of(request, verification_id)
    found, replayed = await services(request).verify.cancel(_caller(request), verification_id, claim)
    return answer(verification_view(found), replayed=replayed)


@route(
    "GET", "/v1/verifications/{verification_id:str}", scope="verify", summary="Read a verification",
    answers={200: VerificationView}, problems=(404,),
    description="Its messages: `GET /v1/messages?reference=` with its id.",
)  # fmt: skip
async def read_verification(request: Call, verification_id: FromPath[str]) -> Response[bytes]:
    """One verification."""
    return answer(verification_view(await services(request).verify.get(_caller(request), verification_id)))


@route(
    "GET", "/v1/verifications/{verification_id:str}/code", scope="verify", summary="Read the code in the sandbox",
    answers={200: CodeView}, problems=(404, 409),
    description="Only of what a test key began, and only for a test key: its messages never leave the machine.",
)  # fmt: skip
async def read_code(request: Call, verification_id: FromPath[str]) -> Response[bytes]:
    """For tests of your own."""
    return answer({"code": await services(request).verify.sandbox_code(_caller(request), verification_id)})


@route(
    "GET", "/v1/verifications", scope="verify", summary="List verifications", query=VerificationQuery,
    answers={200: VerificationPage},
    description="Newest first; those of live keys, or those of test keys, as is the key that asks.",
)  # fmt: skip
async def list_verifications(request: Call) -> Response[bytes]:
    """One page."""
    asked, back = query_of(request, VerificationQuery), services(request)
    wanted = VerificationFilter(
        project=request.auth.project, mode=request.auth.mode, limit=asked.limit + 1,
        before=paging.decode_cursor(asked.cursor), status=asked.status, reference=asked.reference,
        to_hash=address_key(back.ring, asked.to) if asked.to else None,
    )  # fmt: skip
    found = await back.verify.page(wanted)
    return answer(paging.page([verification_view(item) for item in found], asked.limit, [item.id for item in found]))


@route(
    "GET", "/v1/verifications/stats", scope="verify", summary="Count verifications", query=StatsQuery,
    answers={200: StatsView}, problems=(422,),
    description="How many came to what, and how long people took, by channel and country. At most 31 days at once.",
)  # fmt: skip
async def verification_stats(request: Call) -> Response[bytes]:
    """Counted when asked."""
    asked, now_ms = query_of(request, StatsQuery), services(request).now()
    until_ms = millis(asked.until) or now_ms + 1
    since_ms = millis(asked.since) or until_ms - _DAY_MS
    if not 0 < until_ms - since_ms <= VERIFY_STATS_S * 1000 + 1 or since_ms < 0:
        raise invalid([field_error("/since", "range", "must be before `until`, and at most 31 days")])
    tallies, truncated = await services(request).verify.tally(_caller(request), since_ms, until_ms)
    rows = [_stats_row(item) for item in tallies]
    return answer(
        {"since": rfc3339(since_ms), "until": rfc3339(until_ms), "truncated": truncated, "data": rows}
    )  # fmt: skip


def _stats_row(item: Tally) -> dict[str, Any]:
    ended = item.started - item.pending
    return {
        "channel": item.channel, "country": item.country, "started": item.started, "approved": item.approved,
        "failed": item.failed, "expired": item.expired, "canceled": item.canceled, "pending": item.pending,
        "conversion": round(item.approved / ended, 4) if ended else None,
        "time_to_verify_ms": {"p50": item.p50_ms, "p90": item.p90_ms, "p99": item.p99_ms},
    }  # fmt: skip


@route(
    "GET", "/v1/verifications/prefixes", scope="verify:prefixes", summary="List allowed prefixes", query=PrefixQuery,
    answers={200: PrefixPage},
)  # fmt: skip
async def list_prefixes(request: Call) -> Response[bytes]:
    """One page."""
    asked, project = query_of(request, PrefixQuery), request.auth.project
    after = paging.decode_cursor(asked.cursor) or ""
    found = await services(request).verify.prefixes(project, after, asked.limit + 1)
    views = [{"prefix": prefix, "created_at": rfc3339(at_ms)} for prefix, at_ms in found]
    return answer(paging.page(views, asked.limit, [prefix for prefix, _ in found]))


@route(
    "POST", "/v1/verifications/prefixes", scope="verify:prefixes", summary="Allow a prefix", body=PrefixRequest,
    answers={200: PrefixRequest}, problems=(409, 422),
    description="Numbers that begin so are past the pumping guard and the limit of their block. Allowing twice is the same"
    " as once.",
)  # fmt: skip
async def allow_prefix(request: Call) -> Response[bytes]:
    """At once, for all of the project's keys."""
    wanted = await body_of(request, PrefixRequest)
    await services(request).verify.allow(request.auth.project, wanted.prefix)
    return answer({"prefix": wanted.prefix})


@route(
    "DELETE", "/v1/verifications/prefixes/{prefix:str}", scope="verify:prefixes", summary="Guard a prefix again",
    answers={204: None}, problems=(404,),
)  # fmt: skip
async def disallow_prefix(request: Call, prefix: FromPath[str]) -> Response[bytes]:
    """Removes it."""
    await services(request).verify.disallow(request.auth.project, prefix)
    return no_content()


router = Router(
    "/",
    route_handlers=[
        start_verification, check_verification, resend_verification, cancel_verification, read_verification, read_code,
        list_verifications, verification_stats, list_prefixes, allow_prefix, disallow_prefix,
    ],
)  # fmt: skip
