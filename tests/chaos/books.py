"""The books after a scenario: what callers were promised, what the carrier saw, what the store says. Misses are printed, too."""

from __future__ import annotations

import asyncio
import re
from bisect import bisect, bisect_left
from collections import Counter
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
    """`beyond`: by message, copies that the carrier saw beyond one, and one more for each of its attempts with an unknown outcome.

    `most_per_s`: the most submits that the carrier read in any second; `surely_per_s`: that came to it in one.
    """

    accepted: int
    lost: int
    stuck: int
    duplicates: int
    beyond: dict[int, int]
    unknown: int
    most_per_s: int
    memory_mb: int
    surely_per_s: int
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
            f" (unknown attempts {self.unknown}, beyond bound {self.beyond or 0}) most/s={self.most_per_s}"
            f" (surely {self.surely_per_s}) memory={self.memory_mb} MB {self.statuses} {self.fates}"
        )


async def settle(server: Server, deadline_s: float) -> int:
    """Waits until every stored message is `sent` or at an end; how many are not when the time is up."""
    until_s = asyncio.get_running_loop().time() + deadline_s
    while True:
        rows = await server.rows(f"select count(*) from messages where status not in ({_RESTING})")
        if rows == [(0,)] or asyncio.get_running_loop().time() > until_s:
            return int(rows[0][0])
        await asyncio.sleep(0.2)


#: The carrier looks every 5 ms how late it is; what it was late by is told just before or after it reads what waited.
LOOK_S, NEAR_S = 0.005, 0.05


def most_per_s(smsc: NodeSmsc, *, surely: bool = False) -> int:
    """The most submit_sm that the carrier got in any second, as it measures.

    It reads a submit when it gets a processor, so one may be stamped late, and then seem nearer to those behind it than it
    was. `surely`: of the second that begins with it, as much is left out as the carrier was late by then (`log_lag`).
    """
    times = [line["at"] for line in smsc.of("submit")]
    lags = [(line["at"], line["s"]) for line in smsc.of("lag")] if surely else []
    most = 0
    for n, at in enumerate(times):
        near = lags[bisect(lags, (at - NEAR_S,)) : bisect(lags, (at + NEAR_S,))]
        late_s = max(s for _, s in near) + LOOK_S if near else 1.0 if lags else 0.0
        most = max(most, bisect_left(times, at + 1.0 - late_s) - n)
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
    number_of = {message: int(number) for number, message in await server.rows("select reference, id from messages")}
    unknown = Counter[int]()
    for message, count in await server.rows(
        "select message, count(*) from events where type = 'attempt.unknown' group by message"
    ):
        unknown[number_of[message]] = count
    statuses = dict(await server.rows("select status, count(*) from messages group by status order by 1"))
    held = await server.rows(
        "select count(*) from messages where status = 'failed' and cast(error as text) like '%outcome_unknown%'"
    )
    copies = {number: count - 1 for number, count in seen.items() if count > 1}
    beyond = {number: more - unknown[number] for number, more in sorted(copies.items()) if more > unknown[number]}
    return Books(
        accepted=len(load.accepted), lost=max(0, len(load.accepted - set(seen)) - held[0][0]), stuck=stuck,
        duplicates=sum(copies.values()), beyond=beyond, unknown=unknown.total(),
        most_per_s=most_per_s(smsc), surely_per_s=most_per_s(smsc, surely=True), memory_mb=server.memory_mb(),
        statuses=statuses,
        fates={key: n for key, n in Counter(line["fate"] for line in smsc.of("submit")).items() if key},
    )  # fmt: skip
