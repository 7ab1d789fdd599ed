"""How an API key logs in over SMPP, whose fields are too short for a key: 15 characters of name, 8 of password.

The name is the end of the key's id, which is no secret. The password is derived from the id with the key ring's secret,
so that it is stored nowhere and can be told again to whoever may make keys. Source: SMPP 3.4 §5.2.1, §5.2.2
"""

from hmac import compare_digest
from typing import Final

from tidings.kit.secrets import KeyRing

SYSTEM_ID_CHARS: Final = 15
PASSWORD_CHARS: Final = 8
#: Digits and letters without those that are mistaken for others: 57 of them, 46 bits in a password.
_LETTERS: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def system_id(key_id: str) -> str:
    """The name to bind with."""
    return key_id[-SYSTEM_ID_CHARS:]


def password(ring: KeyRing, key_id: str) -> str:
    """The password that goes with it."""
    number = int(ring.lookup(f"smpp password of {key_id}"), 16)
    letters: list[str] = []
    for _ in range(PASSWORD_CHARS):
        number, digit = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[digit])
    return "".join(letters)


def matches(ring: KeyRing, key_id: str, given: str) -> bool:
    """Whether `given` is the key's password; takes as long whether it is or not."""
    return compare_digest(password(ring, key_id).encode(), given.encode("utf-8", "replace"))


def allows(granted: list[str], scope: str) -> bool:
    """Whether these scopes of a key hold `scope`: by name, as `messages:*`, or as `*`."""
    return scope in granted or "*" in granted or f"{scope.partition(':')[0]}:*" in granted
