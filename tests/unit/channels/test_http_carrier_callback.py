"""Callbacks of `sms.http`: each way to verify with its forgeries, and what is read of a genuine one."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peers.carriers import RecordingSink
from tidings.channels.callback import NotGenuine, RawRequest, Taken, Unreadable
from tidings.channels.contract import ProviderSpec
from tidings.channels.described import verify as http_verify
from tidings.channels.sms.http_carrier import HttpProvider

SECRET, NOW_MS = "s3cr3t", 1_790_000_000_000
SAID = {"id": "7", "status": "DELIVRD", "to": "4915112345678", "from": "ACME"}
RECEIPTS = {
    "id": "field:id",
    "status": "field:status",
    "error": "field:err",
    "to": "field:to",
    "sender": "field:from",
    "ref": "field:ref",
    "states": {"DELIVRD": "delivered", "READ": "read", "EXPIRED": "expired", "REJECTD": "rejected", "SENT": "pending"},
}
INBOUND = {
    "id": "field:id",
    "sender": "field:from",
    "to": "field:to",
    "text": "field:text",
    "concat_ref": "field:cref",
    "concat_total": "field:ctotal",
    "concat_part": "field:cpart",
}


def provider(verify: dict[str, Any], **more: Any) -> HttpProvider:
    callbacks = {"verify": verify, "receipts": RECEIPTS, "inbound": INBOUND, **more.pop("callbacks", {})}
    config = {
        "request": {"url": "https://api.example.com/x"},
        "callbacks": callbacks,
        "callback_secret": SECRET,
        "public_url": "https://sms.example.com",
        **more,
    }
    return HttpProvider(ProviderSpec(name="acme", type="sms.http", config=config), RecordingSink())


def request(fields: dict[str, str] | bytes = SAID, query: str = "", method: str = "POST", **more: Any) -> RawRequest:
    headers = {"content-type": "application/x-www-form-urlencoded", **more.pop("headers", {})}
    body = fields if isinstance(fields, bytes) else urlencode(fields).encode()
    return RawRequest(
        method=method, query=query, body=body, headers=headers, peer=more.pop("peer", "192.0.2.7"), received_ms=NOW_MS
    )


BODY = urlencode(SAID).encode()


def mac(text: bytes, algorithm: str = "sha256", form: str = "hex", secret: str = SECRET) -> str:
    made = hmac.new(secret.encode(), text, algorithm).digest()
    return made.hex() if form == "hex" else base64.b64encode(made).decode()


HMAC = {"kind": "hmac", "at": "header:X-Sig"}
STAMPED = {**HMAC, "signed": "{timestamp}.{body}", "timestamp": "header:X-Time", "tolerance_s": 300}
NOW_S = str(NOW_MS // 1000)
GENUINE: list[tuple[str, dict[str, Any], RawRequest]] = [
    ("body", HMAC, request(headers={"x-sig": mac(BODY)})),
    ("upper", HMAC, request(headers={"x-sig": mac(BODY).upper()})),
    ("sha1", HMAC | {"algorithm": "sha1", "digest": "base64"}, request(headers={"x-sig": mac(BODY, "sha1", "base64")})),
    ("prefix", HMAC | {"prefix": "sha256="}, request(headers={"x-sig": f"sha256={mac(BODY)}"})),
    (
        "url",
        HMAC | {"signed": "{method}{url}{body}"},
        request(query="a=%20b", headers={"x-sig": mac(b"POSThttps://sms.example.com/callbacks/acme?a=%20b" + BODY)}),
    ),
    (
        "url_base",
        HMAC | {"signed": "{url_base}{header:X-Nonce}"},
        request(query="a=1", headers={"x-nonce": "42", "x-sig": mac(b"https://sms.example.com/callbacks/acme42")}),
    ),
    ("stamped", STAMPED, request(headers={"x-time": NOW_S, "x-sig": mac(f"{NOW_S}.".encode() + BODY)})),
    (
        "iso",
        STAMPED,
        request(headers={"x-time": "2026-09-21T14:13:20Z", "x-sig": mac(b"2026-09-21T14:13:20Z." + BODY)}),
    ),
    (
        "query",
        HMAC | {"at": "query:sig", "signed": "{body}"},
        request(query=urlencode({"sig": mac(BODY)})),
    ),
    (
        "octets",
        HMAC,
        request(SAID | {"x": "\u00e9\u4e2d"}, headers={"x-sig": mac(urlencode(SAID | {"x": "é中"}).encode())}),
    ),
    ("secret header", {"kind": "secret", "at": "header:X-Token"}, request(headers={"x-token": SECRET})),
    ("secret query", {"kind": "secret", "at": "query:token"}, request(query=f"token={SECRET}")),
    (
        "basic",
        {"kind": "basic"},
        request(headers={"authorization": "Basic " + base64.b64encode(b"user:pass").decode()}),
    ),
    ("address", {"kind": "address", "networks": ["192.0.2.0/24", "2001:db8::/32"]}, request()),
    ("address 6", {"kind": "address", "networks": ["192.0.2.0/24", "2001:db8::/32"]}, request(peer="2001:db8::1")),
    (
        "proxy",
        {"kind": "address", "networks": ["192.0.2.0/24"], "trusted_proxies": ["10.0.0.0/8"]},
        request(peer="10.1.1.1", headers={"x-forwarded-for": "8.8.8.8, 192.0.2.9"}),
    ),
    ("mapped", {"kind": "address", "networks": ["192.0.2.0/24"]}, request(peer="::ffff:192.0.2.7")),
    ("both", HMAC | {"networks": ["192.0.2.7/32"]}, request(headers={"x-sig": mac(BODY)})),
]
LOGIN = {"callback_username": "user", "callback_password": "pass"}
OLD, SOON = str(NOW_MS // 1000 - 301), str(NOW_MS // 1000 + 301)
FORGED: list[tuple[str, dict[str, Any], RawRequest]] = [
    ("nothing", HMAC, request()),
    ("other key", HMAC, request(headers={"x-sig": mac(BODY, secret="other")})),
    ("other body", HMAC, request(SAID | {"status": "READ"}, headers={"x-sig": mac(BODY)})),
    ("cut", HMAC, request(headers={"x-sig": mac(BODY)[:-2]})),
    ("empty", HMAC, request(headers={"x-sig": ""})),
    ("no hex", HMAC, request(headers={"x-sig": "é" * 64})),
    ("no prefix", HMAC | {"prefix": "sha256="}, request(headers={"x-sig": mac(BODY)})),
    (
        "other url",
        HMAC | {"signed": "{url}{body}"},
        request(query="b=1", headers={"x-sig": mac(b"https://sms.example.com/callbacks/acme" + BODY)}),
    ),
    ("no nonce", HMAC | {"signed": "{body}{header:X-Nonce}"}, request(headers={"x-sig": mac(BODY)})),
    ("old", STAMPED, request(headers={"x-time": OLD, "x-sig": mac(f"{OLD}.".encode() + BODY)})),
    ("from the future", STAMPED, request(headers={"x-time": SOON, "x-sig": mac(f"{SOON}.".encode() + BODY)})),
    ("other time", STAMPED, request(headers={"x-time": NOW_S, "x-sig": mac(f"{OLD}.".encode() + BODY)})),
    ("no time", STAMPED, request(headers={"x-sig": mac(b"." + BODY)})),
    ("no such time", STAMPED, request(headers={"x-time": "noon", "x-sig": mac(b"noon." + BODY)})),
    ("wrong secret", {"kind": "secret", "at": "header:X-Token"}, request(headers={"x-token": "s3cr3"})),
    ("no secret", {"kind": "secret", "at": "query:token"}, request(query="token=")),
    (
        "wrong password",
        {"kind": "basic"},
        request(headers={"authorization": "Basic " + base64.b64encode(b"user:pas").decode()}),
    ),
    ("no password", {"kind": "basic"}, request()),
    ("elsewhere", {"kind": "address", "networks": ["192.0.2.0/24"]}, request(peer="198.51.100.1")),
    (
        "claimed",
        {"kind": "address", "networks": ["192.0.2.0/24"]},
        request(peer="198.51.100.1", headers={"x-forwarded-for": "192.0.2.9"}),
    ),
    (
        "claimed first",
        {"kind": "address", "networks": ["192.0.2.0/24"], "trusted_proxies": ["10.0.0.0/8"]},
        request(peer="10.1.1.1", headers={"x-forwarded-for": "192.0.2.9, 198.51.100.1"}),
    ),
    ("no peer", {"kind": "address", "networks": ["192.0.2.0/24"]}, request(peer="")),
    ("one of both", HMAC | {"networks": ["198.51.100.0/24"]}, request(headers={"x-sig": mac(BODY)})),
]


@pytest.mark.parametrize(("verify", "raw"), [case[1:] for case in GENUINE], ids=[case[0] for case in GENUINE])
def test_genuine(verify: dict[str, Any], raw: RawRequest) -> None:
    called = provider(verify, **LOGIN).callback(raw)
    assert isinstance(called, Taken), called
    assert called.receipts[0].refs == ("7",)


def _refuses(cases: list[tuple[str, dict[str, Any], RawRequest]]) -> None:
    for name, verify, raw in cases:
        assert isinstance(provider(verify, **LOGIN).callback(raw), NotGenuine), name


def test_forged() -> None:
    _refuses(FORGED)


@pytest.mark.parametrize("name", ["_same", "_same_digest"])
def test_a_saboteur_is_seen(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """`test_forged` can go red."""
    monkeypatch.setattr(http_verify, name, lambda *_: True)
    with pytest.raises(AssertionError):
        _refuses(FORGED)


OPEN = {"kind": "address", "networks": ["192.0.2.0/24"]}


@pytest.mark.parametrize(
    ("word", "state", "ours"),
    [
        ("DELIVRD", "delivered", "delivered"),
        ("READ", "delivered", "read"),
        ("EXPIRED", "undelivered", "expired"),
        ("REJECTD", "undelivered", "rejected"),
        ("SENT", "pending", "pending"),
        ("Never Heard", "pending", "never heard"),
    ],
)
def test_states(word: str, state: str, ours: str) -> None:
    called = provider(OPEN).callback(request(SAID | {"status": word, "err": "12", "ref": "99"}))
    assert isinstance(called, Taken)
    (receipt,) = called.receipts
    assert (receipt.state, receipt.carrier_state, receipt.error_code, receipt.user_ref) == (state, ours, "12", 99)
    assert (receipt.to, receipt.sender, receipt.received_ms) == ("+4915112345678", "ACME", NOW_MS)


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        ({}, (None, 1, 1)),
        ({"cref": "5", "ctotal": "3", "cpart": "2"}, (5, 3, 2)),
        ({"cref": "5", "ctotal": "1", "cpart": "1"}, (None, 1, 1)),
        ({"cref": "5", "ctotal": "3", "cpart": "4"}, (None, 1, 1)),
        ({"cref": "x", "ctotal": "3", "cpart": "1"}, (None, 1, 1)),
    ],
)
def test_messages(more: dict[str, str], parts: tuple[Any, ...]) -> None:
    called = provider(OPEN).callback(
        request({"id": "m1", "from": "004915112345678", "to": "12345", "text": "Ja 😀", **more})
    )
    assert isinstance(called, Taken)
    (part,) = called.inbound
    assert (part.sender, part.to, part.text, part.dedup) == ("+4915112345678", "12345", "Ja 😀", "m1")
    assert (part.concat_ref, part.total, part.part) == parts


def test_several_at_once() -> None:
    receipts = {**RECEIPTS, "each": "/results"} | {name: f"json:/{name}" for name in ("id", "status", "to")}
    made = provider(OPEN, callbacks={"receipts": receipts, "inbound": None, "reply_status": 200, "reply_body": "OK"})
    items = [{"id": n, "status": "DELIVRD", "to": "4915112345678"} for n in range(3)] + ["x", {"id": 9}]
    raw = request(json.dumps({"results": items}).encode(), headers={"content-type": "application/json"})
    called = made.callback(raw)
    assert isinstance(called, Taken)
    assert [receipt.refs for receipt in called.receipts] == [("0",), ("1",), ("2",)]
    assert (called.reply.status, called.reply.body) == (200, b"OK")
    empty = request(b'{"results": {}}', headers={"content-type": "application/json"})
    assert isinstance(made.callback(empty), Unreadable)


def test_a_get() -> None:
    receipts = RECEIPTS | {name: f"query:{name}" for name in ("id", "status", "to")}
    called = provider(OPEN, callbacks={"receipts": receipts}).callback(request(b"", urlencode(SAID), "GET"))
    assert isinstance(called, Taken)
    assert called.receipts[0].state == "delivered"


def test_without_callbacks_nothing_is_taken() -> None:
    config = {"request": {"url": "https://api.example.com/x"}}
    made = HttpProvider(ProviderSpec(name="acme", type="sms.http", config=config), RecordingSink())
    assert isinstance(made.callback(request()), NotGenuine)
    assert not made.capabilities.receipts
    assert not made.capabilities.inbound


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=200) | st.text(max_size=60).map(str.encode),
    st.text("abc=&%+?0\xff", max_size=30),
    st.sampled_from(["POST", "GET"]),
    st.sampled_from(["application/json", "application/x-www-form-urlencoded", "text/xml", ""]),
    st.sampled_from([HMAC, STAMPED, OPEN]),
)
def test_anything_gets_an_answer(body: bytes, query: str, method: str, media: str, verify: dict[str, Any]) -> None:
    callbacks = {"receipts": RECEIPTS | {"id": "xml:a/@id"}, "inbound": INBOUND | {"each": "", "text": "json:/t"}}
    raw = request(body, query, method, headers={"content-type": media, "x-sig": "00", "x-time": query})
    assert isinstance(provider(verify, callbacks=callbacks).callback(raw), (NotGenuine, Unreadable, Taken))
    if verify is not OPEN:
        assert isinstance(provider(verify).callback(raw), NotGenuine)
