"""The application: routes, the guard in front of them, and the edge around them."""

import asyncio
from typing import Any, Final, cast

from litestar import Litestar, Request, Response, Router
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers.base import BaseRouteHandler
from litestar.types import ASGIApp

from tidings.domain.errors import Forbidden
from tidings.http import callbacks, docs, health
from tidings.http.auth import Keys
from tidings.http.edge import Edge, Load
from tidings.http.failures import FailureLog
from tidings.http.messages_hot import HotMessages
from tidings.http.metrics import Meter
from tidings.http.problem import problem_of
from tidings.http.route import header_of, spec_of
from tidings.http.services import Services
from tidings.http.twilio import routes as twilio
from tidings.http.v1 import (
    errands,
    events,
    inbound,
    keys,
    messages,
    providers,
    push,
    receipts,
    routes,
    suppressions,
    verifications,
    webhooks,
)
from tidings.http.wire import Hot

ROUTERS: Final[list[Router]] = [
    docs.router, health.router, messages.router, events.router, inbound.router, receipts.router, suppressions.router,
    providers.router, errands.router, routes.router, keys.router, webhooks.router, verifications.router, push.router,
    callbacks.router, twilio.router,
]  # fmt: skip


async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Every route names its scope; one without a declaration is closed."""
    spec = spec_of(handler.opt)
    if spec is None:
        if connection.scope["method"] == "OPTIONS":  # pyright: ignore[reportTypedDictNotRequiredAccess, reportGeneralTypeIssues]
            return
        raise Forbidden("this route declares no scope")
    if spec.scope is None:
        return
    keys: Keys = connection.app.state.api_keys
    caller = await keys.caller(header_of(connection.scope, b"authorization"))
    connection.scope["auth"] = caller
    caller.require(spec.scope)
    caller.bucket.take()


def on_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Any exception as a problem."""
    scope = cast("dict[str, Any]", request.scope)
    request_id = str(scope["state"].get("tidings.request_id", ""))
    request.app.state.failures.tell(error, request_id, scope.get("path_template"))
    status, body, headers = problem_of(error, request_id)
    extra = {name.decode(): value.decode() for name, value in headers}
    return Response(body, status_code=status, media_type="application/problem+json", headers=extra)


class Server:
    """The ASGI application with its handles: `keys` for the composition root, `close` to end open streams, and `hot`, the routes
    that connections take without ASGI (`wire.PatientProtocol`)."""

    def __init__(self, services: Services, *, access_log: bool = False, health_only: bool = False) -> None:
        self.keys = Keys(services.store, services.now)
        self.meter = Meter()
        load, failures = Load(), FailureLog()
        self.closing = asyncio.Event()
        state = State(
            {
                "services": services, "api_keys": self.keys, "meter": self.meter, "load": load, "openapi": None,
                "failures": failures, "clients": events.Clients(), "closing": self.closing, "ack_gate": push.Gate(),
            }
        )  # fmt: skip
        self._services = services
        self.litestar = Litestar(
            route_handlers=[health.router, callbacks.router, push.router] if health_only else ROUTERS, guards=[guard],
            exception_handlers={Exception: on_error}, state=state, openapi_config=None, logging_config=None, debug=False,
        )  # fmt: skip
        self.hot: dict[bytes, tuple[bytes, Hot]] = {}
        if not health_only and not access_log:
            self.hot[b"/v1/messages"] = b"POST", HotMessages(services, self.keys, self.meter, load, failures)
            pages = docs.fixed(self.meter, lambda: self.litestar.state["openapi"])
            self.hot |= {url: (b"GET", page) for url, page in pages.items()}
        self.app: ASGIApp = Edge(self.litestar, self.meter, load, access_log=access_log)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)

    def close(self) -> None:
        """Ends the open streams, so that the server can stop."""
        self.closing.set()
        self._services.bus.ring("events")


def create_app(services: Services, *, access_log: bool = False, health_only: bool = False) -> Server:
    """The ASGI application over these services. `health_only`: a worker's, which has no customers; its own
    simulators may call it."""
    return Server(services, access_log=access_log, health_only=health_only)
