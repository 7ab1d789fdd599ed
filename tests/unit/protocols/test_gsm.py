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


def test_oracle_smsutil_agrees_on_what_fits() -> None:
    characters = [chr(c) for c in range(0x11000) if not 0xD800 <= c <= 0xDFFF]
    differing = [c for c in characters if alphabet.encodable(c) != smsutil.is_valid_gsm(c)]
    assert differing == ["\x1b"]  # the escape is no character; smsutil takes it for one


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x1b\x65\x1b\x0a", "€\f"),
        (b"\x1b\x41", "A"),  # not in the extension table: the basic character
        (b"a\x1b", "a "),
        (b"\x1b\x1bA", " A"),
        (b"a\x9b\xe5", "a€"),  # eighth bits are passed over
        (b"\xc1", "A"),
    ],
)
def test_decoding_is_tolerant(data: bytes, text: str) -> None:
    assert alphabet.decode(data) == text


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


@pytest.mark.parametrize(("total", "part"), [(256, 1), (0, 0), (2, 3), (2, 0)])
def test_impossible_parts_are_refused(total: int, part: int) -> None:
    for build in (udh.concat8, udh.concat16):
        with pytest.raises(udh.UdhError):
            build(1, total, part)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (bytes((5, 0, 3, 7, 2, 3)) + b"x", (None, b"x")),  # part 3 of 2 is to be ignored
        (bytes((4, 0, 2, 7, 2)) + b"x", (None, b"x")),  # an element of the wrong size
        (bytes((11, 5, 4, 1, 2, 3, 4, 0, 3, 7, 2, 1)) + b"x", (udh.Concat(7, 2, 1, 8), b"x")),  # behind ports
        (bytes((0,)) + b"x", (None, b"x")),
    ],
)
def test_headers_as_they_come(data: bytes, found: tuple[udh.Concat | None, bytes]) -> None:
    assert udh.parse(data) == found


@pytest.mark.parametrize("data", [b"", b"\x05\x00\x03"])
def test_a_header_longer_than_its_data(data: bytes) -> None:
    with pytest.raises(udh.UdhError):
        udh.parse(data)


@given(st.binary(max_size=200), st.integers(0, 6))
def test_packing(data: bytes, fill: int) -> None:
    septets = bytes(b & 0x7F for b in data)
    assert alphabet.unpack7(alphabet.pack7(septets, fill), len(septets), fill) == septets
