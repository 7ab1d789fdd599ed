"""API and worker processes are killed with -9 at random and NATS is wiped: nothing is lost, no bind has two owners.

The bound for duplicates: what a killed worker had on the wire, so its window for each account it was bound to.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from nats_server import running
from peers.carriers import node_smsc
from postgres_server import Server as PostgresServer

from .cluster import Cluster, Process, Tenants, kill
from .rig import settled

CAMPAIGN = os.environ.get("TIDINGS_CAMPAIGN") == "1"
#: A pace at which the load lasts as long as the kills: one takes some seconds, until the process listens again.
COUNT, KILLS, TENANTS, PACE_S = (20_000, 50, 4, 0.4) if CAMPAIGN else (900, 2, 2, 0.1)
SEED = int(os.environ.get("TIDINGS_SEED", "20261126"))


class Reaper:
    """Kills each role `KILLS` times while there is load. A worker sometimes stays away for longer than its term."""

    def __init__(self, cluster: Cluster, load: Tenants, seed: int) -> None:
        self._cluster, self._load, self._rng = cluster, load, random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.held = 0  # accounts that killed workers were bound to
        self.idle = 0  # kills after the load had ended: they show little

    async def run(self, count: int, wipe: Callable[[], None]) -> None:
        """In random order, spread over the load; `wipe` is called at a third and two thirds of it."""
        roles = ["api", "worker"] * KILLS
        self._rng.shuffle(roles)
        marks = sorted(self._rng.uniform(0.05, 0.9) * count for _ in roles)
        for n, (role, mark) in enumerate(zip(roles, marks, strict=True)):
            while self._load.next < mark:
                await asyncio.sleep(0.002)
            if n in (len(roles) // 3, 2 * len(roles) // 3):
                await asyncio.to_thread(wipe)
            await self._one(self._cluster.api if role == "api" else self._rng.choice(self._cluster.workers), role)

    async def _one(self, process: Process, role: str) -> None:
        self.idle += self._load.next >= self._load.count
        if role == "worker":
            self.held += len({place for place in await self._cluster.owners() if place.startswith("t")})
        await kill(process)
        self.kills[role] += 1
        if role == "worker" and self._rng.random() < 0.4:
            await asyncio.sleep(self._cluster.term_s * 1.5)
        await process.start()


@pytest.mark.timeout(0 if CAMPAIGN else 110)
async def test_nodes_are_killed(tmp_path: Path, node_peer: Path, postgres_server: PostgresServer) -> None:
    with running() as nats:
        async with node_smsc(node_peer, delay_ms=5) as smsc:

            def wipe() -> None:
                nats.kill()
                nats.start()

            cluster = Cluster(tmp_path, smsc, await postgres_server.database(), bus_url=nats.url)
            try:
                await cluster.start()
                for n in range(TENANTS):
                    await cluster.tenant(f"t{n}")
                await cluster.until_up()
                load = Tenants(cluster.api.url, cluster.keys, PACE_S)
                reaper = Reaper(cluster, load, SEED)
                async with asyncio.TaskGroup() as group:
                    group.create_task(load.run(COUNT))
                    group.create_task(reaper.run(COUNT, wipe))
                await settled(cluster.api, 60 if not CAMPAIGN else 600)
                await asyncio.sleep(0.5)
                statuses = dict(await cluster.api.rows("select status, count(*) from messages group by status"))
                memory_mb = {one.folder.name: one.memory_mb() for one in (cluster.api, *cluster.workers)}
            finally:
                await cluster.end()
            seen = Counter(int(m[1]) for line in smsc.of("submit") if (m := re.search(r"SEQ(\d+)X", line["text"])))
            binds = cluster.binds()
    lost, duplicates = load.accepted - set(seen), sum(count - 1 for count in seen.values())
    bound = reaper.held * cluster.window
    print(
        f"\nnodes: seed={SEED} kills={dict(reaper.kills)} ({reaper.idle} without load) nats wiped=2"
        f" accepted={len(load.accepted)} lost={len(lost)} stuck=0"
        f" duplicates={duplicates} (bound {bound}) most binds={binds} memory MB {memory_mb} {statuses}"
    )
    assert reaper.kills == {"api": KILLS, "worker": KILLS}
    assert len(load.accepted) > COUNT * 0.5
    assert not lost
    assert duplicates <= bound
    assert "failed" not in statuses
    assert binds == {f"t{n}": 1 for n in range(TENANTS)}, "two binds of one account at once"
