"""Servers without the second in which Python imports other people's packages: forked from a process that has them.

What runs is `tidings serve` from its command line on, as a process of its own that is killed like any other; of Tidings
itself nothing is imported before the fork, so that a patch comes first, as it would in a new interpreter. The campaigns
and the tests of the command line start the program anew each time.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Any

AVAILABLE = hasattr(os, "pidfd_open")  # Linux
#: What the server imports in the end; to leave one out costs time and nothing else.
_PACKAGES = (
    "aiohttp", "apsw", "asyncpg", "cryptography.hazmat.primitives.ciphers.aead", "httptools", "liquid", "litestar", "msgspec",
    "nats", "phonenumbers", "prometheus_client", "rich.console", "structlog", "typer", "uuid_utils", "uvicorn",
    "uvicorn.protocols.http.httptools_impl", "uvloop",
)  # fmt: skip
_ORDER_BYTES = 1 << 20


class Forked:
    """What the tests use of `asyncio.subprocess.Process`, and `join` of `subprocess.Popen`."""

    def __init__(self, pid: int, fd: int) -> None:
        self.pid, self._fd = pid, fd
        self._code: int | None = None

    @property
    def returncode(self) -> int | None:
        """None as long as it lives; then as `subprocess` has it."""
        if self._fd >= 0 and select.select([self._fd], [], [], 0)[0]:
            os.close(self._fd)
            self._fd = -1
            self._code = _ask({"ended": self.pid})[0]
        return self._code

    def send_signal(self, number: int) -> None:
        """To the process, not to another that has its number by now."""
        if self._fd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._fd, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def join(self, timeout_s: float) -> int:
        """Blocks until it has ended. Raises subprocess.TimeoutExpired."""
        if self._fd >= 0 and not select.select([self._fd], [], [], timeout_s)[0]:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout_s)
        code = self.returncode
        assert code is not None
        return code

    async def wait(self) -> int:
        """Until it has ended; its `returncode`."""
        while (code := self.returncode) is None:
            loop, ended = asyncio.get_running_loop(), asyncio.Event()
            watched = os.dup(self._fd)  # several may wait
            loop.add_reader(watched, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(watched)
                os.close(watched)
        return code


def fork(argv: list[str], env: dict[str, str], log: Path, patch: str = "") -> Forked:
    """A server with this command line and these variables, its output at the end of `log`; `patch` runs first."""
    pid, fds = _ask({"argv": argv, "env": env, "log": str(log), "patch": patch, "cwd": os.getcwd()})
    return Forked(pid, fds[0])


def _ask(order: dict[str, Any]) -> tuple[int, list[int]]:
    with _one_at_a_time:
        _parent().send(json.dumps(order).encode())
        number, fds, _, _ = socket.recv_fds(_parent(), 64, 1)
    return int(number), fds


_one_at_a_time = threading.Lock()


@cache
def _parent() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, str(Path(__file__)), str(theirs.fileno())]
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait(30)

    atexit.register(end)
    return ours


# -- in the process that forks


def _serve(link: socket.socket) -> dict[str, Any] | None:
    """Forks at every order. Returns the order in the child, None in the parent when nobody orders any more."""
    while data := link.recv(_ORDER_BYTES):
        order = json.loads(data)
        if "ended" in order:
            link.send(str(os.waitstatus_to_exitcode(os.waitpid(order["ended"], 0)[1])).encode())
            continue
        pid = os.fork()
        if not pid:
            link.close()
            return order
        fd = os.pidfd_open(pid)  # nobody has waited for it yet, so this is it and no other
        socket.send_fds(link, [str(pid).encode()], [fd])
        os.close(fd)
    return None


def _become(order: dict[str, Any]) -> None:
    with open(order["log"], "ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    sys.argv[:] = order["argv"]
    exec(order["patch"], {"__name__": "patch"})
    importlib.import_module("tidings.cli").main()


if __name__ == "__main__":
    del sys.path[0]  # this folder: a script has it there, the program has not
    for name in _PACKAGES:
        importlib.import_module(name)
    found = _serve(socket.socket(fileno=int(sys.argv[1])))
    if found is not None:
        _become(found)
