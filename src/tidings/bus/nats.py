"""Doorbells between processes, over a NATS server. Nothing is kept there: a server that is wiped has lost nothing.

One task holds the connection and makes it anew for ever; another one publishes. Rings of one topic that come close together
are one ring. While the server is away rings reach this process only, and `carries` says so: the others poll.
"""

import asyncio
import contextlib
import hashlib
import itertools
import logging
from typing import Any, Final, NamedTuple

from nats import errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from tidings.bus.contract import Bell
from tidings.bus.local import LocalBus

_log = logging.getLogger(__name__)
_PREFIX: Final = "tidings"
_DEADLINE_S: Final = 2.0  # of every exchange with the server; they take microseconds
_AGAIN_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
_PING_S: Final = 5  # a server that hangs is noticed after two of these
_GATHER_S: Final = 0.001  # rings within it are one
_ERRORS: Final[tuple[type[Exception], ...]] = (
    errors.Error,
    OSError,
    ValueError,
)  # ValueError: what comes back is not NATS


class _Ear(NamedTuple):
    """A listener's doorbell, as the server has to know of it."""

    topic: str
    group: str
    bell: Bell


class NatsBus:
    """Implements `contract.Bus`. Usable before `start`, and whether or not the server is there."""

    def __init__(self, url: str, space: str = "") -> None:
        """`url`: nats://host:port, several separated by commas. `space` keeps installations on one server apart."""
        self._servers = [part.strip() for part in url.split(",") if part.strip()]
        self._prefix = f"{_PREFIX}.{_token(space)}" if space else _PREFIX
        self._local = LocalBus(alone=False)
        self._numbers = itertools.count()
        self._ears: dict[int, _Ear] = {}
        self._heard: dict[int, Any] = {}  # subscriptions of the connection as it is now
        self._changed = asyncio.Event()
        self._rung: set[str] = set()
        self._ringing = asyncio.Event()
        self._client: Client | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._leaving = False

    async def start(self) -> None:
        """Connects in the background; returns at once."""
        self._tasks = [asyncio.create_task(work, name="bus") for work in (self._keep(), self._publish())]

    async def stop(self) -> None:
        """Closes the connection."""
        # told beside the cancellation: nats-py waits by `wait_for`, which on Python 3.11 may swallow one
        self._leaving = True
        self._changed.set()
        self._ringing.set()
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []

    @property
    def alone(self) -> bool:
        """See `contract.Bus`."""
        return False

    @property
    def carries(self) -> bool:
        """See `contract.Bus`."""
        return self._client is not None and self._client.is_connected

    def subscribe(self, topic: str, group: str = "") -> Bell:
        """See `contract.Bus`."""
        bell = self._local.subscribe(topic)
        self._ears[next(self._numbers)] = _Ear(topic, group, bell)
        self._changed.set()
        return bell

    def unsubscribe(self, topic: str, bell: Bell) -> None:
        """See `contract.Bus`."""
        self._local.unsubscribe(topic, bell)
        self._ears = {key: ear for key, ear in self._ears.items() if ear.bell is not bell}
        self._changed.set()

    def ring(self, topic: str) -> None:
        """See `contract.Bus`."""
        self._local.ring(topic)
        self.ring_others(topic)

    def ring_others(self, topic: str) -> None:
        """See `contract.Bus`."""
        if self.carries:  # a ring from before the server was away would wake nobody in time
            self._rung.add(topic)
            self._ringing.set()

    # -- inside

    async def _keep(self) -> None:
        tries = 0
        while not self._leaving:
            closed = asyncio.Event()
            client = Client()
            try:
                await self._connect(client, closed)
                tries = 0
                await self._follow(client, closed)
            except (*_ERRORS, TimeoutError) as error:
                level = logging.WARNING if tries == 0 else logging.DEBUG
                _log.log(level, "no bus, polling instead: %s", str(error) or type(error).__name__)
            finally:
                self._client = None
                self._heard = {}
                await _closed(client)
            if self._leaving:
                return
            await asyncio.sleep(_AGAIN_S[min(tries, len(_AGAIN_S) - 1)])
            tries += 1

    async def _connect(self, client: Client, closed: asyncio.Event) -> None:
        async def ended() -> None:
            closed.set()

        async def failed(error: Exception) -> None:
            _log.debug("bus: %s", error)

        async with asyncio.timeout(_DEADLINE_S * max(1, len(self._servers))):
            await client.connect(
                servers=list(self._servers), allow_reconnect=False, connect_timeout=_DEADLINE_S, ping_interval=_PING_S,  # pyright: ignore[reportArgumentType]
                max_outstanding_pings=2, no_echo=True, name="tidings", closed_cb=ended, disconnected_cb=ended,
                error_cb=failed, max_reconnect_attempts=1, reconnect_time_wait=0,
            )  # fmt: skip

    async def _follow(self, client: Client, closed: asyncio.Event) -> None:
        """Keeps the server's list of our listeners as ours is, until the connection is lost."""
        ending = asyncio.create_task(closed.wait())
        try:
            while not closed.is_set() and not self._leaving:
                self._changed.clear()
                async with asyncio.timeout(_DEADLINE_S):
                    await self._listen(client)
                    await client.flush(timeout=_DEADLINE_S)  # pyright: ignore[reportArgumentType]
                if self._client is None:
                    self._client = client
                    for ear in self._ears.values():
                        ear.bell.ring()  # for what was rung while we were deaf
                changed = asyncio.create_task(self._changed.wait())
                try:
                    await asyncio.wait({ending, changed}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    changed.cancel()
        finally:
            ending.cancel()

    async def _listen(self, client: Any) -> None:
        for key in [key for key in self._heard if key not in self._ears]:
            await self._heard.pop(key).unsubscribe()
        for key, ear in list(self._ears.items()):
            if key not in self._heard:
                self._heard[key] = await client.subscribe(self._subject(ear.topic), ear.group, cb=_ringer(ear.bell))

    async def _publish(self) -> None:
        while not self._leaving:
            await self._ringing.wait()
            self._ringing.clear()
            topics, self._rung = self._rung, set()
            client = self._client
            try:
                if client is not None:
                    async with asyncio.timeout(_DEADLINE_S):
                        for topic in topics:
                            await client.publish(self._subject(topic))
            except (*_ERRORS, TimeoutError) as error:
                _log.debug("a ring is lost: %s", error)
            await asyncio.sleep(_GATHER_S)

    def _subject(self, topic: str) -> str:
        return f"{self._prefix}.{_token(topic)}"


def _ringer(bell: Bell) -> Any:
    async def heard(_: Msg) -> None:
        bell.ring()

    return heard


def _token(text: str) -> str:
    """A name of any letters as one token of a subject."""
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


async def _closed(client: Client) -> None:
    with contextlib.suppress(*_ERRORS, TimeoutError):
        async with asyncio.timeout(_DEADLINE_S):
            await client.close()
