"""Our SMPP provider against npm `smpp` as SMSC, and our sandbox SMSC against other people's clients."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
import smpp34

from peers.carriers import NUMBER, RecordingSink, node_smsc, started, submission, until
from tidings.channels.pacing import Pacer
from tidings.domain.attempt import PartExpired, PartRefused, PartRetry, PartSent, PartUnknown
from tidings.kit.clock import wall_ms

LONG = "Ten chars." * 20


async def test_a_message_and_its_receipt(node_peer: Path) -> None:
    sink = RecordingSink()
    async with node_smsc(node_peer) as smsc, started(smsc.port, sink) as provider:
        provider.submit([submission(provider, "a", text="Grüße [ok] €5")])
        await until(lambda: sink.receipts)
        (sent,) = sink.outcome("a")
        assert isinstance(sent, PartSent)
        (receipt,) = sink.receipts
        assert sent.ref in receipt.refs
        assert (receipt.to, receipt.sender, receipt.state) == (NUMBER, "ACME", "delivered")
        await until(lambda: smsc.of("deliver_resp"))
        assert smsc.of("deliver_resp")[0]["status"] == 0
        (got,) = smsc.of("submit")
        assert got["text"] == "Grüße [ok] €5"
        assert (got["to"], got["from"], got["registered_delivery"]) == (NUMBER[1:], "ACME", 1)
        assert (got["source_ton"], got["source_npi"], got["dest_ton"], got["dest_npi"]) == (5, 0, 1, 1)
    assert smsc.of("unbind"), "the link was not unbound"


@pytest.mark.parametrize(
    ("binds", "kinds"),
    [
        ({"transceiver": 1}, ["transceiver"]),
        ({"transmitter": 2, "receiver": 1}, ["receiver", "transmitter", "transmitter"]),
        ({"transceiver": 3}, ["transceiver"] * 3),
    ],
)
async def test_binds(node_peer: Path, binds: dict[str, int], kinds: list[str]) -> None:
    sink = RecordingSink()
    async with node_smsc(node_peer) as smsc, started(smsc.port, sink, binds=binds, system_type="VMA") as provider:
        provider.submit([submission(provider, f"a{n}") for n in range(30)])
        await until(lambda: len(sink.done) == 30 and len(sink.receipts) == 30)
        assert sorted(bind["kind"] for bind in smsc.of("bind")) == kinds
        assert {bind["system_type"] for bind in smsc.of("bind")} == {"VMA"}
        assert {bind["version"] for bind in smsc.of("bind")} == {0x34}


@pytest.mark.parametrize(
    ("wrong", "code"), [({"password": "no"}, "bad_password"), ({"system_id": "x"}, "bad_system_id")]
)
async def test_a_bad_password_stops_and_is_reported(node_peer: Path, wrong: dict[str, str], code: str) -> None:
    sink = RecordingSink()
    async with node_smsc(node_peer) as smsc, started(smsc.port, sink, up=False, **wrong) as provider:
        await until(lambda: "auth_failed" in sink.states)
        await asyncio.sleep(0.4)  # several pauses: it must not try again
        assert len(smsc.of("bind")) == 1
        (link,) = provider.links()
        assert (link.state, link.last_error) == ("auth_failed", code)
        assert provider.credit("otp") == 0


async def test_bind_refused_for_now_is_tried_again(node_peer: Path) -> None:
    sink = RecordingSink()
    async with node_smsc(node_peer, bind_status=0x0D) as smsc, started(smsc.port, sink, up=False) as provider:
        await until(lambda: len(smsc.of("bind")) >= 2)
        assert provider.links()[0].last_error == "bind_failed"
        await smsc.command("set", options={"bind_status": None})
        await until(lambda: provider.links()[0].state == "up")


async def test_throttled_parts_wait_and_leave_in_order_none_fails(node_peer: Path) -> None:
    sink = RecordingSink()
    async with node_smsc(node_peer, throttle_first=4) as smsc, started(smsc.port, sink, window=5) as provider:
        began = time.monotonic()
        provider.submit([submission(provider, f"a{n}", text=f"text {n}") for n in range(10)])
        assert provider.credit("transactional") == 0
        await until(lambda: len(sink.done) == 10)
        assert time.monotonic() - began >= 1.0, "throttled, it did not pause"
        assert all(isinstance(o.parts[0], PartSent) for o in sink.done)
        taken = [line["text"] for line in smsc.of("submit")][4:]
        assert taken == [f"text {n}" for n in range(10)]
        assert len(smsc.of("submit")) == 14, "the parts were tried again without a pause"


async def test_throttled_beyond_its_validity_it_expires(node_peer: Path) -> None:
    sink = RecordingSink()
    async with node_smsc(node_peer, throttle_first=10**6) as smsc:

        def clock() -> int:
            """As soon as the carrier has refused it once, its time is up."""
            return wall_ms() + (61_000 if smsc.of("submit") else 0)

        async with started(smsc.port, sink, clock=clock) as provider:
            provider.submit([submission(provider, "a", valid_until_ms=wall_ms() + 60_000)])
            await until(lambda: sink.done)
        assert sink.outcome("a") == (PartExpired(),)
        assert len(smsc.of("submit")) == 1


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (0x0B, PartRefused, "invalid_recipient"),
        (0x0A, PartRefused, "invalid_sender"),
        (0x08, PartRetry, "carrier_error"),
        (0x64, PartRetry, "carrier_busy"),
        (0x0401, PartRetry, "vendor_error"),
    ],
)
async def test_error_codes(node_peer: Path, status: int, kind: type[Any], code: str) -> None:
    sink = RecordingSink()
    async with node_smsc(node_peer, statuses={NUMBER[1:]: status}) as smsc, started(smsc.port, sink) as provider:
        provider.submit([submission(provider, "a")])
        await until(lambda: sink.done)
        (outcome,) = sink.outcome("a")
        assert isinstance(outcome, kind)
        assert (outcome.error.code, outcome.error.spec) == (code, "SMPP 3.4 §5.1.3")
        assert f"0x{status:08X}" in outcome.error.provider_code


async def test_link_lost_in_the_window(node_peer: Path) -> None:
    """What was written is unknown; what was not written leaves over the new link; every submission has one outcome."""
    sink = RecordingSink()
    async with node_smsc(node_peer, delay_ms=20, drop_after=8) as smsc, started(smsc.port, sink, window=5) as provider:
        provider.submit([submission(provider, f"a{n}", text=f"text {n}") for n in range(20)])
        await until(lambda: len(sink.done) == 20)
        unknown = [o for o in sink.done if isinstance(o.parts[0], PartUnknown)]
        assert 1 <= len(unknown) <= 5
        assert {o.parts[0] for o in unknown} == {PartUnknown("link_lost")}
        assert sum(isinstance(o.parts[0], PartSent) for o in sink.done) == 20 - len(unknown)
        texts = [line["text"] for line in smsc.of("submit")]
        assert len(texts) == len(set(texts)) <= 20, "a part was written twice"
        assert len(smsc.of("bind")) == 2


async def test_without_a_link_parts_are_given_back(node_peer: Path) -> None:
    sink = RecordingSink()
    async with node_smsc(node_peer) as smsc:
        port = smsc.port
    async with started(port, sink, up=False, requeue_s=0.1) as provider:
        provider.submit([submission(provider, "a")])
        await until(lambda: sink.done)
        (outcome,) = sink.outcome("a")
        assert isinstance(outcome, PartRetry)
        assert outcome.error.code == "no_link"


async def test_no_answer_is_unknown_and_frees_the_window(node_peer: Path) -> None:
    sink = RecordingSink()
    async with (
        node_smsc(node_peer, silent=[NUMBER[1:]]) as smsc,
        started(smsc.port, sink, window=4, response_timeout_s=2) as provider,
    ):
        provider.submit([submission(provider, f"a{n}", lane="otp") for n in range(4)])
        provider.submit([submission(provider, "b", to="+491709999999", lane="otp")])
        await until(lambda: len(sink.done) == 5)
        assert sink.outcome("a3") == (PartUnknown("timeout"),)
        assert isinstance(sink.outcome("b")[0], PartSent)
        assert [link.state for link in provider.links()] == ["up"]


async def test_a_late_answer_makes_a_second_outcome(node_peer: Path) -> None:
    sink = RecordingSink()
    async with (
        node_smsc(node_peer, delay_ms=2000) as smsc,
        started(smsc.port, sink, response_timeout_s=0.15) as provider,
    ):
        provider.submit([submission(provider, "a")])
        await until(lambda: provider.late_answers == 1)
        assert sink.outcome("a") == (PartUnknown("timeout"),)
        await until(lambda: [o.parts for o in sink.done if o.late] == [(PartSent("1001"),)])


async def test_enquire_link_keeps_and_ends_links(node_peer: Path) -> None:
    sink = RecordingSink()
    async with (
        node_smsc(node_peer) as smsc,
        started(smsc.port, sink, enquire_link_s=0.05, response_timeout_s=2) as provider,
    ):
        await until(lambda: len(smsc.of("enquire_link")) >= 3)
        assert sink.states == ["connecting", "up"]
        await smsc.command("set", options={"ignore_enquire": True})
        await until(lambda: "backoff" in sink.states)
        assert provider.links()[0].last_error == "enquire_link not answered" or "enquire_link not answered" in [
            link.last_error for link in sink.links
        ]


async def test_unbound_by_the_carrier_it_comes_back(node_peer: Path) -> None:
    sink = RecordingSink()
    async with node_smsc(node_peer) as smsc, started(smsc.port, sink) as provider:
        await smsc.command("unbind")
        await until(lambda: len(smsc.of("bind")) == 2)
        await until(lambda: provider.links()[0].state == "up")
        assert "unbound by the carrier" in [link.last_error for link in sink.links]


@pytest.mark.parametrize("concat", ["udh8", "udh16", "sar"])
async def test_concatenation(node_peer: Path, concat: str) -> None:
    sink = RecordingSink()
    async with node_smsc(node_peer) as smsc, started(smsc.port, sink, concat=concat) as provider:
        provider.submit([submission(provider, "a", text=LONG, concat_ref=0x1234, sender="12345")])
        await until(lambda: len(sink.receipts) == 2)
        assert [type(part) for part in sink.outcome("a")] == [PartSent, PartSent]
        one, two = smsc.of("submit")
        assert one["text"] + two["text"] == LONG
        assert (one["registered_delivery"], two["registered_delivery"]) == (1, 1)
        assert one["source_ton"] == 3
        heads = {
            "udh8": ["0003340201", "0003340202"],
            "udh16": ["080412340201", "080412340202"],
            "sar": [[0x1234, 2, 1], [0x1234, 2, 2]],
        }
        assert [line["sar"] if concat == "sar" else line["udh"] for line in (one, two)] == heads[concat]
        assert [line["esm_class"] for line in (one, two)] == ([0, 0] if concat == "sar" else [0x40, 0x40])


async def test_message_payload(node_peer: Path) -> None:
    sink = RecordingSink()
    async with node_smsc(node_peer) as smsc, started(smsc.port, sink, concat="payload") as provider:
        provider.submit([submission(provider, "a", text=LONG)])
        await until(lambda: sink.receipts)
        (got,) = smsc.of("submit")
        assert (got["payload"], got["text"]) == (LONG, "")


async def test_unicode_reaches_the_carrier_whole(node_peer: Path) -> None:
    sink, text = RecordingSink(), "Ваш код 123 😀" * 8
    async with node_smsc(node_peer) as smsc, started(smsc.port, sink) as provider:
        provider.submit([submission(provider, "a", text=text, concat_ref=9)])
        await until(lambda: sink.done)
        assert "".join(line["text"] for line in smsc.of("submit")) == text
        assert {line["data_coding"] for line in smsc.of("submit")} == {8}


@pytest.mark.parametrize("mode", ["relative", "absolute"])
async def test_validity_is_told_to_the_carrier(node_peer: Path, mode: str) -> None:
    sink = RecordingSink()
    async with node_smsc(node_peer) as smsc, started(smsc.port, sink, validity=mode) as provider:
        until_ms = time.time_ns() // 1_000_000 + 3_600_500
        provider.submit([submission(provider, "a", valid_until_ms=until_ms), submission(provider, "b")])
        await until(lambda: len(sink.done) == 2)
        with_validity, without = smsc.of("submit")
        assert with_validity["validity"] not in (None, "", "null")
        assert without["validity"] in (None, "", "null")


async def test_a_receipt_before_its_answer(node_peer: Path) -> None:
    sink = RecordingSink()
    async with node_smsc(node_peer, receipts="before", delay_ms=50) as smsc, started(smsc.port, sink) as provider:
        provider.submit([submission(provider, "a")])
        await until(lambda: sink.done and sink.receipts)
        assert sink.log.index("received") < sink.log.index("outcome a")
        assert isinstance(sent := sink.outcome("a")[0], PartSent)
        assert sent.ref in sink.receipts[0].refs


async def test_hex_and_decimal_ids_meet(node_peer: Path) -> None:
    sink = RecordingSink()
    async with node_smsc(node_peer, hex_ids=True) as smsc, started(smsc.port, sink) as provider:
        provider.submit([submission(provider, f"a{n}") for n in range(5)])
        await until(lambda: len(sink.receipts) == 5 and len(sink.done) == 5)
        refs = {outcome.parts[0].ref for outcome in sink.done if isinstance(outcome.parts[0], PartSent)}
        assert len(refs) == 5
        assert all(refs.intersection(receipt.refs) for receipt in sink.receipts)


async def test_messages_from_people(node_peer: Path) -> None:
    sink = RecordingSink()
    async with node_smsc(node_peer) as smsc, started(smsc.port, sink):
        await smsc.command("mo", **{"from": "491701111111", "to": "12345", "text": "Hi {you}"})
        await smsc.command("mo", **{"from": "491701111111", "to": "12345", "text": "Hi {you}"})
        for udh, text in (("050003070202", "two"), ("050003070201", "one ")):
            await smsc.command("part", **{"from": "491701111111", "to": "12345", "udh": udh, "text": text})
        await until(lambda: len(sink.inbound) == 4)
        first, second, part_two, part_one = sink.inbound
        assert (first.sender, first.to, first.text, first.total) == ("+491701111111", "12345", "Hi {you}", 1)
        assert first.dedup != second.dedup, "the same words said twice are two messages"
        assert (part_two.concat_ref, part_two.total, part_two.part, part_two.text) == (7, 2, 2, "two")
        assert (part_one.part, part_one.text) == (1, "one ")
        await until(lambda: [line["status"] for line in smsc.of("deliver_resp")] == [0] * 4)


async def test_acknowledged_only_after_the_commit(node_peer: Path) -> None:
    sink = RecordingSink()
    sink.gate = asyncio.Event()
    async with node_smsc(node_peer) as smsc, started(smsc.port, sink):
        await smsc.command("mo", **{"from": "491701111111", "to": "12345", "text": "Hi"})
        await until(lambda: "receiving" in sink.log)
        await asyncio.sleep(0.15)
        assert not smsc.of("deliver_resp")
        sink.gate.set()
        await until(lambda: smsc.of("deliver_resp"))
        assert smsc.of("deliver_resp")[0]["status"] == 0


async def test_what_could_not_be_committed_is_refused_for_now(node_peer: Path) -> None:
    sink = RecordingSink()
    sink.refuse_receives = 1
    async with node_smsc(node_peer) as smsc, started(smsc.port, sink):
        await smsc.command("mo", **{"from": "491701111111", "to": "12345", "text": "Hi"})
        await until(lambda: smsc.of("deliver_resp"))
        assert smsc.of("deliver_resp")[0]["status"] == 0x64
        assert not sink.inbound


async def test_a_malformed_pdu_does_not_end_the_link(node_peer: Path) -> None:
    sink = RecordingSink()
    async with node_smsc(node_peer) as smsc, started(smsc.port, sink) as provider:
        await smsc.command("raw", hex="00000012000000050000000000000063" + "ffff")  # a deliver_sm that is cut off
        await smsc.command("raw", hex="00000010000000770000000000000064")  # no such command
        provider.submit([submission(provider, "a")])
        await until(lambda: sink.receipts)
        assert sink.states == ["connecting", "up"]
        await smsc.command("raw", hex="7fffffff000000050000000000000065")  # no length: framing is lost
        await until(lambda: len(smsc.of("bind")) == 2)


async def _carrier_times(node_peer: Path, segments: int, rate: int) -> tuple[list[float], float]:
    """When the carrier read each segment, and how late it may have been with that: on a busy machine it reads several at
    once. Taken anew, three times at most, while the carrier is so late that its times say little."""
    for _ in range(3):
        sink = RecordingSink()
        async with (
            node_smsc(node_peer, receipts="none", log_lag=True) as smsc,
            started(smsc.port, sink, rate_per_s=rate) as provider,
        ):
            provider.submit([submission(provider, f"a{n}", text=LONG, concat_ref=n) for n in range(segments // 2)])
            await until(lambda sink=sink: len(sink.done) == segments // 2)
            lag_s = max(line["s"] for line in smsc.of("lag")) + 0.1
        if lag_s < 0.3:
            break
    return [line["at"] for line in smsc.of("submit")], lag_s


def _most_in_a_second(times: list[float], slack_s: float) -> int:
    return max(sum(at <= other < at + 1.0 - slack_s for other in times) for at in times)


async def test_rate_as_the_carrier_sees_it(node_peer: Path) -> None:
    times, lag_s = await _carrier_times(node_peer, 240, 80)
    assert _most_in_a_second(times, min(lag_s, 0.9)) <= 80
    assert _most_in_a_second(times, 0) >= 0.9 * 80


async def test_saboteur_without_the_limiter_the_carrier_sees_more(
    node_peer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pacer, "allow", lambda _self, _now: 1 << 30)
    times, lag_s = await _carrier_times(node_peer, 240, 80)
    assert _most_in_a_second(times, min(lag_s, 0.9)) > 80


async def test_one_time_codes_pass_a_full_window(node_peer: Path) -> None:
    sink = RecordingSink()
    async with node_smsc(node_peer, delay_ms=1500) as smsc, started(smsc.port, sink, window=10) as provider:
        provider.submit([submission(provider, f"m{n}", text=f"m{n}", lane="marketing") for n in range(12)])
        assert provider.credit("marketing") == 0
        assert provider.credit("otp") == 2
        provider.submit([submission(provider, "o", text="code", lane="otp")])
        await until(lambda: len(sink.done) == 13)
        order = [line["text"] for line in smsc.of("submit")]
        assert order[8] == "code"


async def test_smpp34_as_smsc(free_port: int) -> None:
    server, sink, count = smpp34.Server("127.0.0.1", free_port, system_id="smsc"), RecordingSink(), 40
    await server.start()
    async with started(free_port, sink, window=10) as provider:
        esme = await asyncio.wait_for(server.next(), 30)
        assert isinstance(esme, smpp34.Esme)
        provider.submit([submission(provider, f"a{n}", text=f"Grüße {n}") for n in range(count)])
        for n in range(count):
            event = await asyncio.wait_for(server.next(), 30)
            assert isinstance(event, smpp34.SubmitSmEvent)
            assert (event.destination_addr, event.registered_delivery) == (NUMBER[1:], 1)
            if n == 3:
                event.reject(smpp34.ESME_RINVDSTADR)
            else:
                event.accept(f"00{n:X}")
        await until(lambda: len(sink.done) == count)
        sent = [o.parts[0].ref for o in sink.done if isinstance(o.parts[0], PartSent)]
        assert len(sent) == count - 1
        text = (
            f"id:{int(sent[-1], 16)} sub:001 dlvrd:001 submit date:2611240102 done date:2611240102 stat:DELIVRD err:000"
        )
        answer = await esme.deliver_sm("ACME", text.encode(), source_addr=NUMBER[1:], esm_class=4)
        assert answer.is_success
        assert sent[-1] in sink.receipts[0].refs
    await server.stop()
