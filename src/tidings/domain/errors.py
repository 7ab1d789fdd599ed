"""The one error tree. Carrier outcomes are values (see `attempt.py`), never exceptions.

::

    TidingsError
    ├── SettingsError          the configuration cannot be used; names the key
    ├── RequestError           the caller's request cannot be taken; nothing was done
    │   ├── InvalidRequest     400/422, with every bad field (`errors`)
    │   ├── Unauthenticated    401
    │   ├── Forbidden          403
    │   ├── NotFound           404
    │   ├── Conflict           409
    │   ├── IdempotencyReused  422
    │   └── Overloaded         429 or 503, with `retry_after_s`: not accepted, safe to retry
    └── StoreError             the store cannot take or give data
        ├── StoreFull          no space left: 507, nothing was accepted
        ├── StoreAway          the database server, or the way to it, is down for now
        └── StoreLocked        another process owns the data directory
"""

import msgspec


class FieldError(msgspec.Struct, frozen=True, kw_only=True):
    """One bad field: where (RFC 6901 JSON pointer), a stable code, and what to do."""

    pointer: str
    code: str
    detail: str


class TidingsError(Exception):
    """Root of all errors that Tidings raises."""


class SettingsError(TidingsError):
    """The configuration cannot be used; the text names the key and what to do."""


class RequestError(TidingsError):
    """The caller's request cannot be taken. `status` is the HTTP status, `code` is stable."""

    status = 400
    code = "bad_request"

    def __init__(self, detail: str, *, code: str | None = None, errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors
        if code is not None:
            self.code = code


class InvalidRequest(RequestError):
    """One or more fields are wrong; `errors` holds them all."""

    status = 422
    code = "invalid_request"


class Unauthenticated(RequestError):
    """No key, an unknown key, an expired or a revoked one."""

    status = 401
    code = "unauthenticated"


class Forbidden(RequestError):
    """The key is good, but lacks the scope."""

    status = 403
    code = "forbidden"


class NotFound(RequestError):
    """No such thing in this project."""

    status = 404
    code = "not_found"


class Conflict(RequestError):
    """The thing is in a state that does not allow this."""

    status = 409
    code = "conflict"


class IdempotencyReused(RequestError):
    """The Idempotency-Key was used with another body."""

    status = 422
    code = "idempotency_key_reused"


class Overloaded(RequestError):
    """Not accepted, safe to retry after `retry_after_s` seconds."""

    status = 429
    code = "overloaded"

    def __init__(self, detail: str, *, code: str = "overloaded", status: int = 429, retry_after_s: int = 1) -> None:
        super().__init__(detail, code=code)
        self.status = status
        self.retry_after_s = retry_after_s


class StoreError(TidingsError):
    """The store cannot take or give data. `doubtful`: what was to be written may have been."""

    doubtful = False


class StoreFull(StoreError):
    """No space is left on the device; nothing of the request was kept."""


class StoreAway(StoreError):
    """The database server cannot be reached, or went away; it may be back soon."""


class StoreLocked(StoreError):
    """Another process owns the data directory."""
