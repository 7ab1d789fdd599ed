"""What both ways to `POST /v1/messages` share: decode and check, accept, and the answer.

The hot route (`messages_hot`) and the Litestar route (`v1/messages`) call these and nothing else, so they cannot differ.
"""

from typing import Any, Final

import msgspec

from tidings.delivery.accept import Accepted, Idempotency, Want
from tidings.domain.errors import FieldError, RequestError
from tidings.domain.request import SendRequest, check
from tidings.http.auth import Caller
from tidings.http.body import decode
from tidings.http.route import key_hashes
from tidings.http.services import Services
from tidings.kit.clock import rfc3339

PATH: Final = "/v1/messages"
SCOPE: Final = "messages:write"
#: Stands for required fields that are missing, so that the others are still judged.
SPARE: Final = {"to": "+15005550001"}
_decoder: Final = msgspec.json.Decoder(SendRequest)
_encode: Final = msgspec.json.Encoder().encode


class Judge:
    """`domain.request.check` at one moment, as the decoder wants it."""

    __slots__ = ("_now_ms",)

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def __call__(self, request: SendRequest) -> list[FieldError]:
        """Every bad field."""
        return check(request, self._now_ms)


def read_request(body: bytes, now_ms: int) -> SendRequest:
    """The checked request. Raises problems with every bad field at once."""
    return decode(body, _decoder, Judge(now_ms), SPARE)


def read_want(services: Services, caller: Caller, body: bytes, key: bytes | None) -> Want:
    """The message that is asked for, checked; `key`: the Idempotency-Key. Raises RequestError."""
    hashes = key_hashes(key, caller.mode, PATH, body)
    request = read_request(body, services.now())
    return Want(request, Idempotency(*hashes) if hashes else None)


async def accept_one(services: Services, caller: Caller, body: bytes, key: bytes | None) -> Accepted:
    """Accepts one message durably. Raises RequestError, StoreError."""
    want = read_want(services, caller, body, key)
    answer = (await services.acceptor.accept(caller.project, caller.mode, [want]))[0]
    if isinstance(answer, RequestError):
        raise answer
    return answer


def accepted_view(accepted: Accepted) -> dict[str, Any]:
    """The answer to a message that is durable now."""
    return {
        "id": accepted.id,
        "status": accepted.status,
        "channel": accepted.channel,
        "created_at": rfc3339(accepted.created_ms),
    }


def accepted_bytes(accepted: Accepted) -> bytes:
    """The same as JSON."""
    return _encode(accepted_view(accepted))
