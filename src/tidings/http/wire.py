"""uvicorn's HTTP/1.1 protocol with what it leaves open: limits on a request's head, and on how long an answer waits to be read.

Without them a caller that sends nothing, or one header line an hour, or reads nothing, keeps its socket for ever, and one that
never ends its headers fills the memory. (Bodies are bounded in `body.read_body`.) Source: RFC 9110 §15.5.9, RFC 9112 §9.5.
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tidings.kit.limits import HEAD_BYTES, HEAD_TIMEOUT_S, UNREAD_TIMEOUT_S


class PatientProtocol(HttpToolsProtocol):
    """Give it to uvicorn as `http=PatientProtocol`."""

    _head_since_s: float | None
    _head_bytes: int
    _watch: asyncio.TimerHandle
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first head must come within the time."""
        super().connection_made(transport)
        self._head_since_s, self._head_bytes = self.loop.time(), 0
        self._watch = self.loop.call_later(HEAD_TIMEOUT_S, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the watch."""
        self._watch.cancel()
        self._read_on()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Counts the bytes of a head that is not yet whole."""
        if self._head_since_s is not None:
            self._head_bytes += len(data)
        super().data_received(data)
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
        cast(Any, super()).on_headers_complete()

    def pause_writing(self) -> None:
        """The caller does not read as fast as it is answered: from now on something must go out within the time."""
        super().pause_writing()
        self._read_on()
        self._unread = self.loop.call_later(UNREAD_TIMEOUT_S, self._look_unread, self._waiting_bytes())

    def resume_writing(self) -> None:
        """It has read."""
        self._read_on()
        super().resume_writing()

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
