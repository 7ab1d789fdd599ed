"""One message that a person sent, of any kind, in our words.

Source: WhatsApp Cloud API v23.0, schemas behind `IncomingMessage`
"""

from typing import Any, Final, Literal, cast

import msgspec

from tidings.domain.inbound import Button, InboundContent, InboundFile, Location, Reaction

FILES: Final = ("image", "video", "audio", "document", "sticker", "voice")
#: What comes from WhatsApp itself, not from a person: it opens no window and is no message.
NOT_SAID: Final = frozenset({"system", "request_welcome", "ephemeral"})
#: What the opt-out button of Meta's own templates says.
_STOP_BUTTONS: Final = frozenset({"stop promotions", "stop"})
_CARDS: Final = 257  # what WhatsApp lets a person share at once
_TEXT_CHARS: Final = 65_536  # what WhatsApp lets a person write


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """`text`: the words in it, if there are any. `answers`: the WhatsApp id of what it replies to."""

    text: str = ""
    content: InboundContent
    answers: tuple[str, ...] = ()
    word: Literal["stop", "start"] | None = None


def inbound(item: dict[str, Any], profile_name: str | None) -> Said | None:
    """What it says; None if nobody said it, or it has no type."""
    kind = item.get("type")
    if not isinstance(kind, str) or kind in NOT_SAID:
        return None
    part = item.get(kind)
    fields, text = _object(part), ""
    base: dict[str, Any] = {"kind": kind[:32], "ref": _text(item.get("id")), "profile_name": profile_name}
    answered = _text(_object(item.get("context")).get("id"))
    word: Literal["stop"] | None = None
    if kind == "text":
        text = _text(fields.get("body")) or ""
    elif kind in FILES:
        text, base["attachments"] = _text(fields.get("caption")) or "", (_file(fields),)
    elif kind == "location":
        base["location"] = _location(fields)
    elif kind == "contacts":
        cards = cast("list[object]", part) if isinstance(part, list) else []
        base["contacts"] = tuple(_object(card) for card in cards[:_CARDS])
    elif kind in ("button", "interactive"):
        text, base["button"] = _button(kind, fields)
        word = "stop" if text.strip().lower() in _STOP_BUTTONS else None
    elif kind == "reaction":
        answered = _text(fields.get("message_id"))
        base["reaction"] = Reaction(emoji=_text(fields.get("emoji")) or "", ref=answered or "")
    elif kind == "order":
        text, base["order"] = _text(fields.get("text")) or "", fields
    return Said(text=text, content=InboundContent(**base), answers=(answered,) if answered else (), word=word)


def _file(fields: dict[str, Any]) -> InboundFile:
    size = fields.get("file_size")
    return InboundFile(
        media_type=(_text(fields.get("mime_type")) or "application/octet-stream")[:128],
        name=(_text(fields.get("filename")) or "")[:255] or None,
        size=size if isinstance(size, int) else None,
        ref=(_text(fields.get("id")) or "")[:64] or None,
    )


def _location(fields: dict[str, Any]) -> Location | None:
    latitude, longitude = fields.get("latitude"), fields.get("longitude")
    if not isinstance(latitude, int | float) or not isinstance(longitude, int | float):
        return None
    return Location(
        latitude=latitude, longitude=longitude, name=_text(fields.get("name")), address=_text(fields.get("address"))
    )


def _button(kind: str, fields: dict[str, Any]) -> tuple[str, Button | None]:
    """What a pressed button, a chosen row or a filled form says, and which one it was."""
    if kind == "button":  # of a template
        title = _text(fields.get("text")) or ""
        return title, Button(id=_text(fields.get("payload")) or title, title=title)
    reply = _object(fields.get(str(fields.get("type"))))
    title = _text(reply.get("title")) or _text(reply.get("body")) or ""
    found = _text(reply.get("id")) or _text(reply.get("response_json")) or _text(reply.get("name"))
    return title, Button(id=found, title=title or None) if found else None


def _text(value: object) -> str | None:
    return value[:_TEXT_CHARS] if isinstance(value, str) and value else None


def _object(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
