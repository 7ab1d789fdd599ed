"""A worker is frozen (SIGSTOP) with submits that the carrier throttled in hand, for longer than its term; then it goes on.

Its binds and its messages are another's by then. Nobody can close the sockets of a frozen process: while it sleeps the carrier
sees two binds. When it wakes it writes nothing.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from peers.carriers import node_smsc

from .cluster import Cluster, Tenants
from .rig import settled

if TYPE_CHECKING:
    from pathlib import Path

    from postgres_server import Server as PostgresServer

CAMPAIGN = os.environ.get("TIDINGS_CAMPAIGN") == "1"
COUNT = 200 if CAMPAIGN else 30
TERM_S = 1.5
#: It trusts that what it was given is still its own.
SABOTEUR = """
from tidings.delivery.ownership import Owner
Owner.holds = lambda self: True
async def sleeps(self): pass
Owner.guard = sleeps
"""


async def written_after(folder: Path, node_peer: Path, url: str, patch: str = "") -> tuple[int, int, dict[str, int]]:
    """(submits after the thaw, copies, statuses)."""
    async with node_smsc(node_peer, delay_ms=5) as smsc:
        cluster = Cluster(folder, smsc, url, term_s=TERM_S)
        frozen, other = cluster.workers
        try:
            await cluster.api.start()
            await (frozen.start_patched(patch) if patch else frozen.start())
            await cluster.tenant("t0")
            await cluster.until_up()
            await smsc.command("set", options={"throttle_every": 1})
            load = Tenants(cluster.api.url, cluster.keys)
            await load.run(COUNT)
            async with asyncio.timeout(30):
                while len(smsc.of("submit")) < cluster.window // 2:
                    await asyncio.sleep(0.02)
            assert frozen.process is not None
            frozen.process.send_signal(signal.SIGSTOP)
            await smsc.command("set", options={"throttle_every": 0})
            asleep = len(smsc.of("submit"))
            await other.start()
            await settled(cluster.api, 60)
            await smsc.caught_up()
            before = len(smsc.of("submit"))
            frozen.process.send_signal(signal.SIGCONT)
            await asyncio.sleep(2 * TERM_S)
            await settled(cluster.api, 60)
            await smsc.caught_up()
            assert frozen.alive, "it did not live through it"
            statuses = dict(await cluster.api.rows("select status, count(*) from messages group by status"))
        finally:
            if frozen.process is not None and frozen.alive:
                frozen.process.send_signal(signal.SIGCONT)  # whatever went wrong: who is stopped hears no SIGTERM
            await cluster.end()
        taken = [line["text"] for line in smsc.of("submit")[asleep:]]
    seen = Counter(int(m[1]) for text in taken if (m := re.search(r"SEQ(\d+)X", text)))
    assert load.accepted == set(range(COUNT))
    assert load.accepted <= set(seen), "lost"
    return len(smsc.of("submit")) - before, sum(count - 1 for count in seen.values()), statuses


@pytest.mark.timeout(0 if CAMPAIGN else 200)
async def test_a_worker_that_froze_writes_nothing_more(
    tmp_path: Path, node_peer: Path, postgres_server: PostgresServer
) -> None:
    late, copies, statuses = await written_after(tmp_path, node_peer, await postgres_server.database())
    print(f"\nfrozen worker: accepted={COUNT} written after it woke={late} duplicates={copies} {statuses}")
    assert (late, copies) == (0, 0)
    assert set(statuses) <= {"sent", "delivered"}


@pytest.mark.timeout(0 if CAMPAIGN else 200)
async def test_the_check_goes_red_where_it_trusts_what_it_holds(
    tmp_path: Path, node_peer: Path, postgres_server: PostgresServer
) -> None:
    """It may have had nothing in hand in the moment in which it froze: then another one."""
    for attempt in range(4):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        late, copies, statuses = await written_after(folder, node_peer, await postgres_server.database(), SABOTEUR)
        print(f"\nfrozen worker, sabotaged: written after it woke={late} duplicates={copies} {statuses}")
        if late:
            return
    pytest.fail("nothing was written late")
