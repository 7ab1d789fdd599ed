"""One bad message, row, outcome or receipt: it ends, or stands alone, and its neighbours go on. Each with its saboteur."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from tidings.channels.sms.smpp_submit import SubmitWriter
from tidings.delivery import in_hand, pipeline, quarantine, stages
from tidings.delivery.isolate import Refused, isolated
from tidings.domain.errors import StoreError, StoreFull
from tidings.kit.clock import wall_ms
from tidings.kit.limits import STRIKES
from tidings.store.sqlite import attempts

if TYPE_CHECKING:
    from .conftest import Bench

SILENT = "+15005550009"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "STRIKE_PAUSE_S", 0.02)


async def code(bench: Bench, message: str) -> str:
    rows = await bench.rows("select error ->> 'code' from messages where id = ?", message)
    return str(rows[0][0])


async def neighbours(bench: Bench, poison: str = "POISON") -> tuple[str, list[str]]:
    """The poison among its neighbours, all in one batch."""
    texts = ["a", "b", poison, "c", "d"]
    found = await asyncio.gather(*(bench.send(text=text) for text in texts))
    return found[2], [one for one in found if one != found[2]]


def raising(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Rendering fails on the poison; how often it was tried."""
    tried: list[str] = []
    render = stages.render_text

    def poisoned(message: Any) -> Any:
        if message.personal.text == "POISON":
            tried.append(message.id)
            raise ZeroDivisionError("poison")
        return render(message)

    monkeypatch.setattr(stages, "render_text", poisoned)
    return tried


async def test_a_stage_that_fails_on_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.open()
    await bench.linked()
    tried = raising(monkeypatch)
    poison, others = await neighbours(bench)
    for other in others:
        await bench.until_status(other, "delivered")
    await bench.until_status(poison, "failed")
    assert len(tried) == 1 + STRIKES, "the first is when it was accepted: that one only takes it off the short way"
    assert await code(bench, poison) == "internal_error"
    assert "failed" in await bench.events(poison)


async def test_the_check_goes_red_where_a_batch_is_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.open()
    await bench.linked()
    raising(monkeypatch)
    monkeypatch.setattr(pipeline.Pipeline, "_safe_step", pipeline.Pipeline._step)
    poison, _ = await neighbours(bench)  # which of them share its batch is up to the machine
    with pytest.raises(TimeoutError):
        await bench.until_status(poison, "failed", deadline_s=1)


