"""The SQLite engine: one writer thread with group commit, and reader threads beside it.

A write is a function over a list of items, given with its items. Whatever has piled up while the last commit ran is
one transaction: the items of the same function are handed over in one call, so that a hundred callers cost one
statement and one fsync, and a single caller waits for nobody. If a group fails, each caller's part is run again in a
transaction of its own: one caller's error never aborts the others.

Statements take their rows as ONE JSON value (`json_each`): SQLite then runs the whole batch without the interpreter
lock, instead of giving it back and fetching it again row by row.
"""

import asyncio
import fcntl
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw
import msgspec

from tidings.domain.errors import StoreError, StoreFull, StoreLocked
from tidings.kit.limits import STORE_GROUP_ITEMS, STORE_READERS

Connection = apsw.Connection
T = TypeVar("T")
WriteFn = Callable[[Connection, list[Any]], list[Any]]
_encode: Final = msgspec.json.Encoder().encode

_PRAGMAS: Final = ("journal_mode=wal", "wal_autocheckpoint=4000", "cache_size=-32000", "temp_store=memory")


def rows(items: list[Any]) -> tuple[str]:
    """Rows (tuples) as the one JSON parameter of a batch statement."""
    return (_encode(items).decode(),)


class _Write:
    __slots__ = ("fn", "future", "items")

    def __init__(self, fn: WriteFn, items: list[Any], future: "asyncio.Future[list[Any]]") -> None:
        self.fn, self.items, self.future = fn, items, future


class Engine:
    """Owns the database file. `synchronous` is FULL but in the test that proves the fsync check can go red."""

    def __init__(self, path: Path, *, synchronous: str = "FULL") -> None:
        self.dialect = "sqlite"
        self.path = path
        self._synchronous = synchronous
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._local = threading.local()
        self._readers = ThreadPoolExecutor(STORE_READERS, thread_name_prefix="store-read")
        self._lock_fd = -1
        self._loop: asyncio.AbstractEventLoop | None = None
        self.pending = 0  # writes queued and not yet answered: what back-pressure looks at
        self.commits = 0

    def open(self) -> None:
        """Locks the data directory and opens the file. Raises StoreLocked, StoreError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock_fd = os.open(self.path.parent / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock_fd)
            self._lock_fd = -1
            raise StoreLocked(f"{self.path.parent} is in use by another Tidings process; stop it first") from error
        self.writer = self._connect()

    def start(self) -> None:
        """Starts the writer thread; results come back on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="store-write", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Finishes what is queued, then closes. Safe to call twice."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        self._readers.shutdown()
        if self._lock_fd >= 0:
            self.writer.close()
            os.close(self._lock_fd)
            self._lock_fd = -1

    async def write(self, fn: WriteFn, items: list[Any]) -> list[Any]:
        """Runs `fn(connection, items)` in the next group commit; returns its list, one result per item, after the fsync."""
        if not items:
            return []
        assert self._loop is not None, "the engine is not started"
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        self.pending += 1
        self._queue.put(_Write(fn, items, future))
        return await future

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Runs `fn(connection)` on a read-only connection, in one snapshot."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, fn)

    def _connect(self, flags: int = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE) -> Connection:
        connection = Connection(str(self.path), flags=flags)
        connection.set_busy_timeout(10_000)
        for pragma in _PRAGMAS:  # one by one: a statement that gives a row holds back those behind it
            list(connection.execute(f"pragma {pragma}"))
        list(connection.execute(f"pragma synchronous={self._synchronous}"))
        return connection

    def _read(self, fn: Callable[[Connection], Any]) -> Any:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect(apsw.SQLITE_OPEN_READONLY)
        connection.execute("begin")
        try:
            return fn(connection)
        finally:
            connection.execute("rollback")

    def _run(self) -> None:
        while True:
            first = self._queue.get()
            if first is None:
                return
            group, last = self._take(first)
            answers = self._commit(group)
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._answer, answers)
            if last:
                return

    def _take(self, first: _Write) -> tuple[list[_Write], bool]:
        group, size = [first], len(first.items)
        while size < STORE_GROUP_ITEMS:
            try:
                write = self._queue.get_nowait()
            except queue.Empty:
                break
            if write is None:
                return group, True
            group.append(write)
            size += len(write.items)
        return group, False

    def _commit(self, group: list[_Write]) -> list[tuple[_Write, list[Any] | Exception]]:
        try:
            return self._transaction(group)
        except Exception as error:
            if len(group) == 1:
                return [(group[0], _store_error(error))]
        answers: list[tuple[_Write, list[Any] | Exception]] = []
        for write in group:
            try:
                answers += self._transaction([write])
            except Exception as error:
                answers.append((write, _store_error(error)))
        return answers

    def _transaction(self, group: list[_Write]) -> list[tuple[_Write, list[Any] | Exception]]:
        by_fn: dict[WriteFn, list[_Write]] = {}
        for write in group:
            by_fn.setdefault(write.fn, []).append(write)
        answers: list[tuple[_Write, list[Any] | Exception]] = []
        self.writer.execute("begin immediate")
        try:
            for fn, writes in by_fn.items():
                items = writes[0].items if len(writes) == 1 else [item for write in writes for item in write.items]
                results, at = fn(self.writer, items), 0
                for write in writes:
                    answers.append((write, results[at : at + len(write.items)]))
                    at += len(write.items)
            self.writer.execute("commit")
        except BaseException:
            if self.writer.in_transaction:
                self.writer.execute("rollback")
            raise
        self.commits += 1
        return answers

    def _answer(self, answers: list[tuple[_Write, list[Any] | Exception]]) -> None:
        self.pending -= len(answers)
        for write, result in answers:
            if write.future.done():
                continue
            if isinstance(result, Exception):
                write.future.set_exception(result)
            else:
                write.future.set_result(result)


def _store_error(error: Exception) -> Exception:
    if isinstance(error, apsw.FullError):
        return StoreFull("no space is left for the database; nothing of this request was kept")
    if isinstance(error, apsw.Error):
        failure = StoreError(f"{type(error).__name__}: {error}")
        failure.__cause__ = error
        return failure
    return error
