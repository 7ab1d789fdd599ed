"""The writer as those see it who write: a thread of this process, or a link to the process of its own (`process.py`)."""

import asyncio
import queue
import socket
import threading
from collections.abc import Callable
from typing import Protocol

from tidings.kit.limits import STORE_GROUP_ITEMS
from tidings.store.sqlite.group import Write, Written, commit
from tidings.store.sqlite.link import Connection
from tidings.store.sqlite.process import READ_BYTES, framed, frames

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


class WriterLink:
    """Over a socket to the process. Answers come back on the loop that is running when it is made.

    Writes of one turn of the event loop travel together.
    """

    def __init__(self, link: socket.socket, tell: Tell, lost: Callable[[], None]) -> None:
        """`lost`: the process ended though nobody closed this."""
        self._tell, self._lost = tell, lost
        self._loop = asyncio.get_running_loop()
        self._writes: list[Write] = []
        self._unsent = bytearray()
        self._received = bytearray()
        self._socket = link
        link.setblocking(False)
        self._loop.add_reader(link, self._readable)

    def put(self, write: Write) -> None:
        """See `Writer`."""
        if not self._writes:
            self._loop.call_soon(self._send_soon)
        self._writes.append(write)

    def close(self) -> None:
        """See `Writer`."""
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.setblocking(True)
        try:
            self._pack()
            self._socket.sendall(self._unsent)
            self._socket.shutdown(socket.SHUT_WR)
            while data := self._socket.recv(READ_BYTES):
                self._answers(data)
        except OSError:
            self._lost()
        self._socket.close()

    def _pack(self) -> None:
        writes, self._writes = self._writes, []
        if writes:
            self._unsent += framed(writes)

    def _send_soon(self) -> None:
        if self._socket.fileno() < 0:
            return  # closed meanwhile
        waits = bool(self._unsent)
        self._pack()
        if not waits:
            self._send()

    def _send(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            self._loop.add_writer(self._socket, self._send)
            return
        except OSError:
            return  # `_readable` hears of it
        self._loop.remove_writer(self._socket)

    def _readable(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._answers(data)
        else:
            self._loop.remove_reader(self._socket)
            self._lost()

    def _answers(self, data: bytes) -> None:
        self._received += data
        for written, commits in frames(self._received):
            self._tell(written, commits)
