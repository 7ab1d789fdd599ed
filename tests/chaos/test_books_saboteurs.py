"""The books themselves: a server that loses, doubles or forgets one message in twenty makes them red."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from peers.carriers import node_smsc

from . import books
from .rig import Load, Server

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 120
_EACH = """
count = 0
def struck():
    global count
    count += 1
    return count % 20 == 0
"""
SABOTEURS = {
    # 202 for a message that was never stored
    "lost": """
from tidings.store import delivery, contract
first = delivery.Accepting.accept
async def accept(self, items):
    if struck():
        return [contract.Accepted("new", i.id, i.status, i.channel, i.created_ms) for i in items]
    return await first(self, items)
delivery.Accepting.accept = accept
""",
    # an outcome that nobody settles
    "stuck": """
from tidings.delivery import dispatch
first = dispatch.Dispatcher.outcomes
def outcomes(self, provider, batch):
    first(self, provider, [o for o in batch if not struck()])
dispatch.Dispatcher.outcomes = outcomes
""",
    # what the carrier has taken is sent again
    "beyond": """
import msgspec
from tidings.delivery import settler
first = settler.settle
def settle(*args):
    item = first(*args)
    if item.kind == "sent" and struck():
        return msgspec.structs.replace(item, kind="retry", status="queued", due_ms=item.at_ms, refs=())
    return item
settler.settle = settle
""",
}


@pytest.mark.timeout(110)
@pytest.mark.parametrize("red", SABOTEURS)
async def test_the_books_go_red(tmp_path: Path, node_peer: Path, red: str) -> None:
    async with node_smsc(node_peer) as smsc:
        server = Server(tmp_path, smsc.port, 1)
        await server.start_patched(_EACH + SABOTEURS[red])
        load = Load(server.url, "resend")
        try:
            await load.run(COUNT, callers=8)
            told = await books.close(server, smsc, load, 3)
        finally:
            await server.end()
    print(told.line("saboteur", red=red))
    assert {name for name in ("lost", "stuck", "beyond") if getattr(told, name)} == {red}
