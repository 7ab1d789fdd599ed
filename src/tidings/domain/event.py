"""An event: one thing that happened, in the order in which it was committed (`seq`). Ids and codes only."""

from typing import Any

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """`type` is the webhook type, such as `message.delivered`. `data` never holds an address or content."""

    seq: int
    project: str
    id: str
    type: str
    message: str | None
    at_ms: int
    data: dict[str, Any] | None = None
