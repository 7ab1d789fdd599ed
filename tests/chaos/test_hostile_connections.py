"""Slow loris and half-open connections: what one crowd leaves unfinished does not keep others from being served.

In `make test` 400 connections, and every healthy request is answered; `make chaos` opens 10,000, and prints the p99 of the
healthy ones beside what it was without the crowd. Each healthy request is over a connection of its own or an old one, half
and half: a newcomer must get in, too.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import aiohttp
import pytest

from .crowd import RSS_MB, crowd, line, memory_mb, p
from .rig import KEY, Server

CAMPAIGN = os.environ.get("TIDINGS_CAMPAIGN") == "1"
CROWD = 10_000 if CAMPAIGN else 600
REQUESTS, AFTER = (3_000, 1_500) if CAMPAIGN else (200, 100)
HEALTHY_PER_S = 100


async def healthy(server: Server, count: int) -> list[float]:
    """Latencies in seconds from the scheduled time, of requests that must all be answered as usual."""
    headers = {"Authorization": f"Bearer {KEY}"}
    latencies: list[float] = []
    async with (
        aiohttp.ClientSession(headers=headers) as old,
        aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(force_close=True, limit=0)) as new,
        asyncio.TaskGroup() as group,
    ):

        async def one(n: int, due_s: float) -> None:
            session = new if n % 2 else old
            timeout = aiohttp.ClientTimeout(total=120 if CAMPAIGN else 30)
            body = {"to": "+14155550123", "text": f"n{n}"}
            async with session.post(f"{server.url}/v1/messages", json=body, timeout=timeout) as answer:
                assert answer.status == 202, await answer.text()
            latencies.append(time.monotonic() - due_s)

        began_s = time.monotonic()
        for n in range(count):
            due_s = began_s + n / HEALTHY_PER_S
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            group.create_task(one(n, due_s))
    return latencies


@pytest.mark.timeout(0 if CAMPAIGN else 400)
@pytest.mark.parametrize("kind", ["silent", "head", "body", "unread", "mixed"] if CAMPAIGN else ["mixed"])
async def test_healthy_requests_beside_a_hostile_crowd(tmp_path: Path, kind: str) -> None:
    server = Server(tmp_path, smsc_port=1, unknown_wait_s=1)
    await server.start()
    try:
        await healthy(server, 100)
        before, (rss_before_mb, _) = await healthy(server, REQUESTS), memory_mb(server)
        async with crowd(server.port, CROWD, kind) as said:
            assert said, "the crowd never came"
            under = await healthy(server, REQUESTS)
            rss_mb, fds = memory_mb(server)
        after = await healthy(server, AFTER)
        assert server.process is not None
        assert server.process.returncode is None
    finally:
        await server.end()
    print(line(kind, said[-1], (before, under, after), (rss_before_mb, rss_mb), fds))
    assert len(under) == REQUESTS
    assert len(after) == AFTER
    assert rss_mb <= RSS_MB


@pytest.mark.timeout(400)
async def test_more_connections_than_descriptors(tmp_path: Path) -> None:
    """A low limit of open files is raised by the server itself, or it still serves: nobody is locked out for good."""
    server = Server(tmp_path, smsc_port=1, unknown_wait_s=1)
    await server.start("bash", "-c", 'ulimit -Sn 256; exec "$@"', "bash")
    try:
        async with crowd(server.port, 400, "head") as said:
            under = await healthy(server, 100)
        after = await healthy(server, 50)
        assert server.process is not None
        assert server.process.returncode is None
    finally:
        await server.end()
    print(f"\n256 descriptors, 400 connections: {said[-1]} healthy p99 {p(under, 0.99) * 1e3:.1f} ms")
    assert len(under) == 100
    assert len(after) == 50
