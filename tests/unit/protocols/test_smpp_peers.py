"""The codec against codecs that others wrote (smpp34, aiosmpplib, smpplib), each way, field by field."""

from __future__ import annotations

import datetime as dt

import aiosmpplib
import smpp34
import smpplib.consts
from aiosmpplib.state import PduHeader
from hypothesis import given
from hypothesis import strategies as st

from tidings.protocols.smpp import constants, pdu, receipt, times
from tidings.protocols.smpp.pdu import Sm

octet = st.integers(0, 255)
address = st.text(alphabet="0123456789ABCxyz", min_size=1, max_size=20).map(str.encode)
tlvs = st.dictionaries(
    st.sampled_from([0x0204, 0x020C, 0x0424, 0x1401]), st.binary(min_size=1, max_size=50), max_size=3
)
sms = st.builds(
    Sm, source_addr=address, destination_addr=address, short_message=st.binary(max_size=254), source_addr_ton=octet,
    source_addr_npi=octet, dest_addr_ton=octet, dest_addr_npi=octet, esm_class=octet, registered_delivery=octet,
    data_coding=octet, protocol_id=octet, priority_flag=octet, replace_if_present=octet, sm_default_msg_id=octet,
    service_type=st.sampled_from([b"", b"CMT"]), validity_period=st.sampled_from([b"", b"000000010000000R"]), tlvs=tlvs,
)  # fmt: skip
PLAIN = (
    "esm_class", "protocol_id", "priority_flag", "registered_delivery", "data_coding", "sm_default_msg_id",
    "source_addr_ton", "source_addr_npi", "dest_addr_ton", "dest_addr_npi", "short_message",
)  # fmt: skip
TEXT = ("service_type", "source_addr", "destination_addr", "schedule_delivery_time", "validity_period")


@given(sms, st.sampled_from([constants.SUBMIT_SM, constants.DELIVER_SM]))
def test_smpp34_reads_every_field(sm: Sm, command: int) -> None:
    read = smpp34.decode(pdu.pdu(command, 0, 9, pdu.encode_sm(sm)))
    assert (read.command_id, read.sequence_number) == (command, 9)
    assert [getattr(read, name) for name in PLAIN] == [getattr(sm, name) for name in PLAIN]
    assert [getattr(read, name).encode() for name in TEXT] == [getattr(sm, name) for name in TEXT]
    assert read.replace_if_present_flag == sm.replace_if_present
    assert {tlv.tag: tlv.value for tlv in read.tlvs} == sm.tlvs


@given(sms)
def test_we_read_every_field_of_smpp34(sm: Sm) -> None:
    fields = {name: getattr(sm, name) for name in PLAIN} | {name: getattr(sm, name).decode() for name in TEXT}
    made = smpp34.SubmitSm(
        **fields, replace_if_present_flag=sm.replace_if_present, sequence_number=4,
        tlvs=[smpp34.Tlv(tag, value) for tag, value in sm.tlvs.items()],
    )  # fmt: skip
    [(command, _, sequence, body)] = pdu.Framer().feed(made.encode())
    assert (command, sequence, pdu.decode_sm(body)) == (constants.SUBMIT_SM, 4, sm)


def _read_by_aiosmpplib(raw: bytes) -> tuple[PduHeader, bytes]:
    return aiosmpplib.SubmitSm.parse_header(raw[:16]), raw


def test_aiosmpplib_reads_a_submit() -> None:
    sm = Sm(
        source_addr=b"ACME", source_addr_ton=5, destination_addr=b"4917", short_message=b"hi", registered_delivery=1
    )
    header, raw = _read_by_aiosmpplib(pdu.pdu(constants.SUBMIT_SM, 0, 9, pdu.encode_sm(sm)))
    read = aiosmpplib.SubmitSm.from_pdu(raw, header, "gsm0338")
    assert (header.sequence_num, read.source.number, read.source.ton) == (9, "ACME", 5)
    assert (read.destination.number, read.short_message, read.registered_delivery) == ("4917", "hi", 1)


def test_aiosmpplib_reads_our_receipt() -> None:
    at = dt.datetime(2026, 11, 24, 1, 2)  # noqa: DTZ001 - receipts name no zone
    text = receipt.format_receipt("a1", "delivered", at, at, error="003", text="hi")
    sm = Sm(source_addr=b"4917", destination_addr=b"ACME", esm_class=4, short_message=text)
    header, raw = _read_by_aiosmpplib(pdu.pdu(constants.DELIVER_SM, 0, 9, pdu.encode_sm(sm)))
    read = aiosmpplib.DeliverSm.from_pdu(raw, header, "gsm0338").parse_receipt()
    assert (read["id"], read["stat"], read["err"], read["submit date"], read["done date"]) == (
        "a1",
        "DELIVRD",
        3,
        at,
        at,
    )


def test_we_read_the_receipt_of_aiosmpplib() -> None:
    at = dt.datetime(2026, 11, 24, 1, 2)  # noqa: DTZ001 - receipts name no zone
    fields = {"id": "7F", "stat": "UNDELIV", "err": 12, "submit date": at, "done date": at, "text": "id:9 stat:DELIVRD"}
    text = aiosmpplib.DeliverSm.encode_receipt(fields)
    assert receipt.parse_receipt(Sm(esm_class=4, short_message=text.encode())) == receipt.Receipt(
        message_id="7F", state="undeliverable", error="012", submit_at=at, done_at=at
    )


@given(st.integers(1, 30 * 86_400))
def test_aiosmpplib_agrees_on_relative_times(seconds: int) -> None:
    assert aiosmpplib.SubmitSm.smpp_time_to_datetime(times.relative(seconds)) == dt.timedelta(seconds=seconds)


def test_smpp34_agrees_on_every_tag() -> None:
    theirs = {name[4:]: getattr(smpp34, name) for name in dir(smpp34) if name.startswith("TLV_")}
    assert theirs == {tag.name: tag.value for tag in constants.Tag}


def test_smpplib_agrees_on_every_status() -> None:
    theirs = {name[5:]: code for name, code in vars(smpplib.consts).items() if name.startswith("SMPP_ESME_")}
    assert theirs == {status.name: status.value for status in constants.Status}
