"""What a submit_sm asks for, field by field: what it becomes, and the command_status of what we do not do."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import pytest

from tidings.domain.errors import FieldError, InvalidRequest, Overloaded, StoreError, StoreFull, Unauthenticated
from tidings.domain.request import check
from tidings.protocols.gsm import alphabet, national, udh
from tidings.protocols.smpp.constants import Status, Tag
from tidings.protocols.smpp.pdu import Sm
from tidings.smppd.errors import ESME_RINVDCS, status_of, status_of_field
from tidings.smppd.submit import Origin, Piece, Reader, SubmitError, origin_of, request_of
from unit.smppd.office import sm

NOW_MS = int(dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC).timestamp() * 1000)
ORIGIN = Origin(account="key_1")


def read(made: Sm, default: Any = "gsm", coding_1: Any = "ascii") -> Piece:
    return Reader(default, coding_1).read(made, NOW_MS)


@pytest.mark.parametrize(
    ("fields", "to"),
    [
        ({"destination_addr": b"14155550123", "dest_addr_ton": 1}, "+14155550123"),
        ({"destination_addr": b"+14155550123", "dest_addr_ton": 1}, "+14155550123"),
        ({"destination_addr": b"14155550123", "dest_addr_ton": 0, "dest_addr_npi": 0}, "+14155550123"),
        ({"destination_addr": b"0014155550123", "dest_addr_ton": 0}, "+14155550123"),
    ],
)
def test_recipients(fields: dict[str, Any], to: str) -> None:
    assert read(sm(**fields)).to == to


@pytest.mark.parametrize(
    ("ton", "npi", "address", "sender"),
    [
        (5, 0, b"ACME", "ACME"),
        (5, 0, b"12345", "12345"),
        (0, 0, b"ACME", "ACME"),
        (0, 0, b"", None),
        (1, 1, b"14155550100", "+14155550100"),
        (0, 1, b"14155550100", "+14155550100"),
        (0, 1, b"0014155550100", "+14155550100"),
        (0, 1, b"12345", "12345"),
        (3, 0, b"12345", "12345"),
        (6, 0, b"777", "777"),
    ],
)
def test_senders(ton: int, npi: int, address: bytes, sender: str | None) -> None:
    assert read(sm(source_addr_ton=ton, source_addr_npi=npi, source_addr=address)).sender == sender


PORTS = udh.whole(udh.ports16(2948, 9200))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"text": alphabet.encode("Grüße [€] @$_")}, "Grüße [€] @$_"),
        ({"text": b"plain {x}", "data_coding": 1}, "plain {x}"),
        ({"text": "Grüße".encode("latin-1"), "data_coding": 3}, "Grüße"),
        ({"text": "Ваш 😀".encode("utf-16-be"), "data_coding": 8}, "Ваш 😀"),
        ({"text": "\ufffd".encode("utf-16-be"), "data_coding": 8}, "\ufffd"),
        ({"text": b"", "tlvs": {Tag.MESSAGE_PAYLOAD: b"x" * 1_000}}, "x" * 1_000),
        ({"text": "жук".encode("iso8859_5"), "data_coding": 6}, "жук"),
    ],
)
def test_texts(fields: dict[str, Any], text: str) -> None:
    piece = read(sm(**fields))
    request = request_of(piece, ORIGIN)
    assert (piece.text, request.text, request.content, request.data) == (text, text, None, None)


@pytest.mark.parametrize(
    ("default", "raw", "text"),
    [
        ("latin1", b"Gr\xfc\xdfe", "Grüße"),
        ("ascii", b"plain @", "plain @"),
        ("ucs2", "Ж".encode("utf-16-be"), "Ж"),
    ],
)
def test_the_default_alphabet_is_a_setting(default: Any, raw: bytes, text: str) -> None:
    assert read(sm(text=raw), default).text == text


@pytest.mark.parametrize("default", ["gsm", "latin1"])
def test_data_coding_1_may_mean_gsm(default: Any) -> None:
    made = sm(text=alphabet.encode("Grüße"), data_coding=1)
    piece = read(made, default, "gsm")
    assert (piece.text, piece.flash) == ("Grüße", False)
    assert read(made, default).text != "Grüße"


def test_national_tables() -> None:
    pair = national.tables(1, 0)
    made = sm(text=udh.whole(pair.header) + (pair.encode("ağaç ış") or b""), esm_class=0x40)
    assert read(made).text == "ağaç ış"


@pytest.mark.parametrize(
    ("fields", "content"),
    [
        ({"data_coding": 0x10}, {"flash": True}),
        ({"data_coding": 0x18, "text": "Ж".encode("utf-16-be")}, {"flash": True}),
        ({"data_coding": 0xF0}, {"flash": True}),
        ({"data_coding": 4, "text": b"\x01\xff"}, {"data": "01ff"}),
        (
            {"data_coding": 4, "text": PORTS + b"\x01\xff", "esm_class": 0x40},
            {"data": "01ff", "destination_port": 2948, "source_port": 9200},
        ),
    ],
)
def test_flash_and_octets(fields: dict[str, Any], content: dict[str, Any]) -> None:
    """As the API takes them; while it does not, they are refused by the code of their data_coding."""
    made = sm(**fields)
    request = _unchecked(made)
    assert request.content == content
    if any(field.pointer.startswith("/content") for field in check(request, NOW_MS)):
        with pytest.raises(SubmitError) as caught:
            read(made)
        assert caught.value.status == ESME_RINVDCS
    else:
        assert request_of(read(made), ORIGIN) == request


def _unchecked(made: Sm) -> Any:
    from tidings.smppd import submit

    kept, submit._sane = submit._sane, lambda piece, _now_ms: piece
    try:
        return request_of(read(made), ORIGIN)
    finally:
        submit._sane = kept


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"destination_addr": b"abc"}, Status.ESME_RINVDSTADR),
        ({"destination_addr": b""}, Status.ESME_RINVDSTADR),
        ({"destination_addr": b"123"}, Status.ESME_RINVDSTADR),
        ({"dest_addr_ton": 5}, Status.ESME_RINVDSTTON),
        ({"dest_addr_ton": 2}, Status.ESME_RINVDSTTON),
        ({"dest_addr_npi": 3}, Status.ESME_RINVDSTNPI),
        ({"source_addr": b"much too long a name"}, Status.ESME_RINVSRCADR),
        ({"source_addr_ton": 9}, Status.ESME_RINVSRCTON),
        ({"source_addr_ton": 1, "source_addr_npi": 4}, Status.ESME_RINVSRCNPI),
        ({"esm_class": 0x01}, Status.ESME_RINVESMCLASS),
        ({"esm_class": 0x02}, Status.ESME_RINVESMCLASS),
        ({"esm_class": 0x04}, Status.ESME_RINVESMCLASS),
        ({"esm_class": 0x08}, Status.ESME_RINVESMCLASS),
        ({"esm_class": 0x80}, Status.ESME_RINVESMCLASS),
        ({"priority_flag": 4}, Status.ESME_RINVPRTFLG),
        ({"registered_delivery": 0x20}, Status.ESME_RINVREGDLVFLG),
        ({"replace_if_present": 1}, Status.ESME_RINVREPFLAG),
        ({"sm_default_msg_id": 1}, Status.ESME_RINVDFTMSGID),
        ({"protocol_id": 0x40}, Status.ESME_RSUBMITFAIL),
        ({"schedule_delivery_time": b"nonsense"}, Status.ESME_RINVSCHED),
        ({"schedule_delivery_time": b"270001000000000+"}, Status.ESME_RINVSCHED),
        ({"schedule_delivery_time": b"020000000000000R"}, Status.ESME_RINVSCHED),
        ({"validity_period": b"261124120000000"}, Status.ESME_RINVEXPIRY),
        ({"validity_period": b"261124115959000+"}, Status.ESME_RINVEXPIRY),
        (
            {"validity_period": b"000000010000000R", "schedule_delivery_time": b"000000020000000R"},
            Status.ESME_RINVEXPIRY,
        ),
        ({"text": b""}, Status.ESME_RINVMSGLEN),
        ({"text": b"", "tlvs": {Tag.MESSAGE_PAYLOAD: b"x" * 20_000}}, Status.ESME_RINVMSGLEN),
        ({"tlvs": {Tag.MESSAGE_PAYLOAD: b"x"}}, Status.ESME_ROPTPARNOTALLWD),
        ({"tlvs": {Tag.USSD_SERVICE_OP: b"\x02"}}, Status.ESME_ROPTPARNOTALLWD),
        ({"data_coding": 9}, ESME_RINVDCS),
        ({"data_coding": 0x20}, ESME_RINVDCS),
        ({"data_coding": 1, "text": b"\xff"}, ESME_RINVDCS),
        ({"data_coding": 8, "text": b"\xd8\x00"}, ESME_RINVDCS),
        ({"data_coding": 8, "text": b"abc"}, ESME_RINVDCS),
        ({"esm_class": 0x40, "text": udh.concat8(1, 66, 1) + b"x"}, Status.ESME_RINVMSGLEN),
        ({"esm_class": 0x40, "text": udh.concat8(1, 65, 1) + b"x" * 155}, Status.ESME_RINVMSGLEN),
    ],
)
def test_refusals(fields: dict[str, Any], status: int) -> None:
    with pytest.raises(SubmitError) as caught:
        read(sm(**fields))
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("field", "text", "moment"),
    [
        ("schedule_delivery_time", b"", None),
        ("schedule_delivery_time", b"000000010000000R", dt.datetime(2026, 11, 24, 13, tzinfo=dt.UTC)),
        ("schedule_delivery_time", b"261124150000004+", dt.datetime(2026, 11, 24, 14, tzinfo=dt.UTC)),
        ("schedule_delivery_time", b"261124150000004-", dt.datetime(2026, 11, 24, 16, tzinfo=dt.UTC)),
        ("schedule_delivery_time", b"261124110000000+", dt.datetime(2026, 11, 24, 11, tzinfo=dt.UTC)),
        ("validity_period", b"", None),
        ("validity_period", b"000003000000000R", dt.datetime(2026, 11, 27, 12, tzinfo=dt.UTC)),
        ("validity_period", b"261124150000008+", dt.datetime(2026, 11, 24, 13, tzinfo=dt.UTC)),
    ],
)
def test_times(field: str, text: bytes, moment: dt.datetime | None) -> None:
    request = request_of(read(sm(**{field: text})), ORIGIN)
    assert (request.send_at if field == "schedule_delivery_time" else request.valid_until) == moment


def test_the_time_to_live_of_a_data_sm() -> None:
    request = request_of(read(sm(tlvs={Tag.QOS_TIME_TO_LIVE: (3_600).to_bytes(4, "big")})), ORIGIN)
    assert request.valid_until == dt.datetime(2026, 11, 24, 13, tzinfo=dt.UTC)


@pytest.mark.parametrize(("flag", "lane"), [(0, "transactional"), (1, "transactional"), (2, "otp"), (3, "otp")])
def test_priority(flag: int, lane: str) -> None:
    assert request_of(read(sm(priority_flag=flag)), ORIGIN).lane == lane


@pytest.mark.parametrize(
    ("flag", "receipts"), [(0, "none"), (1, "all"), (2, "failures"), (3, "successes"), (0x1D, "all"), (0x10, "none")]
)
def test_registered_delivery(flag: int, receipts: str) -> None:
    assert read(sm(registered_delivery=flag)).receipts == receipts


def test_what_the_receipt_needs_is_kept_with_the_message() -> None:
    origin = Origin(account="key_1", receipts="failures", ids=("prt_1", "prt_2"), user_ref=0xBEEF)
    request = request_of(read(sm()), origin)
    stored = msgspec.json.decode(msgspec.json.encode(request.metadata))
    assert origin_of(stored) == origin
    for other in ({}, {"smpp": None}, {"smpp": {"account": 1}}, {"order": 7}):
        assert origin_of(other) is None


@pytest.mark.parametrize(
    ("text", "coding", "size"),
    [
        (alphabet.encode("[" * 100), 0, 7),  # cut inside an escape pair
        ("😀Ж".encode("utf-16-be") * 9, 8, 6),  # cut inside a surrogate pair
        ("Grüße".encode("latin-1") * 9, 3, 4),
    ],
)
def test_parts_are_joined_octet_by_octet(text: bytes, coding: int, size: int) -> None:
    cuts = [text[at : at + size] for at in range(0, len(text), size)]
    reader = Reader("gsm", "ascii")
    pieces = [
        reader.read(
            sm(
                text=udh.concat16(777, len(cuts), n) + cut,
                esm_class=0x40,
                data_coding=coding,
                registered_delivery=n == 1,
            ),
            NOW_MS,
        )
        for n, cut in enumerate(cuts, 1)
    ]
    whole = reader.join(pieces)
    assert whole.text == read(sm(text=b"", data_coding=coding, tlvs={Tag.MESSAGE_PAYLOAD: text})).text
    assert (whole.concat, whole.receipts) == (None, "all")


def test_parts_with_national_tables_are_joined_character_by_character() -> None:
    pair, reader = national.tables(1, 0), Reader("gsm", "ascii")
    pieces = [
        reader.read(sm(text=udh.whole(pair.header, udh.concat8(3, 2, n)) + (pair.encode(text) or b""), esm_class=0x40), NOW_MS)
        for n, text in enumerate(("ağaç ", "ışık"), 1)
    ]  # fmt: skip
    assert reader.join(pieces).text == "ağaç ışık"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Overloaded("", status=429), Status.ESME_RTHROTTLED),
        (Overloaded("", status=503), Status.ESME_RMSGQFUL),
        (StoreFull(""), Status.ESME_RMSGQFUL),
        (StoreError(""), Status.ESME_RSYSERR),
        (InvalidRequest("", code="no_provider"), Status.ESME_RSUBMITFAIL),
        (InvalidRequest("", errors=(FieldError(pointer="/to", code="x", detail=""),)), Status.ESME_RINVDSTADR),
        (Unauthenticated(""), Status.ESME_RSUBMITFAIL),
    ],
)
def test_errors(error: Any, status: int) -> None:
    assert status_of(error) == status


@pytest.mark.parametrize(
    ("pointer", "code", "status"),
    [
        ("/to", "invalid_number", Status.ESME_RINVDSTADR),
        ("/to/phone", "required", Status.ESME_RINVDSTADR),
        ("/from", "length", Status.ESME_RINVSRCADR),
        ("/send_at", "too_far", Status.ESME_RINVSCHED),
        ("/valid_until", "past", Status.ESME_RINVEXPIRY),
        ("/valid_for_s", "range", Status.ESME_RINVEXPIRY),
        ("/text", "length", Status.ESME_RINVMSGLEN),
        ("/text", "encoding", ESME_RINVDCS),
        ("/content/flash", "conflict", ESME_RINVDCS),
        ("/metadata", "length", Status.ESME_RSUBMITFAIL),
    ],
)
def test_fields(pointer: str, code: str, status: int) -> None:
    assert status_of_field(FieldError(pointer=pointer, code=code, detail="")) == status
