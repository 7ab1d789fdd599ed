"""One of two SMPP carriers dies at 200 messages a second: it refuses, hangs, is gone, or takes everything and never sends
a receipt. Both are npm `smpp`. No message is lost, the other one carries on, and traffic comes back in steps.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from peers.carriers import node_smsc

from .drill import Account, Steady, account, left_after_s, submits, two_carriers

if TYPE_CHECKING:
    from pathlib import Path

    from peers.carriers import NodeSmsc
    from postgres_server import Server as PostgresServer

    from .rig import Server

CAMPAIGN = os.environ.get("TIDINGS_CAMPAIGN") == "1"
PER_S = 200 if CAMPAIGN else 60  # the short cut shares its machine
#: What the SMSC is told, and the words of health for it.
DEATHS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "refuses": ({"faults": {"seed": 1, "error": 1.0}}, {"failures"}),
    "hangs": ({"faults": {"seed": 1, "silent": 1.0}}, {"no_answers", "failures"}),
    "never receipts": ({"receipts": "none"}, {"no_receipts"}),
    "is gone": ({"faults": {"seed": 1, "drop": 1.0}, "bind_status": 13}, {"link_down", "failures"}),
}
WELL: dict[str, Any] = {"faults": None, "receipts": "after", "bind_status": None}
CASES = [(e, d) for e in ("sqlite", "postgres") for d in DEATHS] if CAMPAIGN else [("sqlite", "never receipts")]


async def outage(
    folder: Path,
    peer: Path,
    death: str,
    *,
    before_s: float,
    for_s: float,
    after_s: float,
    url: str | None = None,
    patch: str = "",
) -> tuple[Account, float | None, dict[str, float]]:
    """Runs the drill: the death lasts until it is noticed, and `for_s` more. The account, the seconds until the ill carrier
    is left, and its share of the traffic after it is well."""
    async with contextlib.AsyncExitStack() as stack:
        names = ("ill", "other")
        smscs = {name: await stack.enter_async_context(node_smsc(peer, receipt_ms=100)) for name in names}
        server = two_carriers(folder, smscs, unknown_wait_s=1.0, no_receipt_s=3.0, url=url)
        await (server.start_patched(patch) if patch else server.start())
        load = Steady(server.url, PER_S)
        task = asyncio.create_task(load.go())
        try:
            await usual(server, load)
            await asyncio.sleep(before_s)
            from_s = time.monotonic()
            await smscs["ill"].command("set", options=DEATHS[death][0])
            await told_of(server, 0.0 if patch else 60.0)
            await asyncio.sleep(for_s)
            until_s = time.monotonic()
            if after_s:
                await smscs["ill"].command("set", options=WELL)
                await asyncio.sleep(after_s)
            load.end()
            ends_s = time.monotonic()
            await task
            told = await account(server, smscs, load, "other", (from_s, until_s), 600 if CAMPAIGN else 60)
            left_s = left_after_s(smscs["ill"], smscs["other"], from_s, until_s)
            return told, left_s, shares(smscs, until_s, ends_s)
        finally:
            task.cancel()
            await server.end()


async def usual(server: Server, load: Steady) -> None:
    """Waits until so many were delivered that the server knows how soon receipts come."""
    async with asyncio.timeout(60):
        while len(load.accepted) < PER_S:
            await asyncio.sleep(0.1)
        while (await server.rows("select count(*) from messages where status = 'delivered'"))[0][0] < PER_S:
            await asyncio.sleep(0.1)


async def told_of(server: Server, deadline_s: float) -> None:
    """Waits until a carrier is told to be ill, however busy the machine is."""
    end_s = time.monotonic() + deadline_s
    while time.monotonic() < end_s:
        if await server.rows("select 1 from events where type = 'provider.degraded'"):
            return
        await asyncio.sleep(0.1)


def shares(smscs: dict[str, NodeSmsc], from_s: float, until_s: float) -> dict[str, float]:
    """The ill carrier's part of the traffic, every five seconds of this time."""
    found: dict[str, float] = {}
    ill, other = (sorted(at_s for at_s, _, _ in submits(smscs[name]) if at_s >= from_s) for name in ("ill", "other"))
    for n in range(int((until_s - from_s) / 5)):
        low, high = from_s + 5 * n, from_s + 5 * n + 5
        a, b = sum(low <= at < high for at in ill), sum(low <= at < high for at in other)
        found[f"{5 * n}s"] = round(a / (a + b), 2) if a + b else 0.0
    return found


