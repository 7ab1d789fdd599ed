"""An API and two workers on one PostgreSQL database, as real processes, with NATS and without."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from chaos.cluster import Cluster, Process, kill
from nats_server import running
from peers.carriers import NodeSmsc, node_smsc
from postgres_server import Server as PostgresServer
from postgres_server import postgres_server

__all__ = ["postgres_server"]


async def until(check: Callable[[], Awaitable[Any]], deadline_s: float = 20) -> None:
    async with asyncio.timeout(deadline_s):
        while not await check():
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def cluster(
    folder: Path, peers: Path, server: PostgresServer, bus_url: str = "", **options: Any
) -> AsyncIterator[Cluster]:
    """A running one with one tenant, `acme`, whose link is up."""
    async with node_smsc(peers) as smsc:
        made = Cluster(folder, smsc, await server.database(), bus_url=bus_url, **options)
        try:
            await made.start()
            await made.tenant("acme")
            await made.until_up()
            yield made
        finally:
            await made.end()


async def delivered(nodes: Cluster, number: int) -> float:
    """Sends a message, waits for its receipt; how long it took, in seconds."""
    began = asyncio.get_running_loop().time()
    wanted = {"to": f"+4471{number:08}", "from": "12345", "text": f"number {number}"}
    sent = await nodes.call("POST", "/v1/messages", wanted, nodes.keys[0])

    async def there() -> bool:
        found = await nodes.call("GET", f"/v1/messages/{sent['id']}", key=nodes.keys[0])
        return bool(found["status"] == "delivered")

    await until(there)
    return asyncio.get_running_loop().time() - began


@contextlib.asynccontextmanager
async def heard() -> AsyncIterator[tuple[str, list[str]]]:
    """A receiver of webhooks: its URL, and the types that came."""
    types: list[str] = []

    async def take(request: web.Request) -> web.Response:
        types.append((await request.json())["type"])
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/", types
    await runner.cleanup()


async def streamed(nodes: Cluster, types: list[str]) -> None:
    """What `/v1/stream` of the API process gives."""
    headers = {"Authorization": f"Bearer {nodes.keys[0]}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{nodes.api.url}/v1/stream?after=0", timeout=aiohttp.ClientTimeout(None)) as answer,
    ):
        async for line in answer.content:
            if line.startswith(b"data: "):
                types.append(json.loads(line[6:])["type"])


async def owner_of(nodes: Cluster) -> Process:
    """The worker that holds the tenant's binds, by what its own metrics say."""
    for worker in nodes.workers:
        if not worker.alive:
            continue
        async with aiohttp.ClientSession() as session, session.get(f"{worker.url}/metrics") as answer:
            if 'tidings_provider_links_up{provider="acme"} 1.0' in await answer.text():
                return worker
    raise AssertionError("nobody is bound")


@pytest.mark.timeout(170)
async def test_polling(tmp_path: Path, node_peer: Path, postgres_server: PostgresServer) -> None:
    async with cluster(tmp_path, node_peer, postgres_server) as nodes, heard() as (url, called):
        await nodes.call("POST", "/v1/webhooks", {"url": url}, nodes.keys[0])
        seen: list[str] = []
        following = asyncio.create_task(streamed(nodes, seen))
        await delivered(nodes, 1)

        async def told() -> bool:
            return "message.delivered" in seen and "message.delivered" in called

        await until(told)
        following.cancel()
        await worker_has_no_customers(nodes)
        await pauses_everywhere(nodes)

        dying = await owner_of(nodes)
        await kill(dying)
        assert await delivered(nodes, 2) > nodes.term_s * 0.5, "the other one waited for the end of the term"
        assert (await owner_of(nodes)) is not dying
        await dying.start()
        await (await owner_of(nodes)).end()
        assert await delivered(nodes, 3) < 10, "a clean stop hands over at once"
        assert (await owner_of(nodes)) is dying
        await removed_everywhere(nodes)
        assert nodes.binds() == {"acme": 1}


