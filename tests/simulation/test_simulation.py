"""The delivery path under seeded faults in virtual time: 1,000 seeds in `make test`, 10,000 with TIDINGS_CAMPAIGN=1.

A red seed is replayed with its whole trace by `cd tests && ../.venv/bin/python -m simulation.run SEED`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from simulation.run import Verdict, play, play_all, stage

CAMPAIGN = os.environ.get("TIDINGS_CAMPAIGN") == "1"
COUNT = int(os.environ.get("TIDINGS_SEEDS", "10000" if CAMPAIGN else "1000"))
FIRST = int(os.environ.get("TIDINGS_SEED", "0"))
WORKERS = 2
CHUNK = 250


def campaign(first: int, count: int) -> tuple[list[Verdict], Counter[str]]:
    """Plays `count` seeds on all workers: the red ones, and sums over all."""
    chunks = [range(at, min(at + CHUNK, first + count)) for at in range(first, first + count, CHUNK)]
    red, sums = list[Verdict](), Counter[str]()
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        for some, counted in pool.map(play_all, chunks):
            red += some
            sums.update(counted)
    return red, sums


@pytest.mark.timeout(0 if CAMPAIGN else 500)
def test_every_seed_is_green() -> None:
    began_s = time.monotonic()
    red, sums = campaign(FIRST, COUNT)
    took_s = time.monotonic() - began_s
    print(f"\nsimulation: first seed={FIRST} {dict(sums)} red={len(red)} {sums['seeds'] / took_s:.1f} seeds/s")
    shown = "\n".join(f"seed {verdict.seed}: {text[:400]}" for verdict in red for text in verdict.problems[:3])
    assert not red, f"replay with: cd tests && ../.venv/bin/python -m simulation.run {red[0].seed}\n{shown}"
    assert sums["seeds"] == COUNT
    assert min(sums["crashes"], sums["unknowns"], sums["stops"]) > COUNT // 4, "the faults no longer strike"


@pytest.mark.parametrize("seed", [3, 8])
def test_a_seed_replays_exactly(seed: int, tmp_path: Path) -> None:
    """The same trace twice in this process, and in another one that hashes strings differently."""
    stage(tmp_path)
    traces: list[list[str]] = [[], []]
    digests = {play(seed, tmp_path, trace=trace).digest for trace in traces}
    assert traces[0] == traces[1]
    command = [sys.executable, "-m", "simulation.run", str(seed), "--digest"]
    folder = Path(__file__).parents[1]
    for hash_seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=110, check=True)
        digests.add(done.stdout.strip())
    assert len(digests) == 1, digests
    assert play(seed + 1, tmp_path).digest not in digests
