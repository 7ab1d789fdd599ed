"""A job in hand: a message that this worker has leased, with what the store knows of earlier tries."""

from typing import Any

import msgspec

from tidings.domain.message import Message
from tidings.kit.secrets import KeyRing
from tidings.protocols.gsm.segments import Segments
from tidings.store.sealed import stored

_EXTRA = 28  # columns of a stored message come first


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """`open_attempt` is set where an earlier worker died with an attempt on the wire."""

    message: Message
    to_hash: str
    tries: int = 0
    kind: str = "deliver"
    open_attempt: str | None = None
    provider: str = ""


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A job with its content in the encoding of the chosen provider."""

    job: Job
    segments: Segments
    encoding: str


def from_row(ring: KeyRing, row: tuple[Any, ...]) -> Job:
    """A Job from a leased row."""
    tries, kind, _, open_attempt, provider, to_hash = row[_EXTRA : _EXTRA + 6]
    return Job(
        message=stored(ring, row).message,
        to_hash=to_hash or "",
        tries=tries,
        kind=kind,
        open_attempt=open_attempt,
        provider=provider,
    )
