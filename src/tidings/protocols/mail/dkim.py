"""Signs mails with DKIM: RSA and Ed25519, relaxed/relaxed. Pure but for the mathematics of `cryptography`.

Fields that a reader sees are named once more than they occur ("oversigned"), so that nobody can add another one to a
signed mail.
Source: RFC 6376 §3.4.2, §3.4.4, §3.5, §5.4, §8.15; RFC 8463 §3; RFC 8301 §3.2 (RSA of 1024 bits and less is refused)
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from typing import Final

import msgspec
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from tidings.protocols.mail.mime import Part

#: Always in `h=`, whether the mail has them or not: a second one breaks the signature.
OVERSIGNED: Final = ("from", "to", "cc", "subject", "date", "reply-to", "message-id", "mime-version", "content-type")
#: Signed where they are. Source: RFC 6376 §5.4.1; RFC 8058 §4 (the two of List-Unsubscribe must be)
SIGNED: Final = (
    "in-reply-to", "references", "content-transfer-encoding", "list-unsubscribe", "list-unsubscribe-post", "list-id",
    "feedback-id", "auto-submitted", "precedence", "sender",
)  # fmt: skip
_RSA_BITS: Final = 1_024
_SPACES: Final = re.compile(rb"[ \t\r\n]+")
_LABEL: Final = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?)*"
)
_Private = RSAPrivateKey | Ed25519PrivateKey


class DkimError(ValueError):
    """A key, selector or domain that cannot sign."""


class DkimKey(msgspec.Struct, frozen=True):
    """A private key under its name in DNS: `selector._domainkey.domain`."""

    domain: str
    selector: str
    private: _Private

    @property
    def record(self) -> str:
        """The TXT record that verifiers look up."""
        public = self.private.public_key()
        if isinstance(self.private, Ed25519PrivateKey):
            raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
            return f"v=DKIM1; k=ed25519; p={base64.b64encode(raw).decode()}"
        der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return f"v=DKIM1; k=rsa; p={base64.b64encode(der).decode()}"


def read_key(domain: str, selector: str, pem: str) -> DkimKey:
    """A key from PEM (PKCS #1 or #8), or from the 32 octets of Ed25519 in base64. Raises DkimError."""
    if not _LABEL.fullmatch(domain) or "." not in domain:
        raise DkimError("the domain must be a host name in its ASCII form, for example example.com")
    if not _LABEL.fullmatch(selector):
        raise DkimError("the selector must be letters, digits and hyphens, for example 2026a")
    return DkimKey(domain.lower(), selector, _private(pem))


def _private(pem: str) -> _Private:
    if "-----BEGIN" not in pem:
        try:
            return Ed25519PrivateKey.from_private_bytes(base64.b64decode(pem, validate=True))
        except ValueError:
            raise DkimError("the key must be PEM, or the 32 octets of an Ed25519 key in base64") from None
    try:
        found = serialization.load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError):
        raise DkimError("the PEM holds no private key that can be read without a passphrase") from None
    if isinstance(found, RSAPrivateKey) and found.key_size <= _RSA_BITS:
        raise DkimError(f"an RSA key needs more than {_RSA_BITS} bits, better 2048")
    if not isinstance(found, RSAPrivateKey | Ed25519PrivateKey):
        raise DkimError("the key must be RSA or Ed25519")
    return found


def signed(part: Part, keys: Sequence[DkimKey], at_s: int) -> Part:
    """`part` with one DKIM-Signature for each key before its fields."""
    if not keys:
        return part
    body = base64.b64encode(hashlib.sha256(relaxed_body(part.body)).digest()).decode()
    names, canonical = _chosen(part.fields)
    return Part((*(_signature(key, names, canonical, body, at_s) for key in keys), *part.fields), part.body)


def relaxed_body(body: bytes) -> bytes:
    """Source: RFC 6376 §3.4.4"""
    if b" " in body or b"\t" in body:
        body = re.sub(rb"[ \t]+", b" ", body)
        body = body.replace(b" \r\n", b"\r\n")
    body = body.rstrip(b"\r\n") if body.endswith((b"\r\n", b"\n")) else body
    return body.rstrip(b" ") + b"\r\n" if body else b""


def relaxed_field(field: bytes) -> bytes:
    """Source: RFC 6376 §3.4.2"""
    name, _, value = field.partition(b":")
    return name.strip().lower() + b":" + _SPACES.sub(b" ", value).strip() + b"\r\n"


def _chosen(fields: Sequence[bytes]) -> tuple[str, bytes]:
    """`h=` and the canonical fields it names, those of one name from the last to the first. Source: RFC 6376 §5.4.2"""
    found: dict[str, list[bytes]] = {}
    for field in fields:
        found.setdefault(field.partition(b":")[0].decode().strip().lower(), []).append(relaxed_field(field))
    names, canonical = list[str](), list[bytes]()
    for name in (*OVERSIGNED, *SIGNED):
        there = found.get(name, [])
        names += [name] * (len(there) + (name in OVERSIGNED))
        canonical += reversed(there)
    return ":".join(names), b"".join(canonical)


def _signature(key: DkimKey, names: str, canonical: bytes, body: str, at_s: int) -> bytes:
    kind = "ed25519" if isinstance(key.private, Ed25519PrivateKey) else "rsa"
    field = (
        f"DKIM-Signature: v=1; a={kind}-sha256; c=relaxed/relaxed; d={key.domain};\r\n"
        f" s={key.selector}; t={at_s};\r\n h={_folded(names)};\r\n bh={body};\r\n b="
    ).encode()
    data = canonical + relaxed_field(field).removesuffix(b"\r\n")
    if isinstance(key.private, Ed25519PrivateKey):
        made = key.private.sign(hashlib.sha256(data).digest())  # RFC 8463 §3
    else:
        made = key.private.sign(data, PKCS1v15(), hashes.SHA256())
    return field + _wrapped(base64.b64encode(made).decode()).encode() + b"\r\n"


def _folded(names: str) -> str:
    """Broken before the name that would not fit."""
    lines, line = list[str](), ""
    for name in names.split(":"):
        if len(line) + len(name) > 68:
            lines.append(line)
            line = ""
        line += name + ":"
    return "\r\n  ".join((*lines, line)).removesuffix(":")


def _wrapped(text: str) -> str:
    return "\r\n  ".join(text[n : n + 70] for n in range(0, len(text), 70))
