"""Planted faults: each must show up in exactly its own account. A fault that is not found is a failure of the load test."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tidings.commands.loadtest_carrier import LoadCarrier
from tidings.loadtest.plan import Limits, Plan, check, read_lanes, read_range, read_receipts
from tidings.loadtest.recorder import Recorder
from tidings.loadtest.result import Result
from tidings.loadtest.run import LoadTest
from tidings.loadtest.stage import StageError
from tidings_client import TidingsError

from .gateway import DELAY_S, Fault, Gateway, gateway

KEY = "tk_live_" + "b" * 32
STALL_MS = 500
FAULTS = (
    "refused", "no_answer", "lost", "lost_before_carrier", "duplicated", "resent_after_unknown", "late", "over_rate", "ghosts",
    "contradicted", "failed", "undelivered", "unreceipted", "open", "repeated_callbacks",
)  # fmt: skip


def plan(**more: Any) -> Plan:
    wanted: dict[str, Any] = {
        "rate_per_s": 300, "duration_s": 1, "lanes": read_lanes("otp=5,transactional=15,marketing=80"),
        "recipients": read_range("+15005551000-+15005551099"), "connections": 8, "timeout_s": 5, "wait_s": 2.5,
        "most_lag_ms": 5_000, "sla_ms": {"otp": 60_000, "transactional": 60_000, "marketing": 60_000},
    }  # fmt: skip
    return check(Plan(**wanted | more))


async def run(
    server: Gateway, wanted: Plan, receipts: str = "delivered=1", rate: float = 0, limits: Limits | None = None
) -> Result:
    def far_side(recorder: Recorder) -> LoadCarrier:
        return LoadCarrier(
            recorder, mix=read_receipts(receipts), receipt_delay_s=0.02, rate_per_s=rate, window=50, binds=1
        )

    return await LoadTest(wanted, limits or Limits(), server.url, KEY, far_side=far_side).run()


async def judged(kind: str, wanted: Plan, receipts: str = "delivered=1", rate: float = 0) -> tuple[Gateway, Result]:
    """The gateway with this fault, and what the load test said of it.

    Generator, gateway and carrier share this loop, and seconds count here: where a busy machine took that from them,
    which the generator measures, nothing is said about the fault, and it is done again.
    """
    for _ in range(5):
        async with gateway(kind) as server:
            result = await run(server, wanted, receipts, rate)
        if result.generator.lag_max_ms < STALL_MS:
            break
    return server, result


def found(result: Result) -> dict[str, int]:
    """The accounts of faults that are not empty."""
    return {name: count for name in FAULTS if (count := getattr(result.accounts, name))}


@pytest.mark.parametrize("batch", [1, 20])
async def test_all_is_well(batch: int) -> None:
    server, result = await judged("", plan(batch=batch))
    assert found(result) == {}
    assert (result.accounts.scheduled, result.accounts.accepted, result.accounts.delivered) == (300, 300, 300)
    assert result.exit_code == 0
    assert result.sent_by_lane == {"otp": 15, "transactional": 45, "marketing": 240}
    assert {kind: lanes["all"].count for kind, lanes in result.latency.items()} == {
        "accept": 300, "submit": 300, "callback": 300,
    }  # fmt: skip
    assert len(server.removed) == 3, "the webhook, the provider and the key go afterwards"


#: With time between what is late and what is only slow, on a busy machine too.
SLOW = plan(
    rate_per_s=100, duration_s=3, wait_s=2 * DELAY_S,
    sla_ms=dict.fromkeys(("otp", "transactional", "marketing"), int(DELAY_S * 700)),
)  # fmt: skip
ACCOUNTS = [
    ("drop", {"lost": 3, "lost_before_carrier": 3}, "lost"),
    ("duplicate", {"duplicated": 3}, "duplicated"),
    ("unknown", {"resent_after_unknown": 3}, None),
    ("delay", {"late": 3}, "late"),
    ("refuse", {"refused": 3}, "refused or unanswered"),
    ("hang up", {"no_answer": 3}, "refused or unanswered"),
    ("no callback", {"lost": 3}, "lost"),
    ("forge", {"lost": 3}, "lost"),
    ("lie", {"contradicted": 3, "failed": 3}, "contradicted"),
    ("invent", {"failed": 3}, "failed"),
]


@pytest.mark.parametrize(("kind", "accounts", "missed"), ACCOUNTS, ids=[row[0] for row in ACCOUNTS])
async def test_each_fault_is_found(kind: str, accounts: dict[str, int], missed: str | None) -> None:
    server, result = await judged(kind, SLOW if kind == "delay" else plan())
    assert server.fault.planted == 3
    assert found(result) == accounts
    assert result.exit_code == (1 if missed else 0)
    assert (missed is None) or missed in [one.name for one in result.assertions if not one.held]
    if kind == "forge":
        assert result.refused_callbacks == 3


async def test_a_carrier_given_more_than_its_rate() -> None:
    """60 at once, five times a second; as many on the whole as the carrier takes: only a window shows it."""
    _, result = await judged("burst", plan(rate_per_s=120, duration_s=1, sla_ms={}), rate=50)
    assert set(found(result)) == {"over_rate"}
    assert result.accounts.over_rate >= 10
    assert result.carrier_peak_per_s >= 60


async def test_the_carriers_own_refusals_are_no_faults() -> None:
    """What the mix of receipts asked for is counted apart, and nothing is missed."""
    _, result = await judged("", plan(), receipts="delivered=60,undelivered=30,none=10")
    counts = found(result)
    assert set(counts) == {"undelivered", "unreceipted"}
    assert result.accounts.delivered + sum(counts.values()) == 300
    assert result.exit_code == 0


async def test_a_limit_that_is_missed() -> None:
    async with gateway() as server:
        result = await run(server, plan(duration_s=0.2), limits=Limits(max_p99_ms=0.0001))
        assert result.exit_code == 1
        assert [one.name for one in result.assertions if not one.held] == ["request → 202, p99 ms"]


async def test_the_generator_accuses_itself() -> None:
    """With a limit that no machine can keep, the verdict is 3, not the server's fault."""
    async with gateway("drop") as server:
        result = await run(server, plan(most_lag_ms=0.00001))
        assert (result.exit_code, result.generator.kept) == (3, False)


