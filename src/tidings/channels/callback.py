"""What a provider is whose carrier calls us over HTTP: a raw request in; receipts, messages and the answer out.

The provider judges the request before it reads anything of it: a `CallbackTaker` verifies first, over the bytes as they
came. Whoever runs the route commits what was told, and only then gives the answer.
"""

from typing import Protocol, runtime_checkable
from urllib.parse import parse_qsl

import msgspec

from tidings.domain.attempt import CarrierReceipt, InboundPart

#: A callback is called once; `/callbacks/{provider}` is followed by nothing.
PATH = "/callbacks/"


class RawRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it came. Header names are in lower case, several of one name joined by commas; `query` is undecoded."""

    method: str
    query: str
    headers: dict[str, str]
    body: bytes
    peer: str  # the address of the caller, or of the proxy before us
    received_ms: int

    def form(self) -> list[tuple[str, str]]:
        """The fields of a form body. Raises ValueError."""
        return read_form(self.body.decode("utf-8"))

    def query_fields(self) -> list[tuple[str, str]]:
        """The fields of the query. Raises ValueError."""
        return read_form(self.query)


class CallbackReply(msgspec.Struct, frozen=True, kw_only=True):
    """What the carrier is answered."""

    status: int = 204
    body: bytes = b""
    media: str = "text/plain"


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A genuine call. Nothing may be answered before `receipts` and `inbound` are committed."""

    receipts: tuple[CarrierReceipt, ...] = ()
    inbound: tuple[InboundPart, ...] = ()
    reply: CallbackReply = CallbackReply()


class NotGenuine(msgspec.Struct, frozen=True):
    """The signature, the secret or the address is not the carrier's. `reason` is for the operator, not the caller."""

    reason: str


class Unreadable(msgspec.Struct, frozen=True):
    """A genuine call that says nothing we can read; asking for it again would bring the same."""

    reason: str


Called = Taken | NotGenuine | Unreadable


@runtime_checkable
class CallbackTaker(Protocol):
    """A provider that takes callbacks. With `callback_bytes`: longer ones than CALLBACK_BYTES, such as whole emails."""

    def callback(self, request: RawRequest) -> Called:
        """Verifies, then reads. Pure but for the clock; never raises."""
        ...


@runtime_checkable
class Completer(Protocol):
    """A provider that has something to fetch for what it was told: media that a callback only names."""

    async def complete(self, taken: Taken) -> Taken:
        """Called after `callback`, before the commit. Returns within CALLBACK_COMPLETE_S, never raises."""
        ...


#: More fields than any carrier sends.
MOST_FIELDS = 200


def read_form(text: str) -> list[tuple[str, str]]:
    """`application/x-www-form-urlencoded`. Raises ValueError (too many fields, not UTF-8)."""
    return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
