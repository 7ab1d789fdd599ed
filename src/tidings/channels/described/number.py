"""Numbers as carriers write them."""


def e164(text: str | None) -> str | None:
    """With the plus where it is an international number; short codes and names as they are."""
    if text is None:
        return None
    bare = text.strip().replace(" ", "")
    digits = bare.lstrip("+")
    if not (digits.isascii() and digits.isdigit()):
        return text.strip() or None
    if digits.startswith("00") and len(digits) >= 10:
        return "+" + digits[2:]
    return "+" + digits if len(digits) >= 8 or bare.startswith("+") else digits


def digits_of(address: str) -> str:
    """Without the plus; a name stays as it is."""
    return address[1:] if address.startswith("+") and address[1:].isdigit() else address
