"""The submit_sm that is written fast is the submit_sm of the codec; and the codec is judged by others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import smpp34
from hypothesis import example, given
from hypothesis import strategies as st

from tidings.channels.sms.smpp_config import read_config
from tidings.channels.sms.smpp_submit import SubmitWriter, encode_refusal
from tidings.domain.attempt import Submission
from tidings.protocols.smpp.concat import parts_for
from tidings.protocols.smpp.constants import SUBMIT_SM, Tag
from tidings.protocols.smpp.pdu import Framer, Sm, SmppEncodeError, decode_sm, encode_sm

NOW_MS = 1_795_000_000_000


def writer(**config: Any) -> SubmitWriter:
    return SubmitWriter(read_config("acme", {"host": "127.0.0.1", "system_id": "x"} | config))


def submission(text: str = "Hi", to: str = "+491701234567", **more: Any) -> Submission:
    plan = writer().plan(text)
    fields: dict[str, Any] = {"sender": "ACME", "data_coding": plan.data_coding, "parts": plan.parts} | more
    return Submission(attempt_id="a", message_id="m", lane="otp", to=to, **fields)


def written(made: SubmitWriter, sub: Submission, index: int = 0) -> Sm:
    ((command, status, sequence, body),) = Framer().feed(made.pdu(sub, index, 77, NOW_MS))
    assert (command, status, sequence) == (SUBMIT_SM, 0, 77)
    return decode_sm(body)


@given(
    text=st.text(min_size=1, max_size=400).filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text)),
    ref=st.integers(0, 0xFFFF),
    concat=st.sampled_from(["udh8", "udh16", "sar"]),
    user_ref=st.none() | st.integers(0, 0xFFFF),
)
def test_the_fast_writer_is_the_codec(text: str, ref: int, concat: Any, user_ref: int | None) -> None:
    made = writer(concat=concat, user_message_reference=True)
    plan = made.plan(text)
    sub = submission(parts=plan.parts, data_coding=plan.data_coding, concat_ref=ref, user_ref=user_ref)
    for index, part in enumerate(parts_for(plan.parts, concat, ref)):
        tlvs = dict(part.tlvs)
        if user_ref is not None:
            tlvs[Tag.USER_MESSAGE_REFERENCE] = user_ref.to_bytes(2, "big")
        wanted = Sm(
            source_addr=b"ACME",
            source_addr_ton=5,
            destination_addr=b"491701234567",
            dest_addr_ton=1,
            dest_addr_npi=1,
            esm_class=part.esm_class,
            registered_delivery=1,
            data_coding=plan.data_coding,
            short_message=part.short_message,
            tlvs=tlvs,
        )
        pdu = made.pdu(sub, index, 1, NOW_MS)
        assert pdu[16:] == encode_sm(wanted)
        other = smpp34.decode(pdu)
        assert isinstance(other, smpp34.SubmitSm)
        assert (other.destination_addr, other.short_message) == ("491701234567", part.short_message)


@pytest.mark.parametrize(
    ("sender", "config", "expected"),
    [
        ("ACME", {}, (5, 0, b"ACME")),
        ("12345", {}, (3, 0, b"12345")),
        ("+12345", {}, (1, 1, b"12345")),
        ("+4915112345678", {}, (1, 1, b"4915112345678")),
        ("4915112345678", {}, (1, 1, b"4915112345678")),
        (None, {}, (0, 0, b"")),
        ("ACME", {"source_ton": 0, "source_npi": 9}, (0, 9, b"ACME")),
    ],
)
def test_sender(sender: str | None, config: dict[str, Any], expected: tuple[int, int, bytes]) -> None:
    sm = written(writer(**config), submission(sender=sender))
    assert (sm.source_addr_ton, sm.source_addr_npi, sm.source_addr) == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, (1, 1, b"491701234567")),
        ({"dest_plus": True}, (1, 1, b"+491701234567")),
        ({"dest_ton": 2, "dest_npi": 8}, (2, 8, b"491701234567")),
    ],
)
def test_recipient(config: dict[str, Any], expected: tuple[int, int, bytes]) -> None:
    sm = written(writer(**config), submission())
    assert (sm.dest_addr_ton, sm.dest_addr_npi, sm.destination_addr) == expected


@given(
    to=st.from_regex(r"\+?[0-9A-Za-z²]{0,22}", fullmatch=True),
    config=st.fixed_dictionaries(
        {}, optional={"dest_plus": st.booleans(), "dest_ton": st.integers(0, 6), "dest_npi": st.integers(0, 18)}
    ),
)
@example("+491701234567", {"dest_plus": True})
@example("+999999999999999", {})
@example("+²", {})
def test_a_number_is_written_like_any_recipient(to: str, config: dict[str, Any]) -> None:
    def field(write: Callable[[str], bytes]) -> bytes | str:
        try:
            return write(to)
        except SmppEncodeError as error:
            return str(error)

    made = writer(**config)
    assert field(made._dest_field) == field(made._any_dest_field)


@pytest.mark.parametrize(
    ("mode", "until_ms", "expected"),
    [
        ("none", NOW_MS + 60_000, b""),
        ("relative", None, b""),
        ("relative", NOW_MS + 60_000, b"000000000100000R"),
        ("relative", NOW_MS + 100, b"000000000001000R"),
        ("absolute", NOW_MS + 60_000, b"261118110740000+"),
    ],
)
def test_validity(mode: str, until_ms: int | None, expected: bytes) -> None:
    assert written(writer(validity=mode), submission(valid_until_ms=until_ms)).validity_period == expected


@pytest.mark.parametrize(
    ("alphabet", "text", "encoding", "coding", "parts"),
    [
        ("gsm", "Grüße", "gsm", 0, [b"Gr\x7e\x1ee"]),
        ("gsm", "Привет", "ucs2", 8, ["Привет".encode("utf-16-be")]),
        ("latin1", "Grüße", "latin1", 3, ["Grüße".encode("latin-1")]),
        ("latin1", "€", "ucs2", 8, ["€".encode("utf-16-be")]),
        ("ascii", "a [b] {c}", "ascii", 0, [b"a [b] {c}"]),
        ("ascii", "Grüße", "ucs2", 8, ["Grüße".encode("utf-16-be")]),
        ("ascii", "x" * 159 + "[]", "ascii", 0, [b"x" * 153, b"x" * 6 + b"[]"]),
        ("ucs2", "a", "ucs2", 8, [b"\0a"]),
    ],
)
def test_alphabets(alphabet: str, text: str, encoding: str, coding: int, parts: list[bytes]) -> None:
    plan = writer(default_alphabet=alphabet).plan(text)
    assert (plan.encoding, plan.data_coding, list(plan.parts)) == (encoding, coding, parts)


def test_smart() -> None:
    assert writer(smart=True).plan("“a”").encoding == "gsm"
    assert writer(smart=False).plan("“a”").encoding == "ucs2"


@pytest.mark.parametrize(
    ("text", "segments", "short"), [("x" * 160, 1, True), ("x" * 161, 2, False), ("ж" * 71, 2, False)]
)
def test_payload_is_one_pdu_and_counts_its_segments(text: str, segments: int, short: bool) -> None:
    made = writer(concat="payload")
    plan = made.plan(text)
    assert len(plan.parts) == 1
    sub = submission(parts=plan.parts, data_coding=plan.data_coding)
    assert made.segments_of(sub, 0) == segments
    sm = written(made, sub)
    assert (sm.short_message == plan.parts[0]) is short
    assert (sm.tlvs.get(Tag.MESSAGE_PAYLOAD) == plan.parts[0]) is not short


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"to": "+" + "1" * 30}, "invalid_recipient"),
        ({"sender": "A" * 30}, "invalid_sender"),
        ({"sender": "Жук"}, "invalid_sender"),
        ({"parts": (b"x" * 255,)}, "not_encodable"),
    ],
)
def test_what_cannot_be_written_is_refused(more: dict[str, Any], code: str) -> None:
    with pytest.raises(SmppEncodeError) as caught:
        writer().pdu(submission(**more), 0, 1, NOW_MS)
    assert encode_refusal(caught.value).error.code == code
