"""What is wrong with an interactive WhatsApp message: buttons, or a list behind one.

Source: WhatsApp Cloud API v23.0, schemas `InteractiveObject`, `HeaderObject`, `ActionObject`, `SectionObject`
"""

from collections.abc import Sequence
from typing import Final

from tidings.domain.whatsapp_content import CAPTIONED, Interactive, Section
from tidings.domain.whatsapp_fields import BODY_CHARS, Found, bad, length, media, unique

SHORT_CHARS: Final = 60  # header and footer
BUTTONS: Final = 3
BUTTON_ID_CHARS: Final = 256
TITLE_CHARS: Final = 20  # of a button, and of what opens a list
SECTIONS: Final = 10
ROWS: Final = 10  # of all sections
ROW_ID_CHARS: Final = 200
ROW_TITLE_CHARS: Final = 24  # and a section's
ROW_DESCRIPTION_CHARS: Final = 72


def interactive(found: Interactive, text: str | None) -> Found:
    """All of it; `text` is the request's, which stands in for a body."""
    at = "/interactive"
    if found.body is None and text is None:
        yield bad(f"{at}/body", "required", "needs a `body`, or the request's `text`")
    if found.body is not None:
        yield from length(f"{at}/body", found.body, BODY_CHARS)
    if found.footer is not None:
        yield from length(f"{at}/footer", found.footer, SHORT_CHARS)
    yield from _header(found)
    if bool(found.buttons) == (found.list is not None):
        yield bad(at, "required", "needs `buttons` or `list`, not both")
        return
    if found.list is not None:
        yield from length(f"{at}/list/button", found.list.button, TITLE_CHARS)
        yield from _sections(found.list.sections)
        return
    if len(found.buttons) > BUTTONS:
        yield bad(f"{at}/buttons", "length", f"at most {BUTTONS} buttons; a list takes up to {ROWS} choices")
    for n, button in enumerate(found.buttons):
        yield from length(f"{at}/buttons/{n}/id", button.id, BUTTON_ID_CHARS, edges=False)
        yield from length(f"{at}/buttons/{n}/title", button.title, TITLE_CHARS)
    yield from unique([(f"{at}/buttons/{n}/id", button.id) for n, button in enumerate(found.buttons)])
    yield from unique([(f"{at}/buttons/{n}/title", button.title) for n, button in enumerate(found.buttons)])


def _header(found: Interactive) -> Found:
    header, at = found.header, "/interactive/header"
    if header is None:
        return
    given = [name for name in ("text", *CAPTIONED) if getattr(header, name) is not None]
    if len(given) != 1:
        yield bad(at, "required", f"needs one of text, {', '.join(CAPTIONED)}")
    if found.list is not None and given and given != ["text"]:
        yield bad(f"{at}/{given[-1]}", "conflict", "a list has a text above it, no file")
    if header.text is not None:
        yield from length(f"{at}/text", header.text, SHORT_CHARS)
    for kind in CAPTIONED:
        if (medium := getattr(header, kind)) is not None:
            yield from media(f"{at}/{kind}", medium, filename=kind == "document")


def _sections(sections: Sequence[Section]) -> Found:
    at = "/interactive/list/sections"
    rows = [(f"{at}/{s}/rows/{r}", row) for s, section in enumerate(sections) for r, row in enumerate(section.rows)]
    if not 1 <= len(sections) <= SECTIONS:
        yield bad(at, "length", f"must have 1 to {SECTIONS} sections")
    if len(rows) > ROWS:
        yield bad(at, "length", f"at most {ROWS} rows in all sections together; these are {len(rows)}")
    for n, section in enumerate(sections):
        if not section.rows:
            yield bad(f"{at}/{n}/rows", "required", "a section needs a row")
        if section.title is not None:
            yield from length(f"{at}/{n}/title", section.title, ROW_TITLE_CHARS)
        elif len(sections) > 1:
            yield bad(f"{at}/{n}/title", "required", "needs a title where there is more than one section")
    for where, row in rows:
        yield from length(f"{where}/id", row.id, ROW_ID_CHARS)
        yield from length(f"{where}/title", row.title, ROW_TITLE_CHARS)
        if row.description is not None:
            yield from length(f"{where}/description", row.description, ROW_DESCRIPTION_CHARS)
    yield from unique([(f"{where}/id", row.id) for where, row in rows])
