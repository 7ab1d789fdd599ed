"""What may be asked for: every bad field by its name, and the message that a good request makes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tidings.domain import request as sending
from tidings.domain.verification import Worth
from tidings.kit.secrets import KeyRing
from tidings.verify.ask import Ask, check, country_of, marks_of, message_of, prefixes_of, terms_of, worth_of

NOW = 1_790_000_000_000
RING = KeyRing({"k1": b"s" * 32}, "k1", b"l" * 32)
NUMBER = "+4915112345678"
BOTH = {"phone": NUMBER, "email": "ada@example.com"}


def ask(**fields: Any) -> Ask:
    return msgspec.convert({"to": NUMBER} | fields, Ask)


GOOD: list[dict[str, Any]] = [
    {},
    {"to": "ada@example.com"},
    {"channel": "sms", "locale": "pt-BR", "brand": "ACME"},
    {"to": BOTH, "channels": ["sms", "email"], "from": {"sms": "ACME", "email": "ACME <codes@example.com>"}},
    {"to": {"whatsapp": NUMBER}, "channel": "whatsapp", "whatsapp_template": "otp_code"},
    {"to": {"whatsapp": NUMBER}, "channel": "whatsapp"},
    {"to": {"phone": NUMBER}, "channels": ["whatsapp", "sms"], "whatsapp_template": "otp_code", "locale": "pt-BR"},
    {"text": "{{ brand }} {{ code }} ({{ minutes }} min)", "code_length": 4, "valid_for_s": 30, "max_attempts": 1},
    {"text": "{% assign c = code | split: '' | join: '' %}{{ c }}"},
    {"app_hash": "FA+9qCX9VSu"},
    {"domain": "shop.example.com"},
    {"domain": "localhost"},
    {"ip": "2001:db8::1"},
]


@pytest.mark.parametrize("fields", GOOD)
def test_good(fields: dict[str, Any]) -> None:
    wanted = ask(**fields)
    assert check(wanted, NOW, Worth()) == []
    made = message_of(terms_of(wanted, "salt", Worth()), "123456", 300, "ver_1")
    assert sending.check(made, NOW) == []
    assert (made.lane, made.valid_for_s, made.reference) == ("otp", 300, "ver_1")


BAD: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    ({"to": "12"}, [("/to", "invalid_number")]),
    ({"to": "a@b@c"}, [("/to", "invalid_email")]),
    ({"to": {"email": "a@example.com"}, "channel": "sms"}, [("/to/phone", "required")]),
    ({"to": {"push": ["t"]}}, [("/channel", "required")]),
    ({"channel": "push"}, [("/channel", "unsupported")]),
    ({"channels": ["sms", "fax"], "to": BOTH}, [("/channels/1", "unsupported")]),
    ({"channels": []}, [("/channels", "required")]),
    ({"channel": "sms", "channels": ["sms"]}, [("/channels", "conflict")]),
    ({"channels": ["sms", "sms"], "to": BOTH}, [("/channels", "conflict")]),
    ({"code_length": 3}, [("/code_length", "range")]),
    ({"code_length": 11}, [("/code_length", "range")]),
    ({"valid_for_s": 29}, [("/valid_for_s", "range")]),
    ({"valid_for_s": 3601}, [("/valid_for_s", "range")]),
    ({"max_attempts": 0}, [("/max_attempts", "range")]),
    ({"template": "x"}, [("/template", "unsupported")]),
    ({"locale": "de_"}, [("/locale", "format")]),
    ({"brand": ""}, [("/brand", "length")]),
    ({"brand": "x" * 25}, [("/brand", "length")]),
    ({"brand": "a\nb"}, [("/brand", "length")]),
    ({"text": "your code"}, [("/text", "required")]),
    ({"text": "0123456789"}, [("/text", "required")]),  # the digits that are tried, and no code
    ({"text": "{{ code"}, [("/text", "template_syntax")]),
    ({"text": ""}, [("/text", "length")]),
    ({"text": "\ud800 {{ code }}"}, [("/text", "encoding")]),
    ({"app_hash": "short"}, [("/app_hash", "format")]),
    ({"domain": "https://x.test"}, [("/domain", "format")]),
    ({"domain": "a..b"}, [("/domain", "format")]),
    ({"domain": "x" * 64}, [("/domain", "format")]),
    ({"domain": "{{code}}.test"}, [("/domain", "format")]),
    ({"app_hash": "FA+9qCX9VSu", "domain": "x.test"}, [("/domain", "conflict")]),
    ({"app_hash": "FA+9qCX9VSu", "text": "{{ code }}" + "x" * 140}, [("/text", "length")]),
    ({"ip": "1.2.3"}, [("/ip", "format")]),
    ({"from": "this sender is too long"}, [("/from", "invalid_sender")]),
    ({"reference": "x" * 257}, [("/reference", "length")]),
    (
        {"to": "12", "code_length": 1, "text": "x", "ip": "y"},
        [("/code_length", "range"), ("/ip", "format"), ("/text", "required"), ("/to", "invalid_number")],
    ),
]


@pytest.mark.parametrize(("fields", "expected"), BAD)
def test_bad(fields: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert sorted((error.pointer, error.code) for error in check(ask(**fields), NOW, Worth())) == expected


def test_what_a_request_does_not_say_is_as_the_server_is_set() -> None:
    default = Worth(code_length=8, valid_for_s=120, max_attempts=3)
    assert worth_of(ask(), default) == default
    assert worth_of(ask(max_attempts=9, valid_for_s=None), default) == Worth(
        code_length=8, valid_for_s=120, max_attempts=9
    )
    assert terms_of(ask(), "salt", default).minutes == 2
    long = ask(app_hash="FA+9qCX9VSu", text="{{ code }}" + "x" * 120)
    assert check(long, NOW, Worth()) == []
    assert [error.pointer for error in check(long, NOW, Worth(code_length=10))] == ["/text"]


def test_the_message_of_several_channels() -> None:
    terms = terms_of(ask(to=BOTH, channels=["sms", "email"], domain="shop.example.com"), "salt", Worth())
    made = message_of(terms, "123456", 300, "ver_1")
    assert (made.channel, made.channels) == (None, ["sms", "email"])
    assert made.fallback is not None
    assert made.fallback.on == ["failed", "not_delivered"]
    assert made.text is not None
    assert made.text.endswith("@shop.example.com #{{ code }}")
    assert made.content is not None
    assert set(made.content) == {"email"}
    alone = message_of(terms, "123456", 300, "ver_1", ["email"])
    assert (alone.channel, alone.channels, alone.fallback) == ("email", None, None)
    assert alone.content is not None
    assert "subject" in alone.content


def test_the_code_is_only_in_the_data() -> None:
    made = message_of(terms_of(ask(brand="ACME", domain="x.test"), "salt", Worth()), "918273", 300, "ver_1")
    shown = msgspec.json.encode(msgspec.structs.replace(made, data=None)).decode()
    assert "918273" not in shown
    assert made.data is not None
    assert made.data["code"] == "918273"


@pytest.mark.parametrize(
    ("fields", "kinds"),
    [
        ({}, {"to", "block", "range"}),
        ({"to": "+15005550001"}, {"to"}),
        ({"to": "ada@example.com"}, {"to"}),
        ({"to": BOTH, "channels": ["email", "sms"]}, {"to", "block", "range"}),
        ({"ip": "203.0.113.7"}, {"to", "block", "range", "ip"}),
    ],
)
def test_marks(fields: dict[str, Any], kinds: set[str]) -> None:
    marks = marks_of(ask(**fields), RING.lookup)
    assert {kind for kind, _ in marks} == kinds
    told = msgspec.json.encode(marks).decode()
    assert NUMBER not in told
    assert "ada" not in told
    assert "203" not in told


def test_a_number_behind_another_channel_is_counted_too() -> None:
    """Else a bouncing address in front would be a way round the limits of the number behind it."""
    marks = marks_of(ask(to=BOTH, channels=["email", "sms"]), RING.lookup)
    assert ("to", RING.lookup(NUMBER)) in marks
    assert ("block", NUMBER[:-4]) in marks


def test_another_spelling_of_a_number_is_the_same_person() -> None:
    one, other = (ask(to=to) for to in ("+447911123456", "+4407911123456"))
    assert check(other, NOW, Worth()) == []
    assert marks_of(one, RING.lookup) == marks_of(other, RING.lookup)
    assert set(prefixes_of(one)) == set(prefixes_of(other))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("203.0.113.7", "::ffff:203.0.113.7", True),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("203.0.113.7", "203.0.113.8", False),
    ],
)
def test_an_end_user_of_ipv6_has_a_network(one: str, other: str, same: bool) -> None:
    found = [dict(marks_of(ask(ip=ip), RING.lookup))["ip"] for ip in (one, other)]
    assert (found[0] == found[1]) == same


def test_prefixes_are_those_that_all_numbers_share() -> None:
    assert "+4915112345678" in prefixes_of(ask())
    assert "+4" in prefixes_of(ask())
    shared = prefixes_of(ask(to={"phone": "+4915112345678", "whatsapp": "+14155550123"}, channels=["sms", "whatsapp"]))
    assert shared == ()
    assert prefixes_of(ask(to="ada@example.com")) == ()


def test_countries() -> None:
    assert [country_of(ask(to=to)) for to in (NUMBER, "+14155550123", "ada@example.com")] == ["DE", "US", None]
