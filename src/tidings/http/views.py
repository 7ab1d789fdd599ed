"""The shapes of the answers, as the OpenAPI document shows them. Times are RFC 3339, UTC."""

import datetime as dt
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tidings.domain.errors import FieldError
from tidings.domain.event import Event
from tidings.domain.message import Fallback
from tidings.domain.status import MessageStatus
from tidings.kit.clock import rfc3339
from tidings.store.accounts import StoredKey, StoredProject, Suppression
from tidings.store.lists import StoredInbound, StoredReceipt, inbound_content

MessageId = Annotated[str, Meta(pattern="^msg_[0-9a-f]{32}$", examples=["msg_0193b1a2c3d47e5f8a9b0c1d2e3f4a5b"])]


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Root of the answers."""


class AcceptedView(View, frozen=True, kw_only=True):
    """The message is durable: it survives power loss."""

    id: MessageId
    status: MessageStatus
    channel: str
    created_at: dt.datetime
    retry_of: str | UnsetType = UNSET


class BatchError(View, frozen=True, kw_only=True):
    """Why one item of a batch was not accepted."""

    code: str
    detail: str
    status: int
    errors: list[FieldError]


class BatchItem(View, frozen=True, kw_only=True):
    """One item of a batch: `id` and what follows where it was accepted, `error` alone where nothing of it was kept."""

    id: MessageId | UnsetType = UNSET
    status: MessageStatus | UnsetType = UNSET
    channel: str | UnsetType = UNSET
    created_at: dt.datetime | UnsetType = UNSET
    error: BatchError | UnsetType = UNSET


class BatchView(View, frozen=True, kw_only=True):
    """What became of each item, in the order of the request."""

    data: list[BatchItem]


class ErrorView(View, frozen=True, kw_only=True):
    """Why a message or attempt ended badly."""

    code: str
    detail: str
    permanent: bool
    retryable: bool
    provider_code: str | None
    spec: str | None


class Engagement(View, frozen=True, kw_only=True):
    """What the person did with the message."""

    read_at: dt.datetime | None
    clicked_at: dt.datetime | None
    replied_at: dt.datetime | None
    unsubscribed_at: dt.datetime | None
    complained_at: dt.datetime | None


class AttemptView(View, frozen=True, kw_only=True):
    """One try to hand the message to a carrier."""

    id: str
    n: int
    channel: str
    provider: str
    status: str
    parts: int
    error: dict[str, Any] | None
    cost: float | None
    created_at: dt.datetime
    sent_at: dt.datetime | None
    ended_at: dt.datetime | None


class MessageView(msgspec.Struct, frozen=True, kw_only=True):
    """A message and how far it got."""

    id: MessageId
    project: str
    mode: str
    channel: str  # the one that is tried now, or was the last
    channels: list[str]
    fallback: Fallback | None
    to: str
    sender: str | None = msgspec.field(name="from")
    text: str | None
    content: dict[str, Any] | None  # of that channel; attachments without their octets
    template: str | None
    lane: str = msgspec.field(name="class")
    status: MessageStatus
    reference: str | None
    tags: list[str]
    metadata: dict[str, Any]
    sequence: str | None
    on_unknown: str
    parts: int | None
    encoding: str | None
    provider: str | None
    error: dict[str, Any] | None
    retry_of: str | None
    created_at: dt.datetime
    send_at: dt.datetime | None
    valid_until: dt.datetime | None
    sent_at: dt.datetime | None
    delivered_at: dt.datetime | None
    ended_at: dt.datetime | None
    engagement: Engagement


class MessageDetail(MessageView, frozen=True, kw_only=True):
    """A message with its attempts, and what they cost together as far as it is known."""

    attempts: list[AttemptView]
    cost: float | None


class EventView(View, frozen=True, kw_only=True):
    """One thing that happened. `data` holds ids and codes only."""

    id: str
    seq: int
    type: str
    timestamp: dt.datetime
    message_id: str | None
    data: dict[str, Any]


class InboundView(msgspec.Struct, frozen=True, kw_only=True):
    """A message that a person sent to us. `missing_parts` is above 0 where not all of it arrived."""

    id: str
    channel: str
    provider: str
    sender: str | None = msgspec.field(name="from")
    to: str
    text: str | None
    content: dict[str, Any] | None  # what stands beside the text; `url` is where an attachment's octets are
    in_reply_to: str | None
    parts: int
    missing_parts: int
    received_at: dt.datetime


class ReceiptView(View, frozen=True, kw_only=True):
    """A carrier's receipt that matches no attempt."""

    id: str
    provider: str
    provider_ref: str
    state: str
    carrier_state: str
    provider_code: str | None
    matched: bool
    received_at: dt.datetime


