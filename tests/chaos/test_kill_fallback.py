"""kill -9 while messages wait for their next channel: every one goes on, none twice beyond the window, nothing is stuck.

The first channel is a push service that takes everything and whose devices never acknowledge; the second an SMSC that
others wrote (npm `smpp`), which lives on and counts.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from peers.carriers import node_smsc
from postgres_server import Server as PostgresServer
from tidings.sandbox.push import SandboxPush

from .rig import WINDOW, Load, Server, declared, kill_at_random

CAMPAIGN = os.environ.get("TIDINGS_CAMPAIGN") == "1"
COUNT, KILLS = (5_000, 20) if CAMPAIGN else (300, 3)
SEED = int(os.environ.get("TIDINGS_SEED", "20261126"))
WAIT_S = 1


class Chained(Load):
    """Push first, then SMS where nothing was delivered in a second."""

    async def _once(self, session: aiohttp.ClientSession, number: int, body: dict[str, Any]) -> bool:
        to = {"push": [f"sandbox-silent-{number}"], "phone": body["to"]}
        fallback = {"on": ["not_delivered"], "after_s": WAIT_S}
        chained = {
            "to": to, "channels": ["push", "sms"], "fallback": fallback, "text": body["text"], "from": {"sms": "12345"},
        }  # fmt: skip
        return await super()._once(session, number, chained)


async def quiet(server: Server, deadline_s: float) -> None:
    """Nothing waits any more. (A message may stay `sent`: this SMSC forgets the receipts of a bind that broke.)"""
    async with asyncio.timeout(deadline_s):
        while await server.rows("select count(*) from jobs") != [(0,)]:
            await asyncio.sleep(0.1)


@pytest.mark.timeout(0 if CAMPAIGN else 300)
@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
async def test_kill_9_between_channels(
    tmp_path: Path, node_peer: Path, postgres_server: PostgresServer, engine: str
) -> None:
    push = SandboxPush()
    await push.start()
    async with node_smsc(node_peer) as smsc:
        url = await postgres_server.database() if engine == "postgres" else None
        more = declared({"name": "apps", "type": "push.fcm"} | push.config())
        server = Server(tmp_path, smsc.port, unknown_wait_s=1, database_url=url, provider=more)
        await server.start()
        load = Chained(server.url, "resend", pace_s=0.05)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run(COUNT, callers=8))
                killing = group.create_task(kill_at_random(server, load, COUNT, KILLS, SEED))
            await quiet(server, 120)
            await smsc.caught_up()
            seen = Counter(int(m[1]) for line in smsc.of("submit") if (m := re.search(r"SEQ(\d+)X", line["text"])))
            statuses = dict(await server.rows("select status, count(*) from messages group by status"))
            events = dict(await server.rows("select type, count(*) from events group by type"))
        finally:
            await server.end()
            await push.stop()
    kills, duplicates = killing.result(), sum(count - 1 for count in seen.values())
    print(
        f"\nkill -9 between channels: {engine} seed={SEED} kills={kills} accepted={len(load.accepted)} "
        f"lost={len(load.accepted - set(seen))} duplicates={duplicates} (bound {kills * WINDOW}) push={len(push.messages)}"
    )
    assert kills == KILLS
    assert load.accepted - set(seen) == set()
    assert duplicates <= kills * WINDOW
    assert set(statuses) <= {"sent", "delivered"}
    assert events["message.fallback"] == events["message.accepted"], "each went on once, whoever was killed"
