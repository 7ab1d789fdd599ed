"""The content coding `aes128gcm`, in one record: what Web Push asks for. Only the sender's side.

::

    header   salt (16) | record size (4) | length of the key id (1) | key id
    record   AES-128-GCM(content | 0x02 | zeros)

Source: RFC 8188 §2 (records, delimiter and padding), §2.1 (header), §2.2 and §2.3 (key and nonce)
"""

from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SALT_OCTETS: Final = 16
TAG_OCTETS: Final = 16
HEADER_OCTETS: Final = SALT_OCTETS + 4 + 1  # before the key id
_LAST_RECORD: Final = b"\x02"


def encrypt(
    content: bytes, key: bytes, salt: bytes, *, key_id: bytes = b"", record_size: int = 4_096, padding: int = 0
) -> bytes:
    """Header and the only record. `key` is the input keying material; `padding` octets hide how long `content` is.

    Raises ValueError if salt or key id have the wrong length or the content does not fit into one record.
    """
    if len(salt) != SALT_OCTETS:
        raise ValueError(f"the salt must have {SALT_OCTETS} octets, not {len(salt)}")
    if len(key_id) > 255:
        raise ValueError("the key id must have at most 255 octets")
    room = record_size - TAG_OCTETS - len(_LAST_RECORD)
    if len(content) + padding > room:
        raise ValueError(f"{len(content)} octets and {padding} of padding do not fit; there is room for {room}")
    secret = _derive(key, salt, b"Content-Encoding: aes128gcm\x00", 16)
    nonce = _derive(key, salt, b"Content-Encoding: nonce\x00", 12)  # of record 0: the sequence number changes nothing
    record = AESGCM(secret).encrypt(nonce, content + _LAST_RECORD + bytes(padding), None)
    return salt + record_size.to_bytes(4, "big") + bytes([len(key_id)]) + key_id + record


def _derive(key: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt, info).derive(key)
