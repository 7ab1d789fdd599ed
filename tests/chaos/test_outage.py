"""PostgreSQL is killed and comes back while messages flow: nothing accepted is lost, nothing stays stuck, no process restarts."""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from peers.carriers import node_smsc

from .rig import WINDOW, Load, Server, settled

if TYPE_CHECKING:
    from pathlib import Path

    from postgres_server import Server as PostgresServer

CAMPAIGN = os.environ.get("TIDINGS_CAMPAIGN") == "1"
COUNT, OUTAGES, EVERY_S = (20_000, 1_000, (5.0, 40.0)) if CAMPAIGN else (500, 2, (0.5, 1.0))
SEED = int(os.environ.get("TIDINGS_SEED", "20261124"))


async def outages(database: PostgresServer, load: Load, rng: random.Random) -> int:
    """Kills the database and starts it again, while there is load; how often."""
    done = 0
    while done < OUTAGES and load.next < load.count:
        await asyncio.sleep(rng.uniform(*EVERY_S))
        await asyncio.to_thread(database.kill if rng.random() < 0.5 else database.stop)
        await asyncio.sleep(rng.uniform(0, 2))
        await asyncio.to_thread(database.start)
        done += 1
    return done


@pytest.mark.timeout(0 if CAMPAIGN else 400)
async def test_the_database_goes_away(tmp_path: Path, node_peer: Path, postgres_server: PostgresServer) -> None:
    async with node_smsc(node_peer) as smsc:
        server = Server(tmp_path, smsc.port, unknown_wait_s=1, database_url=await postgres_server.database())
        await server.start()
        load = Load(server.url, "resend", pace_s=0.04 if not CAMPAIGN else 0.15)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run(COUNT))
                away = group.create_task(outages(postgres_server, load, random.Random(SEED)))
            await settled(server, 300 if not CAMPAIGN else 600)
            await asyncio.sleep(1 if CAMPAIGN else 0.3)
            await smsc.caught_up()
            assert server.process is not None
            assert server.process.returncode is None, "it did not live through it"
            seen = Counter(int(m[1]) for line in smsc.of("submit") if (m := re.search(r"SEQ(\d+)X", line["text"])))
            statuses = dict(await server.rows("select status, count(*) from messages group by status"))
            memory_mb = server.memory_mb()
        finally:
            await server.end()
    duplicates, lost = sum(count - 1 for count in seen.values()), load.accepted - set(seen)
    print(
        f"\noutage: seed={SEED} outages={away.result()} accepted={len(load.accepted)} lost={len(lost)} stuck=0"
        f" duplicates={duplicates} (bound {away.result() * WINDOW}) memory={memory_mb} MB {statuses}"
    )
    assert away.result() >= 1
    assert len(load.accepted) > COUNT * 0.5
    assert not lost
    assert duplicates <= away.result() * WINDOW
