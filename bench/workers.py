"""`python bench/workers.py`: what 1, 2 and 4 workers carry to a carrier that answers in 50 ms and allows a window of 10 per bind.

One carrier account with `slots = 4`: each worker binds once, so one worker can carry 200/s at most (10 / 50 ms), and more
workers as many times that as sharing the database leaves. A backlog is accepted first; the carrier counts what arrives
within SECONDS. Judged by smsc_sim of the load harness (../shared/bench or BENCH_HARNESS), over a real PostgreSQL.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HARNESS = Path(os.environ.get("BENCH_HARNESS", ROOT.parent / "shared" / "bench"))
if not HARNESS.is_dir():  # a worktree stands one folder deeper
    HARNESS = ROOT.parent.parent / "shared" / "bench"
sys.path.insert(0, str(ROOT / "tests"))

from chaos.cluster import Cluster  # noqa: E402
from nats_server import running as nats_running  # noqa: E402
from postgres_server import running as postgres_running  # noqa: E402

ANSWER_MS, WINDOW, SLOTS = 50, 10, 4
GOALS = {2: 1.8, 4: 3.2}
BATCH = 1_000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Carrier:
    """smsc_sim, and its control port."""

    def __init__(self, folder: Path) -> None:
        program = folder / "smsc_sim"
        subprocess.run(["cc", "-O2", "-o", program, HARNESS / "src" / "smsc_sim.c", "-lm"], check=True)
        self.port, self._control = free_port(), free_port()
        self.process = subprocess.Popen(
            [program, "-p", str(self.port), "-c", str(self._control), "-d", str(ANSWER_MS)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(0.3)

    def stats(self) -> dict[str, Any]:
        with socket.create_connection(("127.0.0.1", self._control), timeout=5) as line:
            line.sendall(b"stats\n")
            return dict(json.loads(line.makefile().readline()))


async def carried(database: str, bus_url: str, workers: int, seconds: float) -> tuple[float, float]:
    """(messages a second, CPU µs of workers and API per message)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        carrier = Carrier(folder)
        smsc: Any = SimpleNamespace(port=carrier.port)
        cluster = Cluster(folder, smsc, database, workers=workers, bus_url=bus_url, term_s=10, window=WINDOW)
        try:
            await cluster.api.start()
            key = await cluster.tenant("wide", slots=SLOTS)
            wanted = int((seconds + 6) * workers * WINDOW * 1000 / ANSWER_MS)
            for first in range(0, wanted, BATCH):
                batch = [
                    {"to": f"+4471{n:08}", "from": "12345", "text": f"SEQ{n}X"} for n in range(first, first + BATCH)
                ]
                await cluster.call("POST", "/v1/messages/batch", {"messages": batch}, key)
            await asyncio.gather(*(worker.start() for worker in cluster.workers))
            async with asyncio.timeout(60):
                while carrier.stats()["links"] < workers:  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0.1)
            await asyncio.sleep(2)
            pids = [one.process.pid for one in (cluster.api, *cluster.workers) if one.process is not None]
            before, cpu_s, began = carrier.stats()["submits"], _cpu_s(pids), time.monotonic()
            await asyncio.sleep(seconds)
            after, taken_s = carrier.stats(), time.monotonic() - began
            count = after["submits"] - before
            assert after["dups"] == 0, after
            assert after["submits"] < wanted, "the backlog was too short"
            return count / taken_s, (_cpu_s(pids) - cpu_s) * 1e6 / max(1, count)
        finally:
            await asyncio.gather(*(worker.end(9) for worker in cluster.workers if worker.process is not None))
            if cluster.api.process is not None:
                await cluster.api.end()
            carrier.process.kill()
            carrier.process.wait()


def _cpu_s(pids: list[int]) -> float:
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


async def measure(rounds: int, seconds: float, bus: bool) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {1: [], 2: [], 4: []}
    with postgres_running() as server, nats_running() as nats:
        for _ in range(rounds):
            for workers in found:  # interleaved, so that a slow minute of the machine meets all of them
                rate, cpu_us = await carried(await server.database(), nats.url if bus else "", workers, seconds)
                found[workers].append(rate)
                print(f"{workers} worker(s): {rate:7.1f}/s  {cpu_us:6.0f} µs CPU each", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--polling", action="store_true", help="without NATS")
    options = parser.parse_args()
    if not (HARNESS / "src" / "smsc_sim.c").is_file() or shutil.which("cc") is None:
        print(f"smsc_sim ({HARNESS}) and a C compiler are needed: set BENCH_HARNESS. Nothing was measured.")
        return 0
    found = asyncio.run(measure(options.rounds, options.seconds, not options.polling))
    one = statistics.median(found[1])
    missed = 0
    for workers, goal in GOALS.items():
        ratio = statistics.median(found[workers]) / one
        missed |= ratio < goal
        print(f"1 → {workers} workers: {ratio:.2f} × (goal {goal})")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
