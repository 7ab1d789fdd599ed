"""Addresses of SMPP (TON, NPI, digits) and ours (E.164 with a plus, short codes, alphanumeric). Source: SMPP 3.4 §5.2.5–9"""

from typing import Final

from tidings.protocols.smpp.constants import Npi, Status, Ton

#: Plans in which a number of a phone is written: unknown, ISDN, land mobile, national, private.
_PLANS: Final = frozenset({0, 1, 6, 8, 9})
_INTERNATIONAL_DIGITS: Final = 8  # from so many on a number of unknown type is taken for an international one
Address = tuple[int, int, bytes]  # ton, npi, address


class AddressError(ValueError):
    """`status` is what to answer with."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status


def recipient(ton: int, npi: int, address: bytes) -> str:
    """The E.164 number of a destination. Raises AddressError."""
    if ton not in (Ton.UNKNOWN, Ton.INTERNATIONAL):
        raise AddressError(Status.ESME_RINVDSTTON)
    if npi not in _PLANS:
        raise AddressError(Status.ESME_RINVDSTNPI)
    digits = address.decode("latin-1").strip().lstrip("+")
    if not (digits.isascii() and digits.isdigit()):
        raise AddressError(Status.ESME_RINVDSTADR)
    return "+" + digits.removeprefix("00")


def sender(ton: int, npi: int, address: bytes) -> str | None:
    """A source address as the API writes it; None where the client leaves it to us. Raises AddressError."""
    text = address.decode("latin-1").strip()
    if ton > Ton.ABBREVIATED:
        raise AddressError(Status.ESME_RINVSRCTON)
    if npi not in _PLANS and ton != Ton.ALPHANUMERIC:
        raise AddressError(Status.ESME_RINVSRCNPI)
    if not text:
        return None
    digits = text.lstrip("+")
    if ton == Ton.ALPHANUMERIC or not (digits.isascii() and digits.isdigit()):
        return text
    if ton == Ton.INTERNATIONAL or text.startswith("+"):
        return "+" + digits
    if ton == Ton.UNKNOWN and len(digits) >= _INTERNATIONAL_DIGITS:
        return "+" + digits.removeprefix("00")
    return digits


def written(address: str | None) -> Address:
    """One of our addresses as SMPP writes it: at most 20 octets."""
    text = (address or "").strip()
    digits = text.lstrip("+")
    if text.startswith("+") and digits.isascii() and digits.isdigit():
        return Ton.INTERNATIONAL, Npi.ISDN, digits.encode()[:20]
    if digits.isascii() and digits.isdigit():
        return Ton.UNKNOWN, Npi.ISDN, digits.encode()[:20]
    ton = Ton.ALPHANUMERIC if text else Ton.UNKNOWN
    return ton, Npi.UNKNOWN, text.encode("latin-1", "replace").replace(b"\0", b"?")[:20]
