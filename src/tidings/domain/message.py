"""A message: what a customer asked to be said to one person, on one channel, and how far it got."""

from typing import Any, Final, Literal

import msgspec

Lane = Literal["otp", "transactional", "marketing"]
Mode = Literal["live", "test"]
OnUnknown = Literal["resend", "hold"]
#: Lanes from first to last served. The number is what the store keeps.
LANES: Final[tuple[Lane, ...]] = ("otp", "transactional", "marketing")
LANE_NUMBER: Final[dict[str, int]] = {lane: n for n, lane in enumerate(LANES)}


class MessageError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a message or attempt ended badly. `spec` names where the provider's code is defined."""

    code: str
    detail: str
    permanent: bool = True
    retryable: bool = False
    provider_code: str | None = None
    spec: str | None = None


class Fallback(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the next channel of `channels` is tried."""

    after_s: int = 30
    on: list[Literal["failed", "not_delivered", "not_read"]] = msgspec.field(default_factory=lambda: ["failed"])


class Chain(msgspec.Struct, frozen=True, kw_only=True):
    """The channels of a message that has several, in the order in which they are tried, and which one is tried now."""

    channels: tuple[str, ...]
    after_s: int
    on: tuple[str, ...]  # of Fallback.on
    step: int = 0
    tries: int = 0  # attempts of the channels before

    @property
    def last(self) -> bool:
        """Whether no channel is left."""
        return self.step + 1 >= len(self.channels)


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One channel of several: the person's address on it, and what is said there."""

    channel: str
    to: str
    each: tuple[str, ...] = ()
    sender: str | None = None
    content: dict[str, Any] | None = None


class Personal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What may name a person: kept sealed, apart from the message, and deleted at erasure."""

    to: str
    sender: str | None = None
    text: str | None = None
    content: dict[str, Any] | None = None
    data: dict[str, Any] | None = None  # not None: `text` is Liquid
    metadata: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    each: tuple[str, ...] = ()  # a push message for several devices: their tokens, `to` is the first
    steps: tuple[Step, ...] = ()  # the channels that follow
    past: tuple[Step, ...] = ()  # those before, for who wants the whole message sent again


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message as accepted. Times are milliseconds since the Unix epoch."""

    id: str
    project: str
    mode: Mode
    channel: str
    lane: Lane
    created_ms: int
    due_ms: int
    personal: Personal
    status: str = "accepted"
    valid_until_ms: int | None = None
    template: str | None = None
    locale: str | None = None
    sequence: str | None = None
    on_unknown: OnUnknown = "resend"
    reference: str | None = None
    tags: tuple[str, ...] = ()
    retry_of: str | None = None
    chain: Chain | None = None  # None: one channel


def tried_now(message: Message) -> Step:
    """The channel that the message is on."""
    personal = message.personal
    return Step(
        channel=message.channel, to=personal.to, each=personal.each, sender=personal.sender, content=personal.content
    )  # fmt: skip
