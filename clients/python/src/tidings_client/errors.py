"""The client's error tree.

::

    TidingsError
    ├── ConnectionFailed            no answer, after all retries
    ├── UnexpectedAnswer            a success whose body is not Tidings': a proxy in between, or another server
    ├── WebhookVerificationError    a webhook call is not what it claims to be
    └── ApiError                    the server said no; holds the problem (RFC 9457)
        ├── BadRequest              400, 413, 415, 422: `errors` names every bad field
        ├── Unauthorized            401
        ├── Forbidden               403
        ├── NotFound                404
        ├── Conflict                409
        ├── RateLimited             429, after all retries
        └── ServerError             5xx, after all retries
"""

import msgspec


class FieldError(msgspec.Struct, frozen=True, kw_only=True):
    """One bad field: JSON pointer, stable code, what to do."""

    pointer: str = ""
    code: str = ""
    detail: str = ""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An `application/problem+json` body."""

    code: str = "unknown"
    detail: str = ""
    title: str = ""
    errors: list[FieldError] = msgspec.field(default_factory=list[FieldError])
    request_id: str | None = None
    doc_url: str | None = None


class TidingsError(Exception):
    """Root of the client's errors."""


class ConnectionFailed(TidingsError):
    """No answer came, after all retries. Whether the request was carried out is not known.

    To find out, send it again with the same `idempotency_key`: it is never done twice.
    """


class UnexpectedAnswer(TidingsError):
    """A success whose body is not what Tidings answers: look for a proxy in between, or a wrong base_url."""


class WebhookVerificationError(TidingsError):
    """The call is not what it claims to be, or is too old; do not act on it."""


class ApiError(TidingsError):
    """The server said no. `code` is stable, `detail` is for people, `errors` names every bad field."""

    def __init__(self, status: int, problem: Problem) -> None:
        fields = "".join(f"; {error.pointer}: {error.detail}" for error in problem.errors)
        super().__init__(f"{status} {problem.code}: {problem.detail}{fields}")
        self.status = status
        self.code, self.detail, self.errors = problem.code, problem.detail, problem.errors
        self.request_id, self.doc_url = problem.request_id, problem.doc_url


class BadRequest(ApiError):
    """The request is wrong."""


class Unauthorized(ApiError):
    """The key is missing, unknown, expired or revoked."""


class Forbidden(ApiError):
    """The key lacks the scope."""


class NotFound(ApiError):
    """No such thing in this project."""


class Conflict(ApiError):
    """The thing's state does not allow this."""


class RateLimited(ApiError):
    """Too many requests, also after the retries."""


class ServerError(ApiError):
    """The server failed, also after the retries."""


_BY_STATUS: dict[int, type[ApiError]] = {
    401: Unauthorized, 403: Forbidden, 404: NotFound, 409: Conflict, 429: RateLimited,
}  # fmt: skip


def api_error(status: int, body: bytes) -> ApiError:
    """The error for an answer that is not a 2xx."""
    try:
        problem = msgspec.json.decode(body, type=Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        problem = Problem(detail=body[:200].decode("utf-8", "replace"))
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else BadRequest)
    return kind(status, problem)
