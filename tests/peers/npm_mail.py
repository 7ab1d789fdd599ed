"""npm `smtp-server` as a receiving mail system, a process of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from conftest import require_peer

from .carriers import until


@asynccontextmanager
async def node_server(folder: Path) -> AsyncIterator[tuple[int, list[dict[str, Any]]]]:
    """npm `smtp-server`: its port and what it says."""
    require_peer("npm-smtp-server")
    process = await asyncio.create_subprocess_exec(
        "node",
        "smtp_server.js",
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    events: list[dict[str, Any]] = []
    out = process.stdout

    async def read() -> None:
        async for line in out:
            events.append(json.loads(line))

    reading = asyncio.create_task(read())
    try:
        await until(lambda: events, 60)
        yield events[0]["port"], events
    finally:
        process.stdin.close()
        await process.wait()
        await reading
