"""National tables, flash, binary, query_sm and late answers against npm `smpp`, which knows them on its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from peers.carriers import NUMBER, RecordingSink, node_smsc, started, submission, until
from tidings.domain.attempt import PartRefused, PartSent, PartUnknown, Submission
from tidings.protocols.gsm.segments import Segments

TURKISH = "Şu ağaçların gölgesinde bir akşam oturup İstanbul'u dinledik. " * 2
SPANISH = "Mañana habrá sesión en el jardín; avísanos según tu opinión, así lo sabrán también los demás. "


def made(plan: Segments, name: str = "a") -> Submission:
    return Submission(
        attempt_id=name, message_id=f"msg_{name}", lane="otp", to=NUMBER, sender="ACME", data_coding=plan.data_coding,
        parts=plan.parts, header=plan.header, concat_ref=7,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "parts", "encoding"),
    [
        (TURKISH, 1, "gsm+single-tr"),
        (TURKISH * 2, 2, "gsm+single-tr"),
        (SPANISH, 1, "gsm+single-es"),
        (SPANISH * 3, 3, "gsm+single-es"),
    ],
)
async def test_npm_smpp_reads_our_national_text(node_peer: Path, text: str, parts: int, encoding: str) -> None:
    sink = RecordingSink()
    async with (
        node_smsc(node_peer, receipts="none") as smsc,
        started(smsc.port, sink, national_tables=["tr", "es", "pt"]) as provider,
    ):
        plan = provider.plan(text)
        assert (len(plan.parts), plan.encoding) == (parts, encoding)
        provider.submit([made(plan)])
        await until(lambda: sink.done)
        assert "".join(line["text"] for line in smsc.of("submit")) == text


async def test_we_read_the_national_text_of_npm_smpp(node_peer: Path) -> None:
    """It writes the locking table's septets whichever table the header names, so the header names both."""
    sink = RecordingSink()
    async with node_smsc(node_peer) as smsc, started(smsc.port, sink):
        for udh, text in (
            ("06240101250101", "ğış ŞİĞ ç[]"),
            ("03240102", "áíóú ÁÍÓÚ ç"),
            ("06240103250103", "ãõ êâ ª Ó"),
        ):
            await smsc.command("part", **{"from": NUMBER[1:], "to": "12345", "udh": udh, "text": text})
        await until(lambda: len(sink.inbound) == 3)
        assert [part.text for part in sink.inbound] == ["ğış ŞİĞ ç[]", "áíóú ÁÍÓÚ ç", "ãõ êâ ª Ó"]


async def test_flash_and_binary(node_peer: Path) -> None:
    sink = RecordingSink()
    async with node_smsc(node_peer, receipts="none") as smsc, started(smsc.port, sink) as provider:
        provider.submit(
            [
                made(provider.plan_flash("now"), "a"),
                made(provider.plan_flash("я"), "b"),
                made(provider.plan_binary(b"\x01\x06\x00\xff", (2948, 9200)), "c"),
            ]
        )
        await until(lambda: len(sink.done) == 3)
        seen = [(line["data_coding"], line["esm_class"], line["udh"]) for line in smsc.of("submit")]
        assert seen == [(0x10, 0, ""), (0x18, 0, ""), (4, 0x40, "05040b8423f0")]
        assert smsc.of("submit")[2]["text"] == "\x01\x06\x00\xff"


@pytest.mark.parametrize(
    ("state", "word", "known"), [(2, "delivered", True), (5, "undeliverable", True), (2, "", False)]
)
async def test_query_sm(node_peer: Path, state: int, word: str, known: bool) -> None:
    sink = RecordingSink()
    states = {"1001": state} if known else {}
    async with (
        node_smsc(node_peer, receipts="none", states=states) as smsc,
        started(smsc.port, sink, query_sm=True) as provider,
    ):
        assert provider.capabilities.query
        provider.submit([submission(provider, "a")])
        await until(lambda: sink.done)
        receipt = await provider.query("1001", "ACME", NUMBER)
        assert (receipt.carrier_state if receipt else "") == word
        assert [(line["id"], line["from"], line["ton"]) for line in smsc.of("query")] == [("1001", "ACME", 5)]


async def test_query_sm_only_where_it_is_configured_and_a_lost_link_answers_none(node_peer: Path) -> None:
    sink = RecordingSink()
    async with node_smsc(node_peer) as smsc, started(smsc.port, sink) as provider:
        assert not provider.capabilities.query
        assert await provider.query("1001", "ACME", NUMBER) is None
        assert smsc.of("query") == []
    assert await provider.query("1001", "ACME", NUMBER) is None


@pytest.mark.parametrize(("status", "kind"), [(0, PartSent), (0x0B, PartRefused)])
async def test_a_late_answer_of_each_kind(node_peer: Path, status: int, kind: type) -> None:
    sink = RecordingSink()
    options = {"delay_ms": 300, "statuses": {NUMBER[1:]: status} if status else {}}
    async with (
        node_smsc(node_peer, receipts="none", delay_refusals=True, **options) as smsc,
        started(smsc.port, sink, response_timeout_s=0.1) as provider,
    ):
        provider.submit([submission(provider, "a")])
        await until(lambda: any(o.late for o in sink.done))
        assert sink.outcome("a") == (PartUnknown("timeout"),)
        (late,) = (o for o in sink.done if o.late)
        assert isinstance(late.parts[0], kind)
