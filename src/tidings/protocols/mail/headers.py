"""Header fields of a mail, written so that no value can begin another field.

Every value is refused if it has a control character: there is no way to write CR or LF into a header from outside.
What is not ASCII becomes encoded-words; an address whose local part is not ASCII stays as it is and makes the mail
internationalised (it then needs SMTPUTF8).
Source: RFC 5322 §2.2, §3.2, §3.4, §3.6; RFC 2047 §2, §5; RFC 6532 §3
"""

import base64
import re
from collections.abc import Iterator, Sequence
from email.utils import formatdate
from typing import Final

import msgspec

#: Lines are folded at this length where they can be. Source: RFC 5322 §2.1.1
LINE_CHARS: Final = 78
#: No line may be longer.
LINE_MOST: Final = 998
_WORD_CHARS: Final = 75  # RFC 2047 §2
_NAME: Final = re.compile(r"[!-9;-~]{1,76}")  # RFC 5322 §3.6.8, and short enough for a line
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ATOMS: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_DOT_ATOM: Final = re.compile(r"[^\s\"(),.:;<>@\[\\\]]+(?:\.[^\s\"(),.:;<>@\[\\\]]+)*")
_DOMAIN: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_Q_SAFE: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")  # RFC 2047 §5 (3)


class HeaderError(ValueError):
    """A value that may not stand in a header. `field` names which."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field} {why}")
        self.field, self.why = field, why


class Mailbox(msgspec.Struct, frozen=True):
    """An address and the name that is shown for it. `domain` is in its ASCII form (A-labels)."""

    local: str
    domain: str
    name: str = ""

    @property
    def address(self) -> str:
        """`local@domain`."""
        return f"{self.local}@{self.domain}"


def checked(field: str, value: str) -> str:
    """`value`, if it has no control character. Raises HeaderError."""
    if _CONTROL.search(value):
        raise HeaderError(field, "must have no line break and no control character")
    return value


def checked_address(field: str, box: Mailbox) -> str:
    """The address as it stands in a header or an envelope. Raises HeaderError."""
    if not _DOT_ATOM.fullmatch(box.local) or _CONTROL.search(box.local) or len(box.local.encode()) > 64:
        raise HeaderError(field, "has an address whose part before the @ cannot be sent to")
    if not _DOMAIN.fullmatch(box.domain) or len(box.domain) > 253:
        raise HeaderError(field, "has an address whose domain is no ASCII host name")
    return box.address


def unstructured(name: str, value: str) -> bytes:
    """A field of free text, folded. Raises HeaderError."""
    return _field(name, _words(checked(name, value), len(name) + 2))


def structured(name: str, value: str) -> bytes:
    """A field of ASCII tokens that must not be encoded (message ids, URIs), folded at spaces. Raises HeaderError."""
    if not checked(name, value).isascii():
        raise HeaderError(name, "must be ASCII")
    return _field(name, value.split(" "))


def addresses(name: str, boxes: Sequence[Mailbox]) -> bytes:
    """A field of mailboxes. Raises HeaderError."""
    words: list[str] = []
    for n, box in enumerate(boxes):
        address, comma = checked_address(name, box), "," if n < len(boxes) - 1 else ""
        if box.name:
            words += _phrase(checked(name, box.name))
            words.append(f"<{address}>{comma}")
        else:
            words.append(address + comma)
    return _field(name, words)


def date(ms: int) -> bytes:
    """`Date`, in UTC. Source: RFC 5322 §3.3"""
    return b"Date: " + formatdate(ms // 1000, usegmt=False).encode() + b"\r\n"


def parameter(name: str, value: str) -> list[str]:
    """A MIME parameter as words: quoted if ASCII and short, else in pieces. Source: RFC 2231 §3, §4.1. Raises HeaderError."""
    checked(name, value)
    if value.isascii() and len(value) <= 60:
        quoted = value.replace("\\", "\\\\").replace('"', '\\"')
        return [f'{name}="{quoted}"']
    pieces = [""]
    for char in value:  # no character is cut: some readers decode each piece alone
        coded = char if char.isascii() and char.isalnum() else "".join(f"%{octet:02X}" for octet in char.encode())
        if len(pieces[-1]) + len(coded) > 50:
            pieces.append("")
        pieces[-1] += coded
    if len(pieces) == 1:
        return [f"{name}*=utf-8''{pieces[0]}"]
    return [f"{name}*{n}*={chr(39).join(('utf-8', '', '')) if not n else ''}{piece}" for n, piece in enumerate(pieces)]


def semicolons(first: str, parameters: Sequence[str]) -> str:
    """`first; a=b; c=d` as words of a structured field."""
    return "; ".join((first, *parameters))


def _field(name: str, words: Sequence[str]) -> bytes:
    """Name, colon and words; a line break before each word that would make the line too long."""
    if not _NAME.fullmatch(name):
        raise HeaderError("header", "must have a name of printable ASCII characters without colon")
    lines, line = list[str](), f"{name}:"
    for n, word in enumerate(words):
        fits = len(line) + 1 + len(word) <= LINE_CHARS
        if fits or not n or not word or not line.strip():
            line += f" {word}"
        else:
            lines.append(line)
            line = f" {word}"
    lines.append(line)
    found = "\r\n".join(text for text in lines if text.strip() or text is lines[0]).encode()
    if any(len(part) > LINE_MOST for part in found.split(b"\r\n")):
        raise HeaderError(name, f"has a word of more than {LINE_MOST} octets")
    return found + b"\r\n"


def _words(value: str, used: int) -> list[str]:
    """The words of free text: plain where nothing could be taken for something else."""
    plain = value.isascii() and "=?" not in value and value == value.strip() and "  " not in value
    if plain and all(len(word) <= LINE_CHARS for word in value.split(" ")):
        return value.split(" ")
    return list(encoded_words(value, used))


def _phrase(name: str) -> list[str]:
    """A display name. Source: RFC 5322 §3.2.5; RFC 2047 §5 (3)"""
    if not name.isascii() or "=?" in name or len(name) > 200:
        return list(encoded_words(name, 20))
    if _ATOMS.fullmatch(name):
        return name.split(" ")
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return [f'"{escaped}"']


def encoded_words(value: str, used: int = 0) -> Iterator[str]:
    """`value` as encoded-words of UTF-8, in the shorter encoding, no character cut. `used`: what its first line holds."""
    raw = value.encode()
    plain = sum(octet in _Q_SAFE or octet == 0x20 for octet in raw)
    quoted = plain + 3 * (len(raw) - plain) <= len(raw) * 4 // 3
    room = max(16, _WORD_CHARS - 12 - min(used, 40))
    piece, size = "", 0
    for char in value:
        octets = char.encode()
        cost = sum(1 if o in _Q_SAFE or o == 0x20 else 3 for o in octets) if quoted else len(octets) * 4 / 3
        if piece and size + cost > room:
            yield _encoded_word(piece, quoted)
            piece, size, room = "", 0, _WORD_CHARS - 13
        piece, size = piece + char, size + cost
    if piece:
        yield _encoded_word(piece, quoted)


def _encoded_word(piece: str, quoted: bool) -> str:
    if not quoted:
        return f"=?utf-8?B?{base64.b64encode(piece.encode()).decode()}?="
    text = "".join(chr(o) if o in _Q_SAFE else "_" if o == 0x20 else f"={o:02X}" for o in piece.encode())
    return f"=?utf-8?Q?{text}?="
