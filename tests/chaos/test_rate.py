"""The rate that a carrier allows holds, as the carrier measures it, also while the server is killed and starts again."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from peers.carriers import node_smsc

from . import books
from .rig import Load, Server, kill_at_random

if TYPE_CHECKING:
    from pathlib import Path

    from postgres_server import Server as PostgresServer

CAMPAIGN = os.environ.get("TIDINGS_CAMPAIGN") == "1"
#: In `make test` a rate that a busy machine offers, too.
RATE, COUNT, KILLS = (100, 5_000, 15) if CAMPAIGN else (40, 200, 2)
SEED = int(os.environ.get("TIDINGS_SEED", "20261124"))
UNPACED = """
from tidings.channels.pacing import Pacer
Pacer.allow = lambda self, now: 1 << 30
"""


async def most(folder: Path, node_peer: Path, url: str | None, patch: str = "") -> books.Books:
    """One run with kills."""
    async with node_smsc(node_peer, log_lag=True) as smsc:
        server = Server(folder, smsc.port, 1, url, provider=f"rate_per_s = {RATE}\n")
        await (server.start_patched(patch) if patch else server.start())
        load = Load(server.url, "resend", pace_s=0.0 if patch else 12 / RATE)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run(COUNT))
                if not patch:
                    group.create_task(kill_at_random(server, load, COUNT, KILLS, SEED))
            return await books.close(server, smsc, load, 600 if CAMPAIGN else 60)
        finally:
            await server.end()


@pytest.mark.timeout(0 if CAMPAIGN else 110)
@pytest.mark.parametrize("engine", ["sqlite", "postgres"] if CAMPAIGN else ["sqlite"])
async def test_the_rate_holds(tmp_path: Path, node_peer: Path, postgres_server: PostgresServer, engine: str) -> None:
    told = await most(tmp_path, node_peer, await postgres_server.database() if engine == "postgres" else None)
    print(told.line("rate", engine=engine, seed=SEED, kills=KILLS, rate_per_s=RATE))
    assert told.balanced
    assert told.surely_per_s <= RATE
    assert told.most_per_s > RATE * 0.5, "the load never reached the rate"


@pytest.mark.timeout(110)
async def test_the_check_goes_red_without_pacing(tmp_path: Path, node_peer: Path) -> None:
    told = await most(tmp_path, node_peer, None, UNPACED)
    assert told.surely_per_s > RATE
