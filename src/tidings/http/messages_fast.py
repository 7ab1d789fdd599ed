"""`POST /v1/messages` as a raw ASGI route: the hot path, without the framework.

It calls the very functions of the Litestar route (`accepting`), so that only the plumbing differs; a test sends the same
requests to both and compares every byte that is not an id or a time.
"""

import time
from typing import Any, Final

import structlog
from litestar.types import Receive, Send

from tidings.http.accepting import PATH, SCOPE, accept_one, accepted_bytes
from tidings.http.auth import Caller, Keys
from tidings.http.body import check_media, most_bytes, read_body
from tidings.http.edge import CLOSED, SECURITY, Load, request_id_of, send_problem
from tidings.http.metrics import Meter
from tidings.http.problem import is_unforeseen
from tidings.http.ratelimit import POLICY
from tidings.http.services import Services

_log: Final = structlog.get_logger("tidings.http")
_FIXED: Final = [(b"content-type", b"application/json"), *SECURITY, *CLOSED, (b"ratelimit-policy", POLICY)]
_REPLAYED: Final = (b"idempotency-replayed", b"true")


class FastMessages:
    """The raw route."""

    def __init__(self, services: Services, keys: Keys, meter: Meter, load: Load) -> None:
        self._services, self._keys, self._meter, self._load = services, keys, meter, load

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        started_s = time.perf_counter()
        headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))  # of repeated ones the first counts
        request_id = request_id_of(headers.get(b"x-request-id"))
        scope["auth"] = None
        try:
            status = await self._answer(scope, headers, request_id, receive, send)
        except ConnectionError:
            status = 499
        except Exception as error:
            if is_unforeseen(error):
                _log.error("request_failed", request_id=request_id, route=PATH, exc_info=error)
            status = await send_problem(send, error, request_id, scope["auth"])
        self._meter.observe("POST", PATH, status, time.perf_counter() - started_s)

    async def _answer(
        self, scope: Any, headers: dict[bytes, bytes], request_id: str, receive: Receive, send: Send
    ) -> int:
        length = headers.get(b"content-length")
        places = self._load.enter(length, chunked=b"transfer-encoding" in headers)
        try:
            caller: Caller = await self._keys.caller(headers.get(b"authorization"))
            scope["auth"] = caller
            caller.require(SCOPE)
            caller.bucket.take()
            body = await read_body(receive, length, most_bytes(PATH, length))
            if body:
                check_media(headers.get(b"content-type"), headers.get(b"content-encoding"))
            accepted = await accept_one(self._services, caller, body, headers.get(b"idempotency-key"))
        finally:
            self._load.leave(places)
        answer = accepted_bytes(accepted)
        start = [
            *_FIXED, (b"content-length", b"%d" % len(answer)), (b"x-request-id", request_id.encode("ascii")),
            (b"ratelimit", caller.bucket.header()),
        ]  # fmt: skip
        if accepted.replayed:
            start.append(_REPLAYED)
        await send({"type": "http.response.start", "status": 202, "headers": start})
        await send({"type": "http.response.body", "body": answer, "more_body": False})
        return 202
