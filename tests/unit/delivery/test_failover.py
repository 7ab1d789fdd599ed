"""Failover: at once after a refusal for now, after a receipt that did not come, and never for what is unknown."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tidings.delivery import settle as settling
from tidings.delivery.settle import UnknownWait
from tidings.routing.route import Route, Target
from tidings.store.sqlite import routes as rows_of_routes

from .scripted import Several


def route(*names: str, **fields: Any) -> Route:
    return Route(name="all", targets=[Target(provider=name) for name in names], prefer="order", **fields)


@pytest.fixture
async def several(tmp_path: Path) -> AsyncIterator[Several]:
    made = Several(tmp_path, UnknownWait(0.3, 0.3))
    yield made
    await made.close()


@pytest.mark.parametrize("routes", [[], [route("a", "b")]], ids=["no route", "a route"])
async def test_the_next_carrier_at_once(several: Several, monkeypatch: pytest.MonkeyPatch, routes: list[Route]) -> None:
    monkeypatch.setattr(settling, "backoff_s", lambda tries, rng: 3_600.0)
    await several.open_with("ab", *routes, patch=monkeypatch)
    several.at["a"].plays_on = "busy"
    message = await several.send()
    await several.until_attempts(message, ("a", "refused"), ("b", "sent"))
    await several.at["b"].receipt()
    assert await several.events(message) == ["accepted", "queued", "sent", "delivered"]


async def test_a_refusal_for_good_is_final(several: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    await several.open_with("ab", patch=monkeypatch)
    several.at["a"].plays_on = "no"
    message = await several.send()
    assert await several.until_status(message, "failed", "sent") == "failed"
    assert several.at["b"].got == []


async def test_a_round_then_the_back_off_then_another_round(several: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "backoff_s", lambda tries, rng: 0.2)
    await several.open_with("abc", patch=monkeypatch)
    for name in "ab":
        several.at[name].plays_on = "busy"
    several.at["c"].plays.append("busy")
    message = await several.send()
    busy = [(name, "refused") for name in "abcab"]
    await several.until_attempts(message, *busy, ("c", "sent"))
    at = [row[0] for row in await several.rows("select created_ms from attempts where message = ? order by n", message)]
    assert at[3] - at[2] >= 200, "all were asked: now it waits"


async def test_one_carrier_waits_for_its_back_off(several: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def backoff_s(tries: int, rng: random.Random) -> float:
        asked.append(tries)
        return 0.1

    monkeypatch.setattr(settling, "backoff_s", backoff_s)
    await several.open_with("a", patch=monkeypatch)
    several.at["a"].plays.extend(["busy", "busy"])
    message = await several.send()
    await several.until_attempts(message, ("a", "refused"), ("a", "refused"), ("a", "sent"))
    assert asked == [1, 2]


async def test_what_is_unknown_waits_for_its_own_rules(several: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    several.wait = UnknownWait(3_600, 3_600)
    await several.open_with("ab", route("a", "b", no_receipt_s=1), patch=monkeypatch)
    several.at["a"].plays_on = "unknown"
    message = await several.send()
    await several.until_attempts(message, ("a", "unknown"))
    several.ahead_ms = 60_000
    await asyncio.sleep(0.8)  # more than a sweep
    assert await several.attempts(message) == [("a", "unknown")]
    assert several.at["b"].got == []


async def test_what_was_unknown_is_resent_by_another(several: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    await several.open_with("ab", patch=monkeypatch)
    several.at["a"].plays_on = "unknown"
    message = await several.send(on_unknown="resend")
    await several.until_attempts(message, ("a", "unknown"), ("b", "sent"))


async def test_a_missing_receipt(several: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    await several.open_with("ab", route("a", "b", no_receipt_s=30), patch=monkeypatch)
    message = await several.send()
    await several.until_attempts(message, ("a", "sent"))
    several.ahead_ms = 29_000
    await asyncio.sleep(0.7)
    assert several.at["b"].got == []
    several.ahead_ms = 31_000
    await several.until_attempts(message, ("a", "sent"), ("b", "sent"))
    assert await several.events(message) == ["accepted", "sent", "failover"]
    several.ahead_ms = 120_000
    await several.at["a"].receipt()  # late, of the first one: it wins all the same
    assert await several.status(message) == "delivered"
    await asyncio.sleep(0.7)
    assert len(several.at["a"].got) == len(several.at["b"].got) == 1, "nobody is left to try"


async def test_a_receipt_in_time(several: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    await several.open_with("ab", route("a", "b", no_receipt_s=30), patch=monkeypatch)
    message = await several.send()
    await several.until_attempts(message, ("a", "sent"))
    await several.at["a"].receipt()
    several.ahead_ms = 60_000
    await asyncio.sleep(0.7)
    assert several.at["b"].got == []
    assert await several.rows("select * from receipt_waits") == []


@pytest.mark.parametrize(
    ("plays", "then"),
    [("no", ("b", "refused")), ("unknown", ("b", "unknown")), ("busy", ("b", "refused"))],
)
async def test_whatever_becomes_of_the_second_attempt_the_first_may_arrive(
    several: Several, monkeypatch: pytest.MonkeyPatch, plays: str, then: tuple[str, str]
) -> None:
    await several.open_with("ab", route("a", "b", no_receipt_s=30), patch=monkeypatch)
    message = await several.send(on_unknown="hold")
    several.at["b"].plays_on = plays
    await several.until_attempts(message, ("a", "sent"))
    several.ahead_ms = 31_000
    await several.until_attempts(message, ("a", "sent"), then)
    await asyncio.sleep(0.8)  # more than the wait for what is unknown
    assert await several.status(message) == "sent"
    await several.at["a"].receipt()
    assert await several.status(message) == "delivered"


async def test_a_message_that_is_no_longer_valid_is_left_as_it_is(
    several: Several, monkeypatch: pytest.MonkeyPatch
) -> None:
    await several.open_with("ab", route("a", "b", no_receipt_s=30), patch=monkeypatch)
    message = await several.send(valid_for_s=10)
    await several.until_attempts(message, ("a", "sent"))
    several.ahead_ms = 31_000
    async with asyncio.timeout(10):
        while await several.events(message) != ["accepted", "sent", "failover"] or await several.rows(
            "select 1 from jobs"
        ):
            await asyncio.sleep(0.01)
    assert await several.status(message) == "sent"
    assert several.at["b"].got == []


async def test_a_recipient_who_said_stop_is_left_alone(several: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    await several.open_with("ab", route("a", "b", no_receipt_s=30), patch=monkeypatch)
    message = await several.send()
    await several.until_attempts(message, ("a", "sent"))
    to_hash = several.node.ring.lookup("+14155550100")
    several.engine.writer.execute(
        "insert into suppressions values (?, 'sms', ?, 'stop', 0)", ("prj_" + "0" * 32, to_hash)
    )
    several.ahead_ms = 31_000
    async with asyncio.timeout(10):
        while "failover" not in await several.events(message) or await several.rows("select 1 from jobs"):
            await asyncio.sleep(0.01)
    assert await several.status(message) == "sent"
    assert several.at["b"].got == []


async def killed_while_it_waits(several: Several, monkeypatch: pytest.MonkeyPatch) -> str:
    """A message whose wait for a receipt outlives the process."""
    await several.open_with("ab", route("a", "b", no_receipt_s=30), patch=monkeypatch)
    message = await several.send()
    await several.until_attempts(message, ("a", "sent"))
    await several.close()
    several.ahead_ms = 31_000
    await several.open_with("ab", route("a", "b", no_receipt_s=30), patch=monkeypatch)
    await several.until_attempts(message, ("a", "sent"), ("b", "sent"))
    return message


async def test_the_wait_outlives_the_process(several: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    await killed_while_it_waits(several, monkeypatch)


async def test_saboteur_the_wait_is_not_stored(several: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_of_routes, "wait", lambda connection, waiting: None)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3):
            await killed_while_it_waits(several, monkeypatch)


async def dies_with_the_second_attempt_open(several: Several, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The process dies after the second attempt was stored: nobody knows whether it left."""
    await several.open_with("abc", route("a", "b", "c", no_receipt_s=30), patch=monkeypatch)
    message = await several.send(on_unknown="resend")
    several.at["b"].plays_on = "never"
    await several.until_attempts(message, ("a", "sent"))
    several.ahead_ms = 31_000
    await several.until_attempts(message, ("a", "sent"), ("b", "sending"))
    image = await several.engine.read(lambda connection: connection.serialize("main"))  # as the process leaves it
    await several.close()
    (several.folder / "tidings.db").unlink()
    for tail in ("-wal", "-shm"):
        (several.folder / f"tidings.db{tail}").unlink(missing_ok=True)
    (several.folder / "tidings.db").write_bytes(image)
    await several.open_with("abc", route("a", "b", "c", no_receipt_s=30), patch=monkeypatch)
    async with asyncio.timeout(20):
        while ("b", "unknown") not in await several.attempts(message):
            await asyncio.sleep(0.01)
    await asyncio.sleep(1.2)  # more than the wait for what is unknown, and a sweep
    return await several.attempts(message)


