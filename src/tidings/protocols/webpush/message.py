"""Encryption of a push message for one subscription: a fresh key pair for each, so that only the browser can read it.

Source: RFC 8291 §3.1 (Diffie-Hellman), §3.3 and §3.4 (keying material), §4 (one record, at most 4096 octets)
"""

import os
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tidings.protocols.webpush import ece

AUTH_OCTETS: Final = 16
POINT_OCTETS: Final = 65  # uncompressed, SEC 1 §2.3.3
BODY_OCTETS: Final = 4_096  # what every push service takes; RFC 8030 §7.2
#: The longest content: the body without header, delimiter and tag.
CONTENT_OCTETS: Final = BODY_OCTETS - ece.HEADER_OCTETS - POINT_OCTETS - 1 - ece.TAG_OCTETS
_CURVE: Final = ec.SECP256R1()


class Keys:
    """The keys of a subscription: the browser's public key (`p256dh`) and the shared `auth` secret, decoded.

    Raises ValueError that says which is wrong.
    """

    __slots__ = ("auth", "p256dh", "point")

    def __init__(self, p256dh: bytes, auth: bytes) -> None:
        if len(auth) != AUTH_OCTETS:
            raise ValueError(f"auth must have {AUTH_OCTETS} octets, not {len(auth)}")
        if len(p256dh) != POINT_OCTETS or p256dh[0] != 4:
            raise ValueError(f"p256dh must be an uncompressed point of {POINT_OCTETS} octets")
        try:
            self.point = ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, p256dh)
        except ValueError:
            raise ValueError("p256dh is not a point on P-256") from None
        self.p256dh, self.auth = p256dh, auth


def encrypt(
    content: bytes, keys: Keys, *, salt: bytes | None = None, ephemeral: ec.EllipticCurvePrivateKey | None = None,
    padding: int = 0,
) -> bytes:  # fmt: skip
    """The body of the push. `salt` and `ephemeral` are random and used once; only test vectors name them.

    Raises ValueError if `content` is longer than CONTENT_OCTETS.
    """
    if len(content) + padding > CONTENT_OCTETS:
        raise ValueError(f"a push message has at most {CONTENT_OCTETS} octets, not {len(content) + padding}")
    own = ephemeral or ec.generate_private_key(_CURVE)
    point = own.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    shared = own.exchange(ec.ECDH(), keys.point)
    info = b"WebPush: info\x00" + keys.p256dh + point
    key = HKDF(SHA256(), 32, keys.auth, info).derive(shared)
    return ece.encrypt(content, key, salt or os.urandom(ece.SALT_OCTETS), key_id=point, padding=padding)
