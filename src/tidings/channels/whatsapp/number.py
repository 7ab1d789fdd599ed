"""People's numbers as WhatsApp writes them, and as everybody else does."""


def person(wa_id: str) -> str | None:
    """E.164 of a WhatsApp id; None if it is no number.

    An id keeps the digits that the number had when its owner signed up: Mexico has dropped the 1 behind 52 since
    (Plan Técnico Fundamental de Numeración, 2019), Brazil has put a 9 before mobile numbers of eight digits (Anatel,
    Resolução 553/2010).
    """
    if not (wa_id.isascii() and wa_id.isdigit() and 7 <= len(wa_id) <= 15):
        return None
    if wa_id.startswith("521") and len(wa_id) == 13:
        return "+52" + wa_id[3:]
    if wa_id.startswith("55") and len(wa_id) == 12 and wa_id[4] in "6789":
        return f"+{wa_id[:4]}9{wa_id[4:]}"
    return "+" + wa_id
