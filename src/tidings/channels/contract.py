"""What a provider is, to the delivery path. A provider never sees the store."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import msgspec

from tidings.domain.attempt import CarrierReceipt, InboundPart, Outcome, Submission
from tidings.domain.content import Content
from tidings.domain.message import Lane, MessageError
from tidings.protocols.gsm.segments import Segments

LinkState = Literal["connecting", "up", "backoff", "auth_failed", "draining", "down"]
Level = Literal["bronze", "silver", "gold"]


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider can do, and how well it is tested (`level`)."""

    channel: str
    level: Level
    receipts: bool = False
    reads: bool = False
    inbound: bool = False
    media: bool = False
    batch: bool = False
    flash: bool = False  # `plan_flash` (`SpecialPlanner`)
    binary: bool = False  # `plan_binary` (`SpecialPlanner`)
    query: bool = False  # `query` (`Inquirer`)


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """One connection to the carrier, as an operator sees it."""

    kind: str  # transceiver, transmitter, receiver
    state: LinkState
    since_ms: int
    in_flight: int = 0
    last_error: str | None = None


class ProviderSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A provider as declared: in `tidings.toml`, over `/v1/providers`, or the built-in sandbox."""

    name: str
    type: str  # `channel.file`, for example sms.smpp
    config: dict[str, Any]  # the provider's own keys, checked by it
    origin: Literal["config", "api", "sandbox"] = "config"
    project: str = ""  # empty: for every project
    id: str = ""
    paused: bool = False
    generation: int = 0  # grows when an operator pauses or resumes it: then its links are opened anew


class Sink(Protocol):
    """Where a provider reports. All calls come on the event loop's thread."""

    def outcomes(self, provider: str, batch: Sequence[Outcome]) -> None:
        """What came of submissions; exactly one outcome for each. Never blocks."""
        ...

    async def received(self, provider: str, receipts: Sequence[CarrierReceipt], inbound: Sequence[InboundPart]) -> None:
        """Returns after the commit: only then may the carrier be told that we have them."""
        ...

    def ready(self, provider: str) -> None:
        """Room for more (a link came up, the window or the rate has room again). May be called often."""
        ...

    def holds(self, provider: str) -> bool:
        """False once the carrier's account may be another process's: write nothing, `stop` is about to be called.

        To be asked right before writing: this process may have been frozen since it was given what it holds.
        """
        ...

    def link_changed(self, provider: str, link: Link) -> None:
        """A link went up or down, or its password was refused."""
        ...


class Provider(Protocol):
    """A way to a carrier. Made by the module's `create(spec, sink)`, found by entry point `tidings.providers`."""

    name: str
    capabilities: Capabilities

    async def start(self) -> None:
        """Opens the links in the background; returns at once."""
        ...

    async def stop(self, drain_s: float) -> None:
        """Takes nothing more, waits up to `drain_s` for answers, unbinds. Every open submission gets its outcome."""
        ...

    def credit(self, lane: Lane) -> int:
        """How many parts may be handed over now in this lane: what can be written within ~50 ms. 0 while down."""
        ...

    def submit(self, batch: Sequence[Submission]) -> None:
        """Takes them at once and reports to the sink later. May be given somewhat more than `credit`."""
        ...

    def links(self) -> tuple[Link, ...]:
        """The state of every link."""
        ...


class TextPlanner(Protocol):
    """Every provider of SMS."""

    def plan(self, text: str) -> Segments:
        """How this provider will encode and cut `text`. Pure. Raises the typed errors of `protocols.gsm`."""
        ...


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What `Refuser.refuses` may want to know. Times are milliseconds since the Unix epoch.

    `last_inbound_ms`: when this person last wrote to us through this provider; None: never, or the channel does not ask.
    """

    now_ms: int
    last_inbound_ms: int | None = None


@runtime_checkable
class Refuser(Protocol):
    """A provider that knows what its carrier forbids, or cannot do."""

    def refuses(self, to: str, sender: str | None, content: Content, facts: Facts) -> MessageError | None:
        """Why this may not be said now, before any attempt is stored; None if it may. Pure."""
        ...


class SpecialPlanner(Protocol):
    """A provider whose capabilities say `flash` or `binary`. Both are pure and raise what `Provider.plan` raises."""

    def plan_flash(self, text: str) -> Segments:
        """`text` as a message that the phone shows at once and does not keep."""
        ...

    def plan_binary(self, data: bytes, ports: tuple[int, int] | None) -> Segments:
        """Octets, for the application behind `ports` (destination, source) if there are any."""
        ...


class Inquirer(Protocol):
    """A provider whose capabilities say `query`."""

    async def query(self, ref: str, sender: str | None, to: str | None = None) -> CarrierReceipt | None:
        """What the carrier says of a part that it took as `ref`; None if it cannot or will not say.

        To be handed on like any receipt; `to`, if known, only helps to find its attempt. Returns within the provider's
        time-outs; never raises.
        """
        ...
