"""`/v1/push/ack`: apps say that a push message arrived, or was opened. No API key: each message brings its own token."""

from collections import OrderedDict
from typing import Annotated, Final, Literal

import msgspec
from litestar import Response, Router

from tidings.delivery.acks import read_token
from tidings.domain.errors import NotFound
from tidings.http.body import decode, read_body
from tidings.http.ratelimit import Bucket
from tidings.http.route import Call, no_content, route, services
from tidings.kit.limits import ACK_BYTES, ACK_TOKENS, ACKS_PER_S, ACKS_PER_TOKEN_PER_S


class AckRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`token` is the message's `tidings_ack` among its data. `opened` and `clicked` tell of delivery too."""

    token: Annotated[str, msgspec.Meta(max_length=200)]
    event: Literal["delivered", "opened", "clicked"] = "delivered"


class Gate:
    """How often: all devices together, and each message. Only genuine tokens count, so that nobody else can use it up."""

    def __init__(self) -> None:
        self._all = Bucket(ACKS_PER_S)
        self._each: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, token: str) -> None:
        """One more, or Overloaded."""
        self._each[token] = bucket = self._each.pop(token, None) or Bucket(ACKS_PER_TOKEN_PER_S)
        if len(self._each) > ACK_TOKENS:
            self._each.popitem(last=False)
        bucket.take()
        self._all.take()


_decoder: Final = msgspec.json.Decoder(AckRequest)


@route(
    "POST", "/v1/push/ack", scope=None, summary="Acknowledge a push message", body=AckRequest, answers={204: None},
    problems=(403, 404, 429, 503),
    description=(
        "For apps, not for servers: the token of the message is all that is needed, and repeating it does no harm. The "
        "Content-Type is not looked at, so that a service worker may send it with `mode: 'no-cors'`. 503 comes where the "
        "push service has not answered us yet: try again after Retry-After."
    ),
)  # fmt: skip
async def post_ack(request: Call) -> Response[bytes]:
    """Answered after the commit."""
    back = services(request)
    if back.acks is None:
        raise NotFound("this server sends no push messages")
    length = request.headers.get("content-length")
    body = await read_body(request.receive, length.encode("latin-1") if length is not None else None, ACK_BYTES)
    wanted = decode(body, _decoder)
    token = read_token(back.ring, wanted.token)
    gate: Gate = request.app.state.ack_gate
    gate.take(token.attempt)
    await back.acks.take(token, wanted.event, back.now())
    return no_content()


router = Router("/", route_handlers=[post_ack])
