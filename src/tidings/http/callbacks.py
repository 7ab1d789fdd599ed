"""`/callbacks/{provider}`: what carriers call us with. Verified over the raw request, committed before it is answered."""

import asyncio
from typing import Final

import structlog
from litestar import Response, Router
from litestar.params import FromPath

from tidings.channels.callback import CallbackTaker, Completer, NotGenuine, RawRequest, Taken, Unreadable
from tidings.domain.errors import Forbidden, NotFound, RequestError
from tidings.http.body import read_body
from tidings.http.metrics import Meter
from tidings.http.route import Call, route, services
from tidings.kit.limits import CALLBACK_BYTES, CALLBACK_COMPLETE_S

_log: Final = structlog.get_logger("tidings.http.callbacks")
_PATH: Final = "/callbacks/{provider:str}"
_SAYS: Final = (
    "For carriers, not for customers: verified by what the provider's configuration says (a signature, a secret), and "
    "answered after what it tells is stored. 403 if it is not the carrier's."
)


@route(
    "POST", _PATH, scope=None, summary="A carrier's callback", answers={200: str, 204: None}, problems=(403, 404),
    media="text/plain", description=_SAYS,
)  # fmt: skip
async def post_callback(request: Call, provider: FromPath[str]) -> Response[bytes]:
    """A form or JSON in the body."""
    return await _taken(request, provider)


@route(
    "GET", _PATH, scope=None, summary="A carrier's callback as a query", answers={200: str, 204: None},
    problems=(403, 404, 413, 507), media="text/plain", description=_SAYS,
)  # fmt: skip
async def get_callback(request: Call, provider: FromPath[str]) -> Response[bytes]:
    """Everything in the query."""
    return await _taken(request, provider)


async def _taken(request: Call, name: str) -> Response[bytes]:
    desk, meter = services(request).callbacks, request.app.state.meter
    assert isinstance(meter, Meter)
    taker = desk.taker(name) if desk is not None else None
    if desk is None or taker is None:
        raise NotFound(f"there is no provider {name!r} that takes callbacks")
    called = taker.callback(await _raw(request, getattr(taker, "callback_bytes", CALLBACK_BYTES)))
    if isinstance(called, NotGenuine):
        meter.count_callback(name, "forged")
        _log.warning("callback_refused", provider=name, reason=called.reason)
        raise Forbidden("this is not the carrier's call: its signature or secret does not fit", code="forbidden")
    if isinstance(called, Unreadable):
        meter.count_callback(name, "unreadable")
        raise RequestError(f"the callback cannot be read: {called.reason}")
    called = await _completed(taker, called)
    try:
        if called.receipts or called.inbound:
            await desk.received(name, called.receipts, called.inbound)
    except BaseException:
        meter.count_callback(name, "not_kept")
        raise
    meter.count_callback(name, "taken")
    return Response(called.reply.body, status_code=called.reply.status, media_type=called.reply.media)


async def _completed(taker: CallbackTaker, called: Taken) -> Taken:
    """With the media that it names. Without them where the carrier does not give them in time: better the words alone."""
    if not called.inbound or not isinstance(taker, Completer):
        return called
    try:
        async with asyncio.timeout(CALLBACK_COMPLETE_S):
            return await taker.complete(called)
    except Exception as error:
        _log.warning("callback_not_completed", exc_info=error)
        return called


async def _raw(request: Call, most: int) -> RawRequest:
    headers: dict[str, str] = {}
    for key, value in request.scope[
        "headers"
    ]:  # several of one name are one list (RFC 9110 §5.3): the last is the nearest
        name, text = key.decode("latin-1").lower(), value.decode("latin-1")
        headers[name] = f"{headers[name]}, {text}" if name in headers else text
    length = headers.get("content-length")
    body = await read_body(request.receive, length.encode("latin-1") if length is not None else None, most)
    return RawRequest(
        method=request.scope["method"],
        query=request.scope["query_string"].decode("latin-1"),
        headers=headers,
        body=body,
        peer=request.client.host if request.client is not None else "",
        received_ms=services(request).now(),
    )


router = Router("/", route_handlers=[post_callback, get_callback])