async def test_latency_counts_from_the_schedule() -> None:
    """No coordinated omission: answers take 50 ms, one connection, 40 due in a second: twice what it can carry."""
    async with gateway(answer_s=0.05) as server:
        result = await run(server, plan(rate_per_s=40, connections=1, sla_ms={}))
        assert found(result) == {}
        assert result.latency["accept"]["all"].max_ms > 800, "40 × 50 ms, less the second in which they were due"
        assert result.generator.most_waiting >= 15


async def test_stopping_tells_what_was() -> None:
    async with gateway() as server:
        test = LoadTest(plan(duration_s=60), Limits(), server.url, KEY, far_side=None, callbacks="webhook")
        server.fault = Fault("drop", 1)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(test.run())
            async with asyncio.timeout(30):
                while len(server.messages) <= 100:
                    await asyncio.sleep(0.01)
            test.stop()
        result = running.result()
        counts = result.accounts
        assert (result.exit_code, result.stopped) == (130, True)
        assert 100 < counts.scheduled < 60 * 300
        assert (counts.open, counts.lost) == (counts.accepted, 0), "what was not waited for is open, not lost"


async def test_messages_that_would_go_elsewhere_are_not_sent() -> None:
    async with gateway() as server:
        server.route = "a-real-carrier"
        with pytest.raises(StageError, match="a-real-carrier"):
            await run(server, plan())
        assert server.messages == {}
        assert len(server.removed) == 3


@pytest.mark.parametrize("callbacks", ["webhook", "stream"])
async def test_a_server_that_is_away_is_told(callbacks: Any) -> None:
    with pytest.raises(TidingsError):
        await LoadTest(plan(), Limits(), "http://127.0.0.1:9", KEY, far_side=None, callbacks=callbacks).run()
