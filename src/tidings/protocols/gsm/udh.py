"""User data headers. Source: 3GPP TS 23.040 §9.2.3.24."""

from dataclasses import dataclass


class UdhError(ValueError):
    """The header is longer than the data that holds it, or its numbers do not fit."""


@dataclass(frozen=True, slots=True)
class Concat:
    """Part `part` (from 1) of `total`; `bits` is the width of the reference."""

    ref: int
    total: int
    part: int
    bits: int = 8


def concat8(ref: int, total: int, part: int) -> bytes:
    """A header with an 8-bit reference. Raises UdhError unless 1 <= part <= total <= 255. Source: §9.2.3.24.1"""
    _check(total, part)
    return bytes((5, 0x00, 3, ref & 0xFF, total, part))


def concat16(ref: int, total: int, part: int) -> bytes:
    """A header with a 16-bit reference. Raises UdhError as concat8 does. Source: §9.2.3.24.8"""
    _check(total, part)
    return bytes((6, 0x08, 4, ref >> 8 & 0xFF, ref & 0xFF, total, part))


def _check(total: int, part: int) -> None:
    if not 1 <= part <= total <= 255:
        raise UdhError(f"part {part} of {total}: 1 <= part <= total <= 255 is possible")


def parse(data: bytes) -> tuple[Concat | None, bytes]:
    """(concatenation or None, what follows the header). Elements that make no sense are passed over. Raises UdhError."""
    if not data:
        raise UdhError("no user data header where one is announced")
    end = data[0] + 1
    if end > len(data):
        raise UdhError(f"a header of {end} octets in {len(data)}")
    concat, at = None, 1
    while at + 2 <= end:
        kind, size = data[at], data[at + 1]
        body = data[at + 2 : min(at + 2 + size, end)]
        if kind == 0x00 and len(body) == 3:
            concat = Concat(body[0], body[1], body[2], 8)
        elif kind == 0x08 and len(body) == 4:
            concat = Concat(body[0] << 8 | body[1], body[2], body[3], 16)
        at += 2 + size
    if concat is not None and not 1 <= concat.part <= concat.total:
        concat = None  # §9.2.3.24.1: to be ignored
    return concat, data[end:]
