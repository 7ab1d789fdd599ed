"""`/healthz`, `/readyz`, `/metrics`: for orchestrators and Prometheus."""

import ipaddress

from litestar import Response, Router

from tidings.domain.errors import StoreError, Unauthenticated
from tidings.http.metrics import Meter
from tidings.http.problem import NotReady, field_error
from tidings.http.route import Call, answer, header_of, route, services
from tidings.http.services import Services
from tidings.http.views import HealthView

_MOST_COUNTED = 100_000
_LANES = ("otp", "transactional", "marketing")


@route("GET", "/healthz", scope=None, summary="Is the process alive?", answers={200: HealthView})
async def healthz(request: Call) -> Response[bytes]:
    """Alive as long as it answers."""
    return answer({"status": "ok"})


@route(
    "GET", "/readyz", scope=None, summary="Should it get traffic?", answers={200: HealthView}, problems=(503,),
    description="503 with the reasons while the store takes no writes, the server drains, or links are missing.",
)  # fmt: skip
async def readyz(request: Call) -> Response[bytes]:
    """Writes to the store, and asks the rest of the server."""
    back = services(request)
    reasons = list(await back.unready())
    try:
        await back.store.probe(back.now())
    except StoreError:
        reasons = reasons or ["the store takes no writes"]
    if reasons:
        errors = tuple(field_error("", "not_ready", reason) for reason in reasons)
        raise NotReady("; ".join(reasons), errors=errors)
    return answer({"status": "ok"})


@route(
    "GET", "/metrics", scope=None, summary="Prometheus metrics", answers={200: str}, problems=(401, 403),
    media="text/plain",
    description="Without a key from the machine itself (and not through a proxy); else with the scope `metrics:read`.",
)  # fmt: skip
async def metrics(request: Call) -> Response[bytes]:
    """Counts requests, queues and outcomes; holds no addresses and no content."""
    await _may_read(request)
    back, meter = services(request), request.app.state.meter
    assert isinstance(meter, Meter)
    queued = await back.store.jobs.queued(_MOST_COUNTED)
    text = meter.text(lambda: _gauges(back, request, queued))
    return Response(text, media_type="text/plain; version=0.0.4")


async def _may_read(request: Call) -> None:
    authorization = header_of(request.scope, b"authorization")
    if authorization is None:
        proxied = any(name in (b"forwarded", b"x-forwarded-for") for name, _ in request.scope["headers"])
        if proxied or not _is_local(request):
            raise Unauthenticated("from another machine this needs a key with the scope `metrics:read`")
        return
    caller = await request.app.state.api_keys.caller(authorization)
    caller.require("metrics:read")


def _is_local(request: Call) -> bool:
    try:
        return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def _gauges(back: Services, request: Call, queued: dict[int, int]) -> dict[str, float]:
    found: dict[str, float] = {
        "tidings_stream_clients": request.app.state.clients.count,
        "tidings_http_requests_in_flight": request.app.state.load.taken,
    }
    found |= {f'tidings_jobs_queued{{lane="{_LANES[lane]}"}}': count for lane, count in queued.items()}
    return {**found, **back.gauges()}


router = Router("/", route_handlers=[healthz, readyz, metrics])
