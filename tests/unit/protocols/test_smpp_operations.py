"""The bodies that both sides need, each way, with smpplib as oracle; and user data that is no plain text."""

from __future__ import annotations

import datetime as dt

import pytest
import smpplib.consts
import smpplib.smpp
from hypothesis import given
from hypothesis import strategies as st

from tidings.protocols.smpp import constants as c
from tidings.protocols.smpp import pdu, times
from tidings.protocols.smpp.concat import compressed, is_binary, is_flash, read_user_data
from tidings.protocols.smpp.constants import Status, Tag
from tidings.protocols.smpp.pdu import Query, QueryAnswer, Sm, SmppDecodeError, SmppEncodeError

octet = st.integers(0, 255)
word = st.text(alphabet="0123456789abcDEF-", max_size=15)


class Client:
    """What smpplib wants to know of a session."""

    sequence = 3

    def next_sequence(self) -> int:
        return self.sequence


@given(word, octet, octet, word)
def test_query_both_ways(message_id: str, ton: int, npi: int, source: str) -> None:
    body = pdu.encode_query_sm(message_id, ton, npi, source)
    assert pdu.decode_query_sm(body) == Query(message_id, ton, npi, source)


@given(word, st.sampled_from(["", "261124010203000+"]), octet, octet)
def test_query_answers_both_ways(message_id: str, final_date: str, state: int, error: int) -> None:
    answer = QueryAnswer(message_id, final_date, state, error)
    assert pdu.decode_query_resp(pdu.encode_query_resp(answer)) == answer


def test_smpplib_reads_our_query_and_we_its() -> None:
    raw = pdu.pdu(c.QUERY_SM, 0, 9, pdu.encode_query_sm("a1", 5, 0, "ACME"))
    read = smpplib.smpp.parse_pdu(raw, client=Client())
    assert (read.command, read.message_id, read.source_addr, read.source_addr_ton) == ("query_sm", b"a1", b"ACME", 5)
    made = smpplib.smpp.make_pdu(
        "query_sm", client=Client(), message_id="a1", source_addr_ton=5, source_addr_npi=0, source_addr="ACME"
    )
    ((command, _, _, body),) = pdu.Framer().feed(made.generate())
    assert (command, pdu.decode_query_sm(body)) == (c.QUERY_SM, Query("a1", 5, 0, "ACME"))


@given(st.binary(min_size=1, max_size=300), octet, octet)
def test_data_both_ways(payload: bytes, coding: int, esm_class: int) -> None:
    sm = Sm(
        source_addr=b"ACME", source_addr_ton=5, destination_addr=b"4917", dest_addr_ton=1, data_coding=coding,
        esm_class=esm_class, registered_delivery=1, tlvs={int(Tag.MESSAGE_PAYLOAD): payload},
    )  # fmt: skip
    body = pdu.encode_data_sm(sm)
    assert pdu.decode_data_sm(body) == sm
    read = smpplib.smpp.parse_pdu(pdu.pdu(c.DATA_SM, 0, 9, body), client=Client(), allow_unknown_opt_params=True)
    assert (read.source_addr, read.destination_addr, read.message_payload) == (b"ACME", b"4917", payload)


def test_data_has_no_short_message() -> None:
    with pytest.raises(SmppEncodeError, match="short_message"):
        pdu.encode_data_sm(Sm(short_message=b"x"))


def test_bind_answers_both_ways() -> None:
    body = pdu.encode_bind_resp("smsc", {Tag.SC_INTERFACE_VERSION: b"\x34"})
    assert pdu.decode_bind_resp(body) == ("smsc", {Tag.SC_INTERFACE_VERSION: b"\x34"})
    read = smpplib.smpp.parse_pdu(pdu.pdu(c.BIND_TRANSCEIVER | c.RESP, 0, 1, body), client=Client())
    assert (read.system_id, read.sc_interface_version) == (b"smsc", 0x34)
    with pytest.raises(SmppEncodeError, match="system_id"):
        pdu.encode_bind_resp("x" * 16)


@pytest.mark.parametrize("body", [b"", b"a", b"a\0", b"a\0\1", b"a\0\1\1", b"a\0\1\1x", b"x" * 70])
def test_a_cut_query_is_refused(body: bytes) -> None:
    with pytest.raises(SmppDecodeError):
        pdu.decode_query_sm(body)


def test_what_is_known_and_not_offered() -> None:
    assert {c.SUBMIT_MULTI, c.REPLACE_SM, c.CANCEL_SM} == c.NOT_OFFERED
    assert c.NOT_OFFERED < c.COMMANDS
    assert c.UNANSWERED < c.COMMANDS


@pytest.mark.parametrize("seconds", [times.RELATIVE_MAX_S + 1, 99 * 86_400])
def test_a_relative_time_that_would_need_months_is_refused(seconds: int) -> None:
    with pytest.raises(times.SmppTimeError, match="30 days"):
        times.relative(seconds)
    assert times.relative(times.RELATIVE_MAX_S) == "000030000000000R"
    assert times.relative(0) == "000000000001000R"


@pytest.mark.parametrize(
    ("codings", "kinds"),
    [
        ((0, 1, 3, 8, 0x18, 0x08), (False, False)),
        ((2, 4, 0x14, 0x15, 0xF4, 0xF5, 0xF6, 0xF7, 0x04, 0x54), (False, True)),
        ((0x20, 0x2F, 0x30, 0x38, 0x60, 0x7F), (True, None)),
        ((0xC0, 0xE0, 0xF0, 0xF1, 0x10, 0x40, 0x50), (False, False)),
    ],
)
def test_data_codings(codings: tuple[int, ...], kinds: tuple[bool, bool | None]) -> None:
    for coding in codings:
        assert compressed(coding) is kinds[0], hex(coding)
        assert kinds[1] is None or is_binary(coding) is kinds[1], hex(coding)


def test_class_zero() -> None:
    assert [n for n in range(256) if is_flash(n) and not compressed(n)] == [
        *(0x10, 0x14, 0x18, 0x1C), *(0x50, 0x54, 0x58, 0x5C), *(0xF0, 0xF4, 0xF8, 0xFC),
    ]  # fmt: skip


@given(octet, octet, st.binary(max_size=140))
def test_user_data_of_any_kind_is_read_or_refused(coding: int, esm_class: int, data: bytes) -> None:
    sm = Sm(short_message=data, data_coding=coding, esm_class=esm_class)
    if compressed(coding):
        with pytest.raises(SmppDecodeError, match="data_coding") as caught:
            read_user_data(sm)
        assert caught.value.status == Status.ESME_RX_R_APPN
        return
    found = read_user_data(sm)
    assert (found.text is None) == is_binary(coding)
    assert data.endswith(found.data)


def test_a_national_header_says_gsm_whatever_the_default_is() -> None:
    sm = Sm(short_message=b"\x03\x24\x01\x01\x1bg\x1bi\x1bs", esm_class=0x40)
    assert read_user_data(sm, "latin1").text == "ğış"
    unknown = Sm(short_message=b"\x03\x25\x01\x0ahi", esm_class=0x40)
    assert read_user_data(unknown).text == "hi"


def test_final_dates_are_read() -> None:
    now = dt.datetime(2026, 11, 24, tzinfo=dt.UTC)
    assert times.parse("261124010203004+", now) == dt.datetime(2026, 11, 24, 0, 2, 3, tzinfo=dt.UTC)
    assert smpplib.consts.SMPP_MESSAGE_STATE_DELIVERED == c.MessageState.DELIVERED
