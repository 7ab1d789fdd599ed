"""A crowd that opens connections and never finishes what it began: `python -m chaos.hostile PORT COUNT KIND` in tests/.

It keeps COUNT connections open (one that is closed is opened again) until its standard input ends, and prints one line of
JSON a second. Kinds: `silent` says nothing, `head` sends a header line now and then, `body` a byte of a body now and then,
`unread` asks again and again and never reads the answers, `smpp` sends half of a bind. `mixed` is all of the HTTP ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import sys
from collections import Counter
from itertools import cycle

_BODY = b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"
#: kind → what it sends first, and what it sends again and again
KINDS: dict[str, tuple[bytes, bytes]] = {
    "silent": (b"", b""),
    "head": (b"GET /v1/messages HTTP/1.1\r\nHost: a\r\n", b"X-Slow: a\r\n"),
    "body": (_BODY, b" "),
    "unread": (b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n"),
    "smpp": (b"\0\0\0\x2f\0\0\0\x09\0\0\0\0\0\0\0\1te", b""),
}
HTTP_KINDS = ("silent", "head", "body", "unread")
DRIBBLE_S = 7.0
OPENING = 50  # at once
#: As many as the server's head time-out makes of ten thousand that are held, twice over: held connections are the attack
#: here, not the rate of new ones.
OPENED_PER_S = 1_000
#: Connections from one address to one port are limited by its 28,000 ports; loopback has many addresses.
ADDRESSES = [f"127.0.0.{n}" for n in range(2, 10)]


class Half(asyncio.Protocol):
    """One connection of the crowd."""

    def __init__(self, crowd: Crowd, kind: str) -> None:
        self.crowd, self.kind = crowd, kind
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.crowd.open.add(self)
        if self.kind == "unread":
            transport.pause_reading()
        if KINDS[self.kind][0]:
            transport.write(KINDS[self.kind][0])

    def dribble(self) -> None:
        if self.transport is not None and KINDS[self.kind][1] and self.transport.get_write_buffer_size() < 4096:
            self.transport.write(KINDS[self.kind][1])

    def connection_lost(self, exc: Exception | None) -> None:
        self.crowd.open.discard(self)
        self.crowd.counts["closed"] += 1


class Crowd:
    """All of them."""

    def __init__(self, port: int, count: int, kind: str) -> None:
        self.port, self.count = port, count
        self.kinds = cycle(HTTP_KINDS if kind == "mixed" else (kind,))
        self.open: set[Half] = set()
        self.counts: Counter[str] = Counter()
        self.opening = 0
        self.next_s = 0.0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for n in range(OPENING):
                group.create_task(self._keep(ADDRESSES[n % len(ADDRESSES)]))
            group.create_task(self._dribble())
            group.create_task(self._tell())

    async def _keep(self, address: str) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if len(self.open) + self.opening >= self.count:
                await asyncio.sleep(0.05)
                continue
            self.opening += 1
            self.next_s = max(self.next_s + 1 / OPENED_PER_S, loop.time())
            await asyncio.sleep(self.next_s - loop.time())
            try:
                kind = next(self.kinds)
                async with asyncio.timeout(10):
                    await loop.create_connection(
                        lambda kind=kind: Half(self, kind), "127.0.0.1", self.port, local_addr=(address, 0)
                    )
                self.counts["opened"] += 1
            except (OSError, TimeoutError):
                self.counts["refused"] += 1
                await asyncio.sleep(0.1)
            finally:
                self.opening -= 1

    async def _dribble(self) -> None:
        """Spread over the time: a crowd, not a wave."""
        while True:
            for n, half in enumerate(list(self.open)):
                half.dribble()
                if n % 50 == 49:
                    await asyncio.sleep(DRIBBLE_S * 50 / self.count)
            await asyncio.sleep(0.5)

    async def _tell(self) -> None:
        while True:
            print(json.dumps({"open": len(self.open), **self.counts}), flush=True)
            await asyncio.sleep(1)


async def main() -> None:
    port, count, kind = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    run = asyncio.create_task(Crowd(port, count, kind).run())
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
    await ended.wait()
    run.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await run
    os._exit(0)  # ten thousand sockets are closed fastest by the kernel


if __name__ == "__main__":
    asyncio.run(main())
