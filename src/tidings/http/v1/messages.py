"""`/v1/messages`: send, batch, preview, list, read, timeline, cancel, retry."""

import datetime as dt
from typing import Annotated, Any

import msgspec
from litestar import Response, Router
from litestar.params import FromPath
from msgspec import Meta

from tidings.delivery.accept import Accepted, Idempotency, Want
from tidings.domain.address import address_key
from tidings.domain.errors import Conflict, NotFound, RequestError
from tidings.domain.request import SendRequest, millis
from tidings.domain.status import MessageStatus
from tidings.domain.view import attempt_view, message_view
from tidings.http import accepting, paging
from tidings.http.route import (
    Call,
    answer,
    body_of,
    claim_of,
    key_hashes,
    query_of,
    raw_body,
    route,
    services,
    settle_claim,
)  # fmt: skip
from tidings.http.views import AcceptedView, BatchView, EventView, MessageDetail, MessageView, event_view
from tidings.kit.limits import BATCH_MESSAGES, PAGE_DEFAULT, PAGE_MAX
from tidings.store.lists import MessageFilter

Limit = Annotated[int, Meta(ge=1, le=PAGE_MAX, description="How many items a page has at most")]
Cursor = Annotated[str, Meta(min_length=1, max_length=200, description="`next_cursor` of the page before")]
Time = Annotated[dt.datetime, Meta(tz=True, description="RFC 3339, with its time zone")]


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Up to 1,000 messages; each stands alone."""

    messages: Annotated[list[SendRequest], Meta(min_length=1, max_length=BATCH_MESSAGES)]


class _RawBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    messages: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=BATCH_MESSAGES)]


class MessageQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Filters of the message list; all must match."""

    limit: Limit = PAGE_DEFAULT
    cursor: Cursor | None = None
    status: MessageStatus | None = None
    channel: str | None = None
    to: str | None = None
    template: str | None = None
    reference: str | None = None
    tag: str | None = None
    since: Time | None = None
    until: Time | None = None


class TimelineQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of the timeline."""

    limit: Limit = PAGE_DEFAULT
    cursor: Cursor | None = None


class MessagePage(msgspec.Struct, frozen=True, kw_only=True):
    """Messages, newest first."""

    data: list[MessageView]
    next_cursor: str | None


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """Events."""

    data: list[EventView]
    next_cursor: str | None


@route(
    "POST", "/v1/messages", scope="messages:write", summary="Send a message", body=SendRequest,
    answers={202: AcceptedView}, problems=(422, 507), idempotent=True,
    description="The answer comes after the message is on disk. A 429 or 503 means: not accepted, safe to retry.",
)  # fmt: skip
async def send_message(request: Call) -> Response[bytes]:
    """What the hot route (`messages_hot`) does not take: requests in pieces, or with a key that is not yet in memory."""
    body = await raw_body(request)
    key = request.headers.get("idempotency-key")
    accepted = await accepting.accept_one(
        services(request), request.auth, body, key.encode("latin-1") if key is not None else None
    )
    return answer(accepting.accepted_view(accepted), 202, replayed=accepted.replayed)


@route(
    "POST", "/v1/messages/batch", scope="messages:write", summary="Send up to 1,000 messages", body=Batch,
    answers={202: BatchView}, problems=(422, 507), idempotent=True,
    description="Each item stands alone: the answer holds an id or an error for each, in order.",
)  # fmt: skip
async def send_batch(request: Call) -> Response[bytes]:
    """One commit for all that can be accepted."""
    body = await raw_body(request)
    items = (await body_of(request, _RawBatch)).messages
    request.auth.bucket.take(len(items) - 1)
    claim = await claim_of(request, f"batch:{len(items)}")
    if claim is not None:
        settle_claim(await services(request).store.keys.claim(claim))
    answers = await _accept_items(request, items, body, keyed=claim is not None)
    replayed = all(isinstance(item, Accepted) and item.replayed for item in answers)
    return answer({"data": [_item(item) for item in answers]}, 202, replayed=replayed)


async def _accept_items(
    request: Call, items: list[msgspec.Raw], body: bytes, *, keyed: bool
) -> list[Accepted | RequestError]:
    """Accepts those that are right. With an Idempotency-Key each item has one of its own, derived from it and its place."""
    key = request.headers.get("idempotency-key", "").encode("latin-1")
    answers: list[Accepted | RequestError | None] = []
    wants: list[Want] = []
    now_ms = services(request).now()
    for n, item in enumerate(items):
        try:
            wanted = accepting.read_request(bytes(item), now_ms)
        except RequestError as error:
            answers.append(error)
            continue
        idempotency = None
        if keyed:
            hashes = key_hashes(key, f"batch {n} {request.auth.mode}", request.scope["path"], body)
            idempotency = Idempotency(*hashes) if hashes else None
        wants.append(Want(wanted, idempotency))
        answers.append(None)
    accepted = iter(await services(request).acceptor.accept(request.auth.project, request.auth.mode, wants))
    return [found if found is not None else next(accepted) for found in answers]


def _item(item: Accepted | RequestError) -> dict[str, Any]:
    if isinstance(item, RequestError):
        errors = [msgspec.to_builtins(error) for error in item.errors]
        return {"error": {"code": item.code, "detail": item.detail, "status": item.status, "errors": errors}}
    return accepting.accepted_view(item)


@route(
    "POST", "/v1/messages/preview", scope="messages:write", summary="See what would be sent", body=SendRequest,
    answers={200: dict[str, Any]}, problems=(422,),
    description="Rendered text, encoding, parts, policy decision and route. Sends and stores nothing.",
)  # fmt: skip
async def preview_message(request: Call) -> Response[bytes]:
    """Renders, cuts and routes."""
    wanted = accepting.read_request(await raw_body(request), services(request).now())
    return answer(await services(request).control.preview(request.auth.project, request.auth.mode, wanted))


@route(
    "GET", "/v1/messages", scope="messages:read", summary="List messages", query=MessageQuery,
    answers={200: MessagePage},
    description="Newest first. A filter that matches little may give short pages: go on while `next_cursor` is there.",
)  # fmt: skip
async def list_messages(request: Call) -> Response[bytes]:
    """One page."""
    asked, back = query_of(request, MessageQuery), services(request)
    wanted = MessageFilter(
        project=request.auth.project, limit=asked.limit, before=paging.decode_cursor(asked.cursor),
        status=asked.status, channel=asked.channel, to_hash=address_key(back.ring, asked.to) if asked.to else None,
        template=asked.template, reference=asked.reference, tag=asked.tag, since_ms=millis(asked.since),
        until_ms=millis(asked.until),
    )  # fmt: skip
    found, last = await back.store.lists.messages(back.ring, wanted)
    cursor = paging.encode_cursor(last) if last is not None else None
    return answer({"data": [message_view(item) for item in found], "next_cursor": cursor})


@route(
    "GET", "/v1/messages/{message_id:str}", scope="messages:read", summary="Read a message",
    answers={200: MessageDetail}, problems=(404,),
)  # fmt: skip
async def read_message(request: Call, message_id: FromPath[str]) -> Response[bytes]:
    """With its attempts and what the person did."""
    back, project = services(request), request.auth.project
    found, attempts = await back.store.messages.with_attempts(back.ring, project, message_id)
    if found is None:
        raise NotFound("there is no such message in this project")
    costs = [item.cost for item in attempts if item.cost is not None]
    shown = {"attempts": [attempt_view(item) for item in attempts], "cost": sum(costs) if costs else None}
    return answer({**message_view(found), **shown})


@route(
    "GET", "/v1/messages/{message_id:str}/events", scope="messages:read", summary="The timeline of a message",
    query=TimelineQuery, answers={200: EventPage}, problems=(404,), description="Oldest first.",
)  # fmt: skip
async def message_events(request: Call, message_id: FromPath[str]) -> Response[bytes]:
    """Its events in the order in which they were committed."""
    asked, back, project = query_of(request, TimelineQuery), services(request), request.auth.project
    after = paging.decode_number(asked.cursor) or 0
    found = await back.store.lists.timeline(project, message_id, after, asked.limit + 1)
    if found is None:
        raise NotFound("there is no such message in this project")
    return answer(paging.page([event_view(item) for item in found], asked.limit, [str(item.seq) for item in found]))


@route(
    "POST", "/v1/messages/{message_id:str}/cancel", scope="messages:write", summary="Cancel a message",
    answers={200: MessageView}, problems=(404, 409, 422), idempotent=True,
    description="Only what has not left can be canceled; canceling twice is the same as once.",
)  # fmt: skip
async def cancel_message(request: Call, message_id: FromPath[str]) -> Response[bytes]:
    """Idempotent by nature; the key is claimed all the same, so that its reuse elsewhere is told."""
    back = services(request)
    claim = await claim_of(request, message_id)
    replayed = False
    if claim is not None:
        _, replayed = settle_claim(await back.store.keys.claim(claim))
    return answer(message_view(await back.control.cancel(request.auth.project, message_id)), replayed=replayed)


@route(
    "POST", "/v1/messages/{message_id:str}/retry", scope="messages:write", summary="Send a failed message again",
    answers={202: AcceptedView}, problems=(404, 409, 422, 507), idempotent=True,
    description="Makes a NEW message with `retry_of`; the history of the old one stays.",
)  # fmt: skip
async def retry_message(request: Call, message_id: FromPath[str]) -> Response[bytes]:
    """A new message, accepted like any other."""
    back, caller = services(request), request.auth
    wanted, mode = await back.control.retry_request(caller.project, message_id)
    if mode != caller.mode:
        raise Conflict(f"this message was sent with a {mode} key; retry it with one", code="wrong_mode")
    claim = await claim_of(request, message_id)
    idempotency = Idempotency(claim.key_hash, claim.body_hash) if claim is not None else None
    found = (await back.acceptor.accept(caller.project, mode, [Want(wanted, idempotency, message_id)]))[0]
    if isinstance(found, RequestError):
        raise found
    return answer({**accepting.accepted_view(found), "retry_of": message_id}, 202, replayed=found.replayed)


router = Router(
    "/",
    route_handlers=[
        send_message, send_batch, preview_message, list_messages, read_message, message_events, cancel_message,
        retry_message,
    ],
)  # fmt: skip
