"""Reads mails that others wrote, however badly: whatever is wrong with them, there is an answer and never an exception.

Over the standard library's parser in its tolerant mode, with what that leaves open: charsets nobody knows, encoded-words
that are none, attachments without names, mails nested without end.
Source: RFC 5322, RFC 2045–2047, RFC 2231
"""

import re
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import compat32
from email.utils import collapse_rfc2231_value, getaddresses
from typing import Final, cast

import msgspec

#: What one mail may hold; the rest is left out. Each costs time, and senders choose how many there are.
PARTS: Final = 200
DEPTH: Final = 20
HEADER_CHARS: Final = 4_096
_IDS: Final = re.compile(r"<([^<>\s]{1,998})>")
_BAD: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A part that is no body text."""

    name: str
    media: str
    data: bytes
    content_id: str = ""
    inline: bool = False


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What a mail says to a reader."""

    text: str | None
    html: str | None
    files: tuple[File, ...]


def read(raw: bytes) -> Message:
    """The parsed mail; anything at all is one. Of a mail within a mail within … without end, the outermost headers."""
    try:
        return message_from_bytes(raw, policy=compat32)
    except RecursionError:
        return BytesHeaderParser(policy=compat32).parsebytes(raw)


def header(mail: Message, name: str) -> str:
    """The first field of this name, decoded and in one line; empty without it."""
    value = mail.get(name)
    if value is None:
        return ""
    return " ".join(_decoded(str(value)[:HEADER_CHARS]).split())


def mailboxes(mail: Message, name: str) -> list[tuple[str, str]]:
    """(display name, address) of every mailbox of the fields of this name."""
    values = [str(value)[:HEADER_CHARS] for value in mail.get_all(name, [])]
    try:
        found = getaddresses(values)
    except (ValueError, IndexError, TypeError, RecursionError):
        return []
    return [(" ".join(_decoded(shown).split()), _BAD.sub("", address)) for shown, address in found if "@" in address]


def message_ids(mail: Message, *names: str) -> list[str]:
    """Every message id of these fields, in order, without angle brackets."""
    return [
        id for name in names for value in mail.get_all(name, []) for id in _IDS.findall(str(value)[: HEADER_CHARS * 4])
    ]


def said(mail: Message) -> Said:
    """Text, HTML and files. The first text and the first HTML that are no attachments are the bodies."""
    text: str | None = None
    html: str | None = None
    files: list[File] = []
    for part in leaves(mail):
        kind, disposition = part.get_content_type(), part.get_content_disposition()
        if disposition != "attachment" and kind == "text/plain" and text is None and not filename(part):
            text = words(part)
        elif disposition != "attachment" and kind == "text/html" and html is None and not filename(part):
            html = words(part)
        elif (data := octets(part)) or filename(part):
            cid = header(part, "Content-ID").strip("<> ")
            files.append(
                File(name=filename(part), media=kind, data=data, content_id=cid, inline=disposition == "inline")
            )
    return Said(text=text, html=html, files=tuple(files))


def leaves(mail: Message) -> list[Message]:
    """Every part that holds no other part, in order; a mail within the mail is one part. Bounded in depth and number."""
    found: list[Message] = []
    waiting: list[tuple[Message, int]] = [(mail, 0)]
    while waiting and len(found) < PARTS:
        part, depth = waiting.pop()
        children = _children(part) if not part.get_content_type().startswith("message/") else []
        if children and depth < DEPTH:
            waiting += [(child, depth + 1) for child in reversed(children)]
        elif not children:
            found.append(part)
    return found


def children_of(mail: Message) -> list[Message]:
    """The direct parts of a multipart, or of a message/… entity."""
    return _children(mail)


def _children(mail: Message) -> list[Message]:
    payload: object = mail.get_payload()
    return (
        [part for part in cast("list[object]", payload) if isinstance(part, Message)]
        if isinstance(payload, list)
        else []
    )


def octets(part: Message) -> bytes:
    """The decoded body of a part; of a mail within the mail, that mail."""
    inner = _children(part)
    if inner:
        try:
            return b"\r\n".join(child.as_bytes() for child in inner)
        except (ValueError, LookupError, AttributeError, TypeError, RecursionError):
            return b""
    try:
        data = part.get_payload(decode=True)
    except (ValueError, LookupError, AssertionError):
        return b""
    return data if isinstance(data, bytes) else b""


def words(part: Message) -> str:
    """The text of a part, in whatever charset; what cannot be decoded is replaced, lines end in LF."""
    data = octets(part)
    try:
        charset = str(part.get_content_charset("utf-8"))
    except (ValueError, LookupError, TypeError):
        charset = "utf-8"
    try:
        text = data.decode(charset)
    except (UnicodeError, LookupError, ValueError):
        text = data.decode("utf-8", "replace")
    return _BAD.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def filename(part: Message) -> str:
    """The name of a file without any path; empty without one."""
    try:
        value = part.get_param("filename", None, "content-disposition") or part.get_param("name", None)
        text = collapse_rfc2231_value(cast("str", value)) if value else ""
    except (ValueError, LookupError, TypeError, AttributeError):
        text = ""
    name = re.split(r"[/\\]", " ".join(_decoded(text).split()))[-1]
    return name[:255] if name not in (".", "..") else ""


def _decoded(value: str) -> str:
    """Encoded-words as text."""
    try:
        pieces = decode_header(value.replace("\r", "").replace("\n", ""))
    except (HeaderParseError, ValueError, LookupError, TypeError):
        pieces = [(value, None)]
    text = ""
    for piece, charset in pieces:
        if isinstance(piece, str):
            text += piece.encode("ascii", "surrogateescape").decode("utf-8", "replace") if _raw(piece) else piece
            continue
        try:
            text += piece.decode(charset or "utf-8", "replace")
        except (LookupError, ValueError):
            text += piece.decode("utf-8", "replace")
    return _BAD.sub("", text)


def _raw(piece: str) -> bool:
    """Whether octets beyond ASCII stand there as the parser keeps them."""
    return any("\udc80" <= char <= "\udcff" for char in piece) and all(
        ord(char) < 128 or "\udc80" <= char <= "\udcff" for char in piece
    )
