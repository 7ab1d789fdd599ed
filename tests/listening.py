"""TCP servers of the tests: when one has stopped nothing of it is left that a later test would trip over."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Listening:
    """`serve(reader, writer)` for each connection to 127.0.0.1. `async with` gives the port.

    A caller that goes away ends `serve`; any other exception of it is raised when the server stops.
    """

    def __init__(self, serve: Serve, tls: ssl.SSLContext | None = None) -> None:
        self._serve, self._tls = serve, tls
        self._calls: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Listens; the port."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Ends `serve` where it runs, breaks the connections and waits until they are gone."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for _ in range(3):  # what the kernel has handed over already comes in the loop's next turns
            await asyncio.sleep(0)
        for call in self._calls:
            call.cancel()
        ends = await asyncio.gather(*self._calls, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def __aenter__(self) -> int:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        if self._server is None:
            writer.transport.abort()
        else:
            self._calls.add(asyncio.create_task(self._call(reader, writer)))

    async def _call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await self._serve(reader, writer)
        writer.close()
