"""The channel `other` as `domain.channel` knows it: a note to a service of the long tail (Slack, Telegram, Teams, …)."""

import re
from typing import Any, Final, Literal

import msgspec

from tidings.domain.errors import FieldError

LIQUID: Final = frozenset({"title"})
HTML: Final = frozenset[str]()
TITLE_CHARS: Final = 250  # as much as the most generous services show
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class OtherContent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`format`: what the text is; a service that cannot show it gets plain text."""

    title: str | None = None
    text: str | None = None
    format: Literal["text", "markdown", "html"] = "text"


def address_problem(text: str) -> str | None:
    """What is wrong with an address, which is the name of one of the provider's targets; None if it is good."""
    good = _NAME.fullmatch(text) is not None
    return None if good else "must be the name of a target of the provider: lower-case letters, digits, - and _"


def sender_problem(text: str) -> str | None:
    """The target says who writes."""
    return "a message of this channel has no `from`: its target says who writes"


def read(content: dict[str, Any] | None, text: str | None) -> OtherContent:
    """The typed content, with the request's text. Raises `msgspec.ValidationError`."""
    found = msgspec.convert(content or {}, OtherContent)
    return found if text is None else msgspec.structs.replace(found, text=text)


def problems(content: dict[str, Any] | None, text: str | None) -> list[FieldError]:
    """Every bad field of a request's content; pointers below `/content` and `/text`."""
    try:
        found = read(content, text)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        return [FieldError(pointer="/content" + where.strip("`").replace(".", "/"), code="invalid", detail=what)]
    wrong: list[FieldError] = []
    if not found.text:
        wrong.append(FieldError(pointer="/text", code="required", detail="a message of this channel needs `text`"))
    if found.title is not None and not 1 <= len(found.title) <= TITLE_CHARS:
        detail = f"must have 1 to {TITLE_CHARS} characters"
        wrong.append(FieldError(pointer="/content/title", code="length", detail=detail))
    return wrong
