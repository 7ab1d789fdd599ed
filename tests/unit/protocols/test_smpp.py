"""The SMPP codec: round trips, receipts as carriers really send them, concatenation, times; smpplib as oracle."""

from __future__ import annotations

import datetime as dt
import random
import re

import msgspec
import pytest
import smpplib.consts
import smpplib.smpp
from hypothesis import given
from hypothesis import strategies as st

from tidings.protocols.smpp import concat, constants, pdu, receipt, times
from tidings.protocols.smpp.pdu import Sm

octet = st.integers(0, 255)
text20 = st.binary(max_size=20).map(lambda b: b.replace(b"\0", b""))
sms = st.builds(
    Sm, source_addr=text20, destination_addr=text20, short_message=st.binary(max_size=254), source_addr_ton=octet,
    source_addr_npi=octet, dest_addr_ton=octet, dest_addr_npi=octet, esm_class=octet, registered_delivery=octet,
    data_coding=octet, protocol_id=octet, priority_flag=octet, replace_if_present=octet, sm_default_msg_id=octet,
    tlvs=st.dictionaries(st.integers(0, 0xFFFF), st.binary(max_size=50), max_size=4),
)  # fmt: skip


@given(sms)
def test_sm_round_trip(sm: Sm) -> None:
    assert pdu.decode_sm(pdu.encode_sm(sm)) == sm


@given(st.lists(st.binary(max_size=60), max_size=6), st.integers(1, 40))
def test_framer_does_not_care_where_the_stream_is_cut(bodies: list[bytes], size: int) -> None:
    stream = b"".join(pdu.pdu(4, 0, n, body) for n, body in enumerate(bodies))
    framer, seen = pdu.Framer(), []
    for at in range(0, len(stream), size):
        seen += framer.feed(stream[at : at + size])
    assert [frame[3] for frame in seen] == bodies
    assert framer.buffered == 0


def test_an_acknowledgement_is_a_response_without_a_message_id() -> None:
    for command in (constants.DELIVER_SM, constants.DATA_SM):
        assert pdu.acknowledgement(command, 0x64, 7) == pdu.pdu(command | constants.RESP, 0x64, 7, b"\0")


def test_every_field_comes_out_of_the_place_it_went_in() -> None:
    fields = msgspec.structs.fields(Sm)[:-1]
    sm = Sm(*(n if field.type is int else b"%d" % n for n, field in enumerate(fields)), {0x1501: b"x"})
    assert len(set(msgspec.structs.astuple(sm)[:-1])) == 17
    assert pdu.decode_sm(pdu.encode_sm(sm)) == sm


@pytest.mark.parametrize("length", [0, 15, 70_001, 0xFFFFFFFF])
def test_framer_refuses_impossible_lengths(length: int) -> None:
    with pytest.raises(pdu.SmppFrameError):
        pdu.Framer().feed(pdu.HEADER.pack(length, 4, 0, 1))


def test_whole_pdus_before_a_wrong_length_are_not_lost() -> None:
    framer = pdu.Framer()
    good = pdu.pdu(constants.SUBMIT_SM_RESP, 0, 7, b"id\0")
    assert framer.feed(good + pdu.HEADER.pack(3, 4, 0, 1)) == [(constants.SUBMIT_SM_RESP, 0, 7, b"id\0")]
    with pytest.raises(pdu.SmppFrameError):
        framer.feed(b"")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", "ESME_RINVCMDLEN"),
        (pdu.encode_sm(Sm())[:-1] + b"\x05hi", "ESME_RINVMSGLEN"),
        (pdu.encode_sm(Sm()) + b"\x04\x24\x00", "ESME_RINVOPTPARSTREAM"),
        (pdu.encode_sm(Sm()) + b"\x04\x24\x00\x05hi", "ESME_RINVOPTPARSTREAM"),
    ],
)
def test_what_cannot_be_read_says_how_to_answer(body: bytes, status: str) -> None:
    with pytest.raises(pdu.SmppDecodeError) as caught:
        pdu.decode_sm(body)
    assert constants.status_name(caught.value.status) == status


