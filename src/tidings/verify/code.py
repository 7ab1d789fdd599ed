"""The code of a verification: made from a secret of the key ring and a salt, so that it need not be kept anywhere.

A resend sends the same code again, and a server that died between storing a verification and sending its message makes the
same message when it is asked again. The salt lies in the sealed personal row: without the key ring the database tells
nothing, and without the database the key ring tells nothing. See docs/decisions/0018-one-time-codes.md.
"""

import secrets
import unicodedata

from tidings.kit.secrets import KeyRing


def new_salt() -> str:
    """128 random bits, as hex digits."""
    return secrets.token_hex(16)


def code_of(ring: KeyRing, verification: str, salt: str, digits: int) -> str:
    """The code: `digits` decimal digits, each equally likely (256 bits are reduced: the bias is below 2**-220)."""
    number = int.from_bytes(ring.keyed("verify code", f"{verification}/{salt}"), "big") % 10**digits
    return f"{number:0{digits}}"


def code_hash(ring: KeyRing, verification: str, code: str) -> str:
    """What the store keeps of a code, and what a given one is compared by: a keyed hash of it and its verification."""
    return ring.keyed("verify check", f"{verification}/{code}").hex()


def typed_code(text: str) -> str | None:
    """The digits of what a person typed (`123 456`, `123-456`, `١٢٣٤٥٦`); None if it holds anything else."""
    digits: list[str] = []
    for char in text:
        if char in " -\u00a0\u200e\u200f":
            continue
        value = unicodedata.decimal(char, None)
        if value is None:
            return None
        digits.append(str(value))
    return "".join(digits) or None
