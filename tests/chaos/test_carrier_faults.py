"""A carrier at its worst: it drops the link mid-window, throttles, goes silent, answers after the time-out or not at all, and
sends the receipt first. The fates are drawn from a seed by npm `smpp`; each message is booked against what happened to it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from peers.carriers import node_smsc

from . import books
from .rig import Load, Server

if TYPE_CHECKING:
    from pathlib import Path

    from postgres_server import Server as PostgresServer

CAMPAIGN = os.environ.get("TIDINGS_CAMPAIGN") == "1"
COUNT = 3_000 if CAMPAIGN else 250
SEED = int(os.environ.get("TIDINGS_SEED", "20261124"))
#: Each alone in the campaign; in `make test` all of them together.
FAULTS: dict[str, dict[str, float]] = {
    "drops the link": {"drop": 0.01},
    "throttles": {"throttle": 0.003},
    "goes silent": {"silent": 0.02},
    "answers late": {"late": 0.05},
    "answer lost, receipt comes": {"lost": 0.05},
    "receipt first": {"before": 0.3},
    "refuses for now": {"error": 0.05},
}
ALL = {"drop": 0.006, "throttle": 0.004, "silent": 0.01, "late": 0.03, "lost": 0.03, "before": 0.1, "error": 0.03}
MIXES = {**FAULTS, "all": ALL}
CASES = [*((fault, "resend") for fault in MIXES), ("all", "hold")] if CAMPAIGN else [("all", "resend")]


@pytest.mark.timeout(0 if CAMPAIGN else 110)
@pytest.mark.parametrize(("fault", "on_unknown"), CASES)
@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
async def test_carrier_faults(
    tmp_path: Path, node_peer: Path, postgres_server: PostgresServer, engine: str, fault: str, on_unknown: str
) -> None:
    faults = {"seed": SEED, "late_ms": 1_200, **MIXES[fault]}
    url = await postgres_server.database() if engine == "postgres" else None
    async with node_smsc(node_peer, faults=faults) as smsc:
        server = Server(tmp_path, smsc.port, 1.5, url, provider="response_timeout_s = 0.8\nreconnect_max_s = 0.5\n")
        await server.start()
        load = Load(server.url, on_unknown)
        try:
            await load.run(COUNT)
            told = await books.close(server, smsc, load, 600 if CAMPAIGN else 60)
            receipts = await server.rows("select count(*) from messages where status = 'delivered'")
        finally:
            await server.end()
    print(told.line("carrier faults", engine=engine, fault=repr(fault), on_unknown=on_unknown, seed=SEED))
    assert told.accepted == COUNT
    assert told.fates, "no fault struck"
    assert told.balanced
    assert on_unknown != "hold" or told.duplicates == 0
    assert receipts[0][0] > COUNT * 0.7
