"""The PostgreSQL engine: group commit on a few writer connections, and snapshots on a few readers.

A write is a function over a list of items. While one transaction of a function runs, the calls of the same function pile
up and are the next one: a hundred callers cost one set of statements and one commit. Different functions commit side by
side, and so do other nodes; what one writer excludes in SQLite is guarded by row locks here (`locks.py`). If a group
fails, each caller's part is run again in a transaction of its own: one caller's error never aborts the others.

A lost connection comes back by itself. A transaction that had not reached its commit is rolled back by the server and
run again. When the connection is lost DURING the commit, its outcome is looked up once the server is back: every
transaction writes its number into its writer's row of `marks`. (`pg_xact_status` will not do: after a crash the numbers of
transactions that were never flushed are given again, and somebody else's commit would pass for ours.) Only if the server
stays away do the callers get StoreError. Such a write may have happened: accepting is safe to repeat with its idempotency
key, and a job whose settlement is in doubt comes due again when its lease ends.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import asyncpg

from tidings.domain.errors import StoreAway, StoreError, StoreFull
from tidings.kit.limits import STORE_GROUP_ITEMS
from tidings.store.postgres import log
from tidings.store.postgres.link import CROSSED, LOST, Link, Raw, lost, store_error
from tidings.store.postgres.session import HeldBack, Session

T = TypeVar("T")
WriteFn = Callable[[Session, list[Any]], Awaitable[list[Any]]]

_WRITERS: Final = 4  # accepting, leasing, settling and receiving at once
_READERS: Final = 4
_PATIENCE_S: Final = 10.0  # a restart of the server takes a second or five
_CROSSED_TRIES: Final = 6
_HELD_S: Final = (0.001, 0.002, 0.004, 0.008, 0.016)  # a neighbour's commit takes milliseconds
# Nothing, where the transaction has written nothing: then its outcome is of no interest.
_MARK: Final = (
    "update marks set token = $2, since = now() where writer = $1 and pg_current_xact_id_if_assigned() is not null"
)
# The lock waits for a commit that the server is still at.
_LOOK_UP: Final = "select token from marks where writer = $1 for update"
_AGAIN_S: Final = 0.05  # before a transaction is run again on a new connection


class CommitUnknown(StoreAway):
    """The connection was lost during the commit, and its outcome cannot be told."""

    doubtful = True


class _Write:
    __slots__ = ("fn", "future", "items")

    def __init__(self, fn: WriteFn, items: list[Any], future: "asyncio.Future[list[Any]]") -> None:
        self.fn, self.items, self.future = fn, items, future


class PostgresEngine:
    """Connections of one node to the database. Made by `open`."""

    def __init__(self, url: str, *, writers: int, readers: int, patience_s: float) -> None:
        self.dialect = "postgres"
        self.pending = 0  # writes queued and not yet answered: what back-pressure looks at
        self.commits = 0
        self._patience_s = patience_s
        self._writers = [Link(url, writer=True) for _ in range(writers)]
        self._idle = list(self._writers)
        self._readers = [Link(url, writer=False) for _ in range(readers)]
        self._reading: asyncio.LifoQueue[Link] = asyncio.LifoQueue()
        for link in self._readers:
            self._reading.put_nowait(link)
        self._waiting: dict[WriteFn, deque[_Write]] = {}
        self._running: dict[WriteFn, asyncio.Task[None]] = {}
        self._closed = False

    @classmethod
    async def open(
        cls, url: str, *, writers: int = _WRITERS, readers: int = _READERS, patience_s: float = _PATIENCE_S
    ) -> "PostgresEngine":
        """An engine on `postgresql://user:password@host:port/database`, whose schema is there (`migrate.migrate`).

        `patience_s`: how long a call waits for a server that is away. Raises StoreError.
        """
        engine = cls(url, writers=writers, readers=readers, patience_s=patience_s)
        try:
            await engine._writers[0].raw(time.monotonic() + patience_s)
        except BaseException:
            await engine.close()
            raise
        return engine

    async def close(self) -> None:
        """Finishes what is queued, then closes. Safe to call twice."""
        self._closed = True
        while self._running:
            await asyncio.wait(list(self._running.values()))
        for link in (*self._writers, *self._readers):
            await link.close()

    second_link = None  # every process has connections of its own

    async def write(self, fn: WriteFn, items: list[Any]) -> list[Any]:
        """Runs `fn(session, items)` in the next group commit; returns its list, one result per item, once durable."""
        if not items:
            return []
        if self._closed:
            raise StoreError("the store is closed")
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self.pending += 1
        self._waiting.setdefault(fn, deque()).append(_Write(fn, items, future))
        self._start()
        return await future

    async def read(self, fn: Callable[[Session], Awaitable[T]]) -> T:
        """Runs `fn(session)` in one read-only snapshot; again, where the connection was lost meanwhile."""
        if self._closed:
            raise StoreError("the store is closed")
        until = time.monotonic() + self._patience_s
        link = await self._reading.get()
        try:
            for pause_s in _HELD_S:
                try:
                    return await self._snapshot(link, fn, until, final=False)
                except HeldBack:
                    await asyncio.sleep(pause_s)
            return await self._snapshot(link, fn, until, final=True)
        finally:
            self._reading.put_nowait(link)

    glance = read  # nothing here holds up the event loop

    async def _snapshot(self, link: Link, fn: Callable[[Session], Awaitable[T]], until: float, *, final: bool) -> T:
        while True:
            raw = await link.raw(until)
            try:
                await raw.execute("begin isolation level repeatable read read only")
                try:
                    return await fn(Session(raw, final=final))
                finally:
                    await raw.execute("rollback")
            except HeldBack:
                raise
            except Exception as error:
                if not lost(error, raw):
                    raise _told(error)  # noqa: B904 - it has its cause
                link.drop()
                if time.monotonic() >= until:
                    raise _told(error)  # noqa: B904 - it has its cause
                await asyncio.sleep(_AGAIN_S)
            except BaseException:  # a caller who went away in the middle: the connection's state is unknown
                link.drop()
                raise

    def _start(self) -> None:
        """Gives waiting functions that are not running to idle writers, the longest waiting first."""
        for fn in list(self._waiting):
            if not self._idle:
                return
            if fn in self._running:
                continue
            group = self._take(fn)
            link = self._idle.pop()
            self._running[fn] = asyncio.create_task(self._run(fn, link, group), name="store-write")

    def _take(self, fn: WriteFn) -> list[_Write]:
        """The next group of this function; what is left goes to the end of the line."""
        waiting = self._waiting.pop(fn)
        group, size = [waiting.popleft()], 0
        size += len(group[0].items)
        while waiting and size < STORE_GROUP_ITEMS:
            group.append(waiting.popleft())
            size += len(group[-1].items)
        if waiting:
            self._waiting[fn] = waiting
        return group

    async def _run(self, fn: WriteFn, link: Link, group: list[_Write]) -> None:
        try:
            answers = await self._commit(link, fn, group)
        except BaseException as error:  # ours: not one caller may be left waiting
            answers = [error if isinstance(error, Exception) else StoreError("the store is closing")] * len(group)
            link.drop()
        self._running.pop(fn)
        self._idle.append(link)
        self.pending -= len(group)
        for write, answer in zip(group, answers, strict=True):
            if write.future.done():
                continue
            if isinstance(answer, Exception):
                write.future.set_exception(answer)
            else:
                write.future.set_result(answer)
        self._start()

    async def _commit(self, link: Link, fn: WriteFn, group: list[_Write]) -> list[list[Any] | Exception]:
        until = time.monotonic() + self._patience_s
        try:
            return list(await self._patiently(link, fn, group, until))
        except Exception as error:
            if len(group) == 1 or _for_all(error):
                return [error] * len(group)
        answers: list[list[Any] | Exception] = []
        for write in group:
            try:
                answers += await self._patiently(link, fn, [write], time.monotonic() + self._patience_s)
            except Exception as error:
                answers.append(error)
        return answers

    async def _patiently(self, link: Link, fn: WriteFn, group: list[_Write], until: float) -> list[list[Any]]:
        """One transaction; again where two were in each other's way, or the server went away before the commit."""
        crossed = 0
        while True:
            raw = await link.raw(until)
            try:
                return await self._transaction(link, raw, fn, group)
            except CROSSED as error:
                crossed += 1
                if crossed == _CROSSED_TRIES:
                    raise _told(error)  # noqa: B904 - it has its cause
                await asyncio.sleep(0.002 * 2**crossed)
            except Exception as error:
                if isinstance(error, CommitUnknown) or not lost(error, raw):
                    raise _told(error)  # noqa: B904 - it has its cause
                link.drop()
                if time.monotonic() >= until:
                    raise _told(error)  # noqa: B904 - it has its cause
                await asyncio.sleep(_AGAIN_S)

    async def _transaction(self, link: Link, raw: Raw, fn: WriteFn, group: list[_Write]) -> list[list[Any]]:
        items = group[0].items if len(group) == 1 else [item for write in group for item in write.items]
        session = Session(raw)
        await raw.execute("begin")
        try:
            results = await fn(session, items)
            await log.append(session)
            link.token += 1
            written = await raw.execute(_MARK, link.name, link.token) == "UPDATE 1"
        except BaseException:
            await _roll_back(link, raw)
            raise
        try:
            await raw.execute("commit")
        except Exception as error:
            if not lost(error, raw):
                raise
            link.drop()
            if written and not await self._committed(link, error):
                raise asyncpg.ConnectionDoesNotExistError("the server went away before the commit") from error
        self.commits += 1
        answers: list[list[Any]] = []
        at = 0
        for write in group:
            answers.append(results[at : at + len(write.items)])
            at += len(write.items)
        return answers

    async def _committed(self, link: Link, cause: Exception) -> bool:
        """Whether the transaction whose commit was not answered has happened. Raises CommitUnknown."""
        until = time.monotonic() + self._patience_s
        while True:
            try:
                raw = await link.raw(until)
                token = await raw.fetchval(_LOOK_UP, link.name)
            except LOST as error:
                link.drop()
                if time.monotonic() >= until:
                    raise CommitUnknown(f"the server went away during a commit: {cause}") from error
                await asyncio.sleep(_AGAIN_S)
            except (StoreError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                raise CommitUnknown(f"the server went away during a commit: {cause}") from error
            else:
                return token == link.token


async def _roll_back(link: Link, raw: Raw) -> None:
    try:
        await raw.execute("rollback")
    except (*LOST, asyncpg.PostgresError, asyncpg.InterfaceError):
        link.drop()


def _told(error: Exception) -> Exception:
    told = store_error(error)
    told.__cause__ = error if told is not error else error.__cause__
    return told


def _for_all(error: Exception) -> bool:
    """Errors that no caller of the group has caused: trying each alone would only cost time."""
    return isinstance(error, (StoreFull, CommitUnknown)) or isinstance(error.__cause__, LOST)
