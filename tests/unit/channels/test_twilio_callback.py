"""Callbacks of Twilio: the official SDK and we agree on every signature, and nothing unsigned is read."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twilio.request_validator import HMAC_SHA256, RequestValidator

from tidings.channels.callback import NotGenuine, RawRequest, Taken, Unreadable
from tidings.channels.sms import twilio_callback
from tidings.channels.sms.twilio_callback import SETTINGS, SIGNATURE, Account, base_url, callback_url, take

TOKEN = "0123456789abcdef0123456789abcdef"
ACCOUNT = Account(provider="acme", auth_token=TOKEN, webhook_key_secret="", public_url="https://sms.example.com")
SAID = {"MessageSid": "SM1", "MessageStatus": "delivered", "To": "+14155550123", "From": "+15005550006"}

words = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)
forms = st.lists(st.tuples(st.text("AbcXyz019_", min_size=1, max_size=6), words), max_size=8)
queries = st.lists(st.tuples(st.sampled_from(["ref", "a", "b"]), words), max_size=3).map(urlencode)
hosts = st.sampled_from(
    [
        "https://sms.example.com", "http://sms.example.com", "https://sms.example.com:8443", "http://h.example:80",
        "https://h.example:443", "https://h.example/behind/a/proxy",
    ]
)  # fmt: skip


def request(
    fields: Any = SAID, *, signature: str | None = None, query: str = "", account: Account = ACCOUNT, **more: Any
) -> RawRequest:
    """A form, signed by the SDK unless a signature is given."""
    url = base_url(account) + (f"?{query}" if query else "")
    made = RequestValidator(account.auth_token).compute_signature(url, dict(fields)) if signature is None else signature
    headers = {"content-type": "application/x-www-form-urlencoded", SIGNATURE: made}
    whole = {"method": "POST", "body": urlencode(fields).encode(), "headers": headers, **more}
    return RawRequest(query=query, peer="192.0.2.1", received_ms=1_000, **whole)


class Multi:
    """Several values under a name, as Flask and Django have them; the SDK reads those."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self.pairs = pairs

    def __iter__(self) -> Any:
        return iter([name for name, _ in self.pairs])

    def __bool__(self) -> bool:
        return bool(self.pairs)

    def getall(self, name: str) -> list[str]:
        return [value for other, value in self.pairs if other == name]


@settings(max_examples=300, deadline=None)
@given(forms, queries, hosts, st.sampled_from(["good", "token", "field", "url"]), st.booleans())
def test_the_sdk_and_we_agree_on_forms(
    fields: list[tuple[str, str]], query: str, public: str, what: str, with_port: bool
) -> None:
    account = msgspec.structs.replace(ACCOUNT, public_url=public)
    url = base_url(account) + (f"?{query}" if query else "")
    signed = url
    if with_port and public.count(":") == 1:  # "sig generation on back end is inconsistent", says the SDK
        host = public.split("/")[2]
        signed = url.replace(host, f"{host}:{443 if public.startswith('https') else 80}", 1)
    token = TOKEN if what != "token" else "f" * 32
    pairs = fields if what != "field" else [*fields, ("Extra", "1")]
    signature = RequestValidator(token).compute_signature(signed + ("x" if what == "url" else ""), Multi(pairs))
    theirs = RequestValidator(TOKEN).validate(url, Multi(fields), signature)
    ours = twilio_callback.genuine(account, request(fields, signature=signature, query=query, account=account))
    assert ours == theirs == (what == "good")


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(words, words | st.integers() | st.none(), max_size=5), queries, st.booleans(), st.booleans())
def test_the_sdk_and_we_agree_on_json(value: dict[str, Any], query: str, changed: bool, other_token: bool) -> None:
    body = json.dumps(value)
    named = RequestValidator(TOKEN).compute_hash(body)
    query = f"{query}&bodySHA256={named}" if query else f"bodySHA256={named}"
    url = f"{base_url(ACCOUNT)}?{query}"
    signature = RequestValidator("f" * 32 if other_token else TOKEN).compute_signature(url, {})
    sent = body + (" " if changed else "")
    theirs = RequestValidator(TOKEN).validate(url, sent, signature)
    raw = request(
        signature=signature,
        query=query,
        body=sent.encode(),
        headers={"content-type": "application/json", SIGNATURE: signature},
    )
    assert twilio_callback.genuine(ACCOUNT, raw) == theirs == (not changed and not other_token)


@pytest.mark.parametrize("secret", ["", "shared"])
def test_a_shared_key_signs_with_sha256(secret: str) -> None:
    account = msgspec.structs.replace(ACCOUNT, webhook_key_secret=secret)
    signature = RequestValidator(secret or TOKEN).compute_signature(base_url(account), SAID, HMAC_SHA256)
    for algorithm, good in (("HMAC_SHA256", True), ("hmac_sha256", True), ("HMAC_SHA1", False), ("HMAC_MD5", False)):
        headers = {SIGNATURE: signature, SETTINGS: f"key=webhooks_sharedkey_1,algorithm={algorithm}"}
        assert isinstance(take(account, request(headers=headers)), Taken) is good, algorithm


