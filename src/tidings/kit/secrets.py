"""Sealing of personal data, keyed hashes for look-up, and hashes of API keys.

The key ring is a JSON file of the data directory (mode 0600): `{"seal": {"k1": base64}, "current": "k1", "lookup": base64}`.
A new seal key may be added at any time; rows name the key they were sealed with.
"""

import base64
import contextlib
import hashlib
import json
import os
from pathlib import Path

_b64 = base64.b64encode
_NONCE_BYTES = 12


class NotSealed(ValueError):
    """A text that this key did not seal for this owner, or that was altered."""


class KeyRing:
    """Seals with AES-256-GCM (NIST SP 800-38D) and hashes addresses with keyed BLAKE2b (RFC 7693 §2.5)."""

    def __init__(self, seal: dict[str, bytes], current: str, lookup: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # 7 MB that a process without keys does not need

        self._ciphers = {name: AESGCM(key) for name, key in seal.items()}
        self.current = current
        self._encrypt = self._ciphers[current].encrypt
        self._lookup = lookup

    @classmethod
    def load(cls, path: Path) -> "KeyRing":
        """The key ring at `path`; made there, synced to disk, if there is none."""
        if not path.exists():
            ring = {
                "seal": {"k1": _b64(os.urandom(32)).decode()},
                "current": "k1",
                "lookup": _b64(os.urandom(32)).decode(),
            }
            _write_private(path, json.dumps(ring).encode())
        ring = json.loads(path.read_text())
        seal = {name: base64.b64decode(key) for name, key in ring["seal"].items()}
        return cls(seal, ring["current"], base64.b64decode(ring["lookup"]))

    def seal(self, plain: bytes, owner: str) -> str:
        """Ciphertext (base64) of `plain`, bound to the row's `owner`: moved to another row it does not open."""
        nonce = os.urandom(_NONCE_BYTES)
        return _b64(nonce + self._encrypt(nonce, plain, owner.encode())).decode()

    def unseal(self, sealed: str, owner: str, key_id: str) -> bytes:
        """The plain bytes of what `seal` gave. Raises NotSealed; KeyError for a key that is not in the ring."""
        cipher = self._ciphers[key_id]
        try:
            raw = base64.b64decode(sealed)
            return cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], owner.encode())
        except Exception as error:
            raise NotSealed("it was altered, or sealed for another owner") from error

    def lookup(self, address: str) -> str:
        """Keyed hash (32 hex digits) of an address: the same for `+4917…` and `4917…`, upper and lower case."""
        return hashlib.blake2b(address.lstrip("+").lower().encode(), key=self._lookup, digest_size=16).hexdigest()

    def keyed(self, purpose: str, text: str) -> bytes:
        """Keyed hash (32 bytes) of a secret with little entropy; `purpose` (at most 16 bytes) keeps its uses apart."""
        return hashlib.blake2b(text.encode(), key=self._lookup, person=purpose.encode(), digest_size=32).digest()


def digest(text: str | bytes) -> str:
    """Plain hash (32 hex digits) of a secret with full entropy (API keys), or of a body."""
    return hashlib.blake2b(text if isinstance(text, bytes) else text.encode(), digest_size=16).hexdigest()


def _write_private(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_suffix(f".{os.getpid()}.new")
    fd = os.open(fresh, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    try:
        os.write(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    with contextlib.suppress(FileExistsError):  # of several processes that start at once, one makes it
        os.link(fresh, path)
    fresh.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
