"""Pages: `{"data": […], "next_cursor"}`, with opaque cursors. Newest first, unless a route says otherwise."""

import base64
import binascii
from typing import Any, Final

import msgspec

from tidings.domain.errors import InvalidRequest
from tidings.http.problem import field_error

_TAG: Final = b"t1:"


def encode_cursor(at: str) -> str:
    """The cursor behind the item called `at` (an id or a sequence number)."""
    return base64.urlsafe_b64encode(_TAG + at.encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> str | None:
    """What `encode_cursor` was given. Raises InvalidRequest for anything that it did not make."""
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        if raw.startswith(_TAG) and len(raw) < 100:
            return raw[len(_TAG) :].decode("ascii")
    except (binascii.Error, ValueError):
        pass
    error = field_error(
        "/cursor", "invalid_cursor", "is not a cursor of this list; use `next_cursor` of the page before"
    )
    raise InvalidRequest("the cursor is not one that this list gave", errors=(error,))


def decode_number(cursor: str | None) -> int | None:
    """A cursor that is a sequence number."""
    text = decode_cursor(cursor)
    if text is None:
        return None
    if not text.isdigit() or len(text) > 18:
        raise InvalidRequest(
            "the cursor is not one that this list gave",
            errors=(field_error("/cursor", "invalid_cursor", "is not a cursor of this list"),),
        )
    return int(text)


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a list."""

    data: list[Any]
    next_cursor: str | None


def page(items: list[Any], limit: int, at: list[str]) -> Page:
    """A page of `items`, of which one more than `limit` was read; `at` are their ids."""
    more = len(items) > limit
    return Page(data=items[:limit], next_cursor=encode_cursor(at[limit - 1]) if more else None)
