"""The writer as a process of its own: `python -m tidings.store.sqlite.process PATH SYNCHRONOUS FD …`, started by `serve` alone.

It has an interpreter to itself. As a thread of a busy server the writer waits for the interpreter lock some fifty times a
commit, and holds up the event loop as often (docs/decisions/0013-writer-process.md). Server and writer live and die
together: the writer ends when its sockets are closed, and the server when its writer is gone. What was on its way then is
committed, or it is not; nobody was told either way.

On the socket a frame is its length (32 bits, network order) and a pickle: both ends are this very code, and nobody else has
the socket. Nothing here needs an event loop: without one the process has half the memory.
"""

import contextlib
import os
import pickle
import select
import signal
import socket
import struct
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any, Final

from tidings.kit.limits import STORE_GROUP_ITEMS
from tidings.store.sqlite.group import Write, Written, commit
from tidings.store.sqlite.link import Connection, connect

_SIZE: Final = struct.Struct(">I")
READ_BYTES: Final = 1 << 18


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


class WriterProcess:
    """The process as `serve` sees it, with a socket for each of its `links`."""

    def __init__(self, path: Path, synchronous: str, keep_fd: int, links: int) -> None:
        """`keep_fd`: a file that the process holds open as long as it lives."""
        pairs = [socket.socketpair() for _ in range(links)]
        self.sockets = [ours for ours, _ in pairs]
        fds = [theirs.fileno() for _, theirs in pairs]
        command = [sys.executable, "-m", __name__, os.fspath(path), synchronous, *map(str, fds)]
        self._process = subprocess.Popen(command, pass_fds=(*fds, keep_fd), stdin=subprocess.DEVNULL)
        for _, theirs in pairs:
            theirs.close()

    def wait(self) -> None:
        """Until it has ended: once all of its links are closed."""
        self._process.wait()


def main(path: Path, synchronous: str, fds: list[int]) -> None:
    """Commits what comes over the sockets until all of them are closed."""
    for number in (signal.SIGINT, signal.SIGTERM):  # of a whole process group: the server drains first, then closes
        signal.signal(number, signal.SIG_IGN)
    connection = connect(path, synchronous)
    ends = {fd: _End(fd) for fd in fds}
    waiting: deque[tuple[_End, Write]] = deque()
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    while ends:
        for fd, _ in poll.poll(0 if waiting else None):
            if not ends[fd].receive(waiting):
                poll.unregister(fd)
                del ends[fd]
        _commit(connection, waiting)
    connection.close()


class _End:
    """One socket, in the process."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._buffer = bytearray()

    def receive(self, waiting: "deque[tuple[_End, Write]]") -> bool:
        """Takes what has piled up. False: there will be no more."""
        flags = 0
        while True:
            try:
                data = self._socket.recv(READ_BYTES, flags)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not data:
                return False
            self._buffer += data
            for writes in frames(self._buffer):
                waiting.extend((self, write) for write in writes)
            flags = socket.MSG_DONTWAIT

    def answer(self, written: list[Written], commits: int) -> None:
        """Tells what has become of writes, if anybody is left to be told."""
        for one in written:
            if one.error is not None:
                one.error.__traceback__ = one.error.__cause__ = None  # they do not travel
        with contextlib.suppress(OSError):
            self._socket.sendall(framed((written, commits)))


def _commit(connection: Connection, waiting: "deque[tuple[_End, Write]]") -> None:
    """One group. Numbers are an end's own, so the group has numbers of its own."""
    group, size, ends = list[Write](), 0, list[tuple[_End, int]]()
    while waiting and size < STORE_GROUP_ITEMS:
        end, write = waiting.popleft()
        group.append(Write(len(group), write.fn, write.items))
        ends.append((end, write.number))
        size += len(write.items)
    if not group:
        return
    written, commits = commit(connection, group)
    answers: dict[_End, list[Written]] = {}
    for one in written:
        end, number = ends[one.number]
        answers.setdefault(end, []).append(Written(number, one.results, one.error))
    for n, (end, answer) in enumerate(answers.items()):
        end.answer(answer, commits if n == 0 else 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], [int(fd) for fd in sys.argv[3:]])