async def test_a_part_that_cannot_be_written(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.open()
    await bench.linked()
    write = SubmitWriter.pdu

    def poisoned(self: SubmitWriter, submission: Any, *rest: Any) -> bytes:
        if submission.parts[0] == b"POISON":
            raise ZeroDivisionError("poison")
        return write(self, submission, *rest)

    monkeypatch.setattr(SubmitWriter, "pdu", poisoned)
    poison, others = await neighbours(bench)
    for other in others:
        await bench.until_status(other, "delivered")
    await bench.until_status(poison, "failed")
    assert await code(bench, poison) == "internal_error"


@pytest.mark.parametrize("error", [ValueError("poison"), StoreError("poison")])
async def test_an_attempt_that_cannot_be_stored(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    await bench.open()
    await bench.linked()
    row, bad = attempts._row, list[str]()

    def poisoned(begin: Any, n: int) -> Any:
        if begin.parts == 2:
            bad.append(begin.message)
            raise error
        return row(begin, n)

    monkeypatch.setattr(attempts, "_row", poisoned)  # in the accepting commit, and in the pipeline's
    poison, others = await neighbours(bench, "P" * 200)
    for other in others:
        await bench.until_status(other, "delivered")
    await bench.until_status(poison, "failed")
    assert set(bad) == {poison}
    assert await code(bench, poison) == "internal_error"


async def test_an_outcome_that_cannot_be_stored(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.open()
    await bench.linked()
    stored = bench.node.store.attempts
    settle, bad = stored.settle, list[str]()

    async def poisoned(items: Sequence[Any]) -> None:
        if any(item.refs and item.message == bad[0] for item in items):
            raise StoreError("poison")
        await settle(list(items))

    poison, others = asyncio.create_task(bench.send()), [bench.send() for _ in range(3)]
    bad.append(await poison)
    monkeypatch.setattr(stored, "settle", poisoned)
    for other in await asyncio.gather(*others):
        await bench.until_status(other, "delivered")
    await bench.until_status(bad[0], "sent", "delivered")


async def test_a_row_that_cannot_be_read(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.open(window=1)
    await bench.linked()
    read = quarantine.from_row
    bad: list[str] = []

    def poisoned(ring: Any, row: tuple[Any, ...]) -> Any:
        if row[1] in bad:
            raise ValueError("poison")
        return read(ring, row)

    monkeypatch.setattr(quarantine, "from_row", poisoned)
    await bench.send(to=SILENT)  # the window is full: what follows goes through the queue
    found = await asyncio.gather(*(bench.send(lane="marketing") for _ in range(3)))
    bad.append(found[1])
    await bench.node.fleet.members()[0].provider.stop(0)
    await bench.close()
    await bench.open()
    for other in (found[0], found[2]):
        await bench.until_status(other, "delivered")
    await bench.until_status(found[1], "failed")


async def test_a_carrier_that_never_answers_is_not_sent_to_for_ever(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "TRIES", 2)
    await bench.open(response_timeout_s=0.2)
    await bench.linked()
    message = await bench.send(to=SILENT)
    await bench.until_status(message, "failed")
    assert await code(bench, message) == "outcome_unknown"
    assert bench.smsc.submits == 2


async def leased_by_jump(bench: Bench) -> int:
    """A message is on the wire when the clock jumps beyond its lease; how often the carrier has got it a moment later."""
    await bench.open(response_timeout_s=30)
    await bench.linked()
    message = await bench.send(to=SILENT)
    await bench.until(lambda: bench.smsc.submits == 1)
    bench.node.dispatcher._now = lambda: wall_ms() + 3_600_000
    await asyncio.sleep(2)
    assert await bench.status(message) == "sending"
    return (await bench.events(message)).count("attempt.unknown")


async def test_what_is_in_hand_is_not_taken_twice(bench: Bench) -> None:
    assert await leased_by_jump(bench) == 0


async def test_in_hand_sabotaged(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_hand.InHand, "__contains__", lambda self, message: False)
    assert await leased_by_jump(bench) > 0


async def _refuse(bad: set[int], error: Exception) -> tuple[Callable[[list[int]], Awaitable[list[int]]], list[int]]:
    calls: list[int] = []

    async def write(items: list[int]) -> list[int]:
        calls.append(len(items))
        if bad & set(items):
            raise error
        return [item * 10 for item in items]

    return write, calls


async def _good() -> None: ...


async def _gone() -> None:
    raise StoreError("away")


async def test_isolated() -> None:
    write, calls = await _refuse({5}, ValueError("poison"))
    answers = await isolated(list(range(8)), write, _good)
    assert [n for n, answer in enumerate(answers) if isinstance(answer, Refused)] == [5]
    assert [answer for answer in answers if not isinstance(answer, Refused)] == [0, 10, 20, 30, 40, 60, 70]
    assert len(calls) <= 7


@pytest.mark.parametrize("error", [StoreError("poison"), StoreFull("full")])
async def test_a_store_that_is_away_is_no_poison(error: Exception) -> None:
    write, calls = await _refuse({5}, error)
    answers = await isolated(list(range(8)), write, _gone)
    assert all(isinstance(answer, StoreError) for answer in answers)
    assert calls == [8]


async def test_one_bad_receipt_does_not_hold_back_the_others(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The carrier is told to send that one again; the rest of what it sent together is kept."""
    await bench.open()
    await bench.linked()
    receipts = bench.node.store.receipts
    receive, sizes, gate, bad = receipts.receive, list[int](), asyncio.Event(), list[str]()

    async def poisoned(items: Sequence[Any]) -> Any:
        sizes.append(len(items))
        await gate.wait()
        if any(ref in item.refs for item in items for ref in bad):
            raise StoreError("poison")
        return await receive(list(items))

    monkeypatch.setattr(receipts, "receive", poisoned)
    await bench.send()
    await bench.until(lambda: sizes)  # the first receipt waits; what comes meanwhile is one batch
    found = await asyncio.gather(*(bench.send() for _ in range(6)))
    for one in found:
        await bench.until_status(one, "sent")
    bad += [str(row[0]) for row in await bench.rows("select refs ->> 0 from attempts where message = ?", found[2])]
    await asyncio.sleep(0.1)
    gate.set()
    for other in [*found[:2], *found[3:]]:
        await bench.until_status(other, "delivered")
    assert await bench.status(found[2]) == "sent"
    assert max(sizes) > 1
