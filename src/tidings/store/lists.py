"""What is asked of the lists, and what they are made of."""

from typing import Any

import msgspec

from tidings.domain.verification import Verification
from tidings.domain.view import StoredMessage


class MessageFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What to list; None: any. `before` is the id of the last message of the page before."""

    project: str
    limit: int
    before: str | None = None
    status: str | None = None
    channel: str | None = None
    to_hash: str | None = None
    template: str | None = None
    reference: str | None = None
    tag: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events to read."""

    project: str
    limit: int
    before: int | None = None
    types: tuple[str, ...] = ()
    message: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None


class StoredInbound(msgspec.Struct, frozen=True, kw_only=True):
    """A message that a person sent to us."""

    id: str
    provider: str
    channel: str
    sender: str | None
    to: str
    text: str | None
    content: dict[str, Any] | None  # in place of a text: see `domain.sms.SmsContent`
    in_reply_to: str | None
    parts: int
    missing: int
    received_ms: int


def inbound_content(item: StoredInbound) -> dict[str, Any] | None:
    """As customers see it: attachments without their octets, which are at `url` of the API."""
    if item.content is None or not item.content.get("attachments"):
        return item.content
    files: list[dict[str, Any]] = []
    for n, file in enumerate(item.content["attachments"]):
        shown = {key: value for key, value in file.items() if key != "data"}
        files.append(shown | {"url": f"/v1/inbound/{item.id}/attachments/{n}" if "data" in file else None})
    return item.content | {"attachments": files}


class StoredReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """A carrier's receipt that matches no attempt."""

    id: int
    provider: str
    ref: str
    state: str
    carrier_state: str
    error_code: str | None
    received_ms: int


class Subjects(msgspec.Struct, frozen=True):
    """What events are about: messages sent, messages received, verifications; by id. Erased ones are absent."""

    messages: dict[str, StoredMessage]
    inbound: dict[str, StoredInbound]
    verifications: dict[str, Verification] = {}


NO_SUBJECTS = Subjects({}, {})
