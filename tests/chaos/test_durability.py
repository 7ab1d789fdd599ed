"""Durability itself: every 202 is written to its socket only after an fsync or fdatasync that covers its commit.

kill -9 cannot show this, since the page cache survives it; strace can. The saboteur runs the same check against a server
whose database has `synchronous=OFF`, and passes only if the check then goes red.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import aiohttp
import pytest

from conftest import require_peer

from .rig import KEY, Server

_SYNC = re.compile(r"\b(?:fsync|fdatasync)\(\d+(?:<([^>]*)>)?.*= 0|<\.\.\. (?:fsync|fdatasync) resumed>.*= 0")
_WAL_WRITE = re.compile(r"\b(?:pwrite64|write)\(\d+<[^>]*tidings\.db-wal>")
_ANSWER = re.compile(r"\b(?:sendto|write|writev|sendmsg)\(\d+<(?:socket|TCP)[^>]*>.*HTTP/1\.1 202")
_SABOTAGE = """
import sys
from tidings.store.sqlite.engine import Engine
first = Engine.__init__
def off(self, path, *, synchronous="FULL", apart=False):
    first(self, path, synchronous="OFF", apart=apart)
Engine.__init__ = off
from tidings.cli import main
sys.argv[0] = "tidings"
main()
"""


def uncovered(trace: str) -> tuple[int, int]:
    """(answers 202, those of them since whose predecessor no write to the log was synced).

    One request is under way at a time, and one thread writes: commit by commit, each its writes and then its sync. Behind the
    commit that is answered a timer's may have begun (a cursor, a sweep), so its writes may stand before the answer unsynced.
    """
    dirty, synced, answers, bad = False, False, 0, 0
    for line in trace.splitlines():
        if _WAL_WRITE.search(line):
            dirty = True
        elif _SYNC.search(line):
            synced, dirty = synced or dirty, False
        elif _ANSWER.search(line):
            answers += 1
            bad += not synced
            synced = False
    return answers, bad


async def _trace(folder: Path, *, sabotage: bool) -> tuple[int, int]:
    server = Server(folder, smsc_port=1, unknown_wait_s=1)  # no carrier: the only commits are those of accepting
    trace = folder / "trace"
    wrap = [
        "strace",
        "-f",
        "-y",
        "-s",
        "40",
        "-o",
        str(trace),
        "-e",
        "trace=write,writev,sendto,sendmsg,pwrite64,fsync,fdatasync",
    ]
    if sabotage:
        script = folder / "sabotaged.py"
        script.write_text(_SABOTAGE)
        await server.start(*wrap, sys.executable, str(script), program=False)
    else:
        await server.start(*wrap)
    try:
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
            for n in range(50):
                body = {"to": "+14155550123", "text": f"n{n}"}
                async with session.post(f"{server.url}/v1/messages", json=body) as answer:
                    assert answer.status == 202, await answer.text()
    finally:
        await server.end_tree()
    return uncovered(trace.read_text(errors="replace"))


@pytest.mark.timeout(400)
async def test_every_202_follows_its_fsync(tmp_path: Path) -> None:
    require_peer("strace")
    answers, bad = await _trace(tmp_path, sabotage=False)
    assert answers == 50
    assert bad == 0


@pytest.mark.timeout(400)
async def test_the_check_goes_red_without_fsync(tmp_path: Path) -> None:
    require_peer("strace")
    answers, bad = await _trace(tmp_path, sabotage=True)
    assert answers == 50
    assert bad > 0
