"""One poison message: a stage fails on it, or the worker ends with it, every time. It ends; its neighbours do not wait for it.

A supervisor starts the server again, as systemd or an orchestrator would.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from peers.carriers import node_smsc
from tidings.kit.limits import STRIKES, SUSPECT_AFTER

from . import books
from .rig import SHORT_LEASES, WINDOW, Load, Server

if TYPE_CHECKING:
    from pathlib import Path

    from postgres_server import Server as PostgresServer

CAMPAIGN = os.environ.get("TIDINGS_CAMPAIGN") == "1"
COUNT = 2_000 if CAMPAIGN else 150
SEED = int(os.environ.get("TIDINGS_SEED", "20261124"))
_RENDER = """
import os, signal
from tidings.delivery import stages
first = stages.render_text
def render(message):
    if message.personal.text == "POISON":
        {act}
    return first(message)
stages.render_text = render
"""
#: Where it strikes: before anything is stored of the attempt, or after, with the attempt on its way to the wire.
POISONS = {
    "raises": _RENDER.format(act='raise ZeroDivisionError("poison")'),
    "kills": _RENDER.format(act="os.kill(os.getpid(), signal.SIGKILL)"),
    "kills at the wire": """
import os, signal
from tidings.channels.sms.smpp_submit import SubmitWriter
first = SubmitWriter.pdu
def pdu(self, submission, *rest):
    if b"POISON" in submission.parts[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return first(self, submission, *rest)
SubmitWriter.pdu = pdu
""",
}
#: One death on each engine in `make test`: a start takes a second or two, and there are five.
CASES = (
    [(engine, poison) for engine in ("sqlite", "postgres") for poison in POISONS]
    if CAMPAIGN
    else [("sqlite", "raises"), ("sqlite", "kills at the wire"), ("postgres", "kills")]
)
CODES = {"raises": "internal_error", "kills": "poison", "kills at the wire": "poison"}
#: What is set to seconds for operators is short in `make test`.
SHORT_PAUSES = (
    ""
    if CAMPAIGN
    else """
from tidings.delivery import accept, dispatch, quarantine
accept.LEASE_S = dispatch.LEASE_S = 2
quarantine.STRIKE_PAUSE_S = 0.2
"""
)
#: Nobody is ever a suspect.
SABOTEUR = """
from tidings.delivery import quarantine
quarantine.SUSPECT_AFTER = quarantine.STRIKES = 10**9
"""


@contextlib.asynccontextmanager
async def supervised(server: Server, patch: str) -> AsyncIterator[list[float]]:
    """Starts it again whenever it has ended; when that was."""
    restarts: list[float] = []

    async def watch() -> None:
        while True:
            assert server.process is not None
            await server.process.wait()
            restarts.append(time.monotonic())
            await server.start_patched(patch)

    await server.start_patched(patch)
    watching = asyncio.create_task(watch())
    try:
        yield restarts
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        await server.end()


async def story(
    folder: Path, node_peer: Path, url: str | None, poison: str, deadline_s: float, patch: str = ""
) -> tuple[books.Books, int, str]:
    """The books, the restarts, and what became of the poison."""
    async with node_smsc(node_peer) as smsc:
        server = Server(folder, smsc.port, 1, url)
        patch = POISONS[poison] + SHORT_LEASES + SHORT_PAUSES + patch
        async with supervised(server, patch) as restarts:
            load = Load(server.url, "resend", pace_s=0.02)
            load.texts = {COUNT // 2: "POISON"}
            await load.run(COUNT)
            load.accepted.discard(COUNT // 2)
            told = await books.close(server, smsc, load, deadline_s)
            rows = await server.rows("select cast(error as text) from messages where status = 'failed'")
            events = await server.rows("select count(*) from events where type = 'message.failed'")
            assert events[0][0] == len(rows)
            return told, len(restarts), str(rows[0][0]) if len(rows) == 1 else str(rows)


@pytest.mark.timeout(0 if CAMPAIGN else 110)
@pytest.mark.parametrize(("engine", "poison"), CASES)
async def test_poison(
    tmp_path: Path, node_peer: Path, postgres_server: PostgresServer, engine: str, poison: str
) -> None:
    url = await postgres_server.database() if engine == "postgres" else None
    told, restarts, error = await story(tmp_path, node_peer, url, poison, 120 if CAMPAIGN else 60)
    print(told.line("poison", engine=engine, poison=repr(poison), seed=SEED, restarts=restarts, error=error))
    assert CODES[poison] in error
    assert told.lost == told.stuck == 0
    assert restarts <= (0 if poison == "raises" else SUSPECT_AFTER + STRIKES)
    assert told.duplicates <= restarts * WINDOW
    assert told.statuses["failed"] == 1, "no neighbour may end with it"


@pytest.mark.timeout(110)
async def test_the_check_goes_red_without_the_quarantine(tmp_path: Path, node_peer: Path) -> None:
    told, restarts, _ = await story(tmp_path, node_peer, None, "raises", 3, SABOTEUR)
    print(told.line("poison saboteur", seed=SEED, restarts=restarts))
    assert told.stuck == 1
