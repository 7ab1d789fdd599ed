"""The writer as a process of its own: `python -m tidings.store.sqlite.process FD PATH SYNCHRONOUS`, started by `serve` alone.

It has an interpreter to itself. As a thread of a busy server the writer waits for the interpreter lock some fifty times a
commit, and holds up the event loop as often (docs/decisions/0013-writer-process.md). Server and writer live and die
together: the writer ends when its socket is closed, and the server when its writer is gone. What was on its way then is
committed, or it is not; nobody was told either way.

On the socket a frame is its length (32 bits, network order) and a pickle: both ends are this very code, and nobody else has
the socket. Writes of one turn of the event loop travel together.
"""

import asyncio
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tidings.kit.limits import STORE_GROUP_ITEMS
from tidings.store.sqlite.group import Write, Written, commit
from tidings.store.sqlite.link import connect
from tidings.store.sqlite.writer import Tell

_SIZE: Final = struct.Struct(">I")
_READ_BYTES: Final = 1 << 18


class ProcessWriter:
    """Implements `writer.Writer`. Answers come back on the loop that is running when it is made."""

    def __init__(self, path: Path, synchronous: str, keep_fd: int, tell: Tell, lost: Callable[[], None]) -> None:
        """`keep_fd`: a file that the process holds open as long as it lives. `lost`: it ended though nobody closed it."""
        self._tell, self._lost = tell, lost
        self._loop = asyncio.get_running_loop()
        self._writes: list[Write] = []
        self._unsent = bytearray()
        self._received = bytearray()
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        command = [sys.executable, "-m", __name__, str(theirs.fileno()), os.fspath(path), synchronous]
        self._process = subprocess.Popen(command, pass_fds=(theirs.fileno(), keep_fd), stdin=subprocess.DEVNULL)
        theirs.close()
        self._loop.add_reader(self._socket, self._readable)

    def put(self, write: Write) -> None:
        """See `writer.Writer`."""
        if not self._writes:
            self._loop.call_soon(self._send_soon)
        self._writes.append(write)

    def close(self) -> None:
        """See `writer.Writer`."""
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.setblocking(True)
        try:
            self._pack()
            self._socket.sendall(self._unsent)
            self._socket.shutdown(socket.SHUT_WR)
            while data := self._socket.recv(_READ_BYTES):
                self._answers(data)
        except OSError:
            self._lost()
        self._socket.close()
        self._process.wait()

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
            data = self._socket.recv(_READ_BYTES)
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


def framed(what: Any) -> bytes:
    """`what` as a frame."""
    data = pickle.dumps(what, pickle.HIGHEST_PROTOCOL)
    return _SIZE.pack(len(data)) + data


def frames(buffer: bytearray) -> list[Any]:
    """Takes the whole frames off the buffer: what they hold, in order."""
    found, at = list[Any](), 0
    while len(buffer) - at >= _SIZE.size:
        end = at + _SIZE.size + _SIZE.unpack_from(buffer, at)[0]
        if end > len(buffer):
            break
        found.append(pickle.loads(memoryview(buffer)[at + _SIZE.size : end]))
        at = end
    del buffer[:at]
    return found


def main(fd: int, path: Path, synchronous: str) -> None:
    """Commits what comes over the socket until it is closed."""
    for number in (signal.SIGINT, signal.SIGTERM):  # of a whole process group: the server drains first, then closes
        signal.signal(number, signal.SIG_IGN)
    connection = connect(path, synchronous)
    with socket.socket(fileno=fd) as link:
        waiting, buffer = list[Write](), bytearray()
        while waiting or _receive(link, buffer, waiting):
            group, size = list[Write](), 0
            while waiting and size < STORE_GROUP_ITEMS:
                group.append(waiting.pop(0))
                size += len(group[-1].items)
            try:
                link.sendall(_answer(*commit(connection, group)))
            except OSError:
                break  # the server was killed
    connection.close()


def _receive(link: socket.socket, buffer: bytearray, waiting: list[Write]) -> bool:
    """Waits for writes, and takes all that have piled up. False: there will be no more."""
    flags = 0
    while True:
        try:
            data = link.recv(_READ_BYTES, flags)
        except BlockingIOError:
            return True
        if not data:
            return bool(waiting)
        buffer += data
        for writes in frames(buffer):
            waiting += writes
        if waiting:
            flags = socket.MSG_DONTWAIT


def _answer(written: list[Written], commits: int) -> bytes:
    for one in written:
        if one.error is not None:
            one.error.__traceback__ = one.error.__cause__ = None  # they do not travel
    return framed((written, commits))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
