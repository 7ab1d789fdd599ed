"""A job in hand: a message that this worker has leased, with what the store knows of earlier tries."""

from typing import Any, NamedTuple

import msgspec

from tidings.domain.address import address_key
from tidings.domain.content import Content
from tidings.domain.message import Message
from tidings.kit.secrets import KeyRing
from tidings.protocols.gsm.segments import Segments
from tidings.routing.choose import round_of
from tidings.store.contract import Begin
from tidings.store.sealed import stored

_EXTRA = 31  # columns of a stored message come first


class Leased(NamedTuple):
    """What a leased row says of the job, behind the message. `rescues`: workers that ended with it in hand, or lost it."""

    tries: int
    kind: str
    owner: str | None
    open_attempt: str | None
    provider: str
    to_hash: str | None
    rescues: int
    strikes: int


def leased(row: tuple[Any, ...]) -> Leased:
    """The job's part of a leased row."""
    return Leased(*row[_EXTRA : _EXTRA + 8])


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """`open_attempt` is set where an earlier worker died with an attempt on the wire."""

    message: Message
    to_hash: str
    tries: int = 0
    kind: str = "deliver"
    open_attempt: str | None = None
    provider: str = ""
    strikes: int = 0  # see quarantine.py
    tried: tuple[str, ...] = ()  # providers that had it on this channel, in the round of tries that runs


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A job with what the chosen provider is to say: an SMS as `segments`, anything else as `content`.

    `each`: the devices of a push message that has several.
    """

    job: Job
    segments: Segments | None = None
    encoding: str | None = None
    content: Content | None = None
    each: tuple[str, ...] = ()

    @property
    def parts(self) -> int:
        """How many outcomes there will be."""
        return len(self.segments.parts) if self.segments is not None else len(self.each) or 1


class Ready(NamedTuple):
    """A job as it would leave, and the attempt to be stored before it does."""

    prepared: Prepared
    begin: Begin


def from_row(ring: KeyRing, row: tuple[Any, ...]) -> Job:
    """A Job from a leased row."""
    tries, kind, _, open_attempt, provider, _, _, strikes, attempted = row[_EXTRA : _EXTRA + 9]
    message = stored(ring, row).message
    to = message.personal.to
    return Job(
        message=message,
        to_hash=address_key(ring, to) if to else "",  # not the row's: an earlier version went by the spelling
        tries=tries - (message.chain.tries if message.chain is not None else 0),
        kind=kind,
        open_attempt=open_attempt,
        provider=provider,
        strikes=strikes,
        tried=round_of(msgspec.json.decode(attempted)) if attempted else (),
    )
