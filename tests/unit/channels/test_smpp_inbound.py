"""Receipts and messages as our nouns; a resend has the key of the first copy, a second message has its own."""

from __future__ import annotations

from typing import Any

import pytest

from tidings.channels.sms.smpp_inbound import ACK_FLIGHT_S, SLOW_ACK_S, Inbound, InboundReader
from tidings.domain.attempt import CarrierReceipt, InboundPart
from tidings.protocols.smpp.constants import DATA_SM, DELIVER_SM, Tag
from tidings.protocols.smpp.pdu import Sm, SmppDecodeError, encode_sm


class Session:
    ended_at: float | None = None


class Bench:
    def __init__(self) -> None:
        self.now = 100.0
        self.reader = InboundReader("acme", "gsm", lambda: int(self.now * 1000), lambda: self.now)

    def read(self, session: Session, text: bytes = b"YES", **fields: Any) -> Inbound:
        sm = Sm(source_addr=b"491701234567", destination_addr=b"12345", short_message=text, **fields)
        return self.reader.read(DELIVER_SM, 1, encode_sm(sm), session)

    def key(self, session: Session, **fields: Any) -> str:
        content = self.read(session, **fields).content
        assert isinstance(content, InboundPart)
        return content.dedup


def test_the_same_words_twice_are_two_messages() -> None:
    bench, session = Bench(), Session()
    first = bench.read(session)
    bench.reader.acknowledged([first], kept=True)
    bench.now += 1
    second = bench.read(session)
    bench.reader.acknowledged([second], kept=True)
    bench.now += 3600
    third = bench.read(session)
    assert len({item.seen.key for item in (first, second, third) if item.seen}) == 3


@pytest.mark.parametrize(
    ("acked", "after_s", "same"),
    [(False, 0.0, True), (False, 60.0, True), (True, 0.1, True), (True, ACK_FLIGHT_S + 1, False)],
)
def test_resent_over_a_new_link(acked: bool, after_s: float, same: bool) -> None:
    bench, old, new = Bench(), Session(), Session()
    first = bench.read(old)
    if acked:
        bench.reader.acknowledged([first], kept=True)
    bench.now += after_s
    old.ended_at = bench.now
    bench.now += 2
    assert first.seen is not None
    assert (bench.key(new) == first.seen.key) is same


def test_two_equal_messages_resent_keep_their_two_keys() -> None:
    bench, old, new = Bench(), Session(), Session()
    keys = [bench.key(old), bench.key(old)]
    old.ended_at = bench.now
    bench.now += 1
    assert [bench.key(new), bench.key(new)] == keys
    assert bench.key(new) not in keys


def test_resent_on_the_same_link_when_our_answer_is_slow() -> None:
    bench, session = Bench(), Session()
    key = bench.key(session)
    bench.now += SLOW_ACK_S + 1
    assert bench.key(session) == key


def test_a_link_that_lives_does_not_resend_over_another() -> None:
    bench = Bench()
    assert bench.key(Session()) != bench.key(Session())


def test_parts_of_one_message_have_keys_of_their_own() -> None:
    bench, session = Bench(), Session()
    one = bench.key(session, text=b"\5\0\3\7\2\1same", esm_class=0x40)
    two = bench.key(session, text=b"\5\0\3\7\2\2same", esm_class=0x40)
    assert one != two


def test_memory_is_bounded() -> None:
    bench, session = Bench(), Session()
    for n in range(10_050):
        bench.key(session, text=b"%d" % n)
    assert len(bench.reader._seen) == 10_000
    for _ in range(50):
        bench.key(session)
    assert max(len(copies) for copies in bench.reader._seen.values()) <= 16


@pytest.mark.parametrize(
    ("address", "ton", "expected"),
    [
        (b"491701234567", 1, "+491701234567"),
        (b"491701234567", 0, "+491701234567"),
        (b"+491701234567", 0, "+491701234567"),
        (b"00491701234567", 0, "+491701234567"),
        (b"12345", 3, "12345"),
        (b"12345", 0, "12345"),
        (b"ACME", 5, "ACME"),
        (b"20262026", 5, "20262026"),
    ],
)
def test_numbers(address: bytes, ton: int, expected: str) -> None:
    body = encode_sm(Sm(source_addr=address, source_addr_ton=ton, destination_addr=b"1", short_message=b"x"))
    content = Bench().reader.read(DELIVER_SM, 1, body, Session()).content
    assert isinstance(content, InboundPart)
    assert content.sender == expected


@pytest.mark.parametrize(
    ("word", "state", "carrier_state"),
    [
        ("DELIVRD", "delivered", "delivered"),
        ("ACCEPTD", "pending", "accepted"),
        ("ENROUTE", "pending", "enroute"),
        ("UNDELIV", "undelivered", "undeliverable"),
        ("EXPIRED", "undelivered", "expired"),
        ("REJECTD", "undelivered", "rejected"),
        ("DELETED", "undelivered", "deleted"),
        ("UNKNOWN", "undelivered", "unknown"),
        ("FAILED", "undelivered", "undeliverable"),
    ],
)
def test_receipt_states(word: str, state: str, carrier_state: str) -> None:
    text = f"id:00AB12 sub:001 dlvrd:001 submit date:2611240102 done date:261124010359 stat:{word} err:042 text:"
    receipt = Bench().read(Session(), text=text.encode(), esm_class=4).content
    assert isinstance(receipt, CarrierReceipt)
    assert (receipt.state, receipt.carrier_state, receipt.error_code) == (state, carrier_state, "042")
    assert receipt.refs[0] == "ab12"
    assert str(0xAB12) in receipt.refs
    assert (receipt.to, receipt.sender) == ("+491701234567", "12345")
    assert receipt.submit_at_ms == 1_795_482_120_000
    assert receipt.done_at_ms == 1_795_482_239_000


def test_read_and_user_reference() -> None:
    tlvs = {
        int(Tag.RECEIPTED_MESSAGE_ID): b"7\0",
        int(Tag.MESSAGE_STATE): b"\2",
        int(Tag.USER_MESSAGE_REFERENCE): b"\1\2",
        0x1501: b"read",
    }
    receipt = Bench().read(Session(), text=b"", esm_class=4, tlvs=tlvs).content
    assert isinstance(receipt, CarrierReceipt)
    assert (receipt.state, receipt.carrier_state, receipt.user_ref) == ("delivered", "read", 0x0102)


def test_a_receipt_without_an_id_is_counted_and_acknowledged() -> None:
    bench = Bench()
    assert bench.read(Session(), text=b"hello", esm_class=4).content is None
    assert bench.reader.unreadable_receipts == 1


def test_data_sm() -> None:
    body = b"\0\1\1" + b"491701234567\0\0\0" + b"12345\0" + b"\0\0\0" + b"\x04\x24\0\2Hi"
    content = Bench().reader.read(DATA_SM, 1, body, Session()).content
    assert isinstance(content, InboundPart)
    assert (content.sender, content.to, content.text) == ("+491701234567", "12345", "Hi")


@pytest.mark.parametrize("body", [b"", b"\0\0", b"\0" * 10 + b"\xff"])
def test_malformed(body: bytes) -> None:
    with pytest.raises(SmppDecodeError):
        Bench().reader.read(DELIVER_SM, 1, body, Session())
