"""The delivery path end to end: statuses, timelines, lanes, tenants, sequence, consent, unknowns."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING

import pytest

from tidings.delivery.accept import Accepted, Idempotency, Want
from tidings.domain.attempt import CarrierReceipt, InboundPart
from tidings.domain.errors import Conflict, IdempotencyReused
from tidings.domain.request import SendRequest
from tidings.kit.clock import wall_ms

if TYPE_CHECKING:
    from .conftest import Bench

PROJECT, OTHER = "prj_" + "0" * 32, "prj_" + "1" * 32


@pytest.mark.parametrize(
    ("to", "status", "timeline"),
    [
        ("+15005550001", "delivered", ["accepted", "sent", "delivered"]),
        ("+15005550002", "undelivered", ["accepted", "sent", "undelivered"]),
        ("+15005550004", "sent", ["accepted", "sent"]),
        ("+15005550006", "delivered", ["accepted", "sent", "delivered", "read"]),
        ("+15005550007", "delivered", ["accepted", "sent", "delivered", "replied"]),
        ("+15005550008", "delivered", ["accepted", "sent", "delivered", "replied", "unsubscribed"]),
    ],
)
async def test_each_recipient_plays_its_part(bench: Bench, to: str, status: str, timeline: list[str]) -> None:
    await bench.open()
    await bench.linked()
    message = await bench.send(to=to, sender="ACME")
    await bench.until_status(message, status)
    async with asyncio.timeout(30):
        while await bench.events(message) != timeline:
            await asyncio.sleep(0.01)


async def test_a_temporary_failure_is_tried_again(bench: Bench) -> None:
    await bench.open()
    await bench.linked()
    message = await bench.send(to="+15005550003")
    await bench.until_status(message, "delivered")
    assert await bench.events(message) == ["accepted", "queued", "sent", "delivered"]
    attempts = await bench.rows("select n, status from attempts where message = ? order by n", message)
    assert attempts == [(1, "refused"), (2, "delivered")]


async def test_parts_are_aggregated(bench: Bench) -> None:
    await bench.open()
    await bench.linked()
    message = await bench.send(text="🎉" * 80)
    await bench.until_status(message, "delivered")
    assert await bench.rows("select parts, encoding from messages where id = ?", message) == [(3, "ucs2")]
    assert (await bench.events(message)).count("delivered") == 1


async def test_an_unknown_outcome_is_resent_until_it_expires(bench: Bench) -> None:
    await bench.open(response_timeout_s=0.2)
    await bench.linked()
    message = await bench.send(to="+15005550009", on_unknown="resend", valid_for_s=60)
    await bench.until(lambda: bench.smsc.submits >= 2)
    bench.ahead_ms = 61_000
    assert await bench.until_status(message, "failed", "expired") == "expired"
    assert "attempt.unknown" in await bench.events(message)


async def test_an_unknown_outcome_is_held(bench: Bench) -> None:
    await bench.open(response_timeout_s=0.2)
    await bench.linked()
    message = await bench.send(to="+15005550009", on_unknown="hold")
    assert await bench.until_status(message, "failed", "expired") == "failed"
    assert "attempt.unknown" in await bench.events(message)
    assert bench.smsc.submits == 1
    error = (await bench.rows("select error ->> 'code' from messages where id = ?", message))[0][0]
    assert error == "outcome_unknown"


async def test_a_receipt_settles_an_unknown(bench: Bench) -> None:
    await bench.open(response_timeout_s=0.2)
    bench.node.dispatcher._settler._wait = type(bench.wait)(30, 30)
    await bench.linked()
    message = await bench.send(to="+15005550009", sender="ACME")
    async with asyncio.timeout(30):
        while "attempt.unknown" not in await bench.events(message):
            await asyncio.sleep(0.01)
    receipt = CarrierReceipt(
        provider="carrier", refs=("77",), to="15005550009", sender="ACME", state="delivered", carrier_state="delivered",
        received_ms=wall_ms(),
    )  # fmt: skip
    await bench.node.received("carrier", [receipt], [])
    assert await bench.status(message) == "delivered"
    assert await bench.rows("select count(*) from jobs") == [(0,)]


async def test_two_candidates_leave_a_receipt_unmatched(bench: Bench) -> None:
    await bench.open(response_timeout_s=0.2)
    bench.node.dispatcher._settler._wait = type(bench.wait)(30, 30)
    await bench.linked()
    for text in ("one", "two"):
        await bench.send(to="+15005550009", sender="ACME", text=text)
    async with asyncio.timeout(30):
        while await bench.rows("select count(*) from attempts where status = 'unknown'") != [(2,)]:
            await asyncio.sleep(0.01)
    receipt = CarrierReceipt(
        provider="carrier", refs=("78",), to="15005550009", sender="ACME", state="delivered", carrier_state="delivered",
        received_ms=wall_ms(),
    )  # fmt: skip
    await bench.node.received("carrier", [receipt], [])
    assert await bench.rows("select ref from receipts") == [("78",)]


async def test_schedule_cancel_and_late_cancel(bench: Bench) -> None:
    await bench.open()
    await bench.linked()
    later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    message = await bench.send(send_at=later)
    assert await bench.status(message) == "scheduled"
    assert (await bench.node.control.cancel(PROJECT, message)).message.status == "canceled"
    done = await bench.send()
    await bench.until_status(done, "delivered")
    with pytest.raises(Conflict):
        await bench.node.control.cancel(PROJECT, done)


async def test_what_is_late_expires_and_never_leaves(bench: Bench) -> None:
    await bench.open(port=1)  # nobody listens there: the link never comes up
    message = await bench.send(valid_for_s=1)
    await bench.until_status(message, "expired")
    assert bench.smsc.submits == 0
    assert await bench.events(message) == ["accepted", "expired"]


async def test_a_sequence_leaves_in_order_one_at_a_time(bench: Bench) -> None:
    await bench.open()
    await bench.linked()
    messages = [await bench.send(to="+14155550100", text=f"n{n}", sequence="cust-42") for n in range(20)]
    await bench.until_status(messages[-1], "delivered")
    assert [m.text for m in bench.smsc.messages] == [f"n{n}" for n in range(20)]


async def test_one_time_codes_pass_a_queue(bench: Bench) -> None:
    """With marketing queued at the same provider, no code waits for more than a quarter second's worth of it."""
    await bench.open(rate_per_s=100)
    await bench.linked()
    wants = [Want(SendRequest(to="+14155550101", text="sale", lane="marketing")) for _ in range(1000)]
    for _ in range(20):
        await bench.node.acceptor.accept(PROJECT, "live", wants)
    await bench.until(lambda: bench.smsc.submits > 50)
    waited: list[int] = []
    for n in range(20):
        before = bench.smsc.submits
        await bench.send(text=f"code {n}", lane="otp")
        wanted = f"code {n}"
        await bench.until(lambda wanted=wanted: any(m.text == wanted for m in bench.smsc.messages))
        waited.append(bench.smsc.submits - before)
    assert max(waited) <= 25, waited


