"""A connection to a mail server: octets out, whole replies in. Every wait has an end."""

import asyncio
import ssl
from collections import deque
from typing import Any, cast

from tidings.protocols.smtp.replies import Reply, ReplyError, ReplyReader


class WireLost(ConnectionError):
    """The connection is gone, or what came is no reply."""


class Wire(asyncio.Protocol):
    """Made by `loop.create_connection`. All waits raise TimeoutError after their time, and WireLost."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._reader = ReplyReader()
        self._replies: deque[Reply] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._full = False
        self.lost: str | None = None

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        try:
            self._replies += self._reader.feed(data)
        except ReplyError as error:
            self._end(f"the server does not speak SMTP: {error}")
            self.abort()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._end(
            "the connection was closed" if exc is None else (getattr(exc, "strerror", None) or type(exc).__name__)
        )
        self._wake()

    def eof_received(self) -> bool:
        """See asyncio.Protocol: we have nothing to say to a server that has gone."""
        return False

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._full = True

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._full = False
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    # what the session calls

    def write(self, data: bytes) -> None:
        """Raises WireLost."""
        if self._transport is None or self.lost is not None or self._transport.is_closing():
            raise WireLost(self.lost or "the connection is closed")
        self._transport.write(data)

    async def drained(self, timeout_s: float) -> None:
        """Waits until most of what was written has left. `timeout_s` is for each piece that the peer takes."""
        while self._full and self.lost is None:
            self._room = asyncio.get_running_loop().create_future()
            before = self._unsent()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._room
            except TimeoutError:
                if self._unsent() >= before:
                    raise
        if self.lost is not None:
            raise WireLost(self.lost)

    async def reply(self, timeout_s: float) -> Reply:
        """The next reply. One that came while the process was held up is there, however late it is looked at."""
        if not self._replies:
            try:
                async with asyncio.timeout(timeout_s):
                    while not self._replies and self.lost is None:  # an interruption is not for us
                        await self._any()
            except TimeoutError:
                await asyncio.sleep(0)  # a loop may ring its timers before it reads
                await asyncio.sleep(0)
                if not self._replies:
                    raise
        if self._replies:
            return self._replies.popleft()
        raise WireLost(self.lost or "the connection is closed")

    async def unasked(self, timeout_s: float) -> bool:
        """Waits until somebody interrupts, something comes unasked, or the line is lost; False: the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._any()
        except TimeoutError:
            return False
        return True

    @property
    def quiet(self) -> bool:
        """Whether nothing has come that nobody asked for."""
        return not self._replies and self._reader.empty and self.lost is None

    async def secure(self, context: ssl.SSLContext, host: str, timeout_s: float) -> None:
        """TLS from here on. What came in the clear behind the reply to STARTTLS is an attack. Raises WireLost, OSError."""
        if not self.quiet or self._transport is None:
            raise WireLost("the server spoke in the clear after STARTTLS")
        made = await asyncio.get_running_loop().start_tls(
            self._transport, self, context, server_hostname=host, ssl_handshake_timeout=timeout_s
        )
        if made is None:
            raise WireLost("the connection was closed during the handshake")
        self._transport = made

    def abort(self) -> None:
        """Closes the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def interrupt(self) -> None:
        """Ends `unasked`."""
        self._wake()

    def _unsent(self) -> int:
        return cast("int", cast("Any", self._transport).get_write_buffer_size()) if self._transport is not None else 0

    async def _any(self) -> None:
        if self._replies or self.lost is not None:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _end(self, reason: str) -> None:
        if self.lost is None:
            self.lost = reason

    def _wake(self) -> None:
        for waiter in (self._waiter, self._room if self.lost is not None else None):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
