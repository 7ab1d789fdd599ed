"""The clock is set by an hour, by a day, ahead and back, while messages flow, wait for a retry, or are on the wire.

The process sees it through `time.time` and `time.time_ns`, with an offset that is read from a file (libfaketime moves the
monotonic clock's sleeps, too, and Python 3.11 does not survive that). PostgreSQL's clock is moved by the same offset where
its answer is read.
"""

from __future__ import annotations

import asyncio
import os
import random
from typing import TYPE_CHECKING

import pytest

from peers.carriers import node_smsc

from . import books
from .rig import Load, Server

if TYPE_CHECKING:
    from pathlib import Path

    from postgres_server import Server as PostgresServer

CAMPAIGN = os.environ.get("TIDINGS_CAMPAIGN") == "1"
HOUR_S, DAY_S = 3_600, 86_400
SEED = int(os.environ.get("TIDINGS_SEED", "20261124"))
OFFSETS = [DAY_S, 0, -HOUR_S, HOUR_S, -DAY_S, 0, HOUR_S, -HOUR_S, -DAY_S, DAY_S, 0] if CAMPAIGN else [HOUR_S, -DAY_S]
COUNT, EVERY_S = (3_000, 6.0) if CAMPAIGN else (250, 2.0)
MOVED = """
import time
FILE = {file!r}
class Moved:
    read_s, by_s = -1.0, 0
    def now(self):
        if time.monotonic() - self.read_s > 0.02:
            with open(FILE) as file:
                self.by_s = int(file.read() or self.by_s)
            self.read_s = time.monotonic()
        return self.by_s
moved = Moved()
true_ns, true_s = time.time_ns, time.time
time.time_ns = lambda: true_ns() + moved.now() * 1_000_000_000
time.time = lambda: true_s() + moved.now()
from tidings.store.postgres import clock
server_ms = clock.server_ms
async def moved_ms(session):
    return await server_ms(session) + moved.now() * 1000
clock.server_ms = moved_ms
"""
#: Follows the clock as Tidings did before it had a timekeeper.
SABOTEUR = """
from tidings.delivery import timekeeper
async def look(self):
    self._clock.follow(await self._read())
timekeeper.Timekeeper.look = look
"""


async def story(folder: Path, node_peer: Path, url: str | None, deadline_s: float, patch: str = "") -> books.Books:
    """Jumps while there is load; a restart after the last but one."""
    offset, rng = folder / "offset", random.Random(SEED)
    offset.write_text("0")
    faults = {"seed": SEED, "error": 0.15}  # these wait for a retry
    async with node_smsc(node_peer, faults=faults, delay_ms=100) as smsc:
        server = Server(folder, smsc.port, 600, url)
        patch = MOVED.format(file=str(offset)) + patch
        await server.start_patched(patch)
        load = Load(server.url, "resend", pace_s=len(OFFSETS) * EVERY_S * 16 / COUNT)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run(COUNT))
                for n, by_s in enumerate(OFFSETS):
                    await asyncio.sleep(EVERY_S * rng.uniform(0.6, 1.0))
                    offset.write_text(str(by_s))
                    if CAMPAIGN and n == len(OFFSETS) - 2:  # the next start finds another time
                        await server.end()
                        await server.start_patched(patch)
            return await books.close(server, smsc, load, deadline_s)
        finally:
            await server.end()


@pytest.mark.timeout(0 if CAMPAIGN else 110)
@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
async def test_the_clock_is_set(tmp_path: Path, node_peer: Path, postgres_server: PostgresServer, engine: str) -> None:
    url = await postgres_server.database() if engine == "postgres" else None
    told = await story(tmp_path, node_peer, url, 120 if CAMPAIGN else 40)
    print(told.line("clock", engine=engine, seed=SEED, offsets=OFFSETS))
    assert told.accepted >= COUNT * 0.95
    assert told.balanced
    assert told.duplicates == 0, "nothing was unknown: nothing may be sent twice"
    assert told.fates["error"] > COUNT * 0.05


@pytest.mark.timeout(110)
async def test_the_check_goes_red_without_the_timekeeper(tmp_path: Path, node_peer: Path) -> None:
    told = await story(tmp_path, node_peer, None, 4, SABOTEUR)
    print(told.line("clock saboteur", seed=SEED))
    assert told.stuck > 0