def test_numbers_that_do_not_fit_are_named() -> None:
    for make in (
        lambda: pdu.encode_bind(pdu.Bind(system_id="me", addr_ton=300)),
        lambda: pdu.encode_sm(Sm(esm_class=256)),
        lambda: pdu.encode_tlvs({constants.Tag.MESSAGE_PAYLOAD: b"x" * 70_000}),
        lambda: pdu.encode_query_sm("1", 256, 0, "x"),
        lambda: pdu.encode_sm(Sm(short_message=b"x" * 255)),
    ):
        with pytest.raises(pdu.SmppEncodeError):
            make()


def test_sar_beside_a_header_of_another_kind() -> None:
    tlvs = {constants.Tag.SAR_MSG_REF_NUM: b"\1\2", constants.Tag.SAR_TOTAL_SEGMENTS: b"\2"}
    sm = Sm(esm_class=0x40, short_message=b"\2\x70\0hi", tlvs={**tlvs, constants.Tag.SAR_SEGMENT_SEQNUM: b"\1"})
    assert concat.concat_of(sm) == (concat.Concat(0x102, 2, 1, 16), b"hi")


class Client:
    """What smpplib wants to know of a session."""

    sequence = 3

    def next_sequence(self) -> int:
        return self.sequence


def test_smpplib_reads_what_we_write() -> None:
    tlvs = {constants.Tag.USER_MESSAGE_REFERENCE: b"\0\7"}
    sm = Sm(source_addr=b"ACME", source_addr_ton=5, destination_addr=b"4917", short_message=b"hello", tlvs=tlvs)
    raw = pdu.pdu(constants.SUBMIT_SM, 0, 9, pdu.encode_sm(sm))
    read = smpplib.smpp.parse_pdu(raw, client=Client(), allow_unknown_opt_params=True)
    assert (read.command, read.sequence, read.source_addr, read.destination_addr) == ("submit_sm", 9, b"ACME", b"4917")
    assert (read.short_message, read.user_message_reference) == (b"hello", 7)


def test_we_read_what_smpplib_writes() -> None:
    made = smpplib.smpp.make_pdu(
        "submit_sm", client=Client(), source_addr_ton=smpplib.consts.SMPP_TON_INTL, source_addr="4917", dest_addr_ton=1,
        destination_addr="4918", short_message=b"hi", data_coding=0, esm_class=0, registered_delivery=True,
    )  # fmt: skip
    frames = pdu.Framer().feed(made.generate())
    sm = pdu.decode_sm(frames[0][3])
    assert (frames[0][0], sm.source_addr, sm.destination_addr, sm.short_message) == (4, b"4917", b"4918", b"hi")


@pytest.mark.parametrize("field", ["source_addr", "destination_addr"])
def test_a_field_that_does_not_fit_is_named(field: str) -> None:
    with pytest.raises(pdu.SmppEncodeError, match=field):
        pdu.encode_sm(Sm(**{field: b"1" * 21}))


RECEIPTS = [
    (
        "id:123 sub:001 dlvrd:001 submit date:2611240102 done date:2611240103 stat:DELIVRD err:000 text:hi",
        "123",
        "delivered",
    ),
    (
        "id:123 sub:001 dlvrd:001 submit date:261124010203 done date:261124010304 stat:DELIVRD err:000 text:hi",
        "123",
        "delivered",
    ),
    ("id:0A1b submitdate:2611240102 donedate:2611240103 stat:FAILED err:12 text:", "0A1b", "undeliverable"),
    ("ID:9 STAT:REJECTED ERR:8", "9", "rejected"),
    ("id:9 stat:REJECTD", "9", "rejected"),
    ("id:9 stat:ACCEPTD", "9", "accepted"),
    ("id:9 stat:EXPIRED text:id:77 stat:DELIVRD", "9", "expired"),
    ("id:9 stat:SOMETHING", "9", "unknown"),
    ("stat:UNDELIV id:9", "9", "undeliverable"),
    ("id:9,sub:001,stat:DELIVRD,err:0,text:stat:EXPIRED", "9", "delivered"),
    ("id:9;submit_date:2611240102;stat:DELIVRD;text:id:1", "9", "delivered"),
    ("id: 9 stat: EXPIRED err: 003 Text: id:1", "9", "expired"),
    ("id:9 stat: err:7", "9", "unknown"),
    ("id:9 stat:DELIVRD".encode("utf-16-be").decode("latin-1"), "9", "delivered"),
]


