"""kill -9 while mails and notifications are under way: nothing lost, nothing stuck, copies within the windows.

The mail system is npm `smtp-server`, the push service an APNs-shaped server on Node's own HTTP/2; both live on and count.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from peers.apns import apns_config, apns_peer
from peers.npm_mail import node_server
from postgres_server import Server as PostgresServer

from .rig import Load, Server, declared, kill_at_random, settled

CAMPAIGN = os.environ.get("TIDINGS_CAMPAIGN") == "1"
COUNT, KILLS = (20_000, 50) if CAMPAIGN else (400, 3)
SEED = int(os.environ.get("TIDINGS_SEED", "20261126"))
CONNECTIONS, STREAMS = 2, 20
MAILS = CONNECTIONS * 8  # what `email.smtp` has in hand at most
NUMBER = re.compile(r"SEQ(\d+)X")


class Both(Load):
    """Even numbers by email, odd ones by push."""

    async def _once(self, session: aiohttp.ClientSession, number: int, body: dict[str, Any]) -> bool:
        if number % 2:
            to: dict[str, Any] = {"channel": "push", "to": f"{number:064x}", "text": body["text"]}
        else:
            content = {"subject": body["text"], "text": "It has shipped."}
            to = {"channel": "email", "to": f"bob{number}@example.net", "content": content}
        return await super()._once(session, number, {"on_unknown": "resend", **to})


def providers(smtp_port: int, apns_port: int) -> str:
    """Their lines of the configuration."""
    mail = {
        "name": "post", "type": "email.smtp", "host": "127.0.0.1", "port": smtp_port, "tls": "none", "connections": CONNECTIONS,
        "allow_networks": ["127.0.0.0/8"], "sender": "Ann <ann@example.com>", "reconnect_min_s": 0.05,
    }  # fmt: skip
    push = {"name": "phones", "type": "push.apns", "window": STREAMS, **apns_config(apns_port)}
    return declared(mail) + declared(push)


def numbers(texts: list[str]) -> Counter[int]:
    """How often each message came."""
    return Counter(int(found[1]) for text in texts if (found := NUMBER.search(text)))


@pytest.mark.timeout(0 if CAMPAIGN else 300)
@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
async def test_kill_9_with_mails_and_notifications(
    tmp_path: Path, node_peer: Path, postgres_server: PostgresServer, engine: str
) -> None:
    url = await postgres_server.database() if engine == "postgres" else None
    async with node_server(node_peer) as (smtp_port, events), apns_peer() as apns:
        server = Server(tmp_path, 1, unknown_wait_s=1, database_url=url, provider=providers(smtp_port, apns.port))
        await server.start()
        load = Both(server.url, "resend", pace_s=0.02)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run(COUNT, callers=8))
                killing = group.create_task(kill_at_random(server, load, COUNT, KILLS, SEED))
            await settled(server, 600 if CAMPAIGN else 120)
            pushed = numbers([request["body"] for request in await apns.requests()])
            mailed = numbers([base64.b64decode(one["raw"]).decode() for one in events if one["event"] == "mail"])
            statuses = dict(await server.rows("select status, count(*) from messages group by status"))
        finally:
            await server.end()
    kills = killing.result()
    bounds = kills * MAILS, kills * STREAMS
    copies = [sum(count - 1 for count in seen.values()) for seen in (mailed, pushed)]
    lost = load.accepted - set(mailed) - set(pushed)
    print(
        f"\nkill -9, email and push: {engine} seed={SEED} kills={kills} accepted={len(load.accepted)} lost={len(lost)} "
        f"duplicates: {copies[0]} mails (bound {bounds[0]}), {copies[1]} notifications (bound {bounds[1]}) {statuses}"
    )
    assert kills == KILLS
    assert lost == set()
    assert set(statuses) <= {"sent", "delivered"}, "something is stuck"
    assert copies[0] <= bounds[0]
    assert copies[1] <= bounds[1]