class SuppressionView(View, frozen=True, kw_only=True):
    """Somebody who must not be written to. `to` is null where the person was erased."""

    channel: str
    to: str | None
    reason: str
    created_at: dt.datetime


class KeyView(View, frozen=True, kw_only=True):
    """An API key without its secret; `hint` is the end of it."""

    id: str
    project: str
    name: str
    mode: str
    scopes: list[str]
    hint: str
    created_at: dt.datetime
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None


class SmppLoginView(View, frozen=True, kw_only=True):
    """How a key binds over SMPP, whose fields are too short for `key` itself."""

    system_id: str
    password: str


class NewKeyView(KeyView, frozen=True, kw_only=True):
    """A key just made. `key` and `smpp` are in this answer only."""

    key: str
    smpp: SmppLoginView


class ProjectView(View, frozen=True, kw_only=True):
    """A tenant."""

    id: str
    name: str
    created_at: dt.datetime


class LinkView(View, frozen=True, kw_only=True):
    """One connection to a carrier."""

    kind: str
    state: str
    since: str | None = None
    last_error: str | None = None


class ProviderView(View, frozen=True, kw_only=True):
    """A way to a carrier. `config` shows no secret. Those of `config` and `sandbox` origin are read-only.

    `share`: how many of its messages it gets now, 0 to 1; less than 1 where its carrier is not well, `degraded` says why.
    """

    id: str
    name: str
    type: str
    status: str
    origin: str
    links: list[LinkView]
    config: dict[str, Any]
    share: float
    degraded: str | None


class HealthView(View, frozen=True, kw_only=True):
    """The process is alive."""

    status: str


def event_view(event: Event) -> dict[str, Any]:
    """An event as the API shows it."""
    return {
        "id": event.id, "seq": event.seq, "type": event.type, "timestamp": rfc3339(event.at_ms),
        "message_id": event.message, "data": event.data or {},
    }  # fmt: skip


def inbound_view(item: StoredInbound) -> dict[str, Any]:
    """An inbound message as the API shows it."""
    return {
        "id": item.id, "channel": item.channel, "provider": item.provider, "from": item.sender, "to": item.to,
        "text": item.text, "content": inbound_content(item), "in_reply_to": item.in_reply_to,
        "parts": item.parts, "missing_parts": item.missing,
        "received_at": rfc3339(item.received_ms),
    }  # fmt: skip


def receipt_view(item: StoredReceipt) -> dict[str, Any]:
    """An unmatched receipt as the API shows it."""
    return {
        "id": f"rcp_{item.id}", "provider": item.provider, "provider_ref": item.ref, "state": item.state,
        "carrier_state": item.carrier_state, "provider_code": item.error_code, "matched": False,
        "received_at": rfc3339(item.received_ms),
    }  # fmt: skip


def suppression_view(item: Suppression) -> dict[str, Any]:
    """A suppression as the API shows it."""
    return {"channel": item.channel, "to": item.to, "reason": item.reason, "created_at": rfc3339(item.created_ms)}


def key_view(key: StoredKey) -> dict[str, Any]:
    """A key as the API shows it, without the secret."""
    return {
        "id": key.id, "project": key.project, "name": key.name, "mode": key.mode, "scopes": key.scopes,
        "hint": key.hint, "created_at": rfc3339(key.created_ms), "expires_at": rfc3339(key.expires_ms),
        "revoked_at": rfc3339(key.revoked_ms),
    }  # fmt: skip


def project_view(project: StoredProject) -> dict[str, Any]:
    """A project as the API shows it."""
    return {"id": project.id, "name": project.name, "created_at": rfc3339(project.created_ms)}