@pytest.mark.parametrize(("text", "message_id", "state"), RECEIPTS)
def test_receipts_as_carriers_write_them(text: str, message_id: str, state: str) -> None:
    found = receipt.parse_receipt(Sm(esm_class=4, short_message=text.encode("latin-1")))
    assert found is not None
    assert (found.message_id, found.state) == (message_id, state)
    assert found.final == (state not in ("accepted", "enroute"))


def test_tlvs_come_first() -> None:
    tlvs = {constants.Tag.RECEIPTED_MESSAGE_ID: b"abc\0", constants.Tag.MESSAGE_STATE: b"\2"}
    found = receipt.parse_receipt(Sm(esm_class=4, short_message=b"id:1 stat:EXPIRED", tlvs=tlvs))
    assert found is not None
    assert (found.message_id, found.state) == ("abc", "delivered")


def test_missing_values_do_not_take_the_next_key() -> None:
    raw = b"id:12 sub: dlvrd: submit date: done date:261124010304 stat:DELIVRD err: text:"
    found = receipt.parse_receipt(Sm(esm_class=4, short_message=raw))
    done_at = dt.datetime(2026, 11, 24, 1, 3, 4)  # noqa: DTZ001 - receipts name no zone
    assert found == receipt.Receipt(message_id="12", state="delivered", done_at=done_at)


def nearly_plain(rng: random.Random) -> str:
    """The text of Appendix B, with a value, a gap or an end that it does not have now and then."""
    odd = ("", "stat", "id:7", "text:", " 5", "a,b", "c;d", "²", "\xa0", "DELIVRD.", "sub:", "err :")
    values = [
        rng.choice(odd) if rng.random() < 0.1 else value for value in ("5f3a", "001", "001", *DATES, "EXPIRED", "042")
    ]
    gap = rng.choice((" ", " ", " ", " ", "  ", ",", "\n", "\xa0"))
    keys = ("id", "sub", "dlvrd", "submit date", "done date", "stat", "err")
    end = rng.choice(("", " text:stat:DELIVRD", " Text:", " TEXT: id:1", "\0", " id:8", " text :", ",text:", " "))
    return gap.join(f"{key}:{value}" for key, value in zip(keys, values, strict=True)) + end


DATES = ("2611240102", "261124010304")


def disagreements() -> tuple[int, int]:
    """(texts that the plain way took, those of them in which the tolerant way reads something else)."""
    rng = random.Random(20261126)
    plain = [text for text in (nearly_plain(rng) for _ in range(20_000)) if receipt._PLAIN.match(text)]
    return len(plain), sum(receipt._words(text) != receipt._tolerant(text) for text in plain)


def test_the_plain_way_reads_what_the_tolerant_one_reads() -> None:
    taken, wrong = disagreements()
    assert taken > 1_000
    assert wrong == 0


@pytest.mark.parametrize(("careful", "careless"), [(",;:", ""), (",;:", ",;"), (r"(?:\Z| [Tt]ext:)", "")])
def test_saboteur_a_careless_pattern(monkeypatch: pytest.MonkeyPatch, careful: str, careless: str) -> None:
    monkeypatch.setattr(receipt, "_PLAIN", re.compile(receipt._PLAIN.pattern.replace(careful, careless)))
    assert disagreements()[1]


def test_tlvs_of_a_receipt() -> None:
    tlvs = {
        constants.Tag.RECEIPTED_MESSAGE_ID: b"abc\0", constants.Tag.MESSAGE_STATE: b"\5",
        constants.Tag.NETWORK_ERROR_CODE: b"\3\0\x0b", constants.Tag.USER_MESSAGE_REFERENCE: b"\1\2",
    }  # fmt: skip
    found = receipt.parse_receipt(Sm(esm_class=4, tlvs=tlvs))
    assert found == receipt.Receipt(message_id="abc", state="undeliverable", error="3:11", user_message_reference=0x102)


