"""PDUs to begin with, and what a session does with a PDU from the wire. Shared by both fuzzers."""

from __future__ import annotations

import contextlib
import datetime as dt

from tidings.protocols.smpp import concat, constants, pdu, receipt, times
from tidings.protocols.smpp.pdu import Sm

MESSAGE_PAYLOAD = constants.Tag.MESSAGE_PAYLOAD


def corpus() -> list[bytes]:
    sm = Sm(source_addr=b"ACME", destination_addr=b"491701234567", short_message=b"hello", registered_delivery=1)
    text = b"id:1 sub:001 dlvrd:001 submit date:2611240102 done date:2611240103 stat:DELIVRD err:000 text:x"
    tlvs = {constants.Tag.RECEIPTED_MESSAGE_ID: b"1\0", constants.Tag.MESSAGE_STATE: b"\2"}
    dlr = Sm(source_addr=b"4917", destination_addr=b"ACME", esm_class=4, short_message=text, tlvs=tlvs)
    udh = Sm(source_addr=b"1", destination_addr=b"2", esm_class=0x40, short_message=bytes((5, 0, 3, 1, 2, 1)) + b"part")
    sar = {
        constants.Tag.SAR_MSG_REF_NUM: b"\0\1", constants.Tag.SAR_TOTAL_SEGMENTS: b"\2",
        constants.Tag.SAR_SEGMENT_SEQNUM: b"\1",
    }  # fmt: skip
    part = Sm(source_addr=b"1", destination_addr=b"2", short_message=b"part", tlvs=sar)
    return [
        pdu.pdu(constants.DELIVER_SM, 0, 9, pdu.encode_sm(part)),
        pdu.pdu(constants.QUERY_SM, 0, 10, pdu.encode_query_sm("abc", 1, 1, "491701234567")),
        pdu.pdu(constants.SUBMIT_SM, 0, 1, pdu.encode_sm(sm)),
        pdu.pdu(constants.DELIVER_SM, 0, 2, pdu.encode_sm(dlr)),
        pdu.pdu(constants.DELIVER_SM, 0, 3, pdu.encode_sm(udh)),
        pdu.pdu(
            constants.DATA_SM,
            0,
            8,
            b"\0\1\0004917\0\5\0ACME\0\4\0\0" + pdu.encode_tlvs({**tlvs, MESSAGE_PAYLOAD: text}),
        ),
        pdu.pdu(constants.BIND_TRANSCEIVER, 0, 4, pdu.encode_bind(pdu.Bind(system_id="me", password="secret"))),
        pdu.pdu(constants.SUBMIT_SM_RESP, 0, 5, b"abc\0"),
        pdu.pdu(constants.BIND_TRANSCEIVER | constants.RESP, 0, 6, b"smsc\0\x02\x10\0\1\x34"),
        pdu.pdu(constants.QUERY_SM | constants.RESP, 0, 7, b"abc\x00261124010203000+\0\2\0"),
    ]


def read_time(text: str) -> None:
    with contextlib.suppress(times.SmppTimeError):
        times.parse(text, dt.datetime(2026, 11, 24, tzinfo=dt.UTC))


def digest(frame: pdu.Frame) -> bool:
    """What a session does with a PDU from the wire; whether it was a receipt."""
    command, status, _, body = frame
    if command in constants.BINDS:
        pdu.decode_bind(body)
    elif command == constants.SUBMIT_SM_RESP:
        pdu.decode_submit_resp(status, body)
    elif command == constants.BIND_TRANSCEIVER | constants.RESP:
        pdu.decode_bind_resp(body)
    elif command == constants.QUERY_SM | constants.RESP:
        read_time(pdu.decode_query_resp(body).final_date)
    elif command == constants.QUERY_SM:
        pdu.decode_query_sm(body)
    else:
        return digest_sm(pdu.decode_data_sm(body) if command == constants.DATA_SM else pdu.decode_sm(body))
    return False


def digest_sm(sm: Sm) -> bool:
    _, user_data = concat.concat_of(sm)
    concat.decode_text(user_data, sm.data_coding)
    concat.read_user_data(sm)
    found = receipt.parse_receipt(sm)
    if found is not None:
        receipt.id_candidates(found.message_id)
    return found is not None
