"""GSM 03.38 and segmentation: properties, limits, and two oracles that others wrote (gsm0338, smsutil)."""

from __future__ import annotations

import gsm0338
import pytest
import smsutil
from hypothesis import given
from hypothesis import strategies as st

from tidings.protocols.gsm import alphabet, udh
from tidings.protocols.gsm.segments import SegmentError, Segments, plan

GSM = "".join(chr(c) for c in range(0x20000) if alphabet.encodable(chr(c)))
gsm_text = st.text(alphabet=GSM, max_size=400)
any_text = st.text(alphabet=st.characters(blacklist_categories=["Cs"]), max_size=400)


def joined(segments: Segments) -> str:
    data = b"".join(segments.parts)
    return alphabet.decode(data) if segments.encoding == "gsm" else data.decode("utf-16-be")


def test_the_alphabet_is_whole() -> None:
    assert len(GSM) == 127 + 10  # 128 less the escape, and the extension table


@given(gsm_text)
def test_round_trip_and_oracle_gsm0338(text: str) -> None:
    data = alphabet.encode(text)
    assert alphabet.decode(data) == text
    assert not text or data == gsm0338.Codec().encode(text)[0]


@given(any_text)
def test_oracle_smsutil_agrees_on_what_fits(text: str) -> None:
    assert text == "" or alphabet.encodable(text) == smsutil.is_valid_gsm(text)


@given(any_text)
def test_parts_join_to_the_text(text: str) -> None:
    segments = plan(text)
    assert joined(segments) == text
    assert segments.text == text
    for part in segments.parts:
        if segments.encoding == "gsm":
            alphabet.encode(alphabet.decode(part))
            assert len(part) <= (160 if len(segments.parts) == 1 else 153)
        else:
            part.decode("utf-16-be")  # no half of a pair
            assert len(part) <= (140 if len(segments.parts) == 1 else 134)


@given(gsm_text)
def test_oracle_smsutil_agrees_on_the_number_of_parts(text: str) -> None:
    assert len(plan(text).parts) == max(1, len(smsutil.split(text).parts))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", [0]),
        ("a" * 160, [160]),
        ("a" * 161, [153, 8]),
        ("€" * 80, [160]),
        ("a" * 152 + "€" * 10, [152, 20]),
        ("ß" * 153 + "€" * 4, [153, 8]),
        ("я" * 70, [140]),
        ("я" * 71, [134, 8]),
        ("🎉" * 36, [132, 12]),
    ],
)
def test_limits(text: str, parts: list[int]) -> None:
    assert [len(part) for part in plan(text).parts] == parts


def test_smart_substitution_is_told() -> None:
    segments = plan("“Quote” – done…", smart=True)
    assert segments.text == '"Quote" - done...'
    assert segments.encoding == "gsm"
    assert ("–", "-") in segments.substitutions
    assert plan("“я”", smart=True).substitutions == ()


@pytest.mark.parametrize("text", ["\ud83c", "a" * 153 * 256])
def test_what_cannot_be_sent_says_why(text: str) -> None:
    with pytest.raises((SegmentError, alphabet.GsmEncodeError)):
        plan(text)


def test_nothing_becomes_a_question_mark() -> None:
    with pytest.raises(alphabet.GsmEncodeError, match="ж"):
        plan("жук", encoding="gsm")


@given(st.integers(0, 0xFFFF), st.integers(1, 255), st.data())
def test_udh_round_trip(ref: int, total: int, data: st.DataObject) -> None:
    part = data.draw(st.integers(1, total))
    assert udh.parse(udh.concat16(ref, total, part) + b"x") == (udh.Concat(ref, total, part, 16), b"x")
    assert udh.parse(udh.concat8(ref, total, part) + b"x") == (udh.Concat(ref & 0xFF, total, part, 8), b"x")


@given(st.binary(max_size=200), st.integers(0, 6))
def test_packing(data: bytes, fill: int) -> None:
    septets = bytes(b & 0x7F for b in data)
    assert alphabet.unpack7(alphabet.pack7(septets, fill), len(septets), fill) == septets
