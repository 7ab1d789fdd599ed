"""People's numbers as WhatsApp writes them, and as everybody else does."""

from tidings.domain.phone import as_of_today


def person(wa_id: str) -> str | None:
    """E.164 of a WhatsApp id, which keeps the digits that the number had when its owner signed up; None if it is no number."""
    if not (wa_id.isascii() and wa_id.isdigit() and 7 <= len(wa_id) <= 15):
        return None
    return as_of_today("+" + wa_id)
