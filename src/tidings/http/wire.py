"""uvicorn's HTTP/1.1 protocol with what it leaves open: limits on a request's head, and on how long an answer waits to be
read; and the hot routes, which are given their requests as they came, without ASGI.

Without them a caller that sends nothing, or one header line an hour, or reads nothing, keeps its socket for ever, and one that
never ends its headers fills the memory. (Bodies are bounded in `body.read_body`.) Source: RFC 9110 §15.5.9, RFC 9112 §9.5.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Protocol, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from tidings.kit.limits import HEAD_BYTES, HEAD_TIMEOUT_S, UNREAD_TIMEOUT_S

_APART_BYTES: Final = 16_384  # a longer body is not copied: thousands of connections may wait with the same page
_UNWATCHED: Final = asyncio.Event()  # nobody waits for the body of a request that is already there


class Hot(Protocol):
    """A route without ASGI, as far as a connection knows it (`messages_hot.HotMessages`, `pages.FixedPage`)."""

    def take(self, exchange: "HotExchange", fields: list[tuple[bytes, bytes]], body: bytes) -> bool:
        """Answers a whole request, now or later. False: it has to go the ordinary way."""
        ...


class HotExchange:
    """A request of a hot route on its connection. To uvicorn it is the connection's cycle like any other.

    It is complete when its answer has gone out but for what fits the buffer: whoever does not read is not served on.
    """

    message_event = _UNWATCHED
    __slots__ = ("_connection", "disconnected", "keep_alive", "response_complete")

    def __init__(self, connection: "PatientProtocol", keep_alive: bool) -> None:
        self._connection, self.keep_alive = connection, keep_alive
        self.response_complete = self.disconnected = False

    def reply(self, status: int, head: bytes, body: bytes) -> None:
        """Writes the answer; `head`: its header fields, each with its line end."""
        connection = self._connection
        transport = connection.transport
        if self.disconnected or transport.is_closing():
            self.response_complete = True
            return
        ending = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
        whole = STATUS_LINE[status], connection.own_fields(), head, ending
        if len(body) > _APART_BYTES:
            transport.writelines((b"".join(whole), body))
        else:
            transport.write(b"".join((*whole, body)))
        if connection.flow.write_paused:
            connection.unfinished = self
        else:
            self.complete()

    def complete(self) -> None:
        """The connection is free for the next request."""
        self.response_complete = True
        if not self.keep_alive:
            self._connection.transport.close()
        self._connection.on_response_complete()


class PatientProtocol(HttpToolsProtocol):
    """Give it to uvicorn as `http=PatientProtocol`. An application with a `hot` has hot routes: URL → method and `Hot`."""

    unfinished: HotExchange | None = None  # its answer waits for its reader
    _head_since_s: float | None
    _head_bytes: int
    _watch: asyncio.TimerHandle
    _hots: Mapping[bytes, tuple[bytes, Hot]]
    _hot: Hot | None = None  # of the request that is under way
    _hot_body: list[bytes] | None = None  # of a request that may be hot, from its head on
    _fields: tuple[Any, bytes] = (None, b"")
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first head must come within the time."""
        super().connection_made(transport)
        self._hots = getattr(cast(Any, self).app, "hot", {})
        self._head_since_s, self._head_bytes = self.loop.time(), 0
        self._watch = self.loop.call_later(HEAD_TIMEOUT_S, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the watch."""
        self._watch.cancel()
        self._read_on()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Counts the bytes of a head that is not yet whole. A request of which more is to come is not hot."""
        if self._head_since_s is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._hot_body is not None:
            self._go_on()
        if self._head_since_s is not None and self._head_bytes > HEAD_BYTES:
            self.transport.close()

    def on_message_begin(self) -> None:
        """A head begins."""
        if self._head_since_s is None:
            self._head_since_s, self._head_bytes = self.loop.time(), 0
        cast(Any, super()).on_message_begin()

    def on_headers_complete(self) -> None:
        """It is whole."""
        self._head_since_s = None
        method, self._hot = self._hots.get(self.url, (b"", None))
        if self._hot is not None and self._may_be_hot(method):
            self._hot_body = []
        else:
            cast(Any, super()).on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._hot_body is not None:
            self._hot_body.append(body)
        else:
            cast(Any, super()).on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._hot_body is not None:
            before, body = self.cycle, b"".join(self._hot_body)
            exchange = HotExchange(self, cast(Any, self.parser).should_keep_alive())
            self.cycle = cast(Any, exchange)
            assert self._hot is not None
            if self._hot.take(exchange, self.headers, body):
                self._hot_body = None
                return
            self.cycle = before
            self._go_on()
        cast(Any, super()).on_message_complete()

    def own_fields(self) -> bytes:
        """The header fields that the server itself gives every answer; uvicorn renews them every second."""
        fields = self.server_state.default_headers
        if self._fields[0] is not fields:
            PatientProtocol._fields = (fields, b"".join(b"%b: %b\r\n" % field for field in fields))
        return self._fields[1]

    def _may_be_hot(self, method: bytes) -> bool:
        """Nothing about the head asks for more than an answer, and the connection is at rest."""
        parser = cast(Any, self.parser)
        return (
            parser.get_method() == method
            and parser.get_http_version() == "1.1"
            and not parser.should_upgrade()
            and not self.expect_100_continue
            and not self.flow.write_paused
            and (self.cycle is None or self.cycle.response_complete)  # pyright: ignore[reportUnnecessaryComparison]
        )

    def _go_on(self) -> None:
        """The ordinary way, with what has come of the body."""
        pieces, self._hot_body = self._hot_body or (), None
        if self.transport.is_closing():
            return
        cast(Any, super()).on_headers_complete()
        for piece in pieces:
            cast(Any, super()).on_body(piece)

    def pause_writing(self) -> None:
        """The caller does not read as fast as it is answered: from now on something must go out within the time."""
        super().pause_writing()
        self._read_on()
        self._unread = self.loop.call_later(UNREAD_TIMEOUT_S, self._look_unread, self._waiting_bytes())

    def resume_writing(self) -> None:
        """It has read."""
        self._read_on()
        super().resume_writing()
        done, self.unfinished = self.unfinished, None
        if done is not None:
            done.complete()

    def _read_on(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _waiting_bytes(self) -> int:
        return self.transport.get_write_buffer_size()

    def _look_unread(self, before: int) -> None:
        left = self._waiting_bytes()
        if left >= before:
            self.transport.abort()  # what is left would never go out
            return
        self._unread = self.loop.call_later(UNREAD_TIMEOUT_S, self._look_unread, left)

    def _look(self) -> None:
        """One timer for a connection, not for a request: a slow head is cut off after one to two times the limit."""
        if self._head_since_s is not None and self.loop.time() - self._head_since_s >= HEAD_TIMEOUT_S * 0.99:
            self.transport.close()
            return
        self._watch = self.loop.call_later(HEAD_TIMEOUT_S, self._look)
