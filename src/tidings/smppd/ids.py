"""Ids as SMPP clients see them: 32 hexadecimal digits. `_` is another character in the GSM alphabet, in which receipts are
often read, and is left out.
"""

import re
from typing import Final

_ID: Final = re.compile(r"(?:msg_|prt_)?([0-9a-f]{32})")


def shown(id: str) -> str:
    """The message_id of one of our ids (`msg_…`, `prt_…`)."""
    return id.rpartition("_")[2]


def read(message_id: str) -> str | None:
    """The digits of what a client names: as we answered, or as the API writes it. None if it is no id of ours."""
    found = _ID.fullmatch(message_id.lower())
    return found[1] if found else None
