"""Prefixed, time-ordered identifiers. Source: RFC 9562 §5.7 (UUIDv7)."""

import re
from typing import Final

from uuid_utils import uuid7

_FORM: Final = re.compile(r"[a-z]{3,4}_[0-9a-f]{32}")


def new_id(prefix: str) -> str:
    """A new id such as `msg_0193…`: the prefix and 32 hex digits of a UUIDv7. Later ids sort after earlier ones."""
    return f"{prefix}_{uuid7().hex}"


def is_id(text: str, prefix: str) -> bool:
    """Whether `text` has the form of an id with this prefix."""
    return text.startswith(prefix + "_") and _FORM.fullmatch(text) is not None
