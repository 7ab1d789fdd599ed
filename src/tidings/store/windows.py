"""When people last wrote to us, where what may be sent to them depends on it: one row for a person and a provider."""

from tidings.domain.channel import CHANNELS
from tidings.kit.limits import WINDOW_KEPT_S
from tidings.store.contract import InboundRow
from tidings.store.engine import Aggregate

Window = tuple[str, str, int]  # provider, from_hash, wrote_ms


class Windows(Aggregate):
    """Written with the inbound message itself, in its transaction."""

    module = "windows"

    async def last(self, provider: str, hashes: list[str]) -> dict[str, int]:
        """When each of these people last wrote through the provider; those who have not for two days are absent."""
        return await self._engine.read(lambda c: self._sql.last(c, provider, hashes))


def windows_of(items: list[InboundRow]) -> list[Window]:
    """The rows of messages whose channel asks for it, one for each person, in the order in which they are locked."""
    found: dict[tuple[str, str], int] = {}
    for item in items:
        if CHANNELS[item.channel].window:
            key = (item.provider, item.from_hash)
            wrote_ms = item.received_ms if item.wrote_ms is None else min(item.wrote_ms, item.received_ms)
            found[key] = max(wrote_ms, found.get(key, 0))
    return [(provider, from_hash, wrote_ms) for (provider, from_hash), wrote_ms in sorted(found.items())]


def forgotten_before(now_ms: int) -> int:
    """Rows that are older say nothing any more."""
    return now_ms - WINDOW_KEPT_S * 1_000
