"""What the pure stages want to know beside the message, read for a whole batch at once. SMS wants nothing."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from tidings.channels.contract import Facts, Provider
from tidings.delivery.job import Job
from tidings.domain.address import address_key
from tidings.domain.channel import CHANNELS
from tidings.kit.secrets import KeyRing
from tidings.store.store import Store


class Gathered(msgspec.Struct, frozen=True):
    """`left_out`: the devices of a push message that are suppressed."""

    facts: Facts
    left_out: frozenset[str] = frozenset()


NOTHING: Final[Mapping[str, Gathered]] = {}


async def gather(
    store: Store, ring: KeyRing, provider: Provider, batch: Sequence[Job], now_ms: int
) -> Mapping[str, Gathered]:
    """By message. Raises StoreError."""
    rules = CHANNELS[provider.capabilities.channel]
    if rules.read is None:
        return NOTHING
    wrote: dict[str, int] = {}
    if rules.window:
        wrote = await store.windows.last(provider.name, sorted({job.to_hash for job in batch}))
    plain = Gathered(Facts(now_ms=now_ms))
    found = {job.message.id: plain for job in batch}
    for job in batch:
        if job.to_hash in wrote:
            found[job.message.id] = Gathered(Facts(now_ms=now_ms, last_inbound_ms=wrote[job.to_hash]))
        devices = {token: address_key(ring, token) for token in job.message.personal.each}
        if devices:
            keys = sorted(set(devices.values()))
            gone = set(await store.suppressions.among(job.message.project, job.message.channel, keys))
            left_out = frozenset(token for token, key in devices.items() if key in gone)
            found[job.message.id] = Gathered(plain.facts, left_out)
    return found
