"""The GSM 7-bit default alphabet with its extension table, one septet value per byte ("unpacked").

Source: 3GPP TS 23.038 §6.2.1 (default alphabet), §6.2.1.1 (extension table).
"""

from typing import Final

ESC: Final = 0x1B
BASIC: Final = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION: Final = {
    0x0A: "\f", 0x14: "^", 0x28: "{", 0x29: "}", 0x2F: "\\", 0x3C: "[", 0x3D: "~", 0x3E: "]", 0x40: "|", 0x65: "€",
}  # fmt: skip
#: Character → its septets as a latin-1 string (two for an extension character).
_ENCODE: Final[dict[int, str]] = {ord(c): chr(n) for n, c in enumerate(BASIC) if n != ESC} | {
    ord(c): chr(ESC) + chr(n) for n, c in _EXTENSION.items()
}
_DECODE: Final = dict(enumerate(BASIC))
_SEVEN_BITS: Final = bytes(n & 0x7F for n in range(256))
_KNOWN: Final = frozenset(chr(n) for n in _ENCODE)
_EXTENDED: Final = frozenset(_EXTENSION.values())
#: Typographic characters and what stands for them; nothing else is ever replaced.
SUBSTITUTES: Final[dict[str, str]] = {
    "‘": "'", "’": "'", "‚": "'", "‛": "'", "“": '"', "”": '"', "„": '"', "‟": '"', "«": '"', "»": '"', "′": "'", "″": '"',
    "–": "-", "—": "-", "‐": "-", "‑": "-", "−": "-", "…": "...", "\u00a0": " ", "\u202f": " ", "\u2009": " ",
    "\u2007": " ", "\t": " ", "•": "-", "\u200b": "", "\ufeff": "", "`": "'", "´": "'",
}  # fmt: skip
_SUBSTITUTE: Final = str.maketrans(SUBSTITUTES)


class GsmEncodeError(ValueError):
    """Characters that are not in the alphabet; `characters` holds each once, in order."""

    def __init__(self, characters: str) -> None:
        super().__init__(f"not in the GSM 7-bit alphabet: {' '.join(repr(c) for c in characters)}")
        self.characters = characters


def encodable(text: str) -> bool:
    """Whether every character is in the alphabet or its extension."""
    return _KNOWN.issuperset(text)


def encode(text: str) -> bytes:
    """Septet values, one a byte; an extension character takes two. Raises GsmEncodeError."""
    if not _KNOWN.issuperset(text):
        raise GsmEncodeError("".join(dict.fromkeys(c for c in text if c not in _KNOWN)))
    return text.translate(_ENCODE).encode("latin-1")


def decode(data: bytes) -> str:
    """Text of septet values. Tolerant: an unknown escape gives the basic character, as §6.2.1.1 asks; a lone ESC a space.

    Eighth bits are passed over.
    """
    if not data.isascii():
        data = data.translate(_SEVEN_BITS)
    if ESC not in data:
        return data.decode("ascii").translate(_DECODE)
    out: list[str] = []
    septets = iter(data)
    for septet in septets:
        if septet != ESC:
            out.append(_DECODE[septet])
            continue
        following = next(septets, None)
        if following is None or following == ESC:
            out.append(" ")
        else:
            out.append(_EXTENSION.get(following, _DECODE[following]))
    return "".join(out)


def septets(text: str) -> int:
    """How many septets `text` takes. Raises GsmEncodeError."""
    return len(encode(text))


def substitute(text: str) -> str:
    """`text` with typographic characters (SUBSTITUTES) replaced by plain ones."""
    return text.translate(_SUBSTITUTE)


def pack7(data: bytes, fill_bits: int = 0) -> bytes:
    """Septets (values under 128) packed into octets behind `fill_bits` zero bits. Source: TS 23.038 §6.1.2.1"""
    bits, value = fill_bits, 0
    for septet in data:
        value |= septet << bits
        bits += 7
    return value.to_bytes((bits + 7) // 8, "little")


def unpack7(data: bytes, count: int, fill_bits: int = 0) -> bytes:
    """`count` septets out of packed octets."""
    value = int.from_bytes(data, "little") >> fill_bits
    return bytes((value >> (7 * n)) & 0x7F for n in range(count))
