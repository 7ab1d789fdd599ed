"""The SQLite engine: one writer with group commit, and reader threads beside it."""

import asyncio
import fcntl
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from tidings.domain.errors import StoreLocked
from tidings.kit.limits import STORE_READERS
from tidings.store.sqlite.group import Write, WriteFn, Written
from tidings.store.sqlite.link import Connection, connect
from tidings.store.sqlite.process import WriterProcess
from tidings.store.sqlite.writer import ThreadWriter, Writer, WriterLink

T = TypeVar("T")
_log = logging.getLogger(__name__)
_LOCK_WAIT_S: Final = 3.0  # the writer of a server that was killed ends its last commit
_WRITER_LOST = 70  # EX_SOFTWARE of sysexits.h


class Engine:
    """Owns the database file. `synchronous` is FULL but in the test that proves the fsync check can go red.

    `apart`: the writer is a process of its own. Tests that replace a statement keep it in theirs.
    """

    def __init__(self, path: Path, *, synchronous: str = "FULL", apart: bool = False) -> None:
        self.dialect = "sqlite"
        self.path = path
        self._synchronous, self._apart = synchronous, apart
        self._writer: Writer | None = None
        self._futures: dict[int, asyncio.Future[list[Any]]] = {}
        self._number = 0
        self._local = threading.local()
        self._readers = ThreadPoolExecutor(STORE_READERS, thread_name_prefix="store-read")
        self._lock_fd = -1
        self._process: WriterProcess | None = None
        self.commits = 0

    @property
    def pending(self) -> int:
        """Writes queued and not yet answered: what back-pressure looks at."""
        return len(self._futures)

    def open(self) -> None:
        """Locks the data directory and opens the file. Raises StoreLocked, StoreError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock_fd = os.open(self.path.parent / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        self._lock()
        self.writer = connect(self.path, self._synchronous)

    def start(self) -> None:
        """Starts the writer; results come back on the running event loop."""
        if not self._apart:
            self._writer = ThreadWriter(self.writer, self._tell)
            return
        self.writer.close()
        self._process = WriterProcess(self.path, self._synchronous, self._lock_fd, links=2)
        self._writer = WriterLink(self._process.sockets[0], self._tell, _writer_lost)

    def join(self, link: socket.socket) -> None:
        """In place of `open` and `start`: writes go over `link` to the writer of the process that started this one."""
        self._writer = WriterLink(link, self._tell, _writer_lost)

    @property
    def second_link(self) -> socket.socket | None:
        """What another process may `join` with. None where the writer is not apart."""
        return self._process.sockets[1] if self._process is not None else None

    def close(self) -> None:
        """Finishes what is queued, then closes. Safe to call twice."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._process is not None:
            self._process.sockets[1].close()
            self._process.wait()
            self._process = None
        self._readers.shutdown()
        glancing = getattr(self._local, "connection", None)
        if glancing is not None:
            glancing.close()
            del self._local.connection
        if self._lock_fd >= 0:
            self.writer.close()
            os.close(self._lock_fd)
            self._lock_fd = -1

    async def write(self, fn: WriteFn, items: list[Any]) -> list[Any]:
        """Runs `fn(connection, items)` in the next group commit; returns its list, one result per item, after the fsync."""
        if not items:
            return []
        assert self._writer is not None, "the engine is not started"
        self._number += 1
        future = self._futures[self._number] = asyncio.get_running_loop().create_future()
        self._writer.put(Write(self._number, fn, items))
        return await future

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Runs `fn(connection)` on a read-only connection, in one snapshot."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, fn)

    async def glance(self, fn: Callable[[Connection], T]) -> T:
        """The same on the event loop's own thread, which it holds up: a tenth of the price where little is read."""
        return self._read(fn)

    def _lock(self) -> None:
        deadline_s = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as error:
                if time.monotonic() < deadline_s:
                    time.sleep(0.02)
                    continue
                os.close(self._lock_fd)
                self._lock_fd = -1
                where = self.path.parent
                raise StoreLocked(f"{where} is in use by another Tidings process; stop it first") from error

    def _read(self, fn: Callable[[Connection], Any]) -> Any:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = connect(self.path, self._synchronous, read_only=True)
        connection.execute("begin")
        try:
            return fn(connection)
        finally:
            connection.execute("rollback")

    def _tell(self, written: list[Written], commits: int) -> None:
        self.commits += commits
        for one in written:
            future = self._futures.pop(one.number)
            if future.done():
                continue
            if one.error is not None:
                future.set_exception(one.error)
            else:
                future.set_result(one.results)


def _writer_lost() -> None:
    """Nothing can be kept any more, and nobody may be told that it was: as if the power had failed."""
    _log.critical("the writer of the database has ended; so does the server")
    os._exit(_WRITER_LOST)
