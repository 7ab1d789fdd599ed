"""The writer as a thread of this process. `process.py` has it as a process of its own."""

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Protocol

from tidings.kit.limits import STORE_GROUP_ITEMS
from tidings.store.sqlite.group import Write, Written, commit
from tidings.store.sqlite.link import Connection

#: Told on the event loop's thread what has become of writes, and how many commits that took.
Tell = Callable[[list[Written], int], None]


class Writer(Protocol):
    """Where writes go."""

    def put(self, write: Write) -> None:
        """Queues a write for the next group commit."""
        ...

    def close(self) -> None:
        """Returns when what was queued is durable."""
        ...


class ThreadWriter:
    """Results come back on the loop that is running when it is made. The connection stays its owner's to close."""

    def __init__(self, connection: Connection, tell: Tell) -> None:
        self._connection, self._tell = connection, tell
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[Write | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="store-write", daemon=True)
        self._thread.start()

    def put(self, write: Write) -> None:
        """See `Writer`."""
        self._queue.put(write)

    def close(self) -> None:
        """See `Writer`."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        last = False
        while not last:
            group, last = self._take()
            if group:
                self._loop.call_soon_threadsafe(self._tell, *commit(self._connection, group))

    def _take(self) -> tuple[list[Write], bool]:
        group, size = list[Write](), 0
        while size < STORE_GROUP_ITEMS:
            try:
                write = self._queue.get(block=not group)
            except queue.Empty:
                break
            if write is None:
                return group, True
            group.append(write)
            size += len(write.items)
        return group, False
