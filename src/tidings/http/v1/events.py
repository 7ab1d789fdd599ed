"""`/v1/events`: the log, newest first, and `/v1/stream`: the log as it grows (server-sent events, resumable)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Final, cast

import msgspec
from litestar import Response, Router
from litestar.response import Stream
from msgspec import Meta

from tidings.domain.errors import Overloaded
from tidings.domain.event import Event
from tidings.domain.request import millis
from tidings.http import paging
from tidings.http.auth import Caller, Keys
from tidings.http.body import invalid
from tidings.http.problem import field_error
from tidings.http.route import Call, answer, query_of, route, services
from tidings.http.services import Services
from tidings.http.v1.messages import Cursor, EventPage, Limit, Time
from tidings.http.views import event_view
from tidings.kit.limits import PAGE_DEFAULT, STREAM_CLIENTS, STREAM_HEARTBEAT_S, WEBHOOK_IDLE_S
from tidings.store.lists import EventFilter
from tidings.webhooks.payload import bodies

Types = Annotated[list[str], Meta(max_length=50, description="Event types, for example message.delivered")]
Sequence = Annotated[int, Meta(ge=0, le=2**53, description="Go on behind this sequence number")]
_READ_EVENTS: Final = 200


class EventQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events; all filters must match."""

    limit: Limit = PAGE_DEFAULT
    cursor: Cursor | None = None
    types: Types = []
    message_id: str | None = None
    since: Time | None = None
    until: Time | None = None


class StreamQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to begin (default: now), and what to leave out. `Last-Event-ID` goes before `after`."""

    types: Types = []
    after: Sequence | None = None


@route(
    "GET", "/v1/events", scope="events:read", summary="List events", query=EventQuery, answers={200: EventPage},
    description="Newest first. `data` holds ids and codes only; read the message for its content.",
)  # fmt: skip
async def list_events(request: Call) -> Response[bytes]:
    """One page of the log."""
    asked = query_of(request, EventQuery)
    wanted = EventFilter(
        project=request.auth.project, limit=asked.limit, before=paging.decode_number(asked.cursor),
        types=tuple(asked.types), message=asked.message_id, since_ms=millis(asked.since), until_ms=millis(asked.until),
    )  # fmt: skip
    found, last = await services(request).store.lists.events(wanted)
    cursor = paging.encode_cursor(str(last)) if last is not None else None
    return answer({"data": [event_view(item) for item in found], "next_cursor": cursor})


class Clients:
    """How many streams are open."""

    count = 0


@route(
    "GET", "/v1/stream", scope="events:read", summary="Follow events live", query=StreamQuery, answers={200: str},
    media="text/event-stream",
    description="Server-sent events: `id` is the sequence number, `event` the type, `data` is"
    ' `{"type","timestamp","data"}`. Send `Last-Event-ID` (or `?after=`) to go on where you stopped.',
)  # fmt: skip
async def stream_events(request: Call) -> Response[bytes]:
    """Ends when the client goes, or the server drains."""
    asked = query_of(request, StreamQuery)
    after = asked.after
    last = request.headers.get("last-event-id")
    if last is not None:
        if not (last.isascii() and last.isdigit()) or len(last) > 16:
            raise invalid(
                [field_error("/Last-Event-ID", "invalid_header", "must be the `id` of an event of this stream")]
            )
        after = int(last)
    clients: Clients = request.app.state.clients
    if clients.count >= STREAM_CLIENTS:
        raise Overloaded(f"{STREAM_CLIENTS} streams are open; try again later", status=503, retry_after_s=10)
    if request.scope["state"].get("tidings.head"):
        return Response(b"", media_type="text/event-stream")
    back = services(request)
    if after is None:
        after = await back.store.lists.log_end()
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    frames = follow(back, request, clients, request.auth, frozenset(asked.types), after)
    return cast("Response[bytes]", Stream(frames, media_type="text/event-stream", headers=headers))


async def follow(
    back: Services, request: Call, clients: Clients, caller: Caller, types: frozenset[str], after: int
) -> AsyncIterator[bytes]:
    """The log behind `after` as server-sent events, with a comment where nothing happens for a while.

    It ends with the key: when that is revoked, or has expired.
    """
    keys: Keys = request.app.state.api_keys
    bell = back.bus.subscribe("events")
    clients.count += 1
    silent_s = 0.0
    try:
        yield f": welcome\nid: {after}\n\n".encode()  # a break before the first event loses nothing
        while not request.app.state.closing.is_set() and keys.holds(caller):
            found, subjects = await back.store.lists.follow(back.ring, caller.project, after, _READ_EVENTS)
            for event, body in zip(found, bodies(subjects, found), strict=True):
                after = event.seq
                if not types or event.type in types:
                    yield _frame(event, body)
            silent_s = 0.0 if found else silent_s
            every_s = STREAM_HEARTBEAT_S if back.bus.carries else WEBHOOK_IDLE_S
            if len(found) < _READ_EVENTS and not await bell.wait(every_s):
                silent_s += every_s
                if silent_s >= STREAM_HEARTBEAT_S:
                    silent_s = 0.0
                    yield b": still here\n\n"
            elif len(found) < _READ_EVENTS:
                await asyncio.sleep(0.01)  # what a busy second brings is read together
    finally:
        clients.count -= 1
        back.bus.unsubscribe("events", bell)


def _frame(event: Event, body: bytes) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.seq, event.type.encode(), body)


router = Router("/", route_handlers=[list_events, stream_events])