def test_a_message_is_no_receipt() -> None:
    assert receipt.parse_receipt(Sm(short_message=b"id:1 stat:DELIVRD")) is None


@given(st.integers(1, 2**64 - 1))
def test_ids_match_in_any_spelling(number: int) -> None:
    kept_hex, kept_decimal = receipt.canonical_id(f"{number:X}"), receipt.canonical_id(f"{number:025}")
    for spelling in (f"{number}", f"{number:025}"):
        assert {kept_hex, kept_decimal} <= set(receipt.id_candidates(spelling))
    for spelling in (f"{number:x}", f"{number:X}", f"{number:020x}"):
        assert {kept_hex, kept_decimal} <= set(receipt.id_candidates(spelling))


@pytest.mark.parametrize("message_id", ["9" * 5_000, "f" * 5_000, "²", "", "0", "no number"])
def test_hostile_ids_are_only_looked_up(message_id: str) -> None:
    assert receipt.id_candidates(message_id)[0] == receipt.canonical_id(message_id)


minutes = st.datetimes(dt.datetime(2001, 1, 1), dt.datetime(2068, 1, 1))  # noqa: DTZ001 - receipts name no zone


@given(
    st.from_regex(r"[0-9A-Za-z-]{1,64}", fullmatch=True), st.sampled_from(sorted(receipt._WORDS)), minutes, minutes,
    st.text(max_size=40),
)  # fmt: skip
def test_receipts_round_trip(
    message_id: str, state: receipt.State, submit_at: dt.datetime, done_at: dt.datetime, text: str
) -> None:
    raw = receipt.format_receipt(message_id, state, submit_at, done_at, error="042", text=text)
    assert receipt.parse_receipt(Sm(esm_class=4, short_message=raw)) == receipt.Receipt(
        message_id=message_id, state=state, error="042", submit_at=submit_at.replace(second=0, microsecond=0),
        done_at=done_at.replace(second=0, microsecond=0),
    )  # fmt: skip


@given(
    st.sampled_from(["udh8", "udh16", "sar"]),
    st.lists(st.binary(min_size=1, max_size=100), min_size=2, max_size=9),
    octet,
)
def test_concatenation_both_ways(method: concat.Method, parts: list[bytes], ref: int) -> None:
    for n, fields in enumerate(concat.parts_for(tuple(parts), method, ref), 1):
        sm = Sm(esm_class=fields.esm_class, short_message=fields.short_message, tlvs=fields.tlvs)
        which, data = concat.concat_of(pdu.decode_sm(pdu.encode_sm(sm)))
        assert which is not None
        assert (which.ref, which.total, which.part, data) == (ref, len(parts), n, parts[n - 1])


@given(st.datetimes(dt.datetime(2001, 1, 1), dt.datetime(2098, 1, 1)))  # noqa: DTZ001 - hypothesis wants naive bounds
def test_absolute_times(when: dt.datetime) -> None:
    moment = when.replace(microsecond=0, tzinfo=dt.UTC)
    assert times.parse(times.absolute(moment), moment) == moment


@given(st.integers(1, times.RELATIVE_MAX_S))
def test_relative_times(seconds: int) -> None:
    now = dt.datetime(2026, 11, 24, tzinfo=dt.UTC)
    assert times.parse(times.relative(seconds), now) == now + dt.timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "261124", "26112401020300X+", "269924010203000+", "²" * 15 + "R"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(times.SmppTimeError):
        times.parse(text, dt.datetime(2026, 1, 1, tzinfo=dt.UTC))


@pytest.mark.parametrize(
    ("data", "coding", "default", "text"),
    [
        (b"\x00\x1b\x65", 0, "gsm", "@€"),
        (b"\xe9", 0, "latin1", "é"),
        (b"\xe9", 3, "gsm", "é"),
        ("я".encode("utf-16-be"), 8, "gsm", "я"),
        ("я".encode("utf-16-be"), 0x18, "gsm", "я"),
        (b"hi", 0xF1, "gsm", "hi"),
    ],
)
def test_text_by_data_coding(data: bytes, coding: int, default: concat.Alphabet, text: str) -> None:
    assert concat.decode_text(data, coding, default) == text
