"""The real SQLite engine without its threads: the writer's commits run on the loop, a virtual fsync later.

Group commit is as it is in the server: what piled up while one fsync ran is the next transaction. A crash loses what is
not committed; where it falls into an fsync, a coin says on which side of it. A full disk is SQLite's own error.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import apsw

from tidings.kit.limits import STORE_GROUP_ITEMS
from tidings.store.sqlite.engine import Engine
from tidings.store.sqlite.group import Write, Written, commit, transaction
from tidings.store.sqlite.link import connect

Group = list[Write]


class Faults(Protocol):
    """What the world does to the disk just now."""

    disk_full: bool
    slow_disk: bool

    def committed(self, group: Group, answers: list[Any]) -> None:
        """A transaction is in the file."""
        ...


class SimEngine(Engine):
    """`Engine` on a virtual loop. `crash` ends it as a kill -9 does."""

    def __init__(self, path: Path, faults: Faults, rng: random.Random) -> None:
        super().__init__(path, synchronous="OFF")
        self._faults, self._rng = faults, rng
        self._queued: list[Write] = []
        self._under_way: Group | None = None
        self._reader: apsw.Connection | None = None
        self.dead = False

    def start(self) -> None:
        """No thread, no process."""
        self._writer = self

    async def write(self, fn: Callable[..., Any], items: list[Any]) -> list[Any]:
        """As `Engine.write`; in a dead process it never returns."""
        if self.dead:
            await asyncio.get_running_loop().create_future()
        return await super().write(fn, items)

    async def read(self, fn: Callable[[apsw.Connection], Any]) -> Any:
        """As `Engine.read`, a moment later, on what is committed then."""
        await asyncio.sleep(self._rng.choice((0.0, 0.0002, 0.002)))
        if self.dead:
            await asyncio.get_running_loop().create_future()
        return self.look(fn)

    def look(self, fn: Callable[[apsw.Connection], Any]) -> Any:
        """A read at once."""
        if self._reader is None:
            self._reader = connect(self.path, "OFF", read_only=True)
        self._reader.execute("begin")
        try:
            return fn(self._reader)
        finally:
            self._reader.execute("rollback")

    def crash(self) -> None:
        """The process is gone: queued writes are lost; one under way is in the file, or it is not."""
        if self._under_way is not None and self._rng.random() < 0.5:
            commit(self.writer, self._under_way, self._transaction)
        self.dead = True
        self.shut()

    def shut(self) -> None:
        """Gives the file back."""
        self._readers.shutdown()
        if self._lock_fd >= 0:
            for connection in (self._reader, self.writer):
                if connection is not None:
                    connection.close()
            os.close(self._lock_fd)
            self._lock_fd = -1

    # -- the writer

    def put(self, write: Write) -> None:
        """Implements `writer.Writer`."""
        if not self._queued and self._under_way is None:
            asyncio.get_running_loop().call_soon(self._next)
        self._queued.append(write)

    def _next(self) -> None:
        if self.dead or self._under_way is not None or not self._queued:
            return
        group, size = list[Write](), 0
        while self._queued and size < STORE_GROUP_ITEMS:
            group.append(self._queued.pop(0))
            size += len(group[-1].items)
        self._under_way = group
        asyncio.get_running_loop().call_later(self._fsync_s(), self._land)

    def _fsync_s(self) -> float:
        if self._faults.slow_disk:
            return self._rng.choice((0.05, 0.5, 4.0))
        return self._rng.choice((0.0003, 0.001, 0.004, 0.03))

    def _land(self) -> None:
        if self.dead or self._under_way is None:
            return
        written, commits = commit(self.writer, self._under_way, self._transaction)
        self._under_way = None
        if not self.dead:  # `committed` may have been the moment of a crash
            asyncio.get_running_loop().call_soon(self._heard, written, commits)
            self._next()

    def _heard(self, written: list[Written], commits: int) -> None:
        if not self.dead:
            self._tell(written, commits)

    def _transaction(self, connection: apsw.Connection, group: Group) -> list[Written]:
        if self._faults.disk_full:
            raise apsw.FullError("database or disk is full")
        written = transaction(connection, group)
        self._faults.committed(group, written)
        return written
