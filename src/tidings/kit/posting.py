"""POSTs over kept connections: the hot half of `outbound`. What a call of a webhook costs is a head, one write and one read.

A connection carries one request at a time. Of an answer only the status counts; its body is read away within bounds. A
connection that the other side closed while it lay idle is noticed at the next call, which then goes over a new one: a
webhook may come twice, never not at all. Addresses are judged by the guard on every connection, after DNS (`outbound`).
Source: RFC 9112 (HTTP/1.1) §9.3 persistence, §9.3.1 retrying; RFC 9110 §15.2 (1xx answers are no answers)
"""

import asyncio
import contextlib
import socket
import ssl
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple

import httptools
from yarl import URL

from tidings.kit.limits import OUTBOUND_IDLE_S, WEBHOOK_RESPONSE_BYTES

#: Connects to one of the addresses behind (host, port) that may be dialled. Raises OSError.
Dial = Callable[[str, int], Awaitable[socket.socket]]
AGENT: Final = "Tidings/0.1"


class Broken(OSError):
    """The connection ended, or what came was not HTTP, before there was a status. `fresh`: it was not an idle one's end."""

    def __init__(self, reason: str, *, fresh: bool = True) -> None:
        super().__init__(reason)
        self.reason, self.fresh = reason, fresh


class _Target(NamedTuple):
    host: str
    port: int
    tls: bool
    head: bytes  # the request line and the fields that are the same each time


@lru_cache(maxsize=4_096)
def _target(text: str) -> _Target:
    """Parsing costs as much as half a call. Raises ValueError."""
    url = URL(text)
    if url.scheme not in ("http", "https") or not url.raw_host or url.port is None:
        raise ValueError("not an http(s) URL")
    shown = f"[{url.raw_host}]" if ":" in url.raw_host else url.raw_host
    where = shown if url.is_default_port() else f"{shown}:{url.port}"
    lines = [f"POST {url.raw_path_qs or '/'} HTTP/1.1", f"Host: {where}", f"User-Agent: {AGENT}"]
    if url.user is not None:
        lines.append("Authorization: Basic " + b64encode(f"{url.user}:{url.password or ''}".encode()).decode())
    return _Target(url.raw_host, url.port, url.scheme == "https", "\r\n".join(lines).encode("ascii") + b"\r\n")


def request_bytes(head: bytes, headers: dict[str, str], body: bytes) -> bytes:
    """The request as it is written. Raises ValueError for a field with a line end in it."""
    fields = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if fields.count("\n") != len(headers) or fields.count("\r") != len(headers):
        raise ValueError("a header field with a line end in it")
    return b"%b%bContent-Length: %d\r\n\r\n%b" % (head, fields.encode("latin-1"), len(body), body)


