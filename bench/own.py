"""`python bench/own.py batch|restart|rows|million`: what the pairs against other gateways do not say, on the embedded store.

batch    accepted/s of POST /v1/messages/batch with 100 messages each over that of single requests (goal 3)
restart  from the start of the process after a kill -9 to the first submit of what was accepted, seconds (goal 2)
million  1,000,000 messages through their whole life: resident memory on the way (goal: flat)
rows     a read by id and a message's way to the carrier, with 10,000,000 stored messages and with 5,000 (goal: the same)

Judged by the load harness (../shared/bench or BENCH_HARNESS): its load generator, SMSC and sink. Linux, a C compiler; `rows` needs
some 30 GB of disk for a while.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

ROOT = Path(__file__).resolve().parent.parent
HARNESS = Path(os.environ.get("BENCH_HARNESS", ROOT.parent / "shared" / "bench"))
if not HARNESS.is_dir():  # a worktree stands one folder deeper
    HARNESS = ROOT.parent.parent / "shared" / "bench"
sys.path[:0] = [str(HARNESS), str(ROOT / "bench")]

import adapter  # noqa: E402
import bench  # noqa: E402
import lib  # noqa: E402
import pairs  # noqa: E402

PER_BATCH = 100
SEEDS, COPIES = 5_000, 2_000


@contextmanager
def running(receipts: bool = False) -> Iterator[tuple[adapter.Tidings, lib.Rig]]:
    """A fresh server, linked to its carrier."""
    bench.wait_quiet()
    peer, rig = adapter.Tidings(), lib.Rig(dlr_ms=100 if receipts else -1)
    try:
        peer.start()
        rig.wait_link()
        lib.httpload(peer.target(), 40, 4, seq0=2_000_001)
        time.sleep(1)
        rig.reset()
        yield peer, rig
    finally:
        peer.stop()
        rig.close()


def batch_target(peer: adapter.Tidings) -> dict[str, Any]:
    """A request of 100 messages; only one of them is counted at the carrier, the load generator knows few marks."""
    target, body = peer.target(), lib.WORK / "batch-body.json"
    other = adapter.BODY.replace("{to}", "447100000000").replace("SEQ{seq}", "none")
    body.write_text('{"messages":[' + ",".join([adapter.BODY, *[other] * (PER_BATCH - 1)]) + "]}")
    return {**target, "path": "/v1/messages/batch", "body_file": os.fspath(body)}


def batch(rounds: int) -> None:
    def rate(many: bool) -> float:
        with running() as (peer, _):
            if many:
                return PER_BATCH * lib.httpload(batch_target(peer), 400, 4, max_s=20)["accepted_per_s"]
            return lib.httpload(peer.target(), 20_000, 16, max_s=20)["accepted_per_s"]

    found = [(rate(True), rate(False)) for _ in range(rounds)]
    ratios = [many / one for many, one in found]
    low, high = pairs.interval(ratios)
    print(f"batch/single: {statistics.median(ratios):.2f} [{low:.2f} .. {high:.2f}] of {rounds} pairs")
    print(f"batch {lib.spread([many for many, _ in found])}/s, single {lib.spread([one for _, one in found])}/s")


def restart(rounds: int) -> None:
    took: list[float] = []
    for _ in range(rounds):
        with running() as (peer, rig):
            lib.httpload(batch_target(peer), 200, 4, max_s=20)  # a backlog, well ahead of the carrier
            peer.kill_main()
            time.sleep(0.5)
            before, began = rig.c.stats()["submits"], time.monotonic()
            peer.restart_main()
            while rig.c.stats()["submits"] == before:
                time.sleep(0.005)
            took.append(time.monotonic() - began)
    print(f"restart -> first submit: {lib.spread(took)} s of {rounds} kills")


def million(count: int) -> None:
    with running(receipts=True) as (peer, rig):
        load = lib.httpload(peer.target(dlr=True), count, 16, max_s=3600, background=True)
        while load.poll() is None:
            print(f"{rig.c.stats()['unique']:>9} delivered, {lib.rss_mb(peer.pids()):6.1f} MB", flush=True)
            time.sleep(15)
        drained = rig.drain(count, quiet=20, limit=600, dlr=count)
        print(f"{rig.c.stats()['unique']:>9} delivered, {lib.rss_mb(peer.pids()):6.1f} MB; all called back: {drained}")
        print(json.loads(load.communicate()[0]))


def rows(rounds: int, copies: int) -> None:
    peer, rig, ids = adapter.Tidings(), lib.Rig(dlr_ms=100), list[str]()
    try:
        peer.start()
        rig.wait_link()
        lib.httpload(peer.target(dlr=True), SEEDS, 16, max_s=60)
        rig.drain(SEEDS, limit=60, dlr=SEEDS)
        for stored in (SEEDS, SEEDS * (1 + copies)):
            peer.stop()
            database = peer.dir / "data" / "tidings.db"
            if stored == SEEDS:
                ids = ids_of(database)
            else:
                began = time.monotonic()
                multiply(database, copies)
                os.sync()  # or what follows waits for the copies to reach the disk
                gib = database.stat().st_size / 2**30
                print(f"copied in {time.monotonic() - began:.0f} s, {gib:.1f} GiB", flush=True)
            peer.start(clean=False)
            rig.wait_link()
            for _ in range(rounds):
                time.sleep(1)
                print(f"{stored:,} messages: {reads(ids)}; {sends(peer, rig)}", flush=True)
    finally:
        peer.stop()
        rig.close()


def ids_of(database: Path) -> list[str]:
    with connected(database) as connection:
        return [id for (id,) in connection.execute("select id from messages")]


@contextmanager
def connected(database: Path) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(os.fspath(database))
    try:
        yield connection
    finally:
        connection.close()


#: What a copy has of its own: ids beside those of the one copied, and look-up hashes anywhere. Personal data cannot be read
#: from a copy (its seal names its owner); nobody reads one here.
HASH = "lower(hex(randomblob(length(r.to_hash) / 2)))"
OWN = {
    "messages": {"id": "substr(r.id, 1, 29) || printf('%07x', n.value)"},
    "personal": {"owner": "substr(r.owner, 1, 29) || printf('%07x', n.value)", "to_hash": HASH},
    "attempts": {
        "id": "substr(r.id, 1, 29) || printf('%07x', n.value)",
        "message": "substr(r.message, 1, 29) || printf('%07x', n.value)",
    },
    "refs": {"ref": "r.ref || '-' || n.value", "attempt": "substr(r.attempt, 1, 29) || printf('%07x', n.value)"},
    "events": {
        "seq": "null",
        "id": "substr(r.id, 1, 29) || printf('%07x', n.value)",
        "message": "substr(r.message, 1, 29) || printf('%07x', n.value)",
    },
}  # fmt: skip


def multiply(database: Path, copies: int) -> None:
    """So many copies beside each stored message, with its attempt, references and events."""
    with connected(database) as connection:
        connection.execute("pragma synchronous = off; pragma cache_size = -2000000; pragma temp_store = memory")
        connection.execute(
            "create temp table copies as with recursive n(value) as "
            f"(select 1 union all select value + 1 from n where value < {copies}) select value from n"
        )
        for table, own in OWN.items():
            names = [row[1] for row in connection.execute(f"pragma table_info({table})")]
            values = ", ".join(own.get(name, f"r.{name}") for name in names)
            key = "seq" if table == "events" else names[1]
            connection.execute(f"create temp table seed as select * from {table} order by {key}")
            count = connection.execute("select count(*) from seed").get
            for first in range(0, count, 250):
                connection.execute(
                    f"insert into {table} ({', '.join(names)}) select {values} from "
                    f"(select * from seed limit 250 offset {first}) r, copies n"
                )
            connection.execute("drop table seed")
        for table, column in (("endpoints", "cursor"), ("cursors", "seq")):  # nobody is to be told of the copies
            connection.execute(f"update {table} set {column} = (select max(seq) from events)")
        connection.execute("pragma wal_checkpoint(truncate)")


def reads(ids: list[str]) -> str:
    """Percentiles of 2,000 reads by id, one after the other on one connection."""
    line, took = http.client.HTTPConnection("127.0.0.1", adapter.PORT), list[int]()
    for id in random.sample(ids, 2_000):
        began = time.monotonic_ns()
        line.request("GET", f"/v1/messages/{id}", headers={"Authorization": f"Bearer {adapter.API_KEY}"})
        answer = line.getresponse()
        body = answer.read()
        assert answer.status == 200, body
        took.append(time.monotonic_ns() - began)
    line.close()
    return f"read ms {lib.pcts_ms(took)}"


def sends(peer: adapter.Tidings, rig: lib.Rig) -> str:
    """Request to submit, 50 a second for ten seconds."""
    rig.reset()
    lib.httpload(peer.target(dlr=True), 500, 8, rate=50, max_s=30, out=bench.HTTP_BIN)
    rig.drain(500, limit=20, dlr=500)
    account = bench.account(rig, lib.read_http(bench.HTTP_BIN))
    return f"request->submit ms {account['req_to_submit_ms']}, lost {account['lost']}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measure", choices=("batch", "restart", "million", "rows"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=1_000_000, help="of `million`")
    parser.add_argument("--copies", type=int, default=COPIES, help=f"of each of {SEEDS:,} messages, for `rows`")
    options = parser.parse_args()
    match options.measure:
        case "batch":
            batch(options.rounds)
        case "restart":
            restart(options.rounds)
        case "million":
            million(options.count)
        case _:
            rows(options.rounds, options.copies)
    return 0


if __name__ == "__main__":
    sys.exit(main())