async def test_a_small_tenant_is_served_beside_a_large_one(bench: Bench) -> None:
    """Ten messages beside thousands take no more than twice the turns that they take alone."""
    await bench.open(rate_per_s=200)
    await bench.linked()
    wants = [Want(SendRequest(to="+14155550101", text="big")) for _ in range(1000)]
    for _ in range(5):
        await bench.node.acceptor.accept(OTHER, "live", wants)
    await bench.until(lambda: bench.smsc.submits > 20)
    before = bench.smsc.submits
    for _ in range(10):
        await bench.send(text="small")
    await bench.until(lambda: sum(m.text == "small" for m in bench.smsc.messages) == 10)
    assert bench.smsc.submits - before <= 20 + 25, "more than equal turns, and what was on the way already"


async def test_stop_is_the_last_word(bench: Bench) -> None:
    await bench.open()
    await bench.linked()
    first = await bench.send(to="+15005550008", sender="ACME")
    async with asyncio.timeout(30):
        while "unsubscribed" not in await bench.events(first):
            await asyncio.sleep(0.01)
    second = await bench.send(to="+15005550008", sender="ACME")
    assert await bench.until_status(second, "suppressed") == "suppressed"
    assert await bench.rows("select count(*) from attempts where message = ?", second) == [(0,)]


async def test_inbound_parts_in_any_order_and_twice(bench: Bench) -> None:
    await bench.open()
    parts = [
        InboundPart(
            provider="carrier", sender="+14155550102", to="+4912345", text=text, concat_ref=7, total=3, part=n, dedup=f"d{n}",
            received_ms=wall_ms(),
        )
        for n, text in ((3, "c"), (1, "a"), (1, "a"), (2, "b"))
    ]  # fmt: skip
    for part in parts:
        await bench.node.received("carrier", [], [part])
    single = InboundPart(
        provider="carrier", sender="+14155550103", to="+4912345", text="x", dedup="s", received_ms=wall_ms()
    )
    await bench.node.received("carrier", [], [single, single])
    await bench.node.received("carrier", [], [single])
    found = await bench.rows("select parts, missing from inbound order by parts")
    assert found == [(1, 0), (3, 0)]
    assert await bench.rows("select count(*) from inbound_parts") == [(0,)]


async def test_missing_parts_are_handed_on_as_partial(bench: Bench) -> None:
    await bench.open()
    old = wall_ms() - 200_000
    part = InboundPart(
        provider="carrier",
        sender="+14155550102",
        to="+4912345",
        text="half",
        concat_ref=8,
        total=2,
        part=2,
        received_ms=old,
    )
    await bench.node.received("carrier", [], [part])
    async with asyncio.timeout(30):
        while await bench.rows("select parts, missing from inbound") != [(2, 1)]:
            await asyncio.sleep(0.02)


async def test_one_key_makes_one_message(bench: Bench) -> None:
    await bench.open()
    want = Want(SendRequest(to="+14155550100", text="once"), Idempotency("k", "b"))
    answers = await asyncio.gather(*(bench.node.acceptor.accept(PROJECT, "live", [want]) for _ in range(1000)))
    flat = [answer for batch in answers for answer in batch]
    assert len({a.id for a in flat if isinstance(a, Accepted)}) == 1
    assert sum(isinstance(a, Accepted) and not a.replayed for a in flat) == 1
    other = Want(SendRequest(to="+14155550100", text="other"), Idempotency("k", "other"))
    refused = await bench.node.acceptor.accept(PROJECT, "live", [other])
    assert isinstance(refused[0], IdempotencyReused)
    assert await bench.rows("select count(*) from messages") == [(1,)]


async def test_a_restart_takes_over_what_was_leased(bench: Bench) -> None:
    await bench.open(port=1)
    message = await bench.send()
    await bench.close()
    await bench.open()
    await bench.until_status(message, "delivered")


async def test_a_lease_is_renewed_while_the_carrier_throttles(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer with the carrier than a lease lasts: still one attempt, and one message at the phone."""
    monkeypatch.setattr("tidings.delivery.dispatch.LEASE_S", 0.3)
    await bench.open()
    await bench.linked()
    bench.smsc.answer_next(0x58)
    message = await bench.send()
    await bench.until_status(message, "delivered")
    assert await bench.rows("select n, status from attempts where message = ?", message) == [(1, "delivered")]
