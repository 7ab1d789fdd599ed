"""Prefixed, time-ordered identifiers. Source: RFC 9562 §5.7 (UUIDv7), §6.2 (method 1: a counter behind the time)."""

import re
import secrets
from typing import Final

from uuid_utils import uuid7

_FORM: Final = re.compile(r"[a-z]{3,4}_[0-9a-f]{32}")
_DIGITS: Final = 32


class Ids:
    """Each sorts after the one before, though the clock is set back: a sequence is sent in this order.

    Within a process the library sees to it; from one process to the next, `go_on_behind` does.
    """

    def __init__(self) -> None:
        self._last = ""

    def go_on_behind(self, id: str) -> None:
        """The next ones sort after `id`, which another process may have given by a clock that was ahead."""
        self._last = max(self._last, id[-_DIGITS:])

    def __call__(self) -> str:
        """32 hex digits."""
        text: str = uuid7().hex
        if text <= self._last:
            text = self._last = _behind(self._last)
        return text


def _behind(text: str) -> str:
    """The next one of the same millisecond: the version's and variant's bits stay, 26 bits between them count, 48 are noise."""
    count = (int(text[13:16], 16) << 14 | int(text[16:20], 16) & 0x3FFF) + 1
    ms = int(text[:12], 16) + (count >> 26)
    return f"{ms:012x}7{count >> 14 & 0xFFF:03x}{0x8000 | count & 0x3FFF:04x}{secrets.token_hex(6)}"


#: Those of this process.
ids: Final = Ids()


def new_id(prefix: str) -> str:
    """A new id such as `msg_0193…`: the prefix and 32 hex digits of a UUIDv7. Later ids sort after earlier ones."""
    return f"{prefix}_{ids()}"


def is_id(text: str, prefix: str) -> bool:
    """Whether `text` has the form of an id with this prefix."""
    return text.startswith(prefix + "_") and _FORM.fullmatch(text) is not None