async def test_no_third_copy_of_what_nobody_knows(several: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await dies_with_the_second_attempt_open(several, monkeypatch) == [("a", "sent"), ("b", "unknown")]


async def test_saboteur_unknown_is_failed_over(several: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    from tidings.store.sqlite import attempts

    monkeypatch.setattr(
        attempts, "next_kind", lambda item: "unknown" if item.kind == "unknown" else "deliver" if item.status == "queued" else None
    )  # fmt: skip
    assert len(await dies_with_the_second_attempt_open(several, monkeypatch)) > 2


async def test_saboteur_no_failover(several: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidings.delivery.router.Router.another", lambda *a: None)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2):
            await test_the_next_carrier_at_once(several, monkeypatch, [])


async def test_costs(several: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    targets = [Target(provider="a", cost_per_part=0.02), Target(provider="b", cost_per_part=0.005)]
    await several.open_with("ab", Route(name="all", targets=targets, prefer="order"), patch=monkeypatch)
    several.at["a"].plays.append("busy")
    message = await several.send(text="x" * 200)
    await several.until_attempts(message, ("a", "refused"), ("b", "sent"))
    costs = await several.rows("select provider, cost from attempts where message = ? order by n", message)
    assert costs == [("a", None), ("b", 0.01)]


async def test_traffic_by_weight(several: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    targets = [Target(provider="a", weight=9), Target(provider="b", weight=1)]
    await several.open_with("ab", Route(name="all", targets=targets), patch=monkeypatch)
    for message in await asyncio.gather(*(several.send() for _ in range(200))):
        await several.until_status(message, "sent")
    assert 160 <= len(several.at["a"].got) <= 195
    assert len(several.at["a"].got) + len(several.at["b"].got) == 200
