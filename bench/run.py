"""`make bench`: Tidings beside Kannel and Jasmin, in turn on this machine; prints ratios with their 95 % interval.

Needs the harness in ../shared/bench (or BENCH_HARNESS) and a C compiler; a peer that is not installed is left out
and named. PAIRS (default 7) is how often each pair runs; SCENARIOS="dlr low" picks some.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HARNESS = Path(os.environ.get("BENCH_HARNESS", ROOT.parent / "shared" / "bench"))
HOME = Path(os.environ.get("BENCH_HOME", Path(tempfile.gettempdir()) / "sms-bench"))
JASMIN_VENVS = Path(os.environ.get("JASMIN_VENVS", HOME))
KANNEL_BINARIES = ("/usr/sbin/bearerbox", "/usr/sbin/smsbox")
JASMIN_NEEDS = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "/usr/bin/redis-server")

# name -> (title, the harness's arguments, the peers it runs beside)
SCENARIOS: dict[str, tuple[str, list[str], tuple[str, ...]]] = {
    "dlr": ("whole life, 16 connections, receipts on", ["--scenario", "dlr"], ("kannel-w100", "jasmin")),
    "low": ("50 messages/s, receipts on", ["--scenario", "low"], ("kannel-w100",)),
    "accept16": ("accepted, 16 connections", ["--scenario", "accept", "--conc", "16"], ("kannel-w100",)),
    "accept64": ("accepted, 64 connections", ["--scenario", "accept", "--conc", "64"], ("kannel-w100",)),
    "postgres": ("whole life, PostgreSQL beside the embedded database", ["--scenario", "dlr"], ("tidings-postgres",)),
    "slowdisk": ("whole life, 2 ms added to each fsync", ["--scenario", "dlr"], ("tidings-fsync2ms",)),
}


def missing(peer: str) -> str | None:
    """What keeps the peer from running here, or None."""
    if peer.startswith("tidings"):
        return None
    needs = list(KANNEL_BINARIES)
    if peer == "jasmin":
        needs = [*JASMIN_NEEDS, os.fspath(JASMIN_VENVS / "venv-jasmin-0.11.0/bin/jasmind.py")]
    absent = [path for path in needs if not Path(path).exists()]
    return f"{peer} left out: {', '.join(absent)} missing" if absent else None


def run_pairs(peer: str, arguments: list[str], pairs: int) -> int:
    """Runs the harness's pairs.py on Tidings and one peer; its exit status."""
    places = {"BENCH_ADAPTERS": ROOT / "bench/adapter.py", "JASMIN_VENVS": JASMIN_VENVS}
    env = {**os.environ, **{name: os.fspath(path) for name, path in places.items()}}
    command = [sys.executable, "pairs.py", "tidings", peer, "--pairs", str(pairs), *arguments]
    return subprocess.run(command, cwd=HARNESS, env=env, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)}; all without")
    parser.add_argument("--pairs", type=int, default=int(os.environ.get("PAIRS", "7")))
    options = parser.parse_args()
    scenarios = options.scenarios or os.environ.get("SCENARIOS", "").replace(",", " ").split() or list(SCENARIOS)
    unknown = set(scenarios) - set(SCENARIOS)
    if unknown:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    if not (HARNESS / "pairs.py").is_file():
        print(f"The load harness is not here ({HARNESS}): set BENCH_HARNESS to its folder. Nothing was measured.")
        return 0
    if shutil.which("cc") is None:
        print("The load harness needs a C compiler (cc). Nothing was measured.")
        return 0
    failed = 0
    for name in scenarios:
        title, arguments, peers = SCENARIOS[name]
        for peer in peers:
            print(f"\n== {title}: tidings / {peer}", flush=True)
            reason = missing(peer)
            if reason:
                print(reason, flush=True)
                continue
            failed |= run_pairs(peer, arguments, options.pairs)
    return failed


if __name__ == "__main__":
    sys.exit(main())
