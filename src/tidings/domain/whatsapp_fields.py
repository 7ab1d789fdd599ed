"""Checks that several kinds of a WhatsApp content share. Pointers are below `/content`."""

import re
from collections.abc import Iterator, Sequence
from typing import Final, Literal
from urllib.parse import urlsplit

from tidings.domain.errors import FieldError
from tidings.domain.whatsapp_content import CAPTIONED, Media
from tidings.domain.whatsapp_template import File

CAPTION_CHARS: Final = 1_024
BODY_CHARS: Final = 1_024  # of an interactive message
URL_CHARS: Final = 2_048
_DIGITS: Final = re.compile(r"[0-9]{5,20}")
Code = Literal["conflict", "required", "invalid", "length", "range", "duplicate"]
Found = Iterator[FieldError]


def is_liquid(text: str) -> bool:
    """Whether it may still be filled in: then it is judged again before it is sent."""
    return "{{" in text or "{%" in text


def media(at: str, medium: Media | File, *, caption: bool = False, filename: bool = False) -> Found:
    """A file: where it comes from, and whether it may have a caption and a name."""
    if (medium.link is None) == (medium.id is None):
        yield bad(at, "required", "needs `link` (a URL that Meta can fetch) or `id` (of an uploaded file), not both")
    if medium.link is not None and not is_url(medium.link):
        yield bad(f"{at}/link", "invalid", f"must be an http or https URL of at most {URL_CHARS} characters")
    if medium.id is not None and not _DIGITS.fullmatch(medium.id):
        yield bad(f"{at}/id", "invalid", "must be the digits that the upload was answered with")
    if medium.filename is not None and not filename:
        yield bad(f"{at}/filename", "conflict", "only a document has a file name")
    if medium.filename is not None:
        yield from length(f"{at}/filename", medium.filename, 240)
    words = medium.caption if isinstance(medium, Media) else None
    if words is not None and not caption:
        yield bad(f"{at}/caption", "conflict", f"only {', '.join(CAPTIONED)} have a caption")
    elif words is not None:
        yield from length(f"{at}/caption", words, CAPTION_CHARS)


def is_url(text: str) -> bool:
    """Whether it is http or https with a host."""
    if is_liquid(text):
        return True
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
    return good and len(text) <= URL_CHARS and not any(ord(c) <= 32 or ord(c) == 127 for c in text)


def length(at: str, value: str, most: int, *, edges: bool = True) -> Found:
    """1 to `most` characters, not only spaces; without `edges` none at its ends."""
    if is_liquid(value):
        return
    if not value.strip() or len(value) > most:
        yield bad(at, "length", f"must have 1 to {most} characters")
    elif not edges and value != value.strip():
        yield bad(at, "invalid", "must not begin or end with a space")


def unique(values: Sequence[tuple[str, str]]) -> Found:
    """No two of these (pointer, value) have the same value."""
    seen = set[str]()
    for at, value in values:
        if value in seen:
            yield bad(at, "duplicate", f"{value!r} is there already")
        seen.add(value)


def bad(at: str, code: Code, detail: str) -> FieldError:
    """A bad field."""
    return FieldError(pointer=f"/content{at}", code=code, detail=detail)
