"""What the delivery path writes, as rows. Every engine takes these nouns; personal data arrives already sealed."""

from typing import Any, Final

import msgspec

from tidings.store.accounts import NewSuppression

#: `due_ms` of a job that waits for its predecessor in a sequence.
NEVER: Final = 9_000_000_000_000_000

Row = tuple[Any, ...]
PartKey = tuple[str, str, str, int, int]  # provider, from_hash, to_hash, ref, total


class Begin(msgspec.Struct, frozen=True, array_like=True):
    """An attempt, stored before the wire."""

    project: str
    message: str
    attempt: str
    provider: str
    channel: str
    parts: int
    node: str
    epoch: int
    to_hash: str
    sender: str | None
    user_ref: int | None
    encoding: str | None
    at_ms: int
    owner: str
    event: str


class Begun(msgspec.Struct, frozen=True):
    """`ok` with the concatenation reference; or why nothing was stored: `gone`, `suppressed`, `not_owner`."""

    kind: str
    concat_ref: int = 0


class NewMessage(msgspec.Struct, frozen=True, array_like=True):
    """A message with its personal row, job and first event: one commit."""

    project: str
    id: str
    mode: str
    channel: str
    lane: int
    status: str
    created_ms: int
    due_ms: int
    valid_until_ms: int | None
    sequence: str | None
    on_unknown: str
    template: str | None
    locale: str | None
    reference: str | None
    tags: str | None  # JSON
    retry_of: str | None
    key_id: str
    to_hash: str
    sealed: str
    provider: str  # '' until routed
    event: str
    owner: str | None  # set: already leased to this worker, which has room for it at once
    job_due_ms: int
    key_hash: str | None = None
    body_hash: str | None = None
    chain: str | None = None  # JSON of a Chain: the channels, where there are several
    begin: Begin | None = (
        None  # with `owner`, and neither `sequence` nor `chain`: its first attempt, in the same commit
    )


class Accepted(msgspec.Struct, frozen=True):
    """How an accept ended: `new`, `replay` (of `id`) or `reused` (the key had another body). `begun`: of its attempt."""

    kind: str
    id: str
    status: str
    channel: str
    created_ms: int
    handed: bool = False
    begun: Begun | None = None


class LeaseAsk(msgspec.Struct, frozen=True):
    """Lease due jobs that are unrouted or routed to `provider`: from a lane, as many as bring the total to `room[lane]`."""

    provider: str
    routed_only: bool  # only jobs that name this provider, not unrouted ones
    room: tuple[int, int, int]
    owner: str
    now_ms: int
    until_ms: int
    after: tuple[str, str, str]  # the tenant served last, per lane: the round goes on behind it


class Release(msgspec.Struct, frozen=True, array_like=True):
    """Give a leased job back, if it is still `owner`'s ('': whoever has it). `status`, with an event: the message's new one."""

    project: str
    message: str
    provider: str
    due_ms: int
    kind: str = "deliver"
    status: str | None = None
    event: str | None = None
    at_ms: int = 0
    strike: int = 0  # 1: this job made a stage fail
    owner: str = ""


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """The end of an attempt, and what becomes of its message."""

    project: str
    message: str
    attempt: str
    provider: str
    to_hash: str
    kind: str  # sent | refused | retry | unknown
    at_ms: int
    refs: tuple[str, ...] = ()
    error: str | None = None  # JSON of a MessageError
    status: str | None = None  # what the message becomes
    due_ms: int = 0  # of the next try (retry) or of the end of the wait (unknown)
    event: str = ""
    late: bool = False  # the answer to an attempt that was settled as unknown before
    states: str = ""  # of the parts, where they differ: a device of several that was refused (`s` sent, `u` refused)
    cost: float | None = None
    suppressions: tuple[NewSuppression, ...] = ()  # addresses that the carrier says are no more
    goes_to: str | None = None  # the provider of the next try, where it is known
    receipt_by_ms: int = 0  # sent: unless a receipt comes by then, another carrier tries; 0: nobody waits for one
    again: bool = False  # the job was of kind `again`: an earlier attempt is sent, so this one ends nothing


def next_kind(item: Settlement) -> str | None:
    """The kind of the message's job after this; None: it has none any more.

    Where an earlier attempt is sent, the answer to one that is unknown is not waited for: a receipt may come for either.
    """
    if item.kind == "unknown":
        return None if item.again else "unknown"
    if item.status != "queued":
        return None
    return "again" if item.again else "deliver"


class End(msgspec.Struct, frozen=True, kw_only=True):
    """A message ends without an attempt: expired, failed, suppressed."""

    project: str
    message: str
    status: str
    at_ms: int
    event: str
    error: str | None = None


class ReceiptRow(msgspec.Struct, frozen=True, kw_only=True):
    """A carrier's receipt. `to_hash` is the handset's, `refs` the spellings of the carrier's id; `ended_hash`: see
    `domain.attempt.CarrierReceipt.ended_at`."""

    provider: str
    refs: tuple[str, ...]
    to_hash: str | None
    sender: str | None
    state: str
    carrier_state: str
    error_code: str | None
    user_ref: int | None
    submit_at_ms: int | None
    received_ms: int
    event: str
    engagement: str | None = None
    suppress: str | None = None  # why the address of the attempt must not be written to again
    error: str | None = None  # JSON of a MessageError, where the carrier says more than a state
    ended_hash: str | None = None

    @property
    def unanswered_hash(self) -> str | None:
        """By whom an attempt without an answer is looked for."""
        return self.to_hash or self.ended_hash


class InboundRow(msgspec.Struct, frozen=True, kw_only=True):
    """A whole inbound message (reassembled, or flushed as partial: `missing` parts)."""

    id: str
    provider: str
    provider_project: str
    from_hash: str
    to_hash: str
    parts: int
    missing: int
    received_ms: int
    key_id: str
    sealed: str
    stop: str | None  # "stop" or "start" where the text is such a keyword
    dedup: str
    events: tuple[str, str, str]
    of: tuple[str, str, str, int, int] | None = None  # the key of the parts that it replaces
    channel: str = "sms"
    answers: tuple[str, ...] = ()  # the carrier's ids of ours that it answers, the best first
    wrote_ms: int | None = None  # when the person sent it, where the carrier says so


class InboundPartRow(msgspec.Struct, frozen=True, array_like=True):
    """One part of an inbound message, kept until its siblings are there."""

    provider: str
    from_hash: str
    to_hash: str
    ref: int
    total: int
    part: int
    key_id: str
    sealed: str
    received_ms: int
    dedup: str = ""  # what makes the delivery of this part the same as another one


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A status that a message shall take, with the event that says so. `data` is JSON: ids and codes only."""

    project: str
    message: str
    status: str
    at_ms: int
    event: str
    error: str | None = None
    data: str | None = None


class Late(msgspec.Struct, frozen=True):
    """What one look found: messages still `sent`, and how far the log was read."""

    cursor: int
    upto: int
    at_ms: int
    messages: tuple[tuple[str, str], ...]
