"""Several `tidings serve` processes on one PostgreSQL database: an API, workers, and what their SMSC saw of them."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

import aiohttp

from peers.carriers import NodeSmsc

from .rig import KEY, Load, Server

if TYPE_CHECKING:
    from pathlib import Path


class Process(Server):
    """One role. All of a cluster share the data directory, where the key ring is."""

    def __init__(self, cluster: Cluster, role: str, name: str) -> None:
        folder = cluster.folder / name
        folder.mkdir(exist_ok=True)
        data = cluster.folder / "data"
        super().__init__(folder, cluster.smsc.port, cluster.unknown_wait_s, cluster.database_url, data=data)
        self.role, self.cluster = role, cluster
        self.config.write_text(cluster.settings)

    @property
    def options(self) -> list[str]:
        """See `Server`."""
        return [*super().options, "--role", self.role]

    @property
    def env(self) -> dict[str, str]:
        """See `Server`."""
        return super().env | {"TIDINGS_BUS_URL": self.cluster.bus_url}

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.returncode is None


class Cluster:
    """`api` and `workers`; tenants, each with a carrier account of its own that one worker binds to."""

    def __init__(
        self, folder: Path, smsc: NodeSmsc, database_url: str, *, workers: int = 2, bus_url: str = "", term_s: float = 2.0,
        unknown_wait_s: float = 1.0, window: int = 10, more: str = "",
    ) -> None:  # fmt: skip
        self.folder, self.smsc, self.database_url, self.bus_url = folder, smsc, database_url, bus_url
        self.term_s, self.unknown_wait_s, self.window = term_s, unknown_wait_s, window
        self.settings = (
            f"[delivery]\nunknown_wait_s = {unknown_wait_s}\nunknown_wait_otp_s = {unknown_wait_s}\n"
            f"owner_term_s = {term_s}\n[webhooks]\nallow_private = true\n{more}"
        )
        self.api = Process(self, "api", "api")
        self.workers = [Process(self, "worker", f"worker-{n}") for n in range(workers)]
        self.keys: list[str] = []

    async def start(self) -> None:
        """The API first: it makes the first key."""
        await self.api.start()
        await asyncio.gather(*(worker.start() for worker in self.workers))

    async def end(self) -> None:
        """All of them, cleanly."""
        await asyncio.gather(*(one.end() for one in (self.api, *self.workers) if one.process is not None))

    async def call(self, method: str, path: str, body: Any = None, key: str = KEY) -> Any:
        """A request to the API; the JSON of its answer."""
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session,
            session.request(method, self.api.url + path, json=body) as answer,
        ):
            found = await answer.json() if answer.status != 204 else None
            assert answer.status < 400, found
            return found

    async def tenant(self, name: str, **config: Any) -> str:
        """A project with a provider of its own; its key. Their SMSC knows the provider by its system_type."""
        project = await self.call("POST", "/v1/projects", {"name": name})
        wanted = {"name": name, "project": project["id"], "mode": "live", "scopes": ["*"]}
        key = str((await self.call("POST", "/v1/keys", wanted))["key"])
        account = {
            "host": "127.0.0.1", "port": self.smsc.port, "system_id": "perf", "password": "perf", "system_type": name,
            "window": self.window, "reconnect_min_s": 0.05, "reconnect_max_s": 0.5,
        }  # fmt: skip
        await self.call("POST", "/v1/providers", {"name": name, "type": "sms.smpp", "config": account | config}, key)
        self.keys.append(key)
        return key

    async def states(self) -> dict[str, str]:
        """The state of each tenant's provider, as the API shows it."""
        found: dict[str, str] = {}
        for key in self.keys:
            for view in (await self.call("GET", "/v1/providers", key=key))["data"]:
                if view["origin"] != "sandbox":
                    found[view["name"]] = view["status"]
        return found

    async def until_up(self, deadline_s: float = 20, status: str = "up") -> None:
        """Every tenant's provider is up."""
        async with asyncio.timeout(deadline_s):
            while set((await self.states()).values()) != {status}:
                await asyncio.sleep(0.05)

    async def owners(self) -> dict[str, str]:
        """Place → node, of nodes that live."""
        return dict(
            await self.api.rows(
                "select l.provider || '/' || l.slot, l.node from provider_leases l join nodes n on n.node = l.node"
            )
        )

    def binds(self) -> dict[str, int]:
        """The most sessions that each provider had at once, as the SMSC saw it."""
        return most_binds(self.smsc)


def most_binds(smsc: NodeSmsc) -> dict[str, int]:
    """The most sessions that were bound at once, by system_type."""
    there, most = Counter[str](), Counter[str]()
    for event in smsc.events:
        kind = event.get("system_type")
        if event["event"] == "bind" and event["status"] == 0:
            there[kind] += 1
            most[kind] = max(most[kind], there[kind])
        elif event["event"] == "close" and kind is not None:
            there[kind] -= 1
    return dict(most)


class Tenants(Load):
    """The load of several keys in turn."""

    def __init__(self, url: str, keys: list[str], pace_s: float = 0) -> None:
        super().__init__(url, "resend", pace_s)
        self._keys = keys

    async def _once(self, session: aiohttp.ClientSession, number: int, body: dict[str, Any]) -> bool:
        session.headers["Authorization"] = f"Bearer {self._keys[number % len(self._keys)]}"
        return await super()._once(session, number, body)


async def kill(process: Process) -> None:
    """kill -9."""
    await process.end(signal.SIGKILL)
