"""Cutting a text into short messages: never inside an escape pair, never inside a surrogate pair, nothing lost.

Source: 3GPP TS 23.040 §9.2.3.16 (140 octets of user data), §9.2.3.24.1 (concatenation).
"""

from dataclasses import dataclass
from typing import Final, Literal

from tidings.protocols.gsm import alphabet

Encoding = Literal["auto", "gsm", "ucs2", "latin1"]
MAX_PARTS: Final = 255
#: encoding → (data_coding, units alone, units a part with 8-bit and with 16-bit reference, octets a unit)
_SIZES: Final[dict[str, tuple[int, int, int, int, int]]] = {
    "gsm": (0, 160, 153, 152, 1),
    "latin1": (3, 140, 134, 133, 1),
    "ucs2": (8, 70, 67, 66, 2),
    "binary": (4, 140, 134, 133, 1),
}


class SegmentError(ValueError):
    """The text cannot be sent as short messages; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """`parts`: user data without UDH (septet values or octets). `units`: septets, UCS-2 code units or octets in all."""

    encoding: str
    data_coding: int
    parts: tuple[bytes, ...]
    units: int
    text: str
    substitutions: tuple[tuple[str, str], ...] = ()


def plan(text: str, *, encoding: Encoding = "auto", smart: bool = False, ref_bits: Literal[8, 16] = 8) -> Segments:
    """The parts of `text`. With `smart`, typographic characters are replaced where that makes GSM 7-bit possible.

    Raises SegmentError (lone surrogate, over 255 parts), alphabet.GsmEncodeError (`gsm`), SegmentError (`latin1`).
    """
    substitutions: tuple[tuple[str, str], ...] = ()
    if smart and encoding in ("auto", "gsm") and not alphabet.encodable(text):
        plain = alphabet.substitute(text)
        if alphabet.encodable(plain):
            changed = dict.fromkeys(c for c in text if c in alphabet.SUBSTITUTES)
            substitutions = tuple((c, alphabet.SUBSTITUTES[c]) for c in changed)
            text = plain
    if encoding == "auto":
        encoding = "gsm" if alphabet.encodable(text) else "ucs2"
    data = _encode(text, encoding)
    return _cut(data, encoding, text, substitutions, ref_bits)


def plan_binary(data: bytes, *, ref_bits: Literal[8, 16] = 8) -> Segments:
    """The parts of 8-bit data (data_coding 4). Raises SegmentError."""
    return _cut(data, "binary", "", (), ref_bits)


def _encode(text: str, encoding: str) -> bytes:
    if encoding == "gsm":
        return alphabet.encode(text)
    try:
        return text.encode("latin-1") if encoding == "latin1" else text.encode("utf-16-be")
    except UnicodeEncodeError as error:
        bad = text[error.start]
        reason = "has half of a surrogate pair" if "\ud800" <= bad <= "\udfff" else f"{bad!r} is not in Latin-1"
        raise SegmentError(f"the text {reason} at position {error.start}") from error


def _cut(data: bytes, encoding: str, text: str, substitutions: tuple[tuple[str, str], ...], ref_bits: int) -> Segments:
    coding, alone, short, shorter, width = _SIZES[encoding]
    size = (alone if len(data) <= alone * width else short if ref_bits == 8 else shorter) * width
    parts = list(_pieces(data, size, encoding)) or [b""]
    if len(parts) > MAX_PARTS:
        raise SegmentError(f"the text needs {len(parts)} parts; {MAX_PARTS} is the most that one message can have")
    return Segments(
        encoding=encoding, data_coding=coding, parts=tuple(parts), units=len(data) // width, text=text,
        substitutions=substitutions,
    )  # fmt: skip


def _pieces(data: bytes, size: int, encoding: str):
    at = 0
    while at < len(data):
        end = min(at + size, len(data))
        if end < len(data):
            end -= _overhang(data, at, end, encoding)
        yield data[at:end]
        at = end


def _overhang(data: bytes, at: int, end: int, encoding: str) -> int:
    """How far a cut at `end` must move back so that it parts no pair."""
    if encoding == "gsm":
        escapes = 0
        while end - 1 - escapes >= at and data[end - 1 - escapes] == alphabet.ESC:
            escapes += 1
        return escapes % 2
    if encoding == "ucs2" and 0xD8 <= data[end - 2] <= 0xDB:
        return 2
    return 0
