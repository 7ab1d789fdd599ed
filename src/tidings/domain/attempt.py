"""One try to hand a message to a carrier, and what came of it. Outcomes are values, not exceptions."""

from typing import Literal

import msgspec

from tidings.domain.content import Content
from tidings.domain.inbound import InboundContent
from tidings.domain.message import Lane, MessageError


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider is asked to hand to its carrier.

    An SMS is its `parts`: user data without a UDH. Other channels have `content`, and as many empty parts as there are
    outcomes: one, or one for each device of a push message (`each`).
    """

    attempt_id: str
    message_id: str
    lane: Lane
    to: str  # E.164 with the plus, or the channel's own form
    sender: str | None
    data_coding: int = 0
    parts: tuple[bytes, ...] = (b"",)
    concat_ref: int = 0  # one per destination, persistent; used where there are two parts or more
    valid_until_ms: int | None = None
    user_ref: int | None = None  # user_message_reference, 16 bits; may be echoed by the carrier
    header: bytes = b""  # header elements of every part beside the concatenation: national tables, ports
    channel: str = "sms"
    content: Content | None = None
    each: tuple[str, ...] = ()  # the address of every part, where they differ
    tries: int = 0  # attempts of the message before this one

    def address(self, index: int) -> str:
        """Where the part goes to."""
        return self.each[index] if self.each else self.to


class PartSent(msgspec.Struct, frozen=True):
    """The carrier took the part; `ref` is its id of it, `cost` what it says that it takes for it."""

    ref: str
    cost: float | None = None


class PartRefused(msgspec.Struct, frozen=True):
    """The carrier refused the part for good. `suppress`: why its address must not be written to again."""

    error: MessageError
    suppress: str | None = None  # bounced, unregistered, invalid


class PartRetry(msgspec.Struct, frozen=True):
    """Not taken now; nothing reached the carrier's queue. Try again after `after_s` (None: the usual back-off)."""

    error: MessageError
    after_s: float | None = None


class PartUnknown(msgspec.Struct, frozen=True):
    """The part was written, and the answer never came: it may or may not have been taken."""

    reason: str


class PartExpired(msgspec.Struct, frozen=True):
    """`valid_until_ms` passed before the part could be written; it never reached the wire."""


PartOutcome = PartSent | PartRefused | PartRetry | PartUnknown | PartExpired


class Outcome(msgspec.Struct, frozen=True):
    """What came of a submission: one part outcome for each part, in order. Exactly one per submission.

    `late`: a second one, for a submission that was reported with an unknown part and whose answers came after all.
    """

    attempt_id: str
    parts: tuple[PartOutcome, ...]
    at_ms: int
    late: bool = False


ReceiptState = Literal["delivered", "undelivered", "pending"]
Engagement = Literal["read", "clicked", "complained", "unsubscribed"]


class CarrierReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """A carrier's word on one part. `pending` (ACCEPTD, ENROUTE) moves nothing.

    `engagement` is what the person did, beside the state: a complaint is `pending` and `complained`. `suppress` says why
    the address of the attempt must not be written to again. `ended_at`: where the message came to, perhaps not where it was
    sent: only an attempt without an answer is looked for by it, and only where `to` is not known.
    """

    provider: str
    refs: tuple[str, ...]  # the id and its other spellings, canonical first
    to: str | None
    sender: str | None
    state: ReceiptState
    carrier_state: str  # the carrier's own word: delivered, expired, undeliverable, rejected …
    error_code: str | None = None
    user_ref: int | None = None
    submit_at_ms: int | None = None
    done_at_ms: int | None = None
    received_ms: int = 0
    engagement: Engagement | None = None
    suppress: str | None = None  # bounced, complained, unsubscribed, unregistered
    error: MessageError | None = None  # where the carrier says more than a state
    ended_at: str | None = None


class InboundPart(msgspec.Struct, frozen=True, kw_only=True):
    """A message, or one part of one, that a person sent to us. With `data` (octets, no text) `text` is empty.

    `answers`: the carrier's ids of messages of ours that this one answers, the best first. Without one that is known it
    answers the latest message to this person.
    """

    provider: str
    sender: str  # who wrote it
    to: str  # our number
    text: str
    concat_ref: int | None = None
    total: int = 1
    part: int = 1
    dedup: str = ""  # what makes the delivery of this PDU the same as another one
    received_ms: int = 0
    data: bytes | None = None
    ports: tuple[int, int] | None = None  # destination, source: the application that the octets are for
    word: Literal["stop", "start"] | None = None  # the carrier says that this is one, whatever the language
    channel: str = "sms"
    content: InboundContent | None = None
    answers: tuple[str, ...] = ()
    wrote_ms: int | None = None  # when the person sent it, where the carrier says so
