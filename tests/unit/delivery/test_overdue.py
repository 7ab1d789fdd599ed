"""A receipt that never comes: after the wait the carrier is asked (query_sm), and what it says settles the message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from peers.carriers import node_smsc, until
from tidings.delivery import sweep

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Bench


@pytest.mark.parametrize(("state", "status"), [(2, "delivered"), (5, "undelivered"), (0, "sent")])
async def test_the_carrier_is_asked(
    bench: Bench, node_peer: Path, monkeypatch: pytest.MonkeyPatch, state: int, status: str
) -> None:
    monkeypatch.setattr(sweep, "RECEIPT_OVERDUE_S", 0)
    async with node_smsc(node_peer, receipts="none", states={"1001": state} if state else {}) as smsc:
        await bench.open(port=smsc.port, system_id="perf", password="perf", query_sm=True)
        await bench.linked()
        message = await bench.send(sender="ACME")
        await until(lambda: smsc.of("query"))
        await bench.until_status(message, status)
        assert "receipt_overdue" in await bench.events(message)
        assert {line["from"] for line in smsc.of("query")} == {"ACME"}
        await bench.node.stop(1)
