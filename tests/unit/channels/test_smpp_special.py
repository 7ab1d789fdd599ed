"""National tables, flash, binary, receipts of another zone, query_sm and late answers: the provider's parts, one by one."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import smpp34

from tidings.channels.contract import ProviderSpec
from tidings.channels.outbox import Item, Outbox
from tidings.channels.sms.content import plan_content
from tidings.channels.sms.smpp import SmppProvider
from tidings.channels.sms.smpp_config import read_config
from tidings.channels.sms.smpp_inbound import InboundReader
from tidings.channels.sms.smpp_query import IdStyle, Inquiries
from tidings.channels.sms.smpp_submit import SubmitWriter
from tidings.domain.attempt import (
    CarrierReceipt,
    InboundPart,
    PartOutcome,
    PartRefused,
    PartRetry,
    PartSent,
    PartUnknown,
    Submission,
)
from tidings.domain.errors import SettingsError
from tidings.domain.message import MessageError
from tidings.domain.sms import SmsContent, sms_problems
from tidings.protocols.gsm.segments import SegmentError, Segments
from tidings.protocols.smpp.constants import DELIVER_SM, Status
from tidings.protocols.smpp.pdu import (
    Framer,
    QueryAnswer,
    Sm,
    SmppDecodeError,
    decode_query_sm,
    decode_sm,
    encode_query_resp,
    encode_sm,
)

NOW_MS = 1_795_000_000_000
GOOD = {"host": "127.0.0.1", "system_id": "x"}
TURKISH = "Şu ağaçların gölgesinde bir akşam oturup İstanbul'u dinledik. " * 2


def writer(**config: Any) -> SubmitWriter:
    return SubmitWriter(read_config("acme", GOOD | config))


def submission(plan: Segments, **more: Any) -> Submission:
    fields: dict[str, Any] = {
        "sender": "ACME", "data_coding": plan.data_coding, "parts": plan.parts, "header": plan.header,
    } | more  # fmt: skip
    return Submission(attempt_id="a", message_id="m", lane="otp", to="+491701234567", **fields)


def written(made: SubmitWriter, plan: Segments) -> list[Sm]:
    """The PDUs, read by our codec, and seen alike by smpp34."""
    sms: list[Sm] = []
    for index in range(len(plan.parts)):
        raw = made.pdu(submission(plan, concat_ref=7), index, 77, NOW_MS)
        ((_, _, _, body),) = Framer().feed(raw)
        sm, other = decode_sm(body), smpp34.decode(raw)
        assert isinstance(other, smpp34.SubmitSm)
        assert (other.short_message, other.esm_class, other.data_coding) == (
            sm.short_message, sm.esm_class, sm.data_coding,
        )  # fmt: skip
        sms.append(sm)
    return sms


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"national_tables": ["tr"], "concat": "payload"}, "national_tables"),
        ({"national_tables": ["tr"], "default_alphabet": "latin1"}, "national_tables"),
        ({"national_tables": ["de"]}, "national_tables"),
        ({"receipt_timezone": "Mars/Olympus"}, "receipt_timezone"),
        ({"receipt_timezone": "../etc/passwd"}, "receipt_timezone"),
        ({"receipt_timezone": "Europe"}, "receipt_timezone"),
        ({"receipt_timezone": "+25:00"}, "receipt_timezone"),
        ({"query_sm": "yes"}, "query_sm"),
    ],
)
def test_bad_keys_are_named(config: dict[str, Any], key: str) -> None:
    with pytest.raises(SettingsError, match=key):
        read_config("acme", GOOD | config)


@pytest.mark.parametrize(
    ("config", "encoding", "headers"),
    [
        ({}, "ucs2", [b"\5\0\3\7\2\1", b"\5\0\3\7\2\2"]),
        ({"national_tables": ["tr", "es", "pt"]}, "gsm+single-tr", [b"\3\x24\1\1"]),
        ({"national_tables": ["tr"], "concat": "sar"}, "gsm+single-tr", [b"\3\x24\1\1"]),
    ],
)
def test_national_tables_only_where_they_are_allowed(
    config: dict[str, Any], encoding: str, headers: list[bytes]
) -> None:
    made = writer(**config)
    plan = made.plan(TURKISH)
    assert plan.encoding == encoding
    sms = written(made, plan)
    assert [sm.short_message[: len(head)] for sm, head in zip(sms, headers, strict=True)] == headers
    assert {sm.esm_class for sm in sms} == {0x40}


def test_a_national_header_stands_beside_the_concatenation() -> None:
    made = writer(national_tables=["tr"], concat="udh16")
    sms = written(made, made.plan(TURKISH * 2))
    assert [sm.short_message[:10].hex() for sm in sms] == ["09080400070201240101", "09080400070202240101"]


@pytest.mark.parametrize(
    ("config", "text", "coding"),
    [
        ({}, "now", 0x10),
        ({}, "сейчас", 0x18),
        ({"default_alphabet": "latin1"}, "é", 0x10),
        ({"default_alphabet": "ascii"}, "now", 0x10),
        ({"default_alphabet": "ucs2"}, "now", 0x18),
    ],
)
def test_flash_names_its_alphabet(config: dict[str, Any], text: str, coding: int) -> None:
    made = writer(**config)
    (sm,) = written(made, made.plan_flash(text))
    assert sm.data_coding == coding


@pytest.mark.parametrize(
    ("config", "size", "ports", "headers"),
    [
        ({}, 140, None, [""]),
        ({}, 141, None, ["050003070201", "050003070202"]),
        ({}, 133, (2948, 9200), ["0605040b8423f0"]),
        ({}, 134, (2948, 9200), ["0b00030702010504" + "0b8423f0", "0b00030702020504" + "0b8423f0"]),
        ({"concat": "udh16"}, 134, (1, 2), ["0c080400070201050400010002", "0c080400070202050400010002"]),
    ],
)
def test_binary(config: dict[str, Any], size: int, ports: tuple[int, int] | None, headers: list[str]) -> None:
    made = writer(**config)
    plan = made.plan_binary(bytes(range(256))[:size], ports)
    sms = written(made, plan)
    assert [sm.short_message[: len(head) // 2].hex() for sm, head in zip(sms, headers, strict=True)] == headers
    assert {(sm.data_coding, sm.esm_class) for sm in sms} == {(4, 0x40 if headers[0] else 0)}
    assert b"".join(plan.parts) == bytes(range(256))[:size]


def test_a_payload_of_octets_keeps_its_ports() -> None:
    made = writer(concat="payload")
    plan = made.plan_binary(b"x" * 300, (1, 2))
    sub = submission(plan)
    assert made.segments_of(sub, 0) == 3
    ((_, _, _, body),) = Framer().feed(made.pdu(sub, 0, 1, NOW_MS))
    sm = decode_sm(body)
    assert (sm.esm_class, sm.short_message) == (0x40, b"")
    assert sm.tlvs[0x424] == bytes.fromhex("06050400010002") + b"x" * 300


@pytest.mark.parametrize(
    ("days", "validity"),
    [(0.5, "000000120000000R"), (30, "000030000000000R"), (31, "absolute")],
)
def test_a_validity_that_would_need_months_is_absolute(days: float, validity: str) -> None:
    made = writer(validity="relative")
    sub = submission(made.plan("hi"), valid_until_ms=NOW_MS + int(days * 86_400_000))
    ((_, _, _, body),) = Framer().feed(made.pdu(sub, 0, 1, NOW_MS))
    found = decode_sm(body).validity_period.decode()
    assert found == validity if validity != "absolute" else found.endswith("00+")


# -- inbound


def reader(zone: dt.tzinfo = dt.UTC) -> InboundReader:
    return InboundReader("acme", "gsm", lambda: NOW_MS, lambda: 1.0, zone)


class Session:
    ended_at: float | None = None


def read(sm: Sm, zone: dt.tzinfo = dt.UTC) -> CarrierReceipt | InboundPart | None:
    return reader(zone).read(DELIVER_SM, 1, encode_sm(sm), Session()).content


@pytest.mark.parametrize(
    ("sm", "text", "data", "ports"),
    [
        (Sm(short_message=b"\x00\xff\x1b", data_coding=4), "", b"\x00\xff\x1b", None),
        (Sm(short_message=b"\x06\x05\x04\x0b\x84\x23\xf0\x01\x06", data_coding=0xF5, esm_class=0x40), "", b"\x01\x06",
         (2948, 9200)),
        (Sm(short_message=b"\x03\x24\x01\x01a\x1bg", esm_class=0x40), "ağ", None, None),
        (Sm(short_message=b"\x06\x24\x01\x03\x25\x01\x03\x04\x1b\x05", esm_class=0x40), "êê", None, None),
        (Sm(short_message=b"hi", data_coding=0x10), "hi", None, None),
    ],
)  # fmt: skip
def test_inbound_of_every_kind(sm: Sm, text: str, data: bytes | None, ports: tuple[int, int] | None) -> None:
    part = read(sm)
    assert isinstance(part, InboundPart)
    assert (part.text, part.data, part.ports) == (text, data, ports)


def test_compressed_text_is_refused_for_good() -> None:
    with pytest.raises(SmppDecodeError) as caught:
        read(Sm(short_message=b"x", data_coding=0x20))
    assert (caught.value.field, caught.value.status) == ("data_coding", Status.ESME_RX_R_APPN)


@pytest.mark.parametrize(
    ("name", "submit", "hour"),
    [
        ("UTC", "2611240102", 1),
        ("+03:00", "2611240402", 1),
        ("-0530", "2611240102", 6),
        ("Europe/Berlin", "2607240302", 1),
    ],
)
def test_receipt_dates_are_of_the_accounts_zone(name: str, submit: str, hour: int) -> None:
    zone = read_config("acme", GOOD | {"receipt_timezone": name}).zone
    text = f"id:1 sub:001 dlvrd:001 submit date:{submit} done date:{submit} stat:DELIVRD err:000 text:"
    found = read(Sm(esm_class=4, short_message=text.encode()), zone)
    assert isinstance(found, CarrierReceipt)
    assert found.submit_at_ms is not None
    assert dt.datetime.fromtimestamp(found.submit_at_ms / 1000, dt.UTC).hour == hour
    assert found.done_at_ms == found.submit_at_ms


# -- query_sm


class Carrier:
    """Answers queries by a table: message id → message_state. No entry: ESME_RQUERYFAIL; `mute`: no answer."""

    def __init__(self, states: dict[str, int], *, mute: bool = False, date: str = "", broken: bool = False) -> None:
        self.states, self.mute, self.date, self.broken = states, mute, date, broken
        self.asked: list[str] = []

    async def query(self, body: bytes, timeout_s: float) -> tuple[int, bytes] | None:
        asked = decode_query_sm(body)
        assert (asked.source_addr, asked.source_addr_ton, asked.source_addr_npi) == ("ACME", 5, 0)
        self.asked.append(asked.message_id)
        if self.mute:
            return None
        if asked.message_id not in self.states:
            return int(Status.ESME_RQUERYFAIL), b""
        if self.broken:
            return 0, b"x"
        return 0, encode_query_resp(QueryAnswer(asked.message_id, self.date, self.states[asked.message_id], 9))


def inquiries() -> Inquiries:
    return Inquiries("acme", read_config("acme", GOOD | {"query_sm": True}), writer(), lambda: NOW_MS)


@pytest.mark.parametrize(
    ("number", "state", "word"),
    [
        (0, "pending", "enroute"), (1, "pending", "enroute"), (2, "delivered", "delivered"), (3, "undelivered", "expired"),
        (4, "undelivered", "deleted"), (5, "undelivered", "undeliverable"), (6, "pending", "accepted"),
        (7, "pending", "unknown"), (8, "undelivered", "rejected"), (200, "pending", "unknown"),
    ],
)  # fmt: skip
async def test_a_query_becomes_a_receipt(number: int, state: str, word: str) -> None:
    receipt = await inquiries().ask([Carrier({"a1": number}, date="261124010203000+")], "a1", "ACME", "+4917")
    assert receipt is not None
    assert (receipt.state, receipt.carrier_state, receipt.error_code, receipt.to) == (state, word, "9", "+4917")
    assert receipt.refs[0] == "a1"
    assert receipt.done_at_ms == int(dt.datetime(2026, 11, 24, 1, 2, 3, tzinfo=dt.UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("carrier", "asked"),
    [
        (Carrier({}), ["a1", "A1"]),
        (Carrier({}, mute=True), ["a1"]),
        (Carrier({"a1": 2}, broken=True), ["a1"]),
    ],
)
async def test_a_carrier_that_cannot_say(carrier: Carrier, asked: list[str]) -> None:
    assert await inquiries().ask([carrier], "a1", "ACME", "+4917") is None
    assert carrier.asked == asked


async def test_without_a_link_nobody_is_asked() -> None:
    assert await inquiries().ask([], "a1", "ACME", "+4917") is None
    assert await inquiries().ask([Carrier({})], "x" * 70, "ACME", "+4917") is None


@pytest.mark.parametrize(
    ("seen", "ref", "first"),
    [([], "a1", "a1"), (["00ff"], "a1", "00a1"), (["00FF", "1234"], "a1", "00A1"), (["abc"], "a1", "a1")],
)
async def test_ids_are_asked_for_in_the_carriers_spelling(seen: list[str], ref: str, first: str) -> None:
    style = IdStyle()
    for message_id in seen:
        style.saw(message_id)
    assert style.spellings(ref)[0] == first
    assert ref in style.spellings(ref)


# -- late answers

SENT, UNKNOWN = PartSent("1"), PartUnknown("timeout")
REFUSED = PartRefused(MessageError(code="x", detail="x"))


@pytest.mark.parametrize(
    ("told", "late", "second"),
    [
        ([UNKNOWN], {0: SENT}, (SENT,)),
        ([UNKNOWN], {0: REFUSED}, (REFUSED,)),
        ([SENT, UNKNOWN], {1: SENT}, (SENT, SENT)),
        ([UNKNOWN, UNKNOWN], {1: SENT}, None),
        ([UNKNOWN, UNKNOWN], {0: SENT, 1: SENT}, (SENT, SENT)),
        ([SENT, SENT], {0: REFUSED}, None),
    ],
)
def test_late_answers(
    told: list[PartOutcome], late: dict[int, PartOutcome], second: tuple[PartOutcome, ...] | None
) -> None:
    outbox = Outbox()
    outbox.add(Submission(
        attempt_id="a", message_id="m", lane="otp", to="+4917", sender=None, data_coding=0, parts=(b"x",) * len(told)
    ))  # fmt: skip
    items: list[Item] = []
    while (item := outbox.peek()) is not None:
        outbox.pop(item)
        items.append(item)
    for item, outcome in zip(items, told, strict=True):
        outbox.settle(item, outcome, 1)
    for index, outcome in late.items():
        outbox.settle_late(items[index], outcome, 2)
    assert [(o.late, o.parts) for o in outbox.done] == [(False, tuple(told))] + ([(True, second)] if second else [])
    assert outbox.open == 0


def test_a_late_answer_before_the_outcome_is_the_outcome() -> None:
    outbox = Outbox()
    outbox.add(Submission(
        attempt_id="a", message_id="m", lane="otp", to="+4917", sender=None, data_coding=0, parts=(b"x", b"y")
    ))  # fmt: skip
    first = outbox.peek()
    assert first is not None
    outbox.pop(first)
    second = outbox.peek()
    assert second is not None
    outbox.settle(first, UNKNOWN, 1)
    outbox.settle_late(first, SENT, 2)
    outbox.settle(second, PartRetry(MessageError(code="x", detail="x")), 3)
    assert [(o.late, o.parts[0]) for o in outbox.done] == [(False, SENT)]


# -- content


@pytest.mark.parametrize(
    ("content", "text", "pointers"),
    [
        ({"flash": True}, "hi", []),
        ({"data": "0aff"}, None, []),
        ({"data": "0aff", "destination_port": 2948, "source_port": 9200}, None, []),
        ({"data": "0a f"}, None, ["/content/data"]),
        ({"data": ""}, None, ["/content/data"]),
        ({"data": "ff" * 40_000}, None, ["/content/data"]),
        ({"data": "0a"}, "hi", ["/content/data"]),
        ({"data": "0a", "flash": True}, None, ["/content/flash"]),
        ({"data": "0a", "source_port": 1}, None, ["/content/destination_port"]),
        ({"destination_port": 1}, "hi", ["/content/destination_port"]),
        ({"data": "0a", "destination_port": 70_000}, None, ["/content/destination_port"]),
        ({"subject": "hi"}, None, ["/content"]),
        ({"flash": "yes"}, "hi", ["/content"]),
    ],
)
def test_content_is_checked(content: dict[str, Any], text: str | None, pointers: list[str]) -> None:
    assert [problem.pointer for problem in sms_problems(content, text)] == pointers


class Quiet:
    """A sink that expects nothing."""

    def outcomes(self, provider: str, batch: Any) -> None: ...
    async def received(self, provider: str, receipts: Any, inbound: Any) -> None: ...
    def ready(self, provider: str) -> None: ...
    def link_changed(self, provider: str, link: Any) -> None: ...


def smpp() -> SmppProvider:
    return SmppProvider(ProviderSpec(name="acme", type="sms.smpp", config=GOOD), Quiet())


async def test_content_is_planned() -> None:
    assert plan_content(smpp(), "hi", SmsContent()).data_coding == 0
    assert plan_content(smpp(), "hi", SmsContent(flash=True)).data_coding == 0x10
    plan = plan_content(smpp(), "", SmsContent(data="0aff", destination_port=1))
    assert (plan.data_coding, plan.parts, plan.header) == (4, (b"\x0a\xff",), b"\x05\x04\0\1\0\0")


@pytest.mark.parametrize(("content", "word"), [(SmsContent(flash=True), "flash"), (SmsContent(data="0a"), "binary")])
async def test_what_a_provider_cannot_send_is_refused_by_name(content: SmsContent, word: str) -> None:
    provider = smpp()
    provider.capabilities = type(provider.capabilities)(channel="sms", level="bronze")
    with pytest.raises(SegmentError, match=f"acme cannot send {word}"):
        plan_content(provider, "hi", content)
