"""The disk is full, really: the database is on a small file system of its own, and a ballast fills it to the last block.

Callers are told (507, or 503), `/readyz` says why, what was accepted stays, settlements wait; and when there is room again,
everything goes on by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from conftest import unmet
from peers.carriers import node_smsc
from postgres_server import Server as PostgresServer

from . import books
from .rig import SHORT_LEASES, Load, Server

CAMPAIGN = os.environ.get("TIDINGS_CAMPAIGN") == "1"
COUNT, TIMES = (3_000, 5) if CAMPAIGN else (400, 1)
FULL_S = 8.0 if CAMPAIGN else 2.0
SEED = int(os.environ.get("TIDINGS_SEED", "20261124"))
#: A server that says nothing of the disk.
MUTE = """
from tidings.domain.errors import StoreFull
from tidings.store.sqlite.engine import Engine
from tidings.store.sqlite.group import Written
first = Engine._tell
def told(self, written, commits):
    full = [Written(w.number, [], RuntimeError("?")) if isinstance(w.error, StoreFull) else w for w in written]
    first(self, full, commits)
Engine._tell = told
"""


class Disk:
    """A file system in memory with an end; `fill` takes what is left of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        with (self.folder / "ballast").open("ab", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(b"\0" * 4096)

    def free(self) -> None:
        (self.folder / "ballast").unlink()


@contextlib.contextmanager
def small_disk(mb: int) -> Iterator[Disk]:
    folder = Path(tempfile.mkdtemp(prefix="tidings-disk-"))  # not below pytest's folder, which is closed to `nobody`
    folder.chmod(0o755)
    command = ["mount", "-t", "tmpfs", "-o", f"size={mb}m,mode=0755", "tidings-chaos", str(folder)]
    try:
        if shutil.which("mount") is None or subprocess.run(command, check=False, capture_output=True).returncode:
            unmet("a small file system cannot be mounted: run as root (in a container: with CAP_SYS_ADMIN)")
        yield Disk(folder)
    finally:
        if folder.is_mount():
            subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


async def ready(url: str) -> tuple[int, str]:
    """The status, and why."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/readyz") as answer:
        return answer.status, str(json.loads(await answer.text()).get("detail", ""))


async def refused(disk: Disk, load: Load) -> None:
    """Waits for the next refusal. The database may still have room in its pages, and PostgreSQL gives old logs back."""
    before = load.answers[507] + load.answers[503]
    async with asyncio.timeout(30):
        while load.answers[507] + load.answers[503] == before:
            disk.fill()
            await asyncio.sleep(0.05)


async def starve(disk: Disk, server: Server, load: Load, database: PostgresServer | None) -> list[tuple[int, str]]:
    """Fills the disk while messages flow and others wait for their settlement; what `/readyz` said meanwhile."""
    said: list[tuple[int, str]] = []
    for n in range(TIMES):
        while load.next < load.count * (n + 1) / (TIMES + 2):
            await asyncio.sleep(0.01)
        await refused(disk, load)
        full_until = time.monotonic() + FULL_S
        while time.monotonic() < full_until:
            await refused(disk, load)
        said.append(await ready(server.url))  # just after a refusal
        disk.free()
        if (
            database is not None and not database.alive
        ):  # it panics where its own log finds no room: a supervisor's task
            await asyncio.to_thread(database.start)
    return said


@pytest.mark.timeout(0 if CAMPAIGN else 110)
@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
async def test_a_full_disk(tmp_path: Path, node_peer: Path, engine: str) -> None:
    with contextlib.ExitStack() as stack:
        disk = stack.enter_context(small_disk(24 if engine == "sqlite" else 160))
        database, url = None, None
        if engine == "postgres":
            database = PostgresServer(folder=disk.folder / "pg")
            stack.callback(database.remove)
            await asyncio.to_thread(database.start)
            url = await database.database()
        async with node_smsc(node_peer, delay_ms=300) as smsc:
            data = disk.folder / "data" if engine == "sqlite" else None
            server = Server(tmp_path, smsc.port, 1.5, url, data=data)
            await (server.start() if CAMPAIGN else server.start_patched(SHORT_LEASES))
            load = Load(server.url, "resend", pace_s=0.1)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(load.run(COUNT))
                    starving = group.create_task(starve(disk, server, load, database))
                told = await books.close(server, smsc, load, 120)
                stored = await server.rows("select count(*) from messages")
                assert server.process is not None
                alive = server.process.returncode is None
                async with asyncio.timeout(15):  # a refusal stands for some seconds
                    while (await ready(server.url))[0] != 200:
                        await asyncio.sleep(0.2)
            finally:
                await server.end()
    answers = dict(load.answers)
    print(
        told.line(
            "full disk", engine=engine, seed=SEED, times=TIMES, answers=answers, readyz=Counter(starving.result())
        )
    )
    assert alive, "it did not live through it"
    assert told.balanced
    assert set(answers) <= {202, 503, 507}
    assert stored[0][0] == COUNT == told.accepted, "what was refused left something behind"
    assert all(status == 503 and ("space" in text or "store" in text) for status, text in starving.result())


@pytest.mark.timeout(110)
async def test_the_check_goes_red_where_callers_are_not_told(tmp_path: Path, node_peer: Path) -> None:
    """A server that takes the full disk for any other error: its callers get a 500."""
    with small_disk(24) as disk:
        async with node_smsc(node_peer) as smsc:
            server = Server(tmp_path, smsc.port, 1, data=disk.folder / "data")
            await server.start_patched(MUTE)
            load = Load(server.url, "resend")
            try:
                await load.run(20)
                disk.fill()
                await load.run(20 + 400)
            finally:
                await server.end(9)
    assert 500 in load.answers
