"""National language tables of the GSM 7-bit alphabet: a single shift table replaces the extension, a locking shift table
the alphabet itself. Turkish, Spanish (single shift only) and Portuguese; text as one septet value per byte.

Source: 3GPP TS 23.038 §6.2.1.2 and Annex A; TS 23.040 §9.2.3.24.15 and .16 (the header elements).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Final, Literal

from tidings.protocols.gsm import alphabet
from tidings.protocols.gsm.alphabet import ESC

Language = Literal["tr", "es", "pt"]
#: National language identifiers. Source: TS 23.038 §6.2.1.2.4
IDENTIFIERS: Final[dict[Language, int]] = {"tr": 1, "es": 2, "pt": 3}
SINGLE_SHIFT: Final = 0x24
LOCKING_SHIFT: Final = 0x25
_COMMON: Final = {0x14: "^", 0x28: "{", 0x29: "}", 0x2F: "\\", 0x3C: "[", 0x3D: "~", 0x3E: "]", 0x40: "|", 0x65: "€"}
_EXTENSION: Final = {0x0A: "\f", **_COMMON}
#: Annex A.2.1 to A.2.3
_SINGLE: Final[dict[int, dict[int, str]]] = {
    1: {**_EXTENSION, 0x47: "Ğ", 0x49: "İ", 0x53: "Ş", 0x63: "ç", 0x67: "ğ", 0x69: "ı", 0x73: "ş"},
    2: {
        **_EXTENSION, 0x09: "ç", 0x41: "Á", 0x49: "Í", 0x4F: "Ó", 0x55: "Ú", 0x61: "á", 0x69: "í", 0x6F: "ó", 0x75: "ú",
    },
    3: {
        **_EXTENSION, 0x05: "ê", 0x09: "ç", 0x0B: "Ô", 0x0C: "ô", 0x0E: "Á", 0x0F: "á", 0x12: "Φ", 0x13: "Γ", 0x15: "Ω",
        0x16: "Π", 0x17: "Ψ", 0x18: "Σ", 0x19: "Θ", 0x1F: "Ê", 0x41: "À", 0x49: "Í", 0x4F: "Ó", 0x55: "Ú", 0x5B: "Ã",
        0x5C: "Õ", 0x61: "Â", 0x69: "í", 0x6F: "ó", 0x75: "ú", 0x7B: "ã", 0x7C: "õ", 0x7F: "â",
    },
}  # fmt: skip
#: Annex A.3.1 and A.3.3 (there is no A.3.2 table: Spanish uses the default alphabet)
_LOCKING: Final[dict[int, str]] = {
    1: "@£$¥€éùıòÇ\nĞğ\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bŞşßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "İABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§çabcdefghijklmnopqrstuvwxyzäöñüà",
    3: "@£$¥êéúíóç\nÔô\rÁáΔ_ªÇÀ∞^\\€Ó|\x1bÂâÊÉ !\"#º%&'()*+,-./0123456789:;<=>?"
    "ÍABCDEFGHIJKLMNOPQRSTUVWXYZÃÕÚÜ§~abcdefghijklmnopqrstuvwxyzãõ`üà",
}


@dataclass(frozen=True, slots=True)
class Tables:
    """A locking and a single shift table by their identifiers; 0 is the default one. Made by `tables`."""

    locking: int
    single: int
    _encode: dict[int, str] = field(repr=False, compare=False)
    _decode: tuple[str, ...] = field(repr=False, compare=False)
    _shifted: dict[int, str] = field(repr=False, compare=False)

    @property
    def header(self) -> bytes:
        """The header elements that announce the tables; they belong into every part."""
        single = bytes((SINGLE_SHIFT, 1, self.single)) if self.single else b""
        return single + (bytes((LOCKING_SHIFT, 1, self.locking)) if self.locking else b"")

    def encode(self, text: str) -> bytes | None:
        """Septet values, one a byte; None if a character is in neither table."""
        encode = self._encode
        if not all(ord(c) in encode for c in text):
            return None
        return text.translate(encode).encode("latin-1")

    def decode(self, data: bytes) -> str:
        """Text of septet values, as tolerant as `alphabet.decode`."""
        out: list[str] = []
        septets = iter(data)
        for septet in septets:
            code = septet & 0x7F
            if code != ESC:
                out.append(self._decode[code])
                continue
            following = next(septets, None)
            if following is None or following & 0x7F == ESC:
                out.append(" ")
            else:
                code = following & 0x7F
                out.append(self._shifted.get(code, self._decode[code]))
        return "".join(out)


@cache
def tables(locking: int, single: int) -> Tables:
    """The pair of tables; an identifier that we do not know (or Spanish as locking) falls back to the default table.

    Source: TS 23.038 §6.2.1.2.2 and .3: unknown tables are passed over.
    """
    locking = locking if locking in _LOCKING else 0
    single = single if single in _SINGLE else 0
    basic, shifted = _LOCKING.get(locking, alphabet.BASIC), _SINGLE.get(single, _EXTENSION)
    encode = {ord(c): chr(ESC) + chr(n) for n, c in shifted.items()}
    encode |= {ord(c): chr(n) for n, c in enumerate(basic) if n != ESC}  # one septet is cheaper than two
    return Tables(locking, single, encode, tuple(basic), shifted)


@cache
def pairs(languages: tuple[Language, ...]) -> tuple[Tables, ...]:
    """Every pair of tables that the languages allow, with at least one national one; fewest header octets first."""
    singles = [0, *(IDENTIFIERS[name] for name in languages)]
    lockings = [0, *(n for n in singles if n in _LOCKING)]
    found = [tables(locking, single) for locking in lockings for single in singles if locking or single]
    return tuple(sorted(found, key=lambda pair: len(pair.header)))


def in_order(names: Iterable[Language]) -> tuple[Language, ...]:
    """Each language once, in the order of its identifier."""
    return tuple(sorted(set(names), key=IDENTIFIERS.__getitem__))
