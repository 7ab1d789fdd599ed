"""The books after a scenario: what callers were promised, what the carrier saw, what the store says. Misses are printed, too."""

from __future__ import annotations

import asyncio
import re
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tidings.domain.status import ENDS

if TYPE_CHECKING:
    from peers.carriers import NodeSmsc

    from .rig import Load, Server

_RESTING = ", ".join(f"'{status}'" for status in [*ENDS, "sent", "partially_delivered"])
#: Answers that say that the carrier has not taken it.
NOT_TAKEN = ("throttle", "error")


@dataclass
class Books:
    """`beyond`: messages that the carrier saw more often than once for each attempt whose outcome was unknown, and once."""

    accepted: int
    lost: int
    stuck: int
    duplicates: int
    beyond: int
    unknown: int
    most_per_s: int
    memory_mb: int
    statuses: dict[str, int]
    fates: dict[str, int] = field(default_factory=dict)

    @property
    def balanced(self) -> bool:
        """Nothing lost, nothing stuck, no copy without a reason."""
        return not (self.lost or self.stuck or self.beyond)

    def line(self, name: str, **more: object) -> str:
        """For the terminal and docs/reliability.md."""
        words = " ".join(f"{key}={value}" for key, value in more.items())
        return (
            f"\n{name}: {words} accepted={self.accepted} lost={self.lost} stuck={self.stuck} duplicates={self.duplicates}"
            f" (unknown attempts {self.unknown}, beyond bound {self.beyond}) most/s={self.most_per_s}"
            f" memory={self.memory_mb} MB {self.statuses} {self.fates}"
        )


async def settle(server: Server, deadline_s: float) -> int:
    """Waits until every stored message is `sent` or at an end; how many are not when the time is up."""
    until_s = asyncio.get_running_loop().time() + deadline_s
    while True:
        rows = await server.rows(f"select count(*) from messages where status not in ({_RESTING})")
        if rows == [(0,)] or asyncio.get_running_loop().time() > until_s:
            return int(rows[0][0])
        await asyncio.sleep(0.2)


def most_per_s(smsc: NodeSmsc) -> int:
    """The most submit_sm that the carrier got in any second, as it measures."""
    window: deque[float] = deque()
    most = 0
    for line in smsc.of("submit"):
        window.append(line["at"])
        while window[0] <= line["at"] - 1.0:
            window.popleft()
        most = max(most, len(window))
    return most


async def close(server: Server, smsc: NodeSmsc, load: Load, deadline_s: float) -> Books:
    """Lets everything settle, and counts."""
    stuck = await settle(server, deadline_s)
    await asyncio.sleep(0.5)
    seen = Counter[int]()
    for line in smsc.of("submit"):
        number = re.search(r"SEQ(\d+)X", line["text"])
        if number and line["fate"] not in NOT_TAKEN:
            seen[int(number[1])] += 1
    unknown = defaultdict[str, int](int)
    rows = await server.rows("select message, count(*) from events where type = 'attempt.unknown' group by message")
    for message, count in rows:
        unknown[message] = count
    statuses = dict(await server.rows("select status, count(*) from messages group by status order by 1"))
    held = await server.rows(
        "select count(*) from messages where status = 'failed' and cast(error as text) like '%outcome_unknown%'"
    )
    copies = sum(count - 1 for count in seen.values())
    # Which stored message a number became the store cannot say (its text is sealed): the bound is that of them all.
    return Books(
        accepted=len(load.accepted), lost=max(0, len(load.accepted - set(seen)) - held[0][0]), stuck=stuck,
        duplicates=copies, beyond=max(0, copies - sum(unknown.values())), unknown=sum(unknown.values()),
        most_per_s=most_per_s(smsc), memory_mb=server.memory_mb(), statuses=statuses,
        fates={key: n for key, n in Counter(line["fate"] for line in smsc.of("submit")).items() if key},
    )  # fmt: skip
