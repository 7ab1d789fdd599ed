"""A hostile crowd (`hostile.py`) beside a server, and what is measured of the healthy ones."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from .rig import Server

RATIO_GOAL = 2.0
RSS_MB = 400


@contextlib.asynccontextmanager
async def crowd(port: int, count: int, kind: str, *, once: str = "open") -> AsyncIterator[list[dict[str, int]]]:
    """A crowd that has come together: `count` are `once`, "open" at a time or "opened" in all where the server holds fewer.

    The list grows by what it says of itself.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chaos.hostile", str(port), str(count), kind, cwd=Path(__file__).parent.parent,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    said: list[dict[str, int]] = []

    async def listen(lines: asyncio.StreamReader) -> None:
        async for line in lines:
            said.append(json.loads(line))

    listening = asyncio.create_task(listen(process.stdout))
    try:
        began_s = time.monotonic()
        while time.monotonic() - began_s < 30 and (not said or said[-1].get(once, 0) < count * 0.95):
            await asyncio.sleep(0.1)
        yield said
    finally:
        process.stdin.close()
        await process.wait()
        await listening


def p(latencies: list[float], share: float) -> float:
    """A percentile."""
    return sorted(latencies)[min(len(latencies) - 1, int(len(latencies) * share))]


def memory_mb(server: Server) -> tuple[int, int]:
    """(resident, file descriptors) of the server."""
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    rss_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return rss_kb // 1024, len(os.listdir(f"/proc/{server.process.pid}/fd"))


def line(kind: str, said: dict[str, int], phases: tuple[list[float], ...], rss: tuple[int, int], fds: int) -> str:
    """For the terminal and docs/reliability.md. `phases`: latencies in seconds before, under, and after the crowd, which tells
    how much the machine itself changed meanwhile; `rss`: MB before and under."""
    before, under, after = phases
    ratio = p(under, 0.99) / p([*before, *after], 0.99)
    p99, p50 = (" -> ".join(f"{p(phase, share) * 1e3:.1f}" for phase in phases) for share in (0.99, 0.5))
    return (
        f"\nhostile {kind}: {said} p99 {p99} ms (ratio to without {ratio:.2f}, goal <= {RATIO_GOAL}:"
        f" {'met' if ratio <= RATIO_GOAL else 'MISSED'}) p50 {p50} ms; rss {rss[0]} -> {rss[1]} MB, fds {fds}"
    )
