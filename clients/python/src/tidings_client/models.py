"""What the server answers, typed. Fields that a newer server adds are passed over."""

import datetime as dt
from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why a message or attempt ended badly."""

    code: str
    detail: str = ""
    permanent: bool = True
    retryable: bool = False
    provider_code: str | None = None
    spec: str | None = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try to hand a message to a carrier."""

    id: str
    n: int
    provider: str
    status: str
    channel: str = "sms"
    parts: int = 1
    error: Problem | None = None
    cost: float | None = None
    created_at: dt.datetime | None = None
    sent_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None


class Engagement(msgspec.Struct, frozen=True, kw_only=True):
    """What the person did."""

    read_at: dt.datetime | None = None
    clicked_at: dt.datetime | None = None
    replied_at: dt.datetime | None = None
    unsubscribed_at: dt.datetime | None = None
    complained_at: dt.datetime | None = None


class Fallback(msgspec.Struct, frozen=True, kw_only=True):
    """When the next channel of a message is tried: `failed`, `not_delivered`, `not_read`."""

    after_s: int = 30
    on: list[str] = msgspec.field(default_factory=list[str])


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message and how far it got. The answer to a send has only `id`, `status`, `channel` and `created_at`."""

    id: str
    status: str
    channel: str = "sms"
    channels: list[str] = msgspec.field(default_factory=list[str])
    fallback: Fallback | None = None
    project: str | None = None
    mode: str | None = None
    to: str | None = None
    sender: str | None = msgspec.field(name="from", default=None)
    text: str | None = None
    content: dict[str, Any] | None = None
    template: str | None = None
    lane: str | None = msgspec.field(name="class", default=None)
    reference: str | None = None
    tags: list[str] = msgspec.field(default_factory=list[str])
    metadata: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    sequence: str | None = None
    on_unknown: str | None = None
    parts: int | None = None
    encoding: str | None = None
    provider: str | None = None
    error: Problem | None = None
    retry_of: str | None = None
    created_at: dt.datetime | None = None
    send_at: dt.datetime | None = None
    valid_until: dt.datetime | None = None
    sent_at: dt.datetime | None = None
    delivered_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    engagement: Engagement | None = None
    attempts: list[Attempt] = msgspec.field(default_factory=list[Attempt])
    cost: float | None = None


class BatchProblem(msgspec.Struct, frozen=True, kw_only=True):
    """Why one item of a batch was not accepted."""

    code: str = "unknown"
    detail: str = ""
    status: int | None = None
    errors: list[dict[str, Any]] = msgspec.field(default_factory=list[dict[str, Any]])


class BatchItem(msgspec.Struct, frozen=True, kw_only=True):
    """One item of a batch: accepted (`id`), or not (`error`)."""

    id: str | None = None
    status: str | None = None
    channel: str | None = None
    created_at: dt.datetime | None = None
    error: BatchProblem | None = None


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a batch, in the order of the request."""

    data: list[BatchItem]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened: from a timeline, the stream, or a webhook call.

    `seq` (timeline and stream only) is where to go on: `stream(after=event.seq)`.
    """

    type: str
    timestamp: dt.datetime
    data: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    id: str | None = None
    message_id: str | None = None
    seq: int | None = None


class WebhookEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook endpoint. `secret` only when it was just made or rotated."""

    id: str
    url: str
    types: list[str] = msgspec.field(default_factory=list[str])
    status: str = "enabled"
    description: str = ""
    reason: str | None = None
    failing_since: dt.datetime | None = None
    created_at: dt.datetime | None = None
    secret: str | None = None


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event's way to an endpoint."""

    id: str
    webhook_id: str
    event_id: str
    type: str
    status: str
    tries: int = 0
    http_status: int | None = None
    error: str | None = None
    latency_ms: int | None = None
    next_try_at: dt.datetime | None = None
    created_at: dt.datetime | None = None
    updated_at: dt.datetime | None = None


