"""Errors in Twilio's shape: `{code, message, more_info, status}`. Source: Twilio "Error and Warning Dictionary"."""

from typing import Any, Final, cast

from litestar import Request, Response
from litestar.exceptions import HTTPException

from tidings.domain.errors import FieldError, InvalidRequest, NotFound, RequestError
from tidings.http.problem import json_bytes, problem_of

_MORE: Final = "https://www.twilio.com/docs/errors/{code}"
#: The codes that are told by HTTP status where no parameter is at fault.
_OF_STATUS: Final = {
    400: 20001, 401: 20003, 403: 20403, 404: 20404, 405: 20004, 409: 20409, 413: 20001, 415: 20001, 422: 20001,
    429: 20429, 500: 20500, 503: 20503, 507: 20503,
}  # fmt: skip
#: The codes that are told for a field of our own request.
_OF_FIELD: Final = {"/to": 21211, "/from": 21212, "/text": 21602}


class TwilioError(RequestError):
    """A request that this API does not take; `number` is Twilio's code."""

    def __init__(self, number: int, detail: str, status: int = 400) -> None:
        super().__init__(detail)
        self.number, self.status = number, status


def not_found(path: str) -> TwilioError:
    """20404."""
    return TwilioError(20404, f"The requested resource {path} was not found", 404)


def unauthenticated() -> TwilioError:
    """20003: says nothing of what was wrong."""
    return TwilioError(20003, "Authenticate", 401)


def unsupported(name: str, why: str = "is not supported by this server") -> TwilioError:
    """20001, by name: a parameter is never ignored."""
    return TwilioError(20001, f"Parameter '{name}' {why}")


def of_fields(errors: list[FieldError]) -> TwilioError:
    """The first bad field of our own request, in Twilio's words."""
    first = errors[0]
    code = _OF_FIELD.get(first.pointer, 20001)
    return TwilioError(code, f"Parameter '{_NAMES.get(first.pointer, first.pointer)}' {first.detail}")


_NAMES: Final = {
    "/to": "To", "/from": "From", "/text": "Body", "/send_at": "SendAt", "/valid_for_s": "ValidityPeriod",
    "/metadata": "StatusCallback", "/Idempotency-Key": "I-Twilio-Idempotency-Token",
}  # fmt: skip


def on_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Any exception of these routes, as Twilio tells it."""
    scope = cast("dict[str, Any]", request.scope)
    request_id = str(scope["state"].get("tidings.request_id", ""))
    if isinstance(error, InvalidRequest) and error.errors:
        error = of_fields(list(error.errors))
    status, _, headers = problem_of(error, request_id)
    extra = {name.decode(): value.decode() for name, value in headers}
    request.app.state.failures.tell(error, request_id, scope.get("path_template"))
    if status == 401:
        extra["www-authenticate"] = 'Basic realm="Twilio API"'
    number = error.number if isinstance(error, TwilioError) else _OF_STATUS.get(status, 20001)
    message = "Internal server error" if status == 500 else _said(error)
    body = {"code": number, "message": message, "more_info": _MORE.format(code=number), "status": status}
    return Response(json_bytes(body), status_code=status, media_type="application/json", headers=extra)


def _said(error: Exception) -> str:
    if isinstance(error, NotFound):
        return "The requested resource was not found"
    return error.detail if isinstance(error, RequestError | HTTPException) else "The server cannot take this now"
