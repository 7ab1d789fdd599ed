"""Ill carriers: noticed, left, told and stored; what waits for them goes to others; and they come back in steps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tidings.delivery.settle import UnknownWait
from tidings.routing.health import Change, Health, Policy
from tidings.routing.route import Route, Target

from .scripted import Several

QUICK = Policy(link_down_s=0.2, stall_s=0.4, pause_s=0.3, step_s=0.2, window_s=2.0, blind_times=1.0)
HALVES = Route(name="all", targets=[Target(provider="a"), Target(provider="b")])


@pytest.fixture
async def several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Several]:
    monkeypatch.setattr("tidings.delivery.watch.HEALTH_LOOK_S", 0.05)
    real = Health.__init__

    def quick(self: Health, now_s: float, policy: Policy | None = None, *, share: float = 1.0) -> None:
        real(self, now_s, policy or QUICK, share=share)

    monkeypatch.setattr(Health, "__init__", quick)
    made = Several(tmp_path, UnknownWait(0.3, 0.3))
    yield made
    await made.close()


async def until_share(several: Several, name: str, check: Any) -> None:
    await several.until(lambda: check(several.node.router.shares().get(name, 1.0)))


async def told(several: Several) -> list[tuple[str, str]]:
    rows = await several.rows("select type, data->>'reason' from events where type like 'provider.%' order by seq")
    return [(str(kind), str(reason)) for kind, reason in rows]


async def test_a_carrier_that_hangs_is_left_and_what_waits_for_it_goes_on(
    several: Several, monkeypatch: pytest.MonkeyPatch
) -> None:
    several.wait = UnknownWait(3_600, 3_600)
    await several.open_with("ab", HALVES, patch=monkeypatch)
    ill = several.at["a"]
    ill.plays_on, ill.window = "never", 5
    messages = [await several.send() for _ in range(40)]
    await until_share(several, "a", lambda share: share == 0)
    async with asyncio.timeout(20):
        while len(several.at["b"].got) < 35:
            await asyncio.sleep(0.01)
    assert len(ill.got) <= 5
    assert {message for one in ill.open for message in [one.message_id]} | {
        one.message_id for one in several.at["b"].got
    } == set(messages)
    assert await told(several) == [("provider.degraded", "no_answers")]
    assert await several.rows("select provider, share, reason from provider_health") == [("a", 0.0, "no_answers")]


async def test_a_carrier_without_a_link(several: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    await several.open_with("ab", HALVES, patch=monkeypatch)
    several.at["a"].up = False
    messages = [await several.send() for _ in range(20)]
    for message in messages:
        await several.until_status(message, "sent")
    assert len(several.at["b"].got) == 20
    several.at["a"].up = True
    await until_share(several, "a", lambda share: share == 1)
    async with asyncio.timeout(10):
        while await told(several) != [("provider.degraded", "link_down"), ("provider.recovered", "")]:
            await asyncio.sleep(0.01)
    assert await several.rows("select * from provider_health") == []


async def test_a_carrier_that_refuses_comes_back_in_steps(several: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    await several.open_with("ab", HALVES, patch=monkeypatch)
    seen: list[float] = []
    real = Health.look

    def look(self: Health, now_s: float) -> Change | None:
        change = real(self, now_s)
        if change is not None:
            seen.append(change.share)
        return change

    monkeypatch.setattr(Health, "look", look)
    several.at["a"].plays_on = "busy"
    messages: list[str] = []
    async with asyncio.timeout(20):
        while 0.0 not in seen:
            messages.append(await several.send())
    several.at["a"].plays_on = "sent"
    await several.until(lambda: seen[-1] == 1.0)
    assert seen[-5:] == [0.02, 0.1, 0.3, 0.6, 1.0]
    for message in messages:
        await several.until_status(message, "sent")


async def test_what_was_known_outlives_the_process(several: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidings.routing.health.Health._well", lambda self, now_s: None)
    await several.open_with("ab", HALVES, patch=monkeypatch)
    several.at["a"].plays_on = "busy"
    async with asyncio.timeout(20):
        # as long as it takes: on a slow machine 40 messages need not fall within the window of its health
        while not await several.rows("select 1 from provider_health"):
            await several.send()
    await several.close()
    await several.open_with("ab", HALVES, patch=monkeypatch)
    assert several.node.router.shares()["a"] < 1


async def test_one_carrier_alone_is_not_watched_message_by_message(
    several: Several, monkeypatch: pytest.MonkeyPatch
) -> None:
    await several.open_with("a", patch=monkeypatch)
    asked: list[str] = []
    monkeypatch.setattr(several.node.watch, "began", lambda *a: asked.append("began"))
    monkeypatch.setattr(several.node.watch, "outcomes", lambda *a: asked.append("outcomes"))
    await several.until_status(await several.send(), "sent")
    assert asked == []
    several.at["a"].up = False
    await until_share(several, "a", lambda share: share == 0)  # its link is looked at all the same
    several.at["a"].up = True
    several.at["a"].sink.ready("a")
    await several.until_status(await several.send(), "sent")  # and it is still the one that carries


async def test_saboteur_nobody_frees_what_waits(several: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    from tidings.store.sqlite import routes

    monkeypatch.setattr(routes, "_UNROUTE", "select ?")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(6):
            await test_a_carrier_that_hangs_is_left_and_what_waits_for_it_goes_on(several, monkeypatch)
