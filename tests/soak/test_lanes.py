"""One-time codes beside a million queued marketing messages at the same provider (100 segments/s). `make soak`.

Prints request→submit percentiles; the figures stand in docs/performance.md. The count-based check of the same guarantee is in
tests/unit/delivery/test_path.py, so that `make test` never depends on the machine's speed.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path

import pytest

from tidings.delivery.accept import Want
from tidings.delivery.settle import UnknownWait
from tidings.domain.request import SendRequest
from unit.delivery.conftest import PROJECT, Bench

QUEUED = int(os.environ.get("TIDINGS_QUEUED", "1000000" if os.environ.get("TIDINGS_CAMPAIGN") == "1" else "20000"))


@pytest.mark.timeout(0)
async def test_codes_pass_a_million(tmp_path: Path) -> None:
    bench = Bench(tmp_path, UnknownWait(10, 900))
    await bench.smsc.start()
    await bench.open(rate_per_s=100)
    try:
        await bench.linked()
        wants = [Want(SendRequest(to="+14155550101", text="sale", lane="marketing")) for _ in range(1000)]
        began = time.monotonic()
        for _ in range(QUEUED // 1000):
            await bench.node.acceptor.accept(PROJECT, "live", wants)
        print(f"\nqueued {QUEUED} in {time.monotonic() - began:.0f} s")
        waits_ms = [await _code(bench, n) for n in range(150)]
    finally:
        await bench.close()
        await bench.smsc.stop()
    waits_ms.sort()
    p50, p99 = waits_ms[len(waits_ms) // 2], waits_ms[int(len(waits_ms) * 0.99)]
    print(
        f"otp request→submit at 10/s beside {QUEUED} marketing: p50={p50:.1f} ms p99={p99:.1f} ms max={waits_ms[-1]:.1f} ms"
    )
    assert waits_ms


async def _code(bench: Bench, number: int) -> float:
    """Milliseconds from the request until the SMSC has read it; then a pause, 10 a second on average."""
    text = f"code {number}"
    began = time.monotonic()
    await bench.send(text=text, lane="otp")
    await bench.until(lambda: any(m.text == text for m in list(bench.smsc.messages)[-30:]))
    took_ms = (time.monotonic() - began) * 1000
    await asyncio.sleep(random.Random(number).expovariate(10))
    return took_ms
