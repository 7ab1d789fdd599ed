"""National language tables: the oracle gsmcodecs, round trips, and what the planner chooses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.protocols.gsm import alphabet, national, udh
from tidings.protocols.gsm.national import Language, Tables, tables
from tidings.protocols.gsm.segments import Segments, capacity, plan, plan_binary
from tidings.protocols.smpp.concat import parts_for, read_user_data
from tidings.protocols.smpp.pdu import Sm

ALL: tuple[Language, ...] = ("tr", "es", "pt")
PAIRS = [tables(locking, single) for locking in (0, 1, 3) for single in (0, 1, 2, 3)]
TURKISH = "Şu ağaçların gölgesinde bir akşam oturup İstanbul'u dinledik. "


def known(pair: Tables) -> str:
    return "".join(chr(c) for c in range(0x3000) if pair.encode(chr(c)) is not None)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair.locking}-{pair.single}")
def test_the_oracle_gsmcodecs_agrees_on_every_character(pair: Tables) -> None:
    pytest.importorskip("gsmcodecs", reason="the oracle of the national tables: pip install gsmcodecs")
    codec = f"gsm23.038-{pair.locking}-{pair.single}"
    for number in range(0x3000):
        character = chr(number)
        try:
            theirs = character.encode(codec)
        except UnicodeEncodeError:
            theirs = None
        assert pair.encode(character) == theirs, character
        if theirs is not None:
            assert pair.decode(theirs) == theirs.decode(codec) == character


@pytest.mark.parametrize(
    ("pair", "added", "gone"),
    [
        (tables(0, 1), "ĞİŞçğış", ""),
        (tables(0, 2), "çÁÍÓÚáíóú", ""),
        (tables(0, 3), "êçÔôÁáÊÀÍÓÚÃÕÂíóúãõâ", ""),
        (tables(1, 0), "ıĞğŞşİç", "èìØøÆæ¡¿"),
        (tables(3, 0), "êúíóçÔôÁáªÀ∞ÓÂâÊºÍÃÕÚãõ`", "èùìòØøÅåΦΓΛΩΠΨΣΘΞÆæß¤¡ÄÖÑ¿äöñ"),
    ],
)
def test_what_each_table_adds(pair: Tables, added: str, gone: str) -> None:
    default, now = set(known(tables(0, 0))), set(known(pair))
    assert (now - default, default - now) == (set(added), set(gone))


def test_the_default_pair_is_the_alphabet() -> None:
    pair = tables(0, 0)
    assert all(pair.encode(c) == alphabet.encode(c) for c in known(pair))
    assert pair.header == b""


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair.locking}-{pair.single}")
@given(data=st.data())
def test_round_trip(pair: Tables, data: st.DataObject) -> None:
    text = data.draw(st.text(alphabet=known(pair), max_size=200))
    raw = pair.encode(text)
    assert raw is not None
    assert pair.decode(raw) == text


@given(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=60))
def test_anything_can_be_decoded_and_unknown_tables_fall_back(locking: int, single: int, data: bytes) -> None:
    pair = tables(locking, single)
    text = pair.decode(data)
    assert len(text) <= len(data)
    if locking not in (1, 3) and single not in (1, 2, 3):
        assert text == alphabet.decode(data)


def received(segments: Segments, *, method: str = "udh8") -> str:
    """The text as a receiver reads it, part by part, and each part within 140 octets on the air."""
    out = ""
    for part in parts_for(segments.parts, method, 7, segments.header):  # type: ignore[arg-type]
        sm = Sm(
            short_message=part.short_message, esm_class=part.esm_class, data_coding=segments.data_coding, tlvs=part.tlvs
        )
        found = read_user_data(sm)
        assert found.text is not None
        out += found.text
        size = len(part.short_message) - len(found.data)
        octets = (len(found.data) * 7 + 7) // 8 if segments.data_coding == 0 else len(found.data)
        assert size + octets <= 140
    return out


@given(
    st.text(alphabet=TURKISH + "áíóúãõâêÁÍÓÚç€ª{}ñ", max_size=700),
    st.sampled_from(["udh8", "udh16", "sar"]),
    st.sampled_from([ALL, ("tr",), ("es", "pt")]),
)
def test_never_more_parts_than_without_and_nothing_lost(
    text: str, method: str, languages: tuple[Language, ...]
) -> None:
    bits = 16 if method == "udh16" else 8
    plain, best = plan(text, ref_bits=bits), plan(text, ref_bits=bits, languages=languages)
    assert len(best.parts) <= len(plain.parts)
    assert len(best.parts) < len(plain.parts) or best == plain
    assert received(best, method=method) == text


@pytest.mark.parametrize(
    ("text", "languages", "encoding", "parts"),
    [
        (TURKISH, ("tr",), "ucs2", 1),  # it fits: every phone knows UCS-2
        (TURKISH * 2, ("tr",), "gsm+single-tr", 1),
        (TURKISH * 2, (), "ucs2", 2),
        (TURKISH * 2, ("es",), "ucs2", 2),
        ("ğış" * 51, ("tr",), "gsm+locking-tr", 1),
        ("ção " * 30, ("pt",), "gsm+locking-pt", 1),
        ("aé" * 80, ALL, "gsm", 1),
        ("ãóΦ" * 34, ("pt",), "gsm+locking-pt+single-pt", 1),
        ("Ñ" * 100 + "á" * 25, ("es",), "gsm+single-es", 1),
    ],
)
def test_the_cheapest(text: str, languages: tuple[Language, ...], encoding: str, parts: int) -> None:
    best = plan(text, languages=languages)
    assert (best.encoding, len(best.parts)) == (encoding, parts)


@pytest.mark.parametrize(
    ("encoding", "header", "bits", "units"),
    [
        ("gsm", 0, 0, 160), ("gsm", 0, 8, 153), ("gsm", 0, 16, 152), ("gsm", 3, 0, 155), ("gsm", 3, 8, 149),
        ("gsm", 3, 16, 148), ("gsm", 6, 0, 152), ("gsm", 6, 8, 146), ("gsm", 6, 16, 145), ("ucs2", 0, 0, 70),
        ("ucs2", 0, 8, 67), ("ucs2", 0, 16, 66), ("binary", 0, 0, 140), ("binary", 6, 0, 133), ("binary", 6, 8, 128),
    ],
)  # fmt: skip
def test_capacity(encoding: str, header: int, bits: int, units: int) -> None:
    assert capacity(encoding, header, bits) == units


@pytest.mark.parametrize(("text", "coding", "encoding"), [("now", 0x10, "gsm"), ("сейчас", 0x18, "ucs2")])
def test_flash(text: str, coding: int, encoding: str) -> None:
    made = plan(text, flash=True)
    assert (made.data_coding, made.encoding) == (coding, encoding)
    found = read_user_data(Sm(short_message=made.parts[0], data_coding=coding), "latin1")
    assert (found.text, found.flash) == (text, True)
    assert read_user_data(Sm(short_message=made.parts[0])).flash is False


@given(st.binary(min_size=1, max_size=900), st.none() | st.tuples(st.integers(0, 65535), st.integers(0, 65535)))
def test_binary_with_and_without_ports(data: bytes, ports: tuple[int, int] | None) -> None:
    made = plan_binary(data, ports=ports)
    out = b""
    for part in parts_for(made.parts, "udh8", 9, made.header):
        assert len(part.short_message) <= 140
        found = read_user_data(
            Sm(short_message=part.short_message, esm_class=part.esm_class, data_coding=made.data_coding)
        )
        assert (found.text, found.ports) == (None, ports)
        out += found.data
    assert out == data


@pytest.mark.parametrize("ports", [(-1, 0), (0, 65536)])
def test_impossible_ports_are_refused(ports: tuple[int, int]) -> None:
    with pytest.raises(udh.UdhError):
        plan_binary(b"x", ports=ports)
    with pytest.raises(udh.UdhError):
        udh.whole(b"x" * 140)


@pytest.mark.parametrize(
    ("languages", "count"), [((), 0), (("es",), 1), (("tr",), 3), (("tr", "es"), 5), (("tr", "es", "pt"), 11)]
)
def test_pairs(languages: tuple[Language, ...], count: int) -> None:
    found = national.pairs(national.in_order(languages))
    assert len(found) == len(set(found)) == count
    assert [len(pair.header) for pair in found] == sorted(len(pair.header) for pair in found)
