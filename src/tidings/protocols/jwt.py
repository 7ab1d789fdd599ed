"""Signed tokens in compact form, as push services ask for them. Only making them: nobody sends us any.

Source: RFC 7519 §3.1, RFC 7515 §3.1 and §7.1, RFC 7518 §3.3 (RS256) and §3.4 (ES256: r and s, 32 octets each)
"""

import base64
import json
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_HALF = 32


def b64url(data: bytes) -> str:
    """Base64 with the URL-safe alphabet and no padding. Source: RFC 7515 §2"""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def un_b64url(text: str) -> bytes:
    """The octets of `b64url`; padding and the common alphabet are taken too. Raises ValueError."""
    plain = text.rstrip("=").replace("+", "-").replace("/", "_")
    if not plain.isascii():
        raise ValueError("not base64")
    return base64.b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)


def sign(header: Mapping[str, object], claims: Mapping[str, object], key: SigningKey) -> str:
    """The token. `alg` is ES256 for a key on P-256, RS256 for an RSA key; any other key raises ValueError."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        if not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("an elliptic curve key must be on P-256")
        alg = "ES256"
    else:
        alg = "RS256"
    text = f"{_part({'alg': alg, **header})}.{_part(claims)}"
    return f"{text}.{b64url(_signature(text.encode(), key))}"


def _signature(text: bytes, key: SigningKey) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(text, padding.PKCS1v15(), SHA256())
    r, s = decode_dss_signature(key.sign(text, ec.ECDSA(SHA256())))
    return r.to_bytes(_HALF, "big") + s.to_bytes(_HALF, "big")


def _part(fields: Mapping[str, object]) -> str:
    return b64url(json.dumps(fields, separators=(",", ":")).encode())