async def worker_has_no_customers(nodes: Cluster) -> None:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {nodes.keys[0]}"}) as session:
        for path, status in (("/healthz", 200), ("/readyz", 200), ("/v1/messages", 404), ("/docs", 404)):
            async with session.get(nodes.workers[0].url + path) as answer:
                assert (path, answer.status) == (path, status)


async def pauses_everywhere(nodes: Cluster) -> None:
    """What is paused over the API unbinds in a worker; resumed, it binds again, also after a refused password."""
    key, before = nodes.keys[0], len(nodes.smsc.of("bind"))
    await nodes.call("POST", "/v1/providers/acme/pause", key=key)
    await until(lambda: _truth(len(nodes.smsc.of("unbind")) == 1))
    assert (await nodes.states())["acme"] == "paused"
    await nodes.smsc.command("set", options={"password": "other"})
    await nodes.call("POST", "/v1/providers/acme/resume", key=key)
    await nodes.until_up(status="auth_failed")
    await nodes.smsc.command("set", options={"password": "perf"})
    await nodes.call("POST", "/v1/providers/acme/resume", key=key)
    await nodes.until_up()
    assert len(nodes.smsc.of("bind")) >= before + 2


async def removed_everywhere(nodes: Cluster) -> None:
    before = len(nodes.smsc.of("unbind"))
    await nodes.call("DELETE", "/v1/providers/acme", key=nodes.keys[0])
    await until(lambda: _truth(len(nodes.smsc.of("unbind")) > before))


async def _truth(said: bool) -> bool:
    return said


@pytest.mark.timeout(110)
async def test_nats(tmp_path: Path, node_peer: Path, postgres_server: PostgresServer) -> None:
    """With NATS an idle worker hears of a job at once; without it, it looks by itself."""
    with running() as nats:
        async with cluster(tmp_path, node_peer, postgres_server, nats.url) as nodes:
            await delivered(nodes, 1)
            nats.kill()
            assert await delivered(nodes, 2) < 10
            nats.start()
            await delivered(nodes, 3)


@pytest.mark.timeout(110)
async def test_slots(tmp_path: Path, node_peer: Path, postgres_server: PostgresServer) -> None:
    """A carrier that allows two binds: each worker has one, and both carry."""
    async with cluster(tmp_path, node_peer, postgres_server) as nodes:
        wide: NodeSmsc = nodes.smsc
        await nodes.call("DELETE", "/v1/providers/acme", key=nodes.keys[0])
        account = {"host": "127.0.0.1", "port": wide.port, "system_id": "perf", "password": "perf"}
        config = account | {"system_type": "wide", "slots": 2, "reconnect_min_s": 0.05}
        await nodes.call("POST", "/v1/providers", {"name": "wide", "type": "sms.smpp", "config": config}, nodes.keys[0])

        async def two() -> bool:
            views = (await nodes.call("GET", "/v1/providers", key=nodes.keys[0]))["data"]
            return (
                sum(len([link for link in v["links"] if link["state"] == "up"]) for v in views if v["name"] == "wide")
                == 2
            )

        await until(two)
        assert nodes.binds()["wide"] == 2
        owners = {place: node for place, node in (await nodes.owners()).items() if place.startswith("wide/")}
        assert len(set(owners.values())) == 2
        await kill(nodes.workers[0])
        for number in range(5):
            await delivered(nodes, number)


@pytest.mark.timeout(60)
async def test_another_key_ring_is_refused(tmp_path: Path, node_peer: Path, postgres_server: PostgresServer) -> None:
    async with node_smsc(node_peer) as smsc:
        nodes = Cluster(tmp_path, smsc, await postgres_server.database(), workers=1)
        try:
            await nodes.api.start()
            await nodes.call("GET", "/v1/projects")  # it listens before it has its keys
            (tmp_path / "data" / "keys.json").rename(tmp_path / "data" / "keys.old")
            worker = nodes.workers[0]
            await worker.start()
            assert worker.process is not None
            assert await asyncio.wait_for(worker.process.wait(), 20) == 1
            assert "not this database's key ring" in (worker.folder / "server.log").read_text()
        finally:
            await nodes.end()
