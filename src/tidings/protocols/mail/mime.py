"""Writes a mail: headers, text and HTML as alternatives, inline images, attachments. Pure; the same mail gives the same octets.

Text is 7-bit, quoted-printable or base64, whichever is right for it, so that no relay has a reason to rewrite it and
break its signature (RFC 6376 §5.3). `eight_bit` writes UTF-8 as it is, for a server that offers 8BITMIME.
Source: RFC 2045, RFC 2046 §5.1, RFC 2183, RFC 2387, RFC 2392, RFC 5322 §3.6, RFC 8058 §3.1
"""

import base64
import binascii
import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from tidings.protocols.mail.headers import (
    HeaderError,
    Mailbox,
    addresses,
    checked,
    date,
    parameter,
    semicolons,
    structured,
    unstructured,
)

_MEDIA: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,62}/[a-z0-9][a-z0-9!#$&^_.+-]{0,62}", re.IGNORECASE)
_ID: Final = re.compile(r"[!-;=?-~]{1,200}@[A-Za-z0-9.\-]{1,253}")  # what stands between < and >
_CONTENT_ID: Final = re.compile(r"[A-Za-z0-9._%+@-]{1,200}")
_URI: Final = re.compile(r"(?:https?://|mailto:)[!#-;=?-~]{1,900}", re.IGNORECASE)
_RISKY: Final = re.compile(rb"(?:^|\n)(?:From |--|\.)|[ \t](?:\n|$)|[\x00-\x08\x0b-\x1f\x7f]")
_TEXT_LINE: Final = 998


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """A file. With `content_id` it is an inline image that the HTML names as `cid:…`."""

    name: str
    media: str  # for example application/pdf
    data: bytes
    content_id: str = ""


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a mail says. `message_id` is without its angle brackets. At least one of `text` and `html` is set."""

    sender: Mailbox
    to: tuple[Mailbox, ...]
    subject: str
    message_id: str
    date_ms: int
    text: str | None = None
    html: str | None = None
    cc: tuple[Mailbox, ...] = ()
    reply_to: tuple[Mailbox, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    in_reply_to: str = ""
    references: tuple[str, ...] = ()
    unsubscribe_url: str = ""  # https: one click
    unsubscribe_mailto: str = ""


class Part(msgspec.Struct, frozen=True):
    """Header fields and body of a MIME entity."""

    fields: tuple[bytes, ...]
    body: bytes


def build(mail: Mail, *, eight_bit: bool = False) -> Part:
    """The mail as header fields, each with its CRLF, and a body. Raises HeaderError that names the field."""
    root = _content(mail, eight_bit)
    return Part((*_headers(mail), b"MIME-Version: 1.0\r\n", *root.fields), root.body)


def octets(part: Part) -> bytes:
    """The entity as it goes over the wire."""
    return b"".join((*part.fields, b"\r\n", part.body))


def internationalised(mail: Mail) -> bool:
    """Whether a header holds an address that only SMTPUTF8 can carry. Source: RFC 6531 §3.4"""
    return not all(box.local.isascii() for box in (mail.sender, *mail.to, *mail.cc, *mail.reply_to))


def bracketed(field: str, message_id: str) -> str:
    """`<message_id>`. Raises HeaderError."""
    if not _ID.fullmatch(message_id):
        raise HeaderError(field, "must be a message id: characters without spaces, @ and a host name")
    return f"<{message_id}>"


def _headers(mail: Mail) -> list[bytes]:
    if not mail.to:
        raise HeaderError("to", "must name at least one recipient")
    found = [date(mail.date_ms), addresses("From", [mail.sender]), addresses("To", mail.to)]
    if mail.cc:
        found.append(addresses("Cc", mail.cc))
    if mail.reply_to:
        found.append(addresses("Reply-To", mail.reply_to))
    found.append(structured("Message-ID", bracketed("message_id", mail.message_id)))
    found.append(unstructured("Subject", mail.subject))
    if mail.in_reply_to:
        found.append(structured("In-Reply-To", bracketed("in_reply_to", mail.in_reply_to)))
    if mail.references:
        ids = " ".join(bracketed("references", one) for one in mail.references)
        found.append(structured("References", ids))
    return found + _unsubscribe(mail) + [check_header(name, value) for name, value in mail.headers]


def _unsubscribe(mail: Mail) -> list[bytes]:
    """Source: RFC 2369 §3.2; RFC 8058 §3.1 (an https URI, and both fields signed)"""
    uris = [check_unsubscribe(uri) for uri in (mail.unsubscribe_url, mail.unsubscribe_mailto) if uri]
    if not uris:
        return []
    found = [structured("List-Unsubscribe", ", ".join(f"<{uri}>" for uri in uris))]
    if mail.unsubscribe_url.lower().startswith("https://"):
        found.append(b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n")
    return found


#: What the mail itself says, or a relay: no header of a caller's may be named so.
RESERVED: Final = frozenset(
    {
        "from", "to", "cc", "bcc", "sender", "reply-to", "date", "message-id", "subject", "in-reply-to", "references",
        "mime-version", "list-unsubscribe", "list-unsubscribe-post", "received", "return-path", "dkim-signature",
        "domainkey-signature", "authentication-results", "delivered-to", "x-original-to", "received-spf",
    }
)  # fmt: skip
RESERVED_PREFIXES: Final = ("content-", "resent-", "arc-")


def reserved(name: str) -> bool:
    """Whether a caller may not set the header `name`."""
    lower = name.lower()
    return lower in RESERVED or lower.startswith(RESERVED_PREFIXES)


def check_header(name: str, value: str) -> bytes:
    """A header of the caller's, as it is written. Raises HeaderError."""
    if reserved(name):
        raise HeaderError(name, "is written by the mail itself")
    return unstructured(name, value)


def check_unsubscribe(uri: str) -> str:
    """A URI of List-Unsubscribe. Raises HeaderError."""
    if not _URI.fullmatch(uri):
        raise HeaderError("list_unsubscribe", "must be an https: or mailto: URI of ASCII characters without spaces")
    return uri


def check_file(name: str, media: str) -> None:
    """Raises HeaderError."""
    if not _MEDIA.fullmatch(media) or media.lower().startswith(("multipart/", "message/")):
        raise HeaderError("attachments", "must have a type such as application/pdf (no multipart, no message)")
    if "/" in name or "\\" in name:
        raise HeaderError("attachments", "must have a name without a path")
    checked("attachments", name)


def check_content_id(content_id: str) -> str:
    """Raises HeaderError."""
    if not _CONTENT_ID.fullmatch(content_id):
        raise HeaderError("attachments", "must have a content id of letters, digits and . _ % + @ -")
    return content_id


def _content(mail: Mail, eight_bit: bool) -> Part:
    """mixed(related(alternative(text, html), inline…), attachment…), without the layers that have one child."""
    bodies = [
        _text(value, subtype, eight_bit)
        for value, subtype in ((mail.text, "plain"), (mail.html, "html"))
        if value is not None
    ]
    if not bodies:
        raise HeaderError("text", "or `html` must be given")
    inline = [item for item in mail.attachments if item.content_id]
    files = [item for item in mail.attachments if not item.content_id]
    if inline and mail.html is None:
        raise HeaderError("attachments", "with a content id need `html` that shows them")
    if inline:  # the HTML and its images belong together: RFC 2387 §3.1
        related = [bodies[-1], *(_file(item) for item in inline)]
        bodies[-1] = _multipart(mail.message_id, "related", related, ' type="text/html";')
    root = bodies[0] if len(bodies) == 1 else _multipart(mail.message_id, "alternative", bodies)
    return _multipart(mail.message_id, "mixed", [root, *(_file(item) for item in files)]) if files else root


def _text(value: str, subtype: str, eight_bit: bool) -> Part:
    data = value.replace("\r\n", "\n").replace("\r", "\n").encode()
    if data and not data.endswith(b"\n"):
        data += b"\n"
    encoding, body = encode_text(data, eight_bit=eight_bit)
    kind = f'Content-Type: text/{subtype}; charset="utf-8"\r\n'.encode()
    return Part((kind, b"Content-Transfer-Encoding: " + encoding + b"\r\n"), body)


def encode_text(data: bytes, *, eight_bit: bool) -> tuple[bytes, bytes]:
    """Transfer encoding and body, with CRLF, of text whose lines end in LF."""
    safe = not _RISKY.search(data) and max(map(len, data.split(b"\n"))) < _TEXT_LINE
    if safe and (data.isascii() or eight_bit):
        return (b"7bit" if data.isascii() else b"8bit"), data.replace(b"\n", b"\r\n")
    odd = sum(map(data.count, _ODD)) if not data.isascii() else 0
    if odd * 6 > len(data):
        return b"base64", _base64(data.replace(b"\n", b"\r\n"))
    # A soft break behind the escape keeps the line short. Relays rewrite lines that begin with "From " or a dot.
    quoted = b"\n" + binascii.b2a_qp(data, istext=True)
    quoted = quoted.replace(b"\nFrom ", b"\n=46=\nrom ").replace(b"\n.", b"\n=2E=\n")
    return b"quoted-printable", quoted[1:].replace(b"\n", b"\r\n")


_ODD: Final = tuple(bytes((n,)) for n in range(0xC2, 0xF5))  # first octets of characters that are not ASCII


def _base64(data: bytes) -> bytes:
    raw = base64.b64encode(data)
    return b"".join(raw[n : n + 76] + b"\r\n" for n in range(0, len(raw), 76))


def _file(item: Attachment) -> Part:
    check_file(item.name, item.media)
    named = parameter("name", item.name) if item.name else []
    called = parameter("filename", item.name) if item.name else []
    kind = "inline" if item.content_id else "attachment"
    fields = [
        structured("Content-Type", semicolons(item.media.lower(), named)),
        b"Content-Transfer-Encoding: base64\r\n",
        structured("Content-Disposition", semicolons(kind, called)),
    ]
    if item.content_id:
        fields.append(structured("Content-ID", f"<{check_content_id(item.content_id)}>"))
    return Part(tuple(fields), _base64(item.data))


def _multipart(seed: str, subtype: str, parts: Sequence[Part], more: str = "") -> Part:
    """`=_` begins no line of base64 or quoted-printable, and no 7-bit text with a line that begins `--` is sent as such."""
    boundary = "=_" + blake2b(f"{seed}/{subtype}".encode(), digest_size=15).hexdigest()
    fence = f"--{boundary}".encode()
    body = b"".join(fence + b"\r\n" + octets(part) for part in parts) + fence + b"--\r\n"
    kind = f'Content-Type: multipart/{subtype};{more}\r\n boundary="{boundary}"\r\n'.encode()
    return Part((kind,), body)
