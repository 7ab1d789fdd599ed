"""Codes: made, hashed, typed."""

from __future__ import annotations

from collections import Counter

import pytest

from tidings.kit.ids import new_id
from tidings.kit.secrets import KeyRing
from tidings.verify.code import code_hash, code_of, new_salt, typed_code

RING = KeyRing({"k1": b"s" * 32}, "k1", b"l" * 32)
OTHER = KeyRing({"k1": b"s" * 32}, "k1", b"m" * 32)


def test_a_code_is_the_same_again_and_depends_on_all_it_is_made_of() -> None:
    id, salt = new_id("ver"), new_salt()
    codes = [
        code_of(RING, id, salt, 10), code_of(RING, new_id("ver"), salt, 10), code_of(RING, id, new_salt(), 10),
        code_of(OTHER, id, salt, 10),
    ]  # fmt: skip
    assert code_of(RING, id, salt, 10) == codes[0]
    assert len(set(codes)) == 4


@pytest.mark.parametrize("digits", range(4, 11))
def test_codes_are_digits_and_evenly_spread(digits: int) -> None:
    codes = [code_of(RING, f"ver_{n}", "salt", digits) for n in range(3_000)]
    assert all(len(code) == digits and code.isascii() and code.isdigit() for code in codes)
    for place in (0, digits - 1):  # chi-squared of 9 degrees of freedom: above 33.7 once in 10,000
        found = Counter(code[place] for code in codes)
        assert sum((found[str(d)] - 300) ** 2 / 300 for d in range(10)) < 33.7


def test_a_hash_says_nothing_without_the_key_and_is_of_one_verification() -> None:
    hashes = {
        code_hash(RING, "ver_1", "123456"),
        code_hash(OTHER, "ver_1", "123456"),
        code_hash(RING, "ver_2", "123456"),
    }
    assert len(hashes) == 3
    assert code_hash(RING, "ver_1", "123456") in hashes
    assert len(code_hash(RING, "ver_1", "123456")) == 64
    assert RING.keyed("a", "x") != RING.keyed("b", "x")


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("123456", "123456"), ("123 456", "123456"), ("123-456", "123456"), (" 0012 ", "0012"), ("١٢٣٤٥٦", "123456"),
        ("\uff11\uff12\uff13\uff14", "1234"), ("१२३४", "1234"), ("123\u00a0456", "123456"), ("\u200e1234", "1234"),
        ("12345a", None),
        ("", None), (" ", None), ("½", None), ("²", None), ("1.2", None), ("12\n34", None), ("Ⅷ", None),
    ],
)  # fmt: skip
def test_what_a_person_types(typed: str, code: str | None) -> None:
    assert typed_code(typed) == code
