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


def ports16(destination: int, source: int) -> bytes:
    """The element that addresses an application by 16-bit ports, for the header of every part. Source: §9.2.3.24.4"""
    if not (0 <= destination <= 0xFFFF and 0 <= source <= 0xFFFF):
        raise UdhError(f"ports {destination} and {source}: 0 to 65535 is possible")
    return bytes((0x05, 4)) + destination.to_bytes(2, "big") + source.to_bytes(2, "big")


def whole(elements: bytes, concat: bytes = b"") -> bytes:
    """A header of `elements` behind those of `concat` (a whole header, as concat8 gives it). Raises UdhError over 140."""
    body = concat[1:] + elements
    if len(body) >= 140:
        raise UdhError(f"a header of {len(body) + 1} octets leaves no room")
    return bytes((len(body),)) + body if body else b""


@dataclass(frozen=True, slots=True)
class Header:
    """What a header says that we understand. `single`, `locking`: national tables, 0 the default ones."""

    concat: Concat | None = None
    ports: tuple[int, int] | None = None  # destination, source
    single: int = 0
    locking: int = 0


def parse(data: bytes) -> tuple[Concat | None, bytes]:
    """(concatenation or None, what follows the header). Elements that make no sense are passed over. Raises UdhError."""
    header, rest = read(data)
    return header.concat, rest


def read(data: bytes) -> tuple[Header, bytes]:
    """(the header, what follows it). Elements that make no sense are passed over; of two alike the last holds (§9.2.3.24).

    Raises UdhError.
    """
    if not data:
        raise UdhError("no user data header where one is announced")
    end = data[0] + 1
    if end > len(data):
        raise UdhError(f"a header of {end} octets in {len(data)}")
    concat, ports, single, locking, at = None, None, 0, 0, 1
    while at + 2 <= end:
        kind, size = data[at], data[at + 1]
        body = data[at + 2 : min(at + 2 + size, end)]
        if kind == 0x00 and len(body) == 3:
            concat = Concat(body[0], body[1], body[2], 8)
        elif kind == 0x08 and len(body) == 4:
            concat = Concat(body[0] << 8 | body[1], body[2], body[3], 16)
        elif kind == 0x04 and len(body) == 2:
            ports = (body[0], body[1])
        elif kind == 0x05 and len(body) == 4:
            ports = (body[0] << 8 | body[1], body[2] << 8 | body[3])
        elif kind == 0x24 and len(body) == 1:
            single = body[0]
        elif kind == 0x25 and len(body) == 1:
            locking = body[0]
        at += 2 + size
    if concat is not None and not 1 <= concat.part <= concat.total:
        concat = None  # §9.2.3.24.1: to be ignored
    return Header(concat, ports, single, locking), data[end:]
