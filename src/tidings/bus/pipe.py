"""Doorbells between the processes of one server, over a socket pair: one topic a line.

A ring after a pause goes at once; those that come close behind it are one, as late as the pumps would look anyway.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable

from tidings.bus.contract import Bell
from tidings.bus.local import LocalBus
from tidings.kit.limits import WEBHOOK_GATHER_S


class PipeBus:
    """Implements `contract.Bus` for two processes. Made on the running event loop."""

    def __init__(
        self,
        link: socket.socket,
        ended: Callable[[], None],
        *,
        alone: bool,
        topics: frozenset[str],
        before: Callable[[str], bool] = lambda topic: True,
    ) -> None:
        """`ended`: the other process is gone. `topics`: what it listens to. `alone`: see `contract.Bus`.

        `before` is asked with each topic whether there is anybody to ring for.
        """
        self._local = LocalBus()
        self.alone, self._topics, self._before = alone, topics, before
        self._link, self._ended = link, ended
        self._loop = asyncio.get_running_loop()
        self._rung: set[str] = set()
        self._resting: asyncio.TimerHandle | None = None
        self._received = b""
        link.setblocking(False)
        self._loop.add_reader(link, self._readable)

    @property
    def carries(self) -> bool:
        """See `contract.Bus`."""
        return self._link.fileno() >= 0

    def subscribe(self, topic: str, group: str = "") -> Bell:
        """See `contract.Bus`."""
        return self._local.subscribe(topic, group)

    def unsubscribe(self, topic: str, bell: Bell) -> None:
        """See `contract.Bus`."""
        self._local.unsubscribe(topic, bell)

    def ring(self, topic: str) -> None:
        """See `contract.Bus`."""
        self._local.ring(topic)
        self.ring_others(topic)

    def ring_others(self, topic: str) -> None:
        """See `contract.Bus`."""
        if topic not in self._topics or not self._before(topic):
            return
        if self._resting is not None:
            self._rung.add(topic)
        elif self.carries:
            self._say({topic})
            self._resting = self._loop.call_later(WEBHOOK_GATHER_S, self._rested)

    def expect_end(self) -> None:
        """The other process may leave now."""
        self._ended = _nothing

    def close(self) -> None:
        """The other process is told that this one leaves."""
        if self.carries:
            self._loop.remove_reader(self._link)
            self._link.close()
        if self._resting is not None:
            self._resting.cancel()

    def _rested(self) -> None:
        self._resting = None
        rung, self._rung = self._rung, set()
        if rung and self.carries:
            self._say(rung)
            self._resting = self._loop.call_later(WEBHOOK_GATHER_S, self._rested)

    def _say(self, topics: set[str]) -> None:
        with contextlib.suppress(
            OSError
        ):  # full: there are rings enough on their way; or gone, as `_readable` will hear
            self._link.send("".join(f"{topic}\n" for topic in topics).encode())

    def _readable(self) -> None:
        try:
            data = self._link.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._link)
            self._ended()
            return
        *lines, self._received = (self._received + data).split(b"\n")
        for topic in {line.decode() for line in lines}:
            self._local.ring(topic)


def _nothing() -> None:
    pass
