"""A mail as it goes over the wire after DATA, and the commands of its envelope. Sans I/O.

A server that takes a bare LF for the end of a line can be made to see a second mail within the first ("SMTP smuggling");
so no mail with a bare CR or LF is ever written, and none is taken.
Source: RFC 5321 §2.3.8, §4.1.1.2–4.1.1.4, §4.5.2; RFC 1870 §4; RFC 1652 §3; RFC 6531 §3.4; RFC 3461 §4
"""

import re
from typing import Final

import msgspec

END: Final = b".\r\n"
_UNSAFE: Final = re.compile(r"[\x00-\x20<>\x7f]")
_XTEXT: Final = re.compile(r"[^!-*,-<>-~]")


class BareLineBreak(ValueError):
    """The mail has a CR without LF, or an LF without CR."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """Who a mail is from and to, on the wire. An empty `sender` is the null path, of bounces."""

    sender: str
    recipient: str
    size: int = 0
    eight_bit: bool = False
    internationalised: bool = False
    notify: str = ""  # of the recipient, for example SUCCESS,FAILURE,DELAY; empty: the server's own way
    envelope_id: str = ""


def bare(data: bytes) -> bool:
    """Whether a CR or LF stands alone."""
    pairs = data.count(b"\r\n")
    return data.count(b"\r") != pairs or data.count(b"\n") != pairs


def transparent(data: bytes) -> bytes:
    """The mail with its dots doubled and its end. Raises BareLineBreak."""
    if bare(data):
        raise BareLineBreak("a mail must have no CR without LF and no LF without CR")
    if not data.endswith(b"\r\n"):
        data += b"\r\n"
    if data.startswith(b"."):
        data = b"." + data
    return data.replace(b"\r\n.", b"\r\n..") + END


def mail_command(envelope: Envelope) -> bytes:
    """`MAIL FROM`, with what the envelope needs. Raises ValueError."""
    words = [f"MAIL FROM:<{_path(envelope.sender)}>"]
    if envelope.size:
        words.append(f"SIZE={envelope.size}")
    if envelope.eight_bit:
        words.append("BODY=8BITMIME")
    if envelope.internationalised:
        words.append("SMTPUTF8")
    if envelope.notify:
        words.append("RET=HDRS")
    if envelope.notify and envelope.envelope_id:
        words.append(f"ENVID={xtext(envelope.envelope_id)}")
    return " ".join(words).encode() + b"\r\n"


def rcpt_command(envelope: Envelope) -> bytes:
    """`RCPT TO`. Raises ValueError."""
    words = [f"RCPT TO:<{_path(envelope.recipient)}>"]
    if envelope.notify:
        words.append(f"NOTIFY={envelope.notify}")
        if envelope.recipient.isascii():
            words.append(f"ORCPT=rfc822;{xtext(envelope.recipient)}")
    return " ".join(words).encode() + b"\r\n"


def xtext(text: str) -> str:
    """Source: RFC 3461 §4"""
    return _XTEXT.sub(lambda found: f"+{ord(found[0]):02X}", text)


def _path(address: str) -> str:
    if _UNSAFE.search(address):
        raise ValueError("an address of an envelope must have no space, no control character and no angle bracket")
    return address
