"""Cutting a text into short messages: never inside an escape pair, never inside a surrogate pair, nothing lost.

Source: 3GPP TS 23.040 §9.2.3.16 (140 octets of user data), §9.2.3.24.1 (concatenation).
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from typing import Final, Literal

import msgspec

from tidings.protocols.gsm import alphabet, national, udh
from tidings.protocols.gsm.national import Language, Tables

Encoding = Literal["auto", "gsm", "ucs2", "latin1"]
MAX_PARTS: Final = 255
USER_DATA_OCTETS: Final = 140
#: encoding → (data_coding, the same as a flash message, octets a unit). Class 0 needs a general data coding group, which
#: has no Latin-1. Source: SMPP 3.4 §5.2.19, TS 23.038 §4
_CODINGS: Final[dict[str, tuple[int, int | None, int]]] = {
    "gsm": (0, 0x10, 1),
    "latin1": (3, None, 1),
    "ucs2": (8, 0x18, 2),
    "binary": (4, 0x14, 1),
}


class SegmentError(ValueError):
    """The text cannot be sent as short messages; says why."""


class Segments(msgspec.Struct, frozen=True, kw_only=True):
    """`parts`: user data without UDH (septet values or octets). `units`: septets, UCS-2 code units or octets in all.

    `header`: elements that belong into the header of every part, beside the concatenation (national tables, ports).
    """

    encoding: str
    data_coding: int
    parts: tuple[bytes, ...]
    units: int
    text: str
    substitutions: tuple[tuple[str, str], ...] = ()
    header: bytes = b""


def plan(
    text: str,
    *,
    encoding: Encoding = "auto",
    smart: bool = False,
    ref_bits: Literal[8, 16] = 8,
    languages: tuple[Language, ...] = (),
    flash: bool = False,
) -> Segments:
    """The parts of `text`. With `smart`, typographic characters are replaced where that makes GSM 7-bit possible.

    `auto` takes what needs the fewest parts: the default alphabet, UCS-2, or a pair of national tables of `languages`; at
    the same number the one named first, since every phone knows it. `flash`: class 0, shown at once and not kept.
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
        found = _national(text, encoding, ref_bits, languages) if languages else None
        if found is not None:
            data, pair = found
            return _cut(data, _name(pair), text, substitutions, ref_bits, header=pair.header, flash=flash)
    return _cut(_encode(text, encoding), encoding, text, substitutions, ref_bits, flash=flash)


def plan_binary(data: bytes, *, ref_bits: Literal[8, 16] = 8, ports: tuple[int, int] | None = None) -> Segments:
    """The parts of 8-bit data (data_coding 4); `ports`: (destination, source). Raises SegmentError."""
    return _cut(data, "binary", "", (), ref_bits, header=b"" if ports is None else udh.ports16(*ports))


@lru_cache(maxsize=256)  # asked for every message, with a handful of answers
def capacity(encoding: str, header_octets: int, ref_bits: int = 0) -> int:
    """Units that one part holds beside header elements of so many octets and a reference of 0 (none), 8 or 16 bits.

    Source: TS 23.040 §9.2.3.16, §9.2.3.24
    """
    elements = header_octets + {0: 0, 8: 5, 16: 6}[ref_bits]
    octets = USER_DATA_OCTETS - (elements + 1 if elements else 0)
    return octets * 8 // 7 if _kind(encoding) == "gsm" else octets // _CODINGS[encoding][2]


def _national(text: str, plain: str, ref_bits: int, languages: tuple[Language, ...]) -> tuple[bytes, Tables] | None:
    """The pair of tables that needs fewer parts than `plain` does, if there is one."""
    least = len(_sizes(_encode(text, plain), plain, 0, ref_bits))
    best: tuple[bytes, Tables] | None = None
    for pair in national.pairs(languages) if least > 1 else ():
        data = pair.encode(text)
        if data is None:
            continue
        count = len(_sizes(data, "gsm", len(pair.header), ref_bits))
        if count < least:
            least, best = count, (data, pair)
    return best


def _name(pair: Tables) -> str:
    names = {number: name for name, number in national.IDENTIFIERS.items()}
    shifts = (("locking", pair.locking), ("single", pair.single))
    return "+".join(["gsm", *(f"{kind}-{names[number]}" for kind, number in shifts if number)])


def _kind(encoding: str) -> str:
    return encoding.partition("+")[0]


def _encode(text: str, encoding: str) -> bytes:
    if encoding == "gsm":
        return alphabet.encode(text)
    try:
        return text.encode("latin-1") if encoding == "latin1" else text.encode("utf-16-be")
    except UnicodeEncodeError as error:
        bad = text[error.start]
        reason = "has half of a surrogate pair" if "\ud800" <= bad <= "\udfff" else f"{bad!r} is not in Latin-1"
        raise SegmentError(f"the text {reason} at position {error.start}") from error


def _cut(
    data: bytes, encoding: str, text: str, substitutions: tuple[tuple[str, str], ...], ref_bits: int, *,
    header: bytes = b"", flash: bool = False,
) -> Segments:  # fmt: skip
    coding, flash_coding, width = _CODINGS[_kind(encoding)]
    if flash:
        if flash_coding is None:
            raise SegmentError("a flash message cannot be in Latin-1")
        coding = flash_coding
    sizes = _sizes(data, encoding, len(header), ref_bits)
    if len(sizes) > MAX_PARTS:
        raise SegmentError(f"the text needs {len(sizes)} parts; {MAX_PARTS} is the most that one message can have")
    return Segments(
        encoding=encoding, data_coding=coding, parts=_parts(data, sizes), units=len(data) // width, text=text,
        substitutions=substitutions, header=header,
    )  # fmt: skip


def _parts(data: bytes, sizes: list[int]) -> tuple[bytes, ...]:
    if len(sizes) == 1:
        return (data,)
    return tuple([data[end - size : end] for size, end in zip(sizes, accumulate(sizes), strict=True)])


def _sizes(data: bytes, encoding: str, header_octets: int, ref_bits: int) -> list[int]:
    """The octets (or septets) of each part."""
    width = _CODINGS[_kind(encoding)][2]
    if len(data) <= capacity(encoding, header_octets) * width:
        return [len(data)]
    most = capacity(encoding, header_octets, ref_bits) * width
    return list(_pieces(data, most, _kind(encoding)))


def _pieces(data: bytes, size: int, encoding: str) -> Iterator[int]:
    at = 0
    while at < len(data):
        end = min(at + size, len(data))
        if end < len(data):
            end -= _overhang(data, at, end, encoding)
        yield end - at
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