class _Connection(asyncio.Protocol):
    """One connection: `ask` writes a request, the future it gives is the status."""

    def __init__(self) -> None:
        self.idle_since = 0.0
        self.usable = True
        self._used = False
        self._answer: asyncio.Future[int] | None = None
        self._status, self._size = 0, 0
        self._parser: Any = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def ask(self, request: bytes) -> "asyncio.Future[int]":
        """Writes it. The status comes once the whole answer has been read away. Raises Broken."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._parser, self._status, self._size = httptools.HttpResponseParser(self), 0, 0
        self._transport.write(request)
        return self._answer

    def close(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.abort() if self._answer is not None else self._transport.close()

    def data_received(self, data: bytes) -> None:
        if self._answer is None:  # nobody asked
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._end(Broken("the answer is not HTTP"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else "the connection was closed"
        self._end(Broken(reason, fresh=not self._used))

    # -- the parser's reports

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > WEBHOOK_RESPONSE_BYTES:
            self.usable = False  # an endless body: the status is all we wanted
            self._end(None)

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()

    def on_message_complete(self) -> None:
        if self._status < 200:
            self._status = 0  # more is to come
            return
        self.usable = self.usable and self._parser.should_keep_alive()
        self._used = True
        self._end(None)

    def _end(self, broken: Broken | None) -> None:
        """Of an answer that was cut off in its body the status still counts."""
        answer, self._answer = self._answer, None
        if self._status == 0:
            self.usable = False
        if answer is not None and not answer.done():
            if self._status >= 200:
                answer.set_result(self._status)
            else:
                answer.set_exception(broken or Broken("the connection was closed"))
        if not self.usable and self._transport is not None:
            self._transport.close()


class Poster:
    """A pool of connections. Made on the running event loop."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._idle: OrderedDict[tuple[str, int, bool], list[_Connection]] = OrderedDict()
        self._tls: ssl.SSLContext | None = None
        self._sweep: asyncio.TimerHandle | None = None

    async def post(self, url: str, headers: dict[str, str], body: bytes, timeout_s: float) -> int:
        """The status of the answer. Raises TimeoutError, OSError (Broken, ssl.SSLError among them), ValueError."""
        target = _target(url)
        request = request_bytes(target.head, headers, body)
        loop = asyncio.get_running_loop()
        by_s = loop.time() + timeout_s
        key = target[:3]
        while True:
            connection = self._take(key) or await self._open(target, by_s)
            answer = connection.ask(request)
            timer = loop.call_at(by_s, _give_up, answer)
            try:
                status = await answer
            except Broken as broken:
                if broken.fresh:
                    raise
                continue  # it had been closed while it lay idle
            except BaseException:
                connection.close()
                raise
            finally:
                timer.cancel()
            if connection.usable:
                self._keep(key, connection)
            return status

    def close(self) -> None:
        """Closes the idle connections."""
        if self._sweep is not None:
            self._sweep.cancel()
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    async def _open(self, target: _Target, by_s: float) -> _Connection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout_at(by_s):
            dialled = await self._dial(target.host, target.port)
            tls: dict[str, Any] = {}
            if target.tls:
                if self._tls is None:
                    self._tls = await loop.run_in_executor(None, ssl.create_default_context)
                tls = {"ssl": self._tls, "server_hostname": target.host}
            try:
                _, connection = await loop.create_connection(_Connection, sock=dialled, **tls)
            except BaseException:
                dialled.close()
                raise
            return connection

    def _take(self, key: tuple[str, int, bool]) -> _Connection | None:
        connections = self._idle.get(key)
        while connections:
            connection = connections.pop()  # the one used last: the others may rest until they are closed
            if connection.usable:
                return connection
        return None

    def _keep(self, key: tuple[str, int, bool], connection: _Connection) -> None:
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.setdefault(key, []).append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(OUTBOUND_IDLE_S, self._rested)

    def _rested(self) -> None:
        """Closes what has been idle for long."""
        loop, self._sweep = asyncio.get_running_loop(), None
        for key, connections in list(self._idle.items()):
            old = [one for one in connections if not one.usable or one.idle_since <= loop.time() - OUTBOUND_IDLE_S]
            for connection in old:
                connection.close()
            left = [one for one in connections if one not in old]
            if left:
                self._idle[key] = left
            else:
                del self._idle[key]
        if self._idle:
            self._sweep = loop.call_later(OUTBOUND_IDLE_S, self._rested)


def _give_up(answer: "asyncio.Future[int]") -> None:
    if not answer.done():
        answer.set_exception(TimeoutError())


async def connected(addresses: list[Any], sockets: Callable[[Any], socket.socket]) -> socket.socket:
    """A socket that is connected to the first of these that can be reached. Raises OSError."""
    failure: OSError = OSError("the host name has no address")
    for info in addresses:
        made = None
        try:
            made = sockets(info)
            await asyncio.get_running_loop().sock_connect(made, info[4])
        except OSError as error:
            failure = error
        except BaseException:
            if made is not None:
                made.close()
            raise
        else:
            return made
        if made is not None:
            with contextlib.suppress(OSError):
                made.close()
    raise failure
