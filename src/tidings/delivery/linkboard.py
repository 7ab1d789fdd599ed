"""The state of links in other processes: owners write it down, and whoever shows providers reads it."""

from collections import defaultdict
from typing import Final

import msgspec

from tidings.channels.contract import Link
from tidings.delivery.fleet import Fleet
from tidings.kit.clock import Clock
from tidings.store.owners import LinkReport, Ownership

_AGAIN: Final = 30  # turns after which an unchanged report is written anyway
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(tuple[Link, ...])


class LinkBoard:
    """`turn` is called every LINKS_S where links are; `read` anywhere."""

    def __init__(self, store: Ownership, fleet: Fleet, node: str, now: Clock) -> None:
        self._store, self._fleet, self._node, self._now = store, fleet, node, now
        self._written: dict[tuple[str, int], str] = {}
        self._turns = 0

    async def turn(self) -> None:
        """Writes what has changed. Raises StoreError."""
        now_ms = self._now()
        self._turns += 1
        if self._turns % _AGAIN == 0:
            self._written.clear()
        seen = {(m.spec.name, m.slot): _encode(m.provider.links()).decode() for m in self._fleet.members()}
        new = {key: links for key, links in seen.items() if self._written.get(key) != links}
        if new:
            await self._store.report([LinkReport(*key, self._node, links, now_ms) for key, links in new.items()])
        self._written = seen

    async def read(self) -> dict[str, list[Link]]:
        """The links of each provider as their living owners in other processes see them. Raises StoreError."""
        found: dict[str, list[Link]] = defaultdict(list)
        for report in await self._store.reports():
            if report.node != self._node:
                found[report.provider] += _decode.decode(report.links)
        return found
