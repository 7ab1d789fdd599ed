"""The pumps of the embedded server as a process of their own: `python -m tidings.webhooks.process JSON`, started by `serve`.

It reads the log by a connection of its own, writes through the server's writer, and is rung by the server. So a thousand
calls a second cost the delivery path nothing but their share of the machine (docs/decisions/0013-writer-process.md).
It ends with the server; the server ends when it is lost, as it would if the pumps were a part of it.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from tidings.bus.pipe import PipeBus
from tidings.kit import log
from tidings.kit.clock import wall_ms
from tidings.kit.limits import WEBHOOK_STOP_S
from tidings.kit.secrets import KeyRing
from tidings.store.sqlite.engine import Engine
from tidings.store.store import Store
from tidings.webhooks.service import TOPIC, WebhookService

_log = logging.getLogger(__name__)
_LOST: Final = 70  # EX_SOFTWARE of sysexits.h
_GRACE_S: Final = 5.0  # beyond the moment that calls under way get
_LEAVE: Final = "leave"
_HEARD: Final = frozenset({"events", TOPIC, _LEAVE})
_TOLD: Final = frozenset({"events"})


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """What the process needs to know; the fields after `keys` are those of `[webhooks]`, then its two sockets."""

    database: str
    keys: str
    allow_private: bool
    allow: tuple[str, ...]
    writer_fd: int
    bus_fd: int


class PumpProcess:
    """The process as the server sees it. `bus` is the server's own bus, whose rings the process hears."""

    def __init__(
        self, database: Path, keys: Path, allow_private: bool, allow: tuple[str, ...], writer: socket.socket
    ) -> None:
        """`writer`: a link to the writer; this end of it is given away."""
        ours, self._theirs = socket.socketpair()
        self._writer = writer
        self._process: subprocess.Popen[bytes] | None = None
        self.bus = PipeBus(ours, _lost, alone=True, topics=_HEARD, before=self._heard)  # alone: nobody else delivers
        self._charge = Charge(
            database=os.fspath(database), keys=os.fspath(keys), allow_private=allow_private, allow=allow,
            writer_fd=writer.fileno(), bus_fd=self._theirs.fileno(),
        )  # fmt: skip

    def start(self) -> None:
        """Starts it. Without this it starts by itself when the first endpoint is made: a server without one needs no pumps."""
        fds = self._charge.writer_fd, self._charge.bus_fd
        command = [sys.executable, "-m", __name__, msgspec.json.encode(self._charge).decode()]
        self._process = subprocess.Popen(command, pass_fds=fds, stdin=subprocess.DEVNULL)
        self._theirs.close()
        self._writer.close()

    async def stop(self) -> None:
        """Calls under way get a moment; what they came to is stored."""
        self.bus.expect_end()
        if self._process is None:
            self._theirs.close()
        else:
            self.bus.ring(_LEAVE)
            await self._end(self._process)
        self.bus.close()

    async def _end(self, process: "subprocess.Popen[bytes]") -> None:
        try:
            await asyncio.to_thread(process.wait, WEBHOOK_STOP_S + _GRACE_S)
        except subprocess.TimeoutExpired:
            _log.error("the webhook process does not end; it is killed, and its last calls will be made again")
            process.kill()
            process.wait()

    def _heard(self, topic: str) -> bool:
        if self._process is None and topic == TOPIC:
            self.start()
        return self._process is not None


def _lost() -> None:
    _log.critical("the webhook process has ended; so does the server")
    os._exit(_LOST)


async def serve(charge: Charge) -> None:
    """Runs the pumps until the server says `leave`; without a server nothing is kept, so it ends at once."""
    engine = Engine(Path(charge.database))
    engine.join(socket.socket(fileno=charge.writer_fd))
    bus = PipeBus(socket.socket(fileno=charge.bus_fd), lambda: os._exit(0), alone=False, topics=_TOLD)
    leave = bus.subscribe(_LEAVE)
    pumps = WebhookService(
        Store(engine), KeyRing.load(Path(charge.keys)), bus, wall_ms, charge.allow_private, charge.allow
    )
    try:
        await pumps.start()
        gc.freeze()  # what was imported stays; to look through it is a pause of 20 ms, every few thousand calls
        while not await leave.wait(3600):
            pass
    finally:
        await pumps.stop()
        engine.close()


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # of a whole process group: the server drains first
        signal.signal(number, signal.SIG_IGN)
    log.configure("WARNING", sys.stderr)
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(msgspec.json.decode(sys.argv[1], type=Charge)))
