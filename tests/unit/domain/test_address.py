"""One person has one key, however the address is written; and nothing looks for a person by any other."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidings
from tidings.domain.address import address_key, one_spelling
from tidings.domain.request import Recipient, SendRequest, check
from tidings.kit.secrets import KeyRing

RING = KeyRing({"k1": b"s" * 32}, "k1", b"l" * 32)
BROWSER = "https://push.example.com/1"
P256DH = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
KEYS = {"auth": AUTH, "p256dh": P256DH}


def subscription(endpoint: str, p256dh: str = P256DH, **more: int) -> str:
    return json.dumps({"endpoint": endpoint, "keys": {"p256dh": p256dh, "auth": AUTH}, **more})


#: The same one written otherwise.
SAME = [
    ("+447700900123", "+4407700900123"),  # a national zero
    ("+14155550123", "+114155550123"),  # a national one
    ("+79161234567", "+789161234567"),  # a national eight
    ("+525512345678", "+5215512345678"),  # Mexico: the 1 of mobile numbers, gone since 2019
    ("+5511987654321", "+551187654321"),  # Brazil: before the ninth digit
    ("+525512345678", "5215512345678"),  # as a carrier writes it
    ("ada@example.com", "ada@EXAMPLE.com"),
    ("ada@example.com", "Ada@example.com"),  # not two people at any provider that is in use
    ("ada@xn--exmple-cua.com", "ada@exämple.com"),
    ("ada@XN--exmple-cua.com", "ada@EXÄMPLE.com"),
    (subscription(BROWSER), json.dumps({"keys": KEYS, "endpoint": BROWSER}, indent=1)),
    (subscription(BROWSER), subscription(BROWSER, p256dh=P256DH + "=", expirationTime=7)),
]
#: Others.
APART = [
    ("+447700900123", "+447700900124"), ("+390612345678", "+39612345678"),  # Italy: the zero is part of the number
    ("+551123456789", "+5511923456789"),  # a fixed line in Brazil
    ("12345", "+12345678"), ("ada@example.com", "ada@example.org"), ("ada+1@example.com", "ada@example.com"),
    (subscription(BROWSER), subscription(BROWSER + "0")), ("token-a", "token-b"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_person(one: str, other: str) -> None:
    assert address_key(RING, one) == address_key(RING, other)


@pytest.mark.parametrize(("one", "other"), APART)
def test_another_person(one: str, other: str) -> None:
    assert address_key(RING, one) != address_key(RING, other)


@given(st.text(max_size=40) | st.text("+0123456789", max_size=20) | st.text(max_size=40).map(lambda text: "{" + text))
def test_anything_has_a_key(text: str) -> None:
    assert address_key(RING, text) == address_key(RING, one_spelling(text))


def test_the_normal_spelling_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phonenumbers.parse", lambda *_: pytest.fail("parsed"))
    assert one_spelling("+447700900999") == "+447700900999"
    assert one_spelling("ada@example.com") == "ada@example.com"


def test_a_device_twice_in_one_message() -> None:
    twice = [subscription(BROWSER), subscription(BROWSER, expirationTime=7)]
    found = check(SendRequest(to=Recipient(push=twice), text="hello"), 0)
    assert [(error.pointer, error.code) for error in found] == [("/to/push", "conflict")]


#: Where the key ring hashes what is no address.
OTHERS = {
    "domain/address.py", "domain/smpp_login.py", "http/v1/keys.py", "service.py", "smppd/parts.py",
    "webhooks/twilio_callbacks.py", "store/sqlite/suppressions.py", "store/postgres/suppressions.py",
}  # fmt: skip


def test_no_address_is_looked_up_by_its_spelling() -> None:
    root = Path(tidings.__file__).parent
    using = {
        str(file.relative_to(root)) for file in root.rglob("*.py") if re.search(r"ring\.lookup\b", file.read_text())
    }
    assert using == OTHERS, "an address is looked up by domain.address.address_key"
