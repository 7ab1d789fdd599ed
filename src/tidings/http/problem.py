"""Problems: what every refusal looks like. Source: RFC 9457 (problem details for HTTP APIs)."""

from typing import Any, Final

import msgspec
from litestar.exceptions import HTTPException

from tidings.domain.errors import FieldError, Overloaded, RequestError, StoreError, StoreFull

#: Stable codes with what they mean to the caller; `/docs/errors` shows this table.
CODES: Final[dict[str, tuple[int, str, str]]] = {
    "bad_request": (400, "Bad request", "The request cannot be read. `detail` says what is wrong with it."),
    "malformed_json": (400, "Malformed JSON", "The body is not JSON (RFC 8259). `detail` names the line and column."),
    "unauthenticated": (401, "Not authenticated", "Send `Authorization: Bearer tk_live_…` with a key that is not revoked."),
    "forbidden": (403, "Not allowed", "The key is good but lacks the scope that `detail` names."),
    "not_found": (404, "Not found", "There is no such thing in this project, or no such path."),
    "method_not_allowed": (405, "Method not allowed", "The `Allow` header names the methods of this path."),
    "timeout": (408, "Request timed out", "The body did not arrive in time. Nothing was done; send it again."),
    "conflict": (409, "Conflict", "The thing is in a state that does not allow this."),
    "not_supported": (409, "Not supported", "The provider's carrier does not do this."),
    "carrier_refused": (409, "Refused by the carrier", "`detail` says what the carrier answered."),
    "too_large": (413, "Body too large", "Send less at once; `detail` names the limit."),
    "unsupported_media_type": (415, "Unsupported media type", "Send `Content-Type: application/json`, not compressed."),
    "invalid_request": (422, "Invalid request", "`errors` names every bad field at once."),
    "idempotency_key_reused": (422, "Idempotency key reused", "This Idempotency-Key came with another request before."),
    "verification": (409, "Message of a verification", "It has a one-time code: resend that of the verification instead."),
    "already_approved": (409, "Already approved", "The verification is approved, and a code counts once."),
    "resend_too_soon": (409, "Resend too soon", "Nothing was sent. `resend_at` of the verification says when it can be."),
    "resend_limit": (409, "No more resends", "Nothing was sent. Start another verification."),
    "verification_ended": (409, "Verification ended", "`detail` says how. Start another one."),
    "velocity_limited": (429, "Too many verifications", "Nothing was sent. `detail` names the limit that was reached."),
    "pumping_suspected": (403, "SMS pumping suspected", "Nothing was sent. If you know these numbers, allow their prefix."),
    "no_provider": (422, "No provider", "No provider can carry this message: declare one, or use a test key."),
    "rate_limited": (429, "Too many requests", "Not accepted. Retry after `Retry-After` seconds."),
    "overloaded": (503, "Overloaded", "Not accepted. Retry after `Retry-After` seconds."),
    "store_unavailable": (503, "Store unavailable", "Not accepted: the database cannot be used now. Retry later."),
    "not_ready": (503, "Not ready", "The server is up but should get no traffic; `errors` says why."),
    "store_full": (507, "Store full", "Not accepted: no disk space is left. The operator must make room."),
    "internal": (500, "Internal error", "Our mistake. It is logged under `request_id`."),
}  # fmt: skip


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of every answer that is not a success (`application/problem+json`)."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    doc_url: str
    request_id: str
    errors: list[FieldError] = msgspec.field(default_factory=list[FieldError])


Headers = list[tuple[bytes, bytes]]
_encode: Final = msgspec.json.Encoder().encode
_OF_STATUS: Final = {
    400: "bad_request", 401: "unauthenticated", 403: "forbidden", 404: "not_found", 405: "method_not_allowed",
    408: "timeout", 409: "conflict", 413: "too_large", 415: "unsupported_media_type", 422: "invalid_request",
    429: "rate_limited", 503: "overloaded",
}  # fmt: skip


class TooLarge(RequestError):
    """The body is larger than allowed."""

    status = 413
    code = "too_large"


class UnsupportedMedia(RequestError):
    """The body is of another type than JSON, or compressed."""

    status = 415
    code = "unsupported_media_type"


class TooSlow(RequestError):
    """The body did not arrive in time."""

    status = 408
    code = "timeout"


class NotReady(RequestError):
    """The server should get no traffic now."""

    status = 503
    code = "not_ready"


def problem_of(error: BaseException, request_id: str) -> tuple[int, bytes, Headers]:
    """Status, body and extra headers for any exception. What is not foreseen is `internal` and tells nothing."""
    headers: Headers = []
    match error:
        case RequestError():
            status, code, detail, errors = error.status, error.code, error.detail, list(error.errors)
            if isinstance(error, Overloaded):
                headers.append((b"retry-after", str(error.retry_after_s).encode()))
            elif status == 503:
                headers.append((b"retry-after", b"1"))
            elif status == 401:
                headers.append((b"www-authenticate", b'Bearer realm="tidings"'))
        case StoreFull():
            status, code, detail, errors = (
                507,
                "store_full",
                "no disk space is left; nothing of this request was kept",
                [],
            )
        case StoreError():
            status, code, detail, errors = 503, "store_unavailable", "the database cannot be used now; try again", []
            headers.append((b"retry-after", b"1"))
        case HTTPException():
            status, code, detail = _framework(error)
            errors = []
            allow = (error.headers or {}).get("allow")
            if allow:
                headers.append((b"allow", _allow(allow).encode()))
        case _:
            status, code, errors = 500, "internal", []
            detail = "something went wrong on our side; it is logged under this request_id"
    title = CODES.get(code, CODES[_OF_STATUS.get(status, "bad_request")])[1]
    url = f"/docs/errors#{code}"
    body = Problem(
        type=url,
        title=title,
        status=status,
        code=code,
        detail=detail,
        doc_url=url,
        request_id=request_id,
        errors=errors,
    )
    return status, _encode(body), headers


def _framework(error: HTTPException) -> tuple[int, str, str]:
    status = error.status_code
    if status >= 500:
        return 500, "internal", "something went wrong on our side; it is logged under this request_id"
    code = _OF_STATUS.get(status, "bad_request")
    details = {
        404: "there is no such path; see /docs",
        405: "this path does not take this method; see the Allow header",
    }
    return status, code, details.get(status, error.detail)


def _allow(methods: str) -> str:
    names = sorted({name.strip() for name in methods.split(",")} | {"OPTIONS"})
    if "GET" in names:
        names.append("HEAD")
    return ", ".join(sorted(set(names)))


def field_error(pointer: str, code: str, detail: str) -> FieldError:
    """Short for a FieldError."""
    return FieldError(pointer=pointer, code=code, detail=detail)


def json_bytes(value: Any) -> bytes:
    """JSON of any view."""
    return _encode(value)
