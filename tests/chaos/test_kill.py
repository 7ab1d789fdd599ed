"""kill -9 at random moments: what was accepted arrives, nothing is stuck, duplicates stay within the bound.

The bound (design §2): under `resend` at most kills × window; under `hold` none, and what nobody can know ends
`failed` with code `outcome_unknown`. The SMSC is npm `smpp`; it lives on and counts.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from pathlib import Path

import pytest

from peers.carriers import node_smsc
from postgres_server import Server as PostgresServer

from .rig import WINDOW, Load, Server, kill_at_random, settled

CAMPAIGN = os.environ.get("TIDINGS_CAMPAIGN") == "1"
COUNT, KILLS = (20_000, 50) if CAMPAIGN else (500, 3)
CASES = [("sqlite", "resend"), ("postgres", "hold")]
if CAMPAIGN:
    CASES += [("sqlite", "hold"), ("postgres", "resend")]
SEED = int(os.environ.get("TIDINGS_SEED", "20261124"))


@pytest.mark.timeout(0 if CAMPAIGN else 400)
@pytest.mark.parametrize(("engine", "on_unknown"), CASES)
async def test_kill_9(
    tmp_path: Path, node_peer: Path, postgres_server: PostgresServer, engine: str, on_unknown: str
) -> None:
    async with node_smsc(node_peer) as smsc:
        url = await postgres_server.database() if engine == "postgres" else None
        server = Server(tmp_path, smsc.port, unknown_wait_s=1, database_url=url)
        await server.start()
        load = Load(server.url, on_unknown)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run(COUNT))
                killing = group.create_task(kill_at_random(server, load, COUNT, KILLS, SEED))
            await settled(server, 300 if not CAMPAIGN else 600)
            await asyncio.sleep(1 if CAMPAIGN else 0.3)
            await smsc.caught_up()
            seen = Counter(int(m[1]) for line in smsc.of("submit") if (m := re.search(r"SEQ(\d+)X", line["text"])))
            statuses = dict(await server.rows("select status, count(*) from messages group by status"))
            held = await server.rows(
                "select count(*) from messages where status = 'failed' and cast(error as text) like '%outcome_unknown%'"
            )
            failed, memory_mb = statuses.get("failed", 0), server.memory_mb()
        finally:
            await server.end()
    kills = killing.result()
    duplicates = sum(count - 1 for count in seen.values())
    lost = load.accepted - set(seen)
    bound = kills * WINDOW if on_unknown == "resend" else 0
    print(
        f"\nkill -9: {engine} on_unknown={on_unknown} seed={SEED} kills={kills} accepted={len(load.accepted)}"
        f" lost={len(lost)} stuck=0 duplicates={duplicates} (bound {bound}) outcome_unknown={held[0][0]}"
        f" memory={memory_mb} MB {statuses}"
    )
    assert len(load.accepted) > COUNT * 0.5
    if on_unknown == "resend":
        assert not lost
        assert duplicates <= kills * WINDOW
        assert failed == 0
    else:
        assert duplicates == 0
        assert failed == held[0][0]
        assert len(lost) <= held[0][0], "what never reached the carrier must say outcome_unknown"
