"""What is wrong with a WhatsApp content, field by field. Numbers are Meta's.

Source: WhatsApp Cloud API v23.0, schemas `Message`, `InteractiveObject`, `ActionObject`, `SectionObject`,
`TemplateComponent`, `ContactsMessage`; reference "Messages" (text 4,096 characters), "Media" (caption)
"""

import datetime as dt
from collections.abc import Sequence
from typing import Final

from tidings.domain.errors import FieldError
from tidings.domain.whatsapp_content import CAPTIONED, KINDS, MEDIA, WORDED, Contact, Location, Media, WhatsAppContent
from tidings.domain.whatsapp_fields import BODY_CHARS, CAPTION_CHARS, Found, bad, is_liquid, is_url, length, media
from tidings.domain.whatsapp_fill import template
from tidings.domain.whatsapp_interactive import interactive

TEXT_CHARS: Final = 4_096
CONTACTS: Final = 5
ID_CHARS: Final = 512
NAME_CHARS: Final = 1_000
_KINDS: Final = ", ".join(KINDS)


def content_problems(content: WhatsAppContent, text_at: str) -> list[FieldError]:
    """Every bad field. `text_at` is the pointer of the text."""
    kinds = content.kinds
    if len(kinds) > 1:
        detail = f"a message is one of {', '.join(KINDS)}; this one is {' and '.join(kinds)}"
        return [bad(f"/{kind}", "conflict", detail) for kind in kinds[1:]]
    return [*_text_problems(content, text_at), *_kind_problems(content), *_context_problems(content)]


def _text_problems(content: WhatsAppContent, at: str) -> Found:
    kind, text = content.kind, content.text
    if text is None:
        if kind == "text":
            yield FieldError(pointer=at, code="required", detail=f"a WhatsApp message needs `text` or one of {_KINDS}")
        return
    if kind not in WORDED:
        detail = f"a message with `{kind}` has no place for a text; leave it out"
        yield FieldError(pointer=at, code="conflict", detail=detail)
        return
    most = {"text": TEXT_CHARS, "interactive": BODY_CHARS}.get(kind, CAPTION_CHARS)
    if (own := _own_words(content)) is not None:
        yield FieldError(pointer=at, code="conflict", detail=f"give `text` or `{own}`, not both")
    elif not 1 <= len(text) <= most and not is_liquid(text):
        yield FieldError(pointer=at, code="length", detail=f"must have 1 to {most} characters on WhatsApp")


def _own_words(content: WhatsAppContent) -> str | None:
    """The field that already says what the text would."""
    if content.interactive is not None:
        return "interactive.body" if content.interactive.body is not None else None
    medium = getattr(content, content.kind, None)
    return f"{content.kind}.caption" if isinstance(medium, Media) and medium.caption is not None else None


def _kind_problems(content: WhatsAppContent) -> Found:
    if content.preview_url and content.kind != "text":
        yield bad("/preview_url", "conflict", "only a text message can show a preview")
    for kind in MEDIA:
        medium = getattr(content, kind)
        if medium is not None:
            yield from media(f"/{kind}", medium, caption=kind in CAPTIONED, filename=kind == "document")
    if content.interactive is not None:
        yield from interactive(content.interactive, content.text)
    if content.template is not None:
        yield from template(content.template)
    if content.location is not None:
        yield from _location(content.location)
    if content.reaction is not None:
        yield from length("/reaction/message_id", content.reaction.message_id, ID_CHARS)
        if len(content.reaction.emoji) > 16 or (content.reaction.emoji.isascii() and content.reaction.emoji):
            yield bad("/reaction/emoji", "invalid", "must be one emoji, or empty to take the reaction back")
    yield from _contacts(content.contacts)


def _context_problems(content: WhatsAppContent) -> Found:
    if content.reply_to is None:
        return
    yield from length("/reply_to", content.reply_to, ID_CHARS)
    if content.reaction is not None:
        yield bad("/reply_to", "conflict", "a reaction names its message in `reaction.message_id`")


def _location(found: Location) -> Found:
    for name, most in (("latitude", 90), ("longitude", 180)):
        if not -most <= getattr(found, name) <= most:
            yield bad(f"/location/{name}", "range", f"must be -{most} to {most} degrees")
    for name in ("name", "address"):
        if (value := getattr(found, name)) is not None:
            yield from length(f"/location/{name}", value, NAME_CHARS)


def _contacts(found: Sequence[Contact]) -> Found:
    if len(found) > CONTACTS:
        yield bad("/contacts", "length", f"at most {CONTACTS} contacts")
    for n, contact in enumerate(found):
        at = f"/contacts/{n}"
        yield from length(f"{at}/name/formatted_name", contact.name.formatted_name, NAME_CHARS)
        if contact.birthday is not None and not _is_day(contact.birthday):
            yield bad(f"{at}/birthday", "invalid", "must be a day such as 1990-08-18")
        for m, phone in enumerate(contact.phones):
            yield from length(f"{at}/phones/{m}/phone", phone.phone, 64)
        for m, email in enumerate(contact.emails):
            if "@" not in email.email.strip("@"):
                yield bad(f"{at}/emails/{m}/email", "invalid", "must be an email address")
        for m, url in enumerate(contact.urls):
            if not is_url(url.url):
                yield bad(f"{at}/urls/{m}/url", "invalid", "must be an http or https URL")


def _is_day(text: str) -> bool:
    try:
        return len(text) == 10 and bool(dt.date.fromisoformat(text))
    except ValueError:
        return False
