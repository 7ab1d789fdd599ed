"""A content as the JSON of `POST /{phone_number_id}/messages`. Pure.

Source: WhatsApp Cloud API v23.0, schema `Message` and what it refers to
"""

from typing import Any

import msgspec

from tidings.domain.whatsapp_content import CAPTIONED, MEDIA, Header, Interactive, Location, Media, WhatsAppContent
from tidings.domain.whatsapp_template import Template

Fields = dict[str, Any]


def message(content: WhatsAppContent, to: str, callback_data: str | None = None) -> Fields:
    """The whole body. `callback_data` comes back with every status of the message (512 characters at most)."""
    kind = content.kind
    body: Fields = {
        "messaging_product": "whatsapp", "recipient_type": "individual", "to": to, "type": kind,
        kind: _part(content, kind),
    }  # fmt: skip
    if content.reply_to is not None:
        body["context"] = {"message_id": content.reply_to}
    if callback_data is not None:
        body["biz_opaque_callback_data"] = callback_data
    return body


def read_mark(message_id: str) -> Fields:
    """Tells the person that we have read their message and all before it."""
    return {"messaging_product": "whatsapp", "status": "read", "message_id": message_id}


def _part(content: WhatsAppContent, kind: str) -> Any:
    if kind == "text":
        return {"body": content.text or "", "preview_url": content.preview_url}
    if kind in MEDIA:
        return _media(getattr(content, kind), content.text if kind in CAPTIONED else None)
    if content.interactive is not None:
        return _interactive(content.interactive, content.text)
    if content.template is not None:
        return _template(content.template)
    if content.location is not None:
        return _location(content.location)
    return msgspec.to_builtins(content.reaction or content.contacts)


def _media(medium: Media, text: str | None = None) -> Fields:
    found: Fields = msgspec.to_builtins(medium)
    if text is not None:
        found["caption"] = text
    return found


def _interactive(found: Interactive, text: str | None) -> Fields:
    body: Fields = {"body": {"text": found.body if found.body is not None else text or ""}}
    if found.header is not None:
        body["header"] = _header(found.header)
    if found.footer is not None:
        body["footer"] = {"text": found.footer}
    if found.list is not None:
        return {"type": "list", **body, "action": msgspec.to_builtins(found.list)}
    buttons = [{"type": "reply", "reply": {"id": button.id, "title": button.title}} for button in found.buttons]
    return {"type": "button", **body, "action": {"buttons": buttons}}


def _header(header: Header) -> Fields:
    if header.text is not None:
        return {"type": "text", "text": header.text}
    kind = next(kind for kind in CAPTIONED if getattr(header, kind) is not None)
    return {"type": kind, kind: _media(getattr(header, kind))}


def _template(found: Template) -> Fields:
    components: list[Fields] = msgspec.to_builtins(found.components)
    for component in components:
        if "index" in component:
            component["index"] = str(component["index"])
    body: Fields = {"name": found.name, "language": {"policy": "deterministic", "code": found.language}}
    return {**body, "components": components} if components else body


def _location(found: Location) -> Fields:
    """Degrees as strings, as the schema has them."""
    fields: Fields = msgspec.to_builtins(found)
    return {**fields, "latitude": _degrees(found.latitude), "longitude": _degrees(found.longitude)}


def _degrees(value: float) -> str:
    """To a centimetre, never with an exponent."""
    return f"{value:.7f}".rstrip("0").rstrip(".")