@pytest.mark.timeout(0 if CAMPAIGN else 100)
@pytest.mark.parametrize(("engine", "death"), CASES)
async def test_a_carrier_dies(
    tmp_path: Path, node_peer: Path, postgres_server: PostgresServer, engine: str, death: str
) -> None:
    url = await postgres_server.database() if engine == "postgres" else None
    times = (
        {"before_s": 10.0, "for_s": 20.0, "after_s": 45.0}
        if CAMPAIGN
        else {"before_s": 4.0, "for_s": 2.5, "after_s": 0.0}
    )
    told, left_s, back = await outage(tmp_path, node_peer, death, url=url, **times)
    print(
        told.line("carrier outage", engine=engine, death=repr(death), under_5_percent_after_s=left_s, share_after=back)
    )
    assert told.accepted > PER_S * 5
    assert (told.lost, told.stuck, told.extra) == (0, 0, 0)
    assert left_s is not None, "it kept its traffic"
    assert {why for kind, _, why in told.events if kind == "provider.degraded"} <= DEATHS[death][1]
    assert {provider for _, provider, _ in told.events} == {"ill"}
    assert told.statuses.get("failed", 0) == told.statuses.get("undelivered", 0) == 0
    if CAMPAIGN:
        assert told.told() == {"ill degraded": 1, "ill recovered": 1}
        assert list(back.values())[-1] > 0.35, "it has its half again"
    if death == "never receipts":
        assert told.statuses == {"delivered": told.accepted}, "the other one delivered what it kept quiet about"


@pytest.mark.skipif(not CAMPAIGN, reason="ten minutes")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("death", ["refuses", "is gone"])
async def test_a_carrier_that_flaps(tmp_path: Path, node_peer: Path, death: str) -> None:
    """Ten seconds well, ten seconds dead, for ten minutes."""
    async with contextlib.AsyncExitStack() as stack:
        smscs = {n: await stack.enter_async_context(node_smsc(node_peer, receipt_ms=100)) for n in ("ill", "other")}
        server = two_carriers(tmp_path, smscs, unknown_wait_s=1.0, no_receipt_s=0, url=None)
        await server.start()
        load = Steady(server.url, PER_S)
        task = asyncio.create_task(load.go())
        from_s = time.monotonic()
        try:
            while time.monotonic() - from_s < 600:
                for options in (WELL, DEATHS[death][0]):
                    await smscs["ill"].command("set", options=options)
                    await asyncio.sleep(10)
            load.end()
            await task
            told = await account(server, smscs, load, "other", (from_s, time.monotonic()), 600)
        finally:
            task.cancel()
            await server.end()
    got = sum(at_s > from_s + 30 for at_s, _, _ in submits(smscs["ill"]))
    print(told.line("flapping carrier", death=repr(death), share_of_the_flapping=round(got / told.accepted, 3)))
    assert (told.lost, told.stuck, told.extra) == (0, 0, 0)
    assert told.told().get("ill recovered", 0) <= 2
    assert got < 0.1 * told.accepted


#: The protections, each taken out: the drill must see it.
SABOTEURS = {
    "deaf to failures": "from tidings.routing import health\nhealth.Health.look = lambda self, now_s: None\n",
}


@pytest.mark.skipif(not CAMPAIGN, reason="another minute")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", SABOTEURS)
async def test_saboteurs(tmp_path: Path, node_peer: Path, name: str) -> None:
    told, left_s, _ = await outage(
        tmp_path, node_peer, "never receipts", before_s=5, for_s=10, after_s=0, patch=SABOTEURS[name]
    )
    print(told.line("sabotaged outage", saboteur=repr(name), under_5_percent_after_s=left_s))
    assert left_s is None
