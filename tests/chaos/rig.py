"""A server that is killed and started again, an SMSC that others wrote, and the books that must balance."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import apsw
import asyncpg

from forks import AVAILABLE, Forked, fork
from tidings.domain.status import ENDS

#: Leases of three seconds: PostgreSQL's workers wait for the end of a dead one's.
SHORT_LEASES = """
from tidings.delivery import accept, dispatch
accept.LEASE_S = dispatch.LEASE_S = 3
"""
KEY = "tk_live_" + "c" * 32
FORK = AVAILABLE and os.environ.get("TIDINGS_CAMPAIGN") != "1"
WINDOW = 50


async def listens(process: asyncio.subprocess.Process | Forked, port: int, log: Path) -> None:
    """Returns once `process` takes connections; fails with the end of its log where it has ended."""
    async with asyncio.timeout(30):
        while True:
            assert process.returncode is None, log.read_text()[-2000:]
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.02)


def tree(pid: int) -> list[int]:
    """A process and all that it started."""
    found, tasks = [pid], Path(f"/proc/{pid}/task")
    for task in tasks.iterdir() if tasks.exists() else ():
        with contextlib.suppress(OSError):  # a thread that ends meanwhile
            for child in (task / "children").read_text().split():
                found += tree(int(child))
    return found


def declared(provider: dict[str, Any]) -> str:
    """Its table in a configuration."""
    return "\n[[providers]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in provider.items())


class Server:
    """`tidings serve` as its own process, against the SMSC on `smsc_port`."""

    def __init__(
        self, folder: Path, smsc_port: int, unknown_wait_s: float, database_url: str | None = None, *, provider: str = "",
        data: Path | None = None,
    ) -> None:  # fmt: skip
        """`provider`: more lines of its configuration. `data`: the data directory, where it is not in `folder`."""
        self.folder, self.database_url = folder, database_url
        self.data = data or folder / "data"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.config = folder / "tidings.toml"
        self.config.write_text(
            f"[delivery]\nunknown_wait_s = {unknown_wait_s}\nunknown_wait_otp_s = {unknown_wait_s}\n"
            f'[[providers]]\nname = "node"\ntype = "sms.smpp"\nhost = "127.0.0.1"\nport = {smsc_port}\n'
            f'system_id = "perf"\npassword = "perf"\nwindow = {WINDOW}\nreconnect_min_s = 0.05\n{provider}'
        )
        self.process: asyncio.subprocess.Process | Forked | None = None

    @property
    def options(self) -> list[str]:
        """Behind the program's name."""
        return ["serve", "--data", str(self.data), "--listen", f"127.0.0.1:{self.port}", "--config", str(self.config)]

    @property
    def env(self) -> dict[str, str]:
        """What the process finds in its environment."""
        return {**os.environ, "TIDINGS_API_KEY": KEY, "TIDINGS_DATABASE_URL": self.database_url or ""}

    async def start(self, *wrap: str, program: bool = True, patch: str = "") -> None:
        """Starts it, behind the words `wrap`; without `program` they already name what to run."""
        log = self.folder / "server.log"
        if FORK and not wrap:
            self.process = fork(["tidings", *self.options], self.env, log, patch)
        else:
            assert not patch
            name = [str(Path(sys.executable).with_name("tidings"))] if program else []
            with log.open("ab") as out:
                self.process = await asyncio.create_subprocess_exec(
                    *wrap, *name, *self.options, stdout=out, stderr=out, env=self.env
                )
        await listens(self.process, self.port, log)

    async def end(self, number: int = signal.SIGTERM) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
            await self.process.wait()

    async def start_patched(self, patch: str) -> None:
        """Starts it with Python lines in front that change one thing: a saboteur, or a fault that no peer can make."""
        if FORK:
            await self.start(patch=patch)
            return
        script = self.folder / "patched.py"
        script.write_text(f"{patch}\nimport sys\nfrom tidings.cli import main\nsys.argv[0] = 'tidings'\nmain()\n")
        await self.start(sys.executable, str(script), program=False)

    async def end_tree(self) -> None:
        """Ends the program that a tracer started, and so the tracer."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), signal.SIGTERM)
        await self.process.wait()

    def memory_mb(self) -> int:
        """Of all its processes together; a page that several share counts once (PSS). 0 once it has ended."""
        kb = 0
        for pid in tree(self.process.pid) if self.process is not None else ():
            with contextlib.suppress(OSError):
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
                kb += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        return kb // 1024

    async def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """A look into the database, beside the server."""
        if self.database_url is not None:
            session = await asyncpg.connect(self.database_url)
            try:
                return [tuple(row) for row in await session.fetch(sql, *values)]
            finally:
                await session.close()
        connection = apsw.Connection(str(self.data / "tidings.db"), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(5000)
        with contextlib.closing(connection):
            return list(connection.execute(sql, values))


class Load:
    """Sends numbered messages, each once; `accepted` are those that got their 202."""

    def __init__(self, url: str, on_unknown: str, pace_s: float = 0) -> None:
        self.url, self.on_unknown, self.pace_s = url, on_unknown, pace_s
        self.texts: dict[int, str] = {}  # other words than `SEQ…X`
        self.count = 0
        self.accepted: set[int] = set()
        self.answers: Counter[int] = Counter()
        self.next = 0

    async def run(self, count: int, callers: int = 16) -> None:
        self.count = count
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
            await asyncio.gather(*(self._caller(session, count) for _ in range(callers)))

    async def _caller(self, session: aiohttp.ClientSession, count: int) -> None:
        while self.next < count:
            number, self.next = self.next, self.next + 1
            text = self.texts.get(number, f"SEQ{number}X")
            body: dict[str, Any] = {
                "to": f"+4471{number:08}",
                "from": "12345",
                "text": text,
                "on_unknown": self.on_unknown,
                "reference": str(number),
            }
            if number in self.texts:
                body["data"] = {}  # a template: plain words may be on their way before they are accepted
            while not await self._once(session, number, body):
                await asyncio.sleep(0.02)
            await asyncio.sleep(self.pace_s)

    async def _once(self, session: aiohttp.ClientSession, number: int, body: dict[str, Any]) -> bool:
        """False if it surely was not accepted: refused, or nobody listens."""
        try:
            async with session.post(f"{self.url}/v1/messages", json=body) as answer:
                if answer.status == 202:
                    self.accepted.add(number)
                self.answers[answer.status] += 1
                return answer.status not in (429, 503, 507)
        except aiohttp.ClientConnectorError:
            return False
        except (aiohttp.ClientError, OSError):
            return True  # it may have been accepted: never sent twice


async def kill_at_random(server: Server, load: Load, count: int, kills: int, seed: int) -> int:
    """Kills the server `kills` times while the load runs; how often it really did."""
    rng = random.Random(seed)
    marks = sorted(rng.uniform(0.05, 0.95) * count for _ in range(kills))
    done = 0
    for mark in marks:
        while load.next < mark:
            await asyncio.sleep(0.002)
        await asyncio.sleep(rng.uniform(0, 0.05))
        await server.end(signal.SIGKILL)
        done += 1
        await server.start()
    return done


async def settled(server: Server, deadline_s: float) -> bool:
    """Waits until every stored message is `sent` or at an end."""
    marks = ", ".join(f"'{status}'" for status in [*ENDS, "sent", "partially_delivered"])
    async with asyncio.timeout(deadline_s):
        while await server.rows(f"select count(*) from messages where status not in ({marks})") != [(0,)]:
            await asyncio.sleep(0.1)
    return True
