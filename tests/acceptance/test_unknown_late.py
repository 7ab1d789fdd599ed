"""The answer to a submit comes after we gave it up: it settles the unknown outcome, whichever it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from acceptance.test_unknown_foreign import ONE, reaches, running, send
from peers.carriers import node_smsc


@pytest.mark.parametrize(("code", "status"), [(0, "sent"), (0x0B, "failed")])
async def test_a_late_answer_settles_the_unknown(node_peer: Path, tmp_path: Path, code: int, status: str) -> None:
    options: dict[str, Any] = {
        "delay_ms": 1000, "delay_refusals": True, "receipts": "none", "statuses": {ONE[1:]: code} if code else {},
    }  # fmt: skip
    async with node_smsc(node_peer, **options) as smsc, running(smsc.port, tmp_path) as api:
        message = await send(api, ONE, on_unknown="resend")
        await reaches(api, message, status)
        await smsc.caught_up()
        assert len(smsc.of("submit")) == 1, "it was sent again"
