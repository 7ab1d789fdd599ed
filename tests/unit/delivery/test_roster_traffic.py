"""Providers added, paused, resumed, drained and removed, and routes changed, while messages flow: none is lost, none doubled."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tidings.delivery.settle import UnknownWait
from tidings.kit.ids import new_id
from tidings.routing.route import Route, Target

from .scripted import KIND, Several

PROJECT = "prj_" + "0" * 32


@pytest.fixture
async def several(tmp_path: Path) -> AsyncIterator[Several]:
    made = Several(tmp_path, UnknownWait(0.3, 0.3))
    yield made
    await made.close()


async def changes(several: Several) -> None:
    """What an operator does in a busy minute."""
    admin, routes = several.node.providers, several.node.routes
    for name in ("b", "c"):
        await admin.create(PROJECT, {"name": name, "type": KIND, "config": {}})
        await asyncio.sleep(0.05)
    both = Route(name="all", targets=[Target(provider="b"), Target(provider="c")])
    made, _ = await routes.create(PROJECT, both, None, new_id("rte"))
    await asyncio.sleep(0.05)
    await admin.pause(PROJECT, "b")
    await asyncio.sleep(0.05)
    await admin.resume(PROJECT, "b")
    await asyncio.sleep(0.05)
    await routes.change(PROJECT, made["id"], Route(name="all", targets=[Target(provider="a"), Target(provider="b")]))
    await asyncio.sleep(0.05)
    await admin.delete(PROJECT, "c")
    await asyncio.sleep(0.05)
    await routes.delete(PROJECT, made["id"])
    await admin.pause(PROJECT, "b")
    await admin.delete(PROJECT, "b")


async def busy(several: Several, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], Counter[str]]:
    """The messages that were accepted, and how often a carrier got each."""
    await several.open_with("a", patch=monkeypatch)
    work = asyncio.create_task(changes(several))
    messages: list[str] = []
    while not work.done():
        messages += await asyncio.gather(*(several.send() for _ in range(5)))
        await asyncio.sleep(0.005)
    await work
    for message in messages:
        await several.until_status(message, "sent")
    got = Counter(one.message_id for carrier in several.at.values() for one in carrier.got)
    return messages, got


async def test_an_operator_at_work(several: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    messages, got = await busy(several, monkeypatch)
    assert len(messages) > 50
    assert got == Counter(messages), "each once"
    carriers = {name for name, carrier in several.at.items() if carrier.got}
    assert carriers == {"a", "b", "c"}
    attempts = await several.rows("select count(*), count(distinct message) from attempts where status = 'sent'")
    assert attempts == [(len(messages), len(messages))]


async def test_saboteur_what_waits_for_one_that_is_removed_is_forgotten(
    several: Several, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tidings.delivery.roster import Roster
    from tidings.store.sqlite import providers

    async def nobody(self: Roster) -> int:
        return 0

    monkeypatch.setattr(Roster, "reroute", nobody)
    real = providers.delete

    def delete(connection: Any, items: list[tuple[str, str, str]]) -> list[None]:
        waiting = [list(connection.execute("select * from jobs where provider = ?", (item[2],))) for item in items]
        done = real(connection, items)
        for item, rows in zip(items, waiting, strict=True):
            for row in rows:
                connection.execute(
                    "update jobs set provider = ? where project = ? and message = ?", (item[2], row[0], row[1])
                )
        return done

    monkeypatch.setattr(providers, "delete", delete)
    await several.open_with("a", patch=monkeypatch)
    await several.node.providers.create(PROJECT, {"name": "b", "type": KIND, "config": {}})
    several.at["b"].window = 0
    message = await several.send()
    await several.rows("select 1")
    await several.node.providers.delete(PROJECT, "b")
    with pytest.raises(TimeoutError):
        await several.until_status(message, "sent", deadline_s=2)


async def test_what_waits_for_one_that_is_removed_goes_to_another(
    several: Several, monkeypatch: pytest.MonkeyPatch
) -> None:
    await several.open_with("a", patch=monkeypatch)
    await several.node.providers.create(PROJECT, {"name": "b", "type": KIND, "config": {}})
    several.at["b"].window = 0  # a project's own is the first choice, and it has no room
    message = await several.send()
    await several.node.providers.delete(PROJECT, "b")
    await several.until_status(message, "sent")
    assert [one.message_id for one in several.at["a"].got] == [message]
