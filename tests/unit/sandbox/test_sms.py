"""The recipients of api.md, played to our own provider; other people's clients are in `acceptance`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from peers.carriers import RecordingSink, started, submission, until
from tidings.domain.attempt import PartRetry, PartSent, PartUnknown
from tidings.sandbox import recipients
from tidings.sandbox.recipients import BEHAVIOURS, DELIVERED, behaviour_of
from tidings.sandbox.sms import SandboxSmsc

SENDER = "+4915112345678"


@pytest.fixture
async def smsc() -> AsyncIterator[SandboxSmsc]:
    smsc = SandboxSmsc(system_id="perf", password="perf", receipt_delay_s=0.01)
    await smsc.start()
    yield smsc
    await smsc.stop()


@pytest.mark.parametrize("last", sorted(BEHAVIOURS))
@pytest.mark.parametrize("plus", ["", "+"])
def test_behaviour_of_a_number(last: str, plus: str) -> None:
    assert behaviour_of(f"{plus}1500555{last}") is BEHAVIOURS[last]


@pytest.mark.parametrize("number", ["+15005559999", "+491701234567", "+11500555000", "0001", "", "+150055500011"])
def test_every_other_number_takes_delivery(number: str) -> None:
    assert behaviour_of(number) is DELIVERED


@pytest.mark.parametrize(
    ("last", "states"),
    [
        ("0001", [("delivered", "delivered")]),
        ("0002", [("undelivered", "undeliverable")]),
        ("0004", []),
        ("0006", [("delivered", "delivered"), ("delivered", "read")]),
        ("9999", [("delivered", "delivered")]),
    ],
)
async def test_receipts(smsc: SandboxSmsc, last: str, states: list[tuple[str, str]]) -> None:
    sink = RecordingSink()
    async with started(smsc.port, sink) as provider:
        provider.submit([submission(provider, "a", to=f"+1500555{last}")])
        await until(lambda: sink.done and len(sink.receipts) >= len(states))
        await asyncio.sleep(0.06)
        assert isinstance(sent := sink.outcome("a")[0], PartSent)
        assert [(receipt.state, receipt.carrier_state) for receipt in sink.receipts] == states
        assert all(sent.ref in receipt.refs for receipt in sink.receipts)


async def test_temporary_failure_then_delivered(smsc: SandboxSmsc) -> None:
    sink = RecordingSink()
    async with started(smsc.port, sink) as provider:
        for name in ("first", "second", "third"):
            provider.submit([submission(provider, name, to="+15005550003")])
            await until(lambda name=name: any(o.attempt_id == name for o in sink.done))
        kinds = [type(sink.outcome(name)[0]) for name in ("first", "second", "third")]
        assert kinds == [PartRetry, PartSent, PartRetry]


async def test_slow_receipt(smsc: SandboxSmsc, monkeypatch: pytest.MonkeyPatch) -> None:
    assert BEHAVIOURS["0005"].delay_s == 10
    monkeypatch.setitem(recipients.BEHAVIOURS, "0005", recipients.Behaviour(delay_s=0.3))
    sink = RecordingSink()
    async with started(smsc.port, sink) as provider:
        provider.submit([submission(provider, "a", to="+15005550005"), submission(provider, "b", to="+15005550001")])
        await until(lambda: len(sink.receipts) == 1)
        assert sink.receipts[0].to == "+15005550001"
        await until(lambda: len(sink.receipts) == 2)


@pytest.mark.parametrize(("last", "word"), [("0007", "YES"), ("0008", "STOP")])
async def test_replies_once_after_the_receipts(smsc: SandboxSmsc, last: str, word: str) -> None:
    sink = RecordingSink()
    async with started(smsc.port, sink) as provider:
        provider.submit([submission(provider, "a", to=f"+1500555{last}", sender=SENDER, text="word " * 60)])
        await until(lambda: sink.inbound)
        await asyncio.sleep(0.05)
        (part,) = sink.inbound
        assert (part.sender, part.to, part.text) == (f"+1500555{last}", SENDER, word)
        assert len(sink.receipts) == 2


async def test_the_answer_never_comes(smsc: SandboxSmsc) -> None:
    sink = RecordingSink()
    async with started(smsc.port, sink, response_timeout_s=0.1) as provider:
        provider.submit([submission(provider, "a", to="+15005550009")])
        await until(lambda: sink.done)
        assert sink.outcome("a") == (PartUnknown("timeout"),)
        assert smsc.submits == 1


async def test_no_receipt_is_given_that_was_not_asked_for(smsc: SandboxSmsc, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = RecordingSink()
    async with started(smsc.port, sink) as provider:
        made = provider._writer.pdu
        monkeypatch.setattr(
            provider._writer,
            "pdu",
            lambda *given: made(*given).replace(b"\0\1\0\0\0\5Hello", b"\0\0\0\0\0\5Hello"),
        )
        provider.submit([submission(provider, "a")])
        await until(lambda: sink.done)
        await asyncio.sleep(0.05)
        assert smsc.messages[0].registered_delivery == 0
        assert not sink.receipts


async def test_receipts_wait_for_a_bind_and_come_again_after_a_drop(smsc: SandboxSmsc) -> None:
    sink = RecordingSink()
    async with started(smsc.port, sink, binds={"transmitter": 1}) as provider:
        provider.submit([submission(provider, f"a{n}") for n in range(5)])
        await until(lambda: len(sink.done) == 5 and smsc.held == 5)
    sink.gate = asyncio.Event()
    async with started(smsc.port, sink):
        await until(lambda: "receiving" in sink.log)
        smsc.drop_links()
        await until(lambda: smsc.held == 5)
        sink.gate.set()
        await until(lambda: smsc.acknowledged_deliveries == 5)
        assert {receipt.refs[0] for receipt in sink.receipts} == {message.id for message in smsc.messages}


async def test_long_messages_are_counted_as_one(smsc: SandboxSmsc) -> None:
    sink = RecordingSink()
    async with started(smsc.port, sink) as provider:
        provider.submit([submission(provider, "a", text="Größe 😀 " * 20, concat_ref=9), submission(provider, "b")])
        await until(lambda: len(sink.done) == 2)
        assert (smsc.submits, smsc.whole_messages) == (4, 2)
        assert "".join(message.text for message in smsc.messages if message.total == 3) == "Größe 😀 " * 20


async def test_a_person_writes_a_long_message(smsc: SandboxSmsc) -> None:
    sink, text = RecordingSink(), "Привет 😀 " * 20
    async with started(smsc.port, sink):
        assert smsc.inject("+15005550007", "12345", text) == 3
        await until(lambda: len(sink.inbound) == 3)
        parts = sorted(sink.inbound, key=lambda part: part.part)
        assert "".join(part.text for part in parts) == text
        assert {(part.total, part.concat_ref) for part in parts} == {(3, parts[0].concat_ref)}
        assert len({part.dedup for part in parts}) == 3


async def test_framing_lost_is_answered_and_closed(smsc: SandboxSmsc) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", smsc.port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    assert (await reader.read()).hex() == "00000010" + "80000000" + "00000002" + "00000000"
    writer.close()
    await writer.wait_closed()


async def test_ids_of_two_runs_never_meet() -> None:
    first, second = (SandboxSmsc(clock=lambda n=n: 1_795_000_000_000 + n) for n in (0, 1))
    assert second._first_id - first._first_id >= 1 << 16
