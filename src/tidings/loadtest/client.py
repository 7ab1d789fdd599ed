"""The load generator's HTTP/1.1 client: keep-alive connections, one request at a time on each, a deadline for every one.

Not `kit/outbound`: that one guards what customers may dial and costs ~0.3 ms of CPU a call. What measures a server must be
much cheaper than what it measures, or it measures itself. Parsing is httptools' (llhttp). Source: RFC 9112
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, cast
from urllib.parse import urlsplit

import httptools

#: (status, body); status 0: there is no answer, and the body says why.
Done = Callable[[int, bytes], None]
#: Servers close idle connections after a minute or so; one that is older is not used again.
_IDLE_S: Final = 20.0
_RECONNECT_S: Final = 0.2
_SWEEP_S: Final = 0.25
_CONNECT_S: Final = 10.0


class Target:
    """Where requests go: a server's URL and a key."""

    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no URL of a server, such as http://127.0.0.1:8300")
        self.host = parts.hostname
        self.port = parts.port or (443 if parts.scheme == "https" else 80)
        self.tls = ssl.create_default_context() if parts.scheme == "https" else None
        name = f"[{self.host}]" if ":" in self.host else self.host
        self._path = parts.path.rstrip("/")
        self._head = (
            f"Host: {name}:{self.port}\r\nUser-Agent: tidings-loadtest\r\nAuthorization: Bearer {key}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode("latin-1")

    def post(self, path: str, body: bytes) -> bytes:
        """The bytes of a POST."""
        line = f"POST {self._path}{path} HTTP/1.1\r\n".encode("latin-1")
        return b"".join((line, self._head, str(len(body)).encode(), b"\r\n\r\n", body))


class _Connection(asyncio.Protocol):
    """One connection. It is free, or it has one request under way (`done`)."""

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self.transport: asyncio.Transport | None = None
        self.done: Done | None = None
        self.since_s = monotonic()

    def send(self, data: bytes, done: Done) -> None:
        """Writes a request."""
        assert self.transport is not None
        self.done, self.since_s = done, monotonic()
        self.transport.write(data)

    def abort(self, reason: str) -> None:
        """Ends it; a request under way has no answer."""
        if self.transport is not None:
            self.transport.abort()
        self._finish(0, reason.encode())

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort("no_http")

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self.transport = None
        self._finish(0, b"connection_lost")
        self._pool.lost(self)

    # -- httptools

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        status, body = self._parser.get_status_code(), b"".join(self._body)
        if status < 200:
            return
        keep = self._parser.should_keep_alive()
        self._body.clear()
        self._finish(status, body)
        if keep:
            self.since_s = monotonic()
            self._pool.free(self)
        elif self.transport is not None:
            self.transport.close()

    def _finish(self, status: int, body: bytes) -> None:
        done, self.done = self.done, None
        if done is not None:
            done(status, body)


class Pool:
    """Up to `size` connections. Requests beyond that wait in order: their latency counts from when they were due."""

    def __init__(self, target: Target, size: int, timeout_s: float) -> None:
        self._target, self._size, self._timeout_s = target, size, timeout_s
        self._idle: deque[_Connection] = deque()
        self._all: set[_Connection] = set()
        self._waiting: deque[tuple[bytes, Done]] = deque()
        self._opening = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self.most_waiting = 0

    async def start(self) -> None:
        """Opens the first connection, so that a wrong URL is told before anything is due. Raises OSError."""
        await self._open()
        self._spawn(self._sweep())

    @property
    def under_way(self) -> int:
        """Requests without an answer yet, those that wait for a connection among them."""
        return len(self._waiting) + sum(1 for one in self._all if one.done is not None)

    def post(self, path: str, body: bytes, done: Done) -> None:
        """Sends now, or as soon as a connection is free. `done` is always called, once."""
        data = self._target.post(path, body)
        connection = self._free_one()
        if connection is not None:
            connection.send(data, done)
            return
        self._waiting.append((data, done))
        self.most_waiting = max(self.most_waiting, len(self._waiting))
        if len(self._all) + self._opening < self._size and self._opening < len(self._waiting):
            self._spawn(self._connect())

    async def close(self) -> None:
        """Ends every connection; requests under way get no answer."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in list(self._all):
            connection.abort("stopped")
        while self._waiting:
            self._waiting.popleft()[1](0, b"stopped")

    # -- what connections tell

    def free(self, connection: _Connection) -> None:
        """It can take the next request."""
        if self._waiting:
            connection.send(*self._waiting.popleft())
        else:
            self._idle.append(connection)

    def lost(self, connection: _Connection) -> None:
        """It is gone."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._waiting and not self._closed and len(self._all) + self._opening < self._size:
            self._spawn(self._connect())

    # -- inside

    def _free_one(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.popleft()
            if connection.transport is None or connection.transport.is_closing():
                continue
            if monotonic() - connection.since_s > _IDLE_S:
                connection.transport.close()
                continue
            return connection
        return None

    async def _open(self) -> None:
        target = self._target
        self._opening += 1
        try:
            async with asyncio.timeout(_CONNECT_S):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: _Connection(self), target.host, target.port, ssl=target.tls
                )
        finally:
            self._opening -= 1
        self._all.add(connection)
        self.free(connection)

    async def _connect(self) -> None:
        try:
            await self._open()
        except OSError:  # TimeoutError among them
            await asyncio.sleep(_RECONNECT_S)
            if self._waiting and not self._opening and not self._closed:
                self._spawn(self._connect())

    async def _sweep(self) -> None:
        """Nobody waits for ever: neither for an answer nor for a connection."""
        since: dict[int, float] = {}
        while True:
            await asyncio.sleep(_SWEEP_S)
            now_s = monotonic()
            for connection in list(self._all):
                if connection.done is not None and now_s - connection.since_s > self._timeout_s:
                    connection.abort("timeout")
            since = {id(item): since.get(id(item), now_s) for item in self._waiting}
            while self._waiting and now_s - since[id(self._waiting[0])] > self._timeout_s:
                self._waiting.popleft()[1](0, b"no_connection")

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
