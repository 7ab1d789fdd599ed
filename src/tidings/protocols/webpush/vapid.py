"""Voluntary application server identification: who sends a push, as a token for one push service at a time.

Source: RFC 8292 §2 (claims; `exp` within 24 hours), §3 (the `vapid` scheme), §3.2 (`k`, the public key)
"""

from typing import Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tidings.protocols.jwt import b64url, sign, un_b64url

MOST_S: Final = 86_400  # §2: longer tokens are refused
_SCALAR_OCTETS: Final = 32


def private_key(text: str) -> ec.EllipticCurvePrivateKey:
    """The key pair from its private part, 32 octets in base64url, as `npx web-push generate-vapid-keys` prints it.

    Raises ValueError.
    """
    raw = un_b64url(text)
    if len(raw) != _SCALAR_OCTETS:
        raise ValueError(f"must be {_SCALAR_OCTETS} octets in base64url, not {len(raw)}")
    return ec.derive_private_key(int.from_bytes(raw, "big"), ec.SECP256R1())


def public_key(key: ec.EllipticCurvePrivateKey) -> str:
    """What the web app subscribes with (`applicationServerKey`): the uncompressed point in base64url."""
    return b64url(key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


def audience(endpoint: str) -> str:
    """The origin of a push service, in the form of RFC 6454 §6.1: no default port, the host in lower case."""
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    usual = {"https": 443, "http": 80}.get(parts.scheme)
    port = "" if parts.port in (None, usual) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def authorization(key: ec.EllipticCurvePrivateKey, endpoint: str, subject: str, expires_s: int) -> str:
    """The Authorization header for the push service of `endpoint`. `expires_s`: seconds since the epoch, a day ahead at most."""
    claims = {"aud": audience(endpoint), "exp": expires_s, "sub": subject}
    return f"vapid t={sign({'typ': 'JWT'}, claims, key)}, k={public_key(key)}"
