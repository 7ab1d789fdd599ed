"""The edge around every request: its id, its place among those in flight, security headers, HEAD, and what is measured."""

import re
import time
from typing import Any, Final

import structlog
from litestar.types import ASGIApp, Receive, Scope, Send

from tidings.domain.errors import Overloaded
from tidings.http.auth import Caller
from tidings.http.metrics import Meter
from tidings.http.problem import Headers, problem_of
from tidings.http.ratelimit import POLICY
from tidings.kit.ids import new_id
from tidings.kit.limits import BODY_BYTES, MESSAGE_BODY_BYTES, REQUEST_UNIT_BYTES, REQUESTS_IN_FLIGHT

_log: Final = structlog.get_logger("tidings.http")
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9_.:-]{1,128}")
_UNKNOWN_UNITS: Final = BODY_BYTES // REQUEST_UNIT_BYTES
_MOST_UNITS: Final = MESSAGE_BODY_BYTES // REQUEST_UNIT_BYTES
#: On every answer. There is no CORS: a browser's page of another origin gets nothing.
SECURITY: Final[Headers] = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
#: On every answer but the pages of `/docs`, which bring their own.
CLOSED: Final[Headers] = [
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
]


class Load:
    """Places taken by requests in flight. A body over 64 KiB, or of unknown length, takes more than one."""

    __slots__ = ("taken",)

    def __init__(self) -> None:
        self.taken = 0

    def enter(self, length: bytes | None, *, chunked: bool) -> int:
        """Takes places and says how many, to be given back. Raises Overloaded (503)."""
        places = 1
        if chunked:
            places = _UNKNOWN_UNITS
        elif length is not None and len(length) > 4 and length.isdigit():
            places = min(_MOST_UNITS, 1 + int(length[:12]) // REQUEST_UNIT_BYTES)
        if self.taken + places > REQUESTS_IN_FLIGHT:
            raise Overloaded("too many requests are being worked on; nothing was done", status=503, retry_after_s=1)
        self.taken += places
        return places

    def leave(self, places: int) -> None:
        """Gives places back."""
        self.taken -= places


def request_id_of(given: bytes | None) -> str:
    """The caller's `X-Request-Id` if it is well formed, else a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode("ascii")
    return new_id("req")


def common_headers(request_id: str, caller: Caller | None) -> Headers:
    """What every answer carries."""
    headers = [*SECURITY, (b"x-request-id", request_id.encode("ascii"))]
    if caller is not None:
        headers += [(b"ratelimit-policy", POLICY), (b"ratelimit", caller.bucket.header())]
    return headers


def problem_answer(error: BaseException, request_id: str, caller: Caller | None) -> tuple[int, Headers, bytes]:
    """The answer that says what problem `error` is: status, header fields, body."""
    status, body, extra = problem_of(error, request_id)
    headers: Headers = [
        (b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode()), *extra,
        *common_headers(request_id, caller), *CLOSED,
    ]  # fmt: skip
    return status, headers, body


async def send_problem(send: Send, error: BaseException, request_id: str, caller: Caller | None) -> int:
    """Answers with the problem that `error` is; returns its status."""
    status, headers, body = problem_answer(error, request_id, caller)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
    return status


class Edge:
    """The application that uvicorn serves, around Litestar's."""

    def __init__(self, inner: ASGIApp, meter: Meter, load: Load, *, access_log: bool) -> None:
        self._inner, self._meter, self._load, self._access_log = inner, meter, load, access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
        else:
            await self._through(scope, receive, send)

    async def _through(self, scope: Any, receive: Receive, send: Send) -> None:
        started_s = time.perf_counter()
        length, given, chunked = None, None, False
        for name, value in scope["headers"]:
            if name == b"content-length":
                length = value
            elif name == b"x-request-id":
                given = value
            elif name == b"transfer-encoding":
                chunked = True
        request_id, method = request_id_of(given), scope["method"]
        if method == "HEAD":  # in a copy: uvicorn looks at its own to know that no body follows
            scope = {**scope, "method": "GET"}
        state = scope.setdefault("state", {})
        state["tidings.request_id"] = request_id
        answering = _Answering(scope, send, request_id, self._load, head=method == "HEAD")
        if method == "HEAD":
            state["tidings.head"] = True
        try:
            answering.places = self._load.enter(length, chunked=chunked)
            try:
                await self._inner(scope, receive, answering)
            finally:
                answering.leave()
        except Exception as error:
            if not answering.status:
                answering.status = await send_problem(send, error, request_id, None)
            elif not isinstance(error, ConnectionError):
                _log.error("answer_broken", request_id=request_id, exc_info=error)
        route = scope.get("path_template") or "unmatched"
        self._meter.observe(method, route, answering.status, time.perf_counter() - started_s)
        if self._access_log:
            _log.info("request", request_id=request_id, method=method, route=route, status=answering.status)


class _Answering:
    """`send`, with the common headers put in and, for HEAD, the body left out.

    With the answer the work is done and the places are free: a caller who does not read it holds its socket, and nothing else.
    """

    __slots__ = ("_head", "_load", "_request_id", "_scope", "_send", "places", "status")

    def __init__(self, scope: Any, send: Send, request_id: str, load: Load, *, head: bool) -> None:
        self._scope, self._send, self._request_id, self._load, self._head = scope, send, request_id, load, head
        self.status = self.places = 0

    def leave(self) -> None:
        """Gives the places back, once."""
        places, self.places = self.places, 0
        self._load.leave(places)

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.leave()
            self.status = message["status"]
            headers = list(message.get("headers", []))
            names = {name for name, _ in headers}
            headers += common_headers(self._request_id, self._scope.get("auth"))
            headers += [header for header in CLOSED if header[0] not in names]
            message = {**message, "headers": headers}
        elif self._head and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)