class SmppLogin(msgspec.Struct, frozen=True, kw_only=True):
    """How a key binds over SMPP."""

    system_id: str
    password: str


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """An API key. `key` and `smpp` only when it was just made."""

    id: str
    name: str
    mode: str
    project: str | None = None
    scopes: list[str] = msgspec.field(default_factory=list[str])
    hint: str | None = None
    key: str | None = None
    smpp: SmppLogin | None = None
    created_at: dt.datetime | None = None
    expires_at: dt.datetime | None = None
    revoked_at: dt.datetime | None = None


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant."""

    id: str
    name: str
    created_at: dt.datetime | None = None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `/readyz`."""

    status: str


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """One connection to a carrier."""

    kind: str
    state: str
    since: str | None = None
    last_error: str | None = None


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """A way to a carrier."""

    id: str
    name: str
    type: str
    status: str
    origin: str = "api"
    links: list[Link] = msgspec.field(default_factory=list[Link])
    config: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    share: float = 1.0
    degraded: str | None = None


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """A template as its carrier has it. `status`: the carrier's word; `places`: of the body, None where it does not say."""

    name: str
    language: str
    status: str
    category: str = ""
    places: int | None = None


class Media(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a carrier keeps; a content names it by `id`."""

    id: str
    media_type: str = ""
    size: int = 0


class RouteTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A provider of a route. `share`: how many of its own messages it gets now, less than 1 where it is not well."""

    provider: str
    weight: float = 1.0
    cost_per_part: float | None = None
    share: float = 1.0


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Which providers carry what."""

    id: str
    name: str
    targets: list[RouteTarget]
    origin: str = "api"
    priority: int = 100
    channels: list[str] = msgspec.field(default_factory=list[str])
    to: list[str] = msgspec.field(default_factory=list[str])
    lanes: list[str] = msgspec.field(name="class", default_factory=list[str])
    tags: list[str] = msgspec.field(default_factory=list[str])
    senders: list[str] = msgspec.field(name="from", default_factory=list[str])
    needs: list[str] = msgspec.field(default_factory=list[str])
    prefer: str = "weight"
    no_receipt_s: float = 0.0


class Inbound(msgspec.Struct, frozen=True, kw_only=True):
    """A message that a person sent to us."""

    id: str
    to: str
    channel: str = "sms"
    sender: str | None = msgspec.field(name="from", default=None)
    text: str | None = None
    content: dict[str, Any] | None = None
    provider: str | None = None
    in_reply_to: str | None = None
    parts: int = 1
    missing_parts: int = 0
    received_at: dt.datetime | None = None


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """A carrier's receipt that matches no attempt."""

    id: str
    provider: str
    provider_ref: str
    carrier_state: str
    state: str | None = None
    provider_code: str | None = None
    matched: bool = False
    received_at: dt.datetime | None = None


class Suppression(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who must not be written to."""

    channel: str
    reason: str
    to: str | None = None
    created_at: dt.datetime | None = None


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """A verification. `to` is as it was given; it never holds the code."""

    id: str
    status: str
    channel: str
    project: str | None = None
    mode: str | None = None
    to: str | dict[str, Any] | None = None
    channels: list[str] = msgspec.field(default_factory=list[str])
    country: str | None = None
    locale: str | None = None
    reference: str | None = None
    code_length: int = 6
    attempts: int = 0
    attempts_left: int = 0
    sends: int = 0
    sends_left: int = 0
    reason: str | None = None
    created_at: dt.datetime | None = None
    last_sent_at: dt.datetime | None = None
    resend_at: dt.datetime | None = None
    expires_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    time_to_verify_ms: int | None = None


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a code. Let the person in by `valid` alone."""

    id: str
    status: str
    valid: bool
    attempts_left: int = 0


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """What the sandbox's telephone shows."""

    code: str


class Percentiles(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds; None where there is nothing to be ranked."""

    p50: int | None = None
    p90: int | None = None
    p99: int | None = None


class VerificationCount(msgspec.Struct, frozen=True, kw_only=True):
    """How verifications by one channel to one country went."""

    channel: str
    country: str | None = None
    started: int = 0
    approved: int = 0
    failed: int = 0
    expired: int = 0
    canceled: int = 0
    pending: int = 0
    conversion: float | None = None
    time_to_verify_ms: Percentiles = Percentiles()


class VerificationStats(msgspec.Struct, frozen=True, kw_only=True):
    """Verifications begun in a time. `truncated`: only the newest are counted."""

    since: dt.datetime
    until: dt.datetime
    truncated: bool = False
    data: list[VerificationCount] = msgspec.field(default_factory=list[VerificationCount])


class AllowedPrefix(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers that begin so are past the pumping guard."""

    prefix: str
    created_at: dt.datetime | None = None


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One page of a list."""

    data: list[T]
    next_cursor: str | None = None


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """How many events are sent again. `next_since`: there are more; replay again from then on."""

    queued: int
    next_since: dt.datetime | None = None
