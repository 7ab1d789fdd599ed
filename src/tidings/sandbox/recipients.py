"""What each sandbox recipient does. Source: api.md, "Sandbox recipients"."""

from typing import Final, Literal

import msgspec

from tidings.protocols.smpp.constants import Status
from tidings.protocols.smpp.receipt import State

PREFIX: Final = "1500555"


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """How the carrier answers and what the person does."""

    answer: Literal["take", "first_fails", "never"] = "take"
    receipt: State | None = "delivered"
    error: str = "000"
    delay_s: float | None = None  # None: the simulator's own
    read: bool = False
    reply: str | None = None


DELIVERED: Final = Behaviour()
BEHAVIOURS: Final[dict[str, Behaviour]] = {
    "0001": DELIVERED,
    "0002": Behaviour(receipt="undeliverable", error="001"),
    "0003": Behaviour(answer="first_fails"),
    "0004": Behaviour(receipt=None),
    "0005": Behaviour(delay_s=10.0),
    "0006": Behaviour(read=True),
    "0007": Behaviour(reply="YES"),
    "0008": Behaviour(reply="STOP"),
    "0009": Behaviour(answer="never", receipt=None),
}
#: What "temporary failure" is on the wire.
TEMPORARY: Final = int(Status.ESME_RSYSERR)


def behaviour_of(to: str) -> Behaviour:
    """The behaviour of a number, with or without its plus; every other number takes delivery."""
    digits = to.lstrip("+")
    if digits.startswith(PREFIX) and len(digits) == len(PREFIX) + 4:
        return BEHAVIOURS.get(digits[len(PREFIX) :], DELIVERED)
    return DELIVERED
