"""The attempt's id in addresses and message ids, signed: a bounce, a complaint or a reply finds its message, and no one else's.

`b-0123….abcd…@bounces.example.com`: a prefix that says what comes there, 26 characters of the id and 16 of an HMAC. Upper
and lower case are the same, as mail systems change them. An address without a good signature leads to nothing.
Source: RFC 5321 §4.4 (Return-Path); D. J. Bernstein, "Variable Envelope Return Paths" (1997); RFC 2104 (HMAC)
"""

import base64
import hmac
import re
from hashlib import sha256
from typing import Final, Literal

#: `b`: bounces and complaints (the envelope's return path); `r`: replies; `m`: the mail's own Message-ID.
Purpose = Literal["b", "r", "m"]
_MAC_OCTETS: Final = 10  # 80 bits: guessing one takes longer than any message is remembered
_TOKEN: Final = re.compile(r"([brm])-([a-z2-7]{26})\.([a-z2-7]{16})")
_KEY_OCTETS: Final = 16


def token(purpose: Purpose, id_hex: str, key: bytes) -> str:
    """The local part for an id of 32 hex digits. Raises ValueError if it is none, or the key is too short."""
    raw = bytes.fromhex(id_hex)
    if len(raw) != 16:
        raise ValueError("the id must have 32 hexadecimal digits")
    return f"{purpose}-{_text(raw)}.{_text(_mac(purpose, raw, key))}"


def opened(local: str, key: bytes) -> tuple[Purpose, str] | None:
    """Purpose and id (32 hex digits) of a local part that `token` made with this key; else None."""
    found = _TOKEN.fullmatch(local.lower())
    if found is None:
        return None
    purpose: Purpose = "b" if found[1] == "b" else "r" if found[1] == "r" else "m"
    raw, mac = _octets(found[2]), _octets(found[3])
    if raw is None or mac is None or not hmac.compare_digest(mac, _mac(purpose, raw, key)):
        return None
    return purpose, raw.hex()


def _mac(purpose: str, raw: bytes, key: bytes) -> bytes:
    if len(key) < _KEY_OCTETS:
        raise ValueError(f"the key must have at least {_KEY_OCTETS} octets")
    return hmac.digest(key, b"tidings mail " + purpose.encode() + raw, sha256)[:_MAC_OCTETS]


def _text(raw: bytes) -> str:
    return base64.b32encode(raw).decode().rstrip("=").lower()


def _octets(text: str) -> bytes | None:
    """None where the last character has bits that belong to nothing: one id has one spelling."""
    raw = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    return raw if _text(raw) == text else None
