"""What the engine of HTTP carriers and the codec of one carrier say to each other."""

from typing import Protocol

import msgspec

from tidings.domain.attempt import PartOutcome, PartRefused, Submission
from tidings.domain.message import MessageError
from tidings.kit.outbound import NoReply, NotSent, Reply


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How a carrier is called. Times in seconds, the rate in messages (SMS: segments) a second."""

    window: int = 20
    rate_per_s: float = 0
    response_timeout_s: float = 10
    connect_timeout_s: float = 5
    reconnect_min_s: float = 0.2
    reconnect_max_s: float = 30
    requeue_s: float = 5
    allow_networks: tuple[str, ...] = ()


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request. `url` is sent as it stands."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None = None


class Transport(Protocol):
    """What carries requests: `kit.outbound.Outbound`, or a client of the same shape for HTTP/2."""

    async def exchange(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None, *, connect_s: float, timeout_s: float,
        most_bytes: int,
    ) -> Reply | NotSent | NoReply:  # fmt: skip
        """One request with its whole answer. Every failure is a value."""
        ...

    async def close(self) -> None:
        """Closes every connection."""
        ...


class Throttled(msgspec.Struct, frozen=True):
    """Not taken: we are too fast. `after_s` where the carrier says when."""

    after_s: float | None = None


class Blocked(msgspec.Struct, frozen=True):
    """Not taken: the carrier refuses our credentials or the account."""

    error: MessageError


class Doubtful(msgspec.Struct, frozen=True):
    """An answer that does not say whether it was taken (5xx)."""

    reason: str


Judged = PartOutcome | Throttled | Blocked | Doubtful


class Codec(Protocol):
    """What a carrier's requests and answers look like. Pure."""

    def call(self, submission: Submission, index: int, now_ms: int) -> Call | PartRefused:
        """The request for a part."""
        ...

    def judge(self, reply: Reply) -> Judged:
        """What the answer means."""
        ...

    def weight(self, submission: Submission, index: int) -> int:
        """How many segments the part counts for at the rate."""
        ...
