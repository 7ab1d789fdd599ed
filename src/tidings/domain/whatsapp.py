"""The channel WhatsApp as `domain.channel` knows it: what its addresses, senders and contents must be."""

from typing import Any, Final

import msgspec

from tidings.domain.errors import FieldError
from tidings.domain.phone import phone_problem
from tidings.domain.whatsapp_checks import content_problems
from tidings.domain.whatsapp_content import WhatsAppContent as WhatsAppContent

#: Fields whose strings are Liquid where the request has `data`; none of them is HTML.
LIQUID: Final = frozenset({"text", "image", "video", "document", "interactive", "template", "location"})
HTML: Final = frozenset[str]()
_TAKES: Final = ", ".join(WhatsAppContent.__struct_fields__)


def address_problem(text: str) -> str | None:
    """What is wrong with a person's address, which is a phone number; None if it is good."""
    return phone_problem(text)


def sender_problem(text: str) -> str | None:
    """What is wrong with `from`, which is one of our own numbers; None if it is good."""
    return phone_problem(text)


def read(content: dict[str, Any] | None, text: str | None) -> WhatsAppContent:
    """The typed content, with the request's text where it has none. Raises `msgspec.ValidationError`."""
    found = msgspec.convert(content or {}, WhatsAppContent)
    return found if found.text is not None or text is None else msgspec.structs.replace(found, text=text)


def problems(content: dict[str, Any] | None, text: str | None) -> list[FieldError]:
    """Every bad field of a request's content; pointers below `/content` and `/text`."""
    try:
        found = read(content, None)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        detail = f"{what}; a WhatsApp message takes {_TAKES}" if not where or "unknown field" in what else what
        return [FieldError(pointer=_pointer(where), code="invalid", detail=detail)]
    if found.text is not None and text is not None:
        detail = "give `text` or `content.text`, not both"
        return [FieldError(pointer="/content/text", code="conflict", detail=detail)]
    return content_problems(read(content, text), "/content/text" if text is None and content else "/text")


def _pointer(where: str) -> str:
    """msgspec's `$.template.components[0]` as a JSON pointer below `/content`."""
    path = where.strip("`").removeprefix("$").replace("[", ".").replace("]", "")
    return "/content" + path.replace(".", "/")