def _forgeries() -> list[RawRequest]:
    good = request()
    signature = good.headers[SIGNATURE]
    return [
        request(signature=""),
        request(signature="é" * 28),
        request(signature=signature[:-2] + "A="),
        request(signature=signature.lower()),
        request({**SAID, "MessageStatus": "failed"}, signature=signature),
        request(signature=signature, query="ref=1"),
        request(signature=signature, headers={}),
        request(signature=signature, body=b""),
        request(signature=signature, body=b"\xff=1"),
        request(signature=signature, body=b"&".join(b"a=%d" % n for n in range(300))),
        request(signature=signature, method="GET"),
    ]


def _refuses_forgeries() -> None:
    for forged in _forgeries():
        assert isinstance(take(ACCOUNT, forged), NotGenuine), forged


def test_forgeries_are_refused() -> None:
    _refuses_forgeries()
    for account in (
        msgspec.structs.replace(ACCOUNT, public_url=""),
        msgspec.structs.replace(ACCOUNT, auth_token=""),
    ):
        assert isinstance(take(account, request()), NotGenuine)


@pytest.mark.parametrize(
    ("where", "name"),
    [(twilio_callback, "genuine"), (twilio_callback.hmac, "compare_digest")],
    ids=["check", "compare"],
)
def test_a_saboteur_is_seen(monkeypatch: pytest.MonkeyPatch, where: Any, name: str) -> None:
    """The test above can go red: with the check patched out, or one that finds everything equal."""
    monkeypatch.setattr(where, name, lambda *_: True)
    with pytest.raises(AssertionError):
        _refuses_forgeries()


@pytest.mark.parametrize(
    ("status", "state", "word"),
    [
        ("queued", "pending", "queued"), ("sent", "pending", "sent"), ("delivered", "delivered", "delivered"),
        ("undelivered", "undelivered", "undelivered"), ("failed", "undelivered", "failed"), ("read", "delivered", "read"),
        ("canceled", "undelivered", "canceled"), ("something_new", "pending", "something_new"),
    ],
)  # fmt: skip
def test_states(status: str, state: str, word: str) -> None:
    called = take(ACCOUNT, request({**SAID, "MessageStatus": status, "ErrorCode": "30003"}, query="ref=4711"))
    assert isinstance(called, Taken)
    (receipt,) = called.receipts
    assert (receipt.state, receipt.carrier_state, receipt.error_code, receipt.user_ref) == (state, word, "30003", 4711)
    assert (receipt.refs, receipt.to, receipt.sender) == (("SM1",), "+14155550123", "+15005550006")


@pytest.mark.parametrize("query", ["ref=", "ref=x", "ref=123456", "other=1", ""])
def test_no_reference(query: str) -> None:
    called = take(ACCOUNT, request(query=query))
    assert isinstance(called, Taken)
    assert called.receipts[0].user_ref is None


@pytest.mark.parametrize(
    ("more", "text", "word"),
    [
        ({"Body": "Hi"}, "Hi", None), ({"Body": "", "NumMedia": "1"}, "", None),
        ({"Body": "ARRET", "OptOutType": "STOP"}, "ARRET", "stop"),
        ({"Body": "JA", "OptOutType": "START"}, "JA", "start"), ({"Body": "?", "OptOutType": "HELP"}, "?", None),
    ],
)  # fmt: skip
def test_messages(more: dict[str, str], text: str, word: str | None) -> None:
    wrote = {"MessageSid": "SM2", "SmsStatus": "received", "From": "+14155550124", "To": "12345", **more}
    called = take(ACCOUNT, request(wrote))
    assert isinstance(called, Taken)
    (part,) = called.inbound
    assert (part.sender, part.to, part.text, part.dedup, part.word) == ("+14155550124", "12345", text, "SM2", word)
    assert called.reply.media == "text/xml"


@pytest.mark.parametrize(
    "fields", [{"To": "1"}, {"MessageSid": "SM1"}, {"MessageSid": "x" * 65, "MessageStatus": "sent"}]
)
def test_what_says_nothing(fields: dict[str, str]) -> None:
    assert isinstance(take(ACCOUNT, request(fields)), Unreadable)


def test_a_get_is_signed_over_its_url() -> None:
    query = urlencode(SAID)
    signature = RequestValidator(TOKEN).compute_signature(f"{base_url(ACCOUNT)}?{query}", {})
    called = take(ACCOUNT, request(signature=signature, query=query, method="GET", body=b""))
    assert isinstance(called, Taken)
    assert called.receipts[0].state == "delivered"


def test_overrides_may_be_signed_or_not() -> None:
    account = msgspec.structs.replace(ACCOUNT, overrides="rc=3&rp=5xx")
    assert callback_url(account, 7) == "https://sms.example.com/callbacks/acme?ref=7#rc=3&rp=5xx"
    for url in (base_url(account), f"{base_url(account)}#rc=3&rp=5xx"):
        signature = RequestValidator(TOKEN).compute_signature(url, SAID)
        assert isinstance(take(account, request(signature=signature)), Taken)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=200), st.text("abc=&%+?0", max_size=30), st.sampled_from(["POST", "GET"]), st.text(max_size=30)
)
def test_anything_else_is_only_refused(body: bytes, query: str, method: str, signature: str) -> None:
    raw = request(signature=signature, query=query, method=method, body=body)
    assert isinstance(take(ACCOUNT, raw), NotGenuine)
