"""The parts of `sms.http`: what configurations are refused, what requests are made of good ones, what answers mean."""

from __future__ import annotations

import copy
import hmac
import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peers.carriers import RecordingSink, submission
from peers.http_carriers import FORM
from tidings.channels import registry
from tidings.channels.contract import ProviderSpec
from tidings.channels.http.call import Call
from tidings.channels.sms.http_carrier import HttpProvider, check
from tidings.domain.attempt import PartRefused
from tidings.domain.errors import SettingsError
from tidings.protocols.gsm.segments import SegmentError

NOW_MS = 1_790_000_000_000
URL = "https://api.example.com/send"
TEXTS = st.text(st.characters(blacklist_categories=["Cs"]), max_size=60)


def config(**changes: Any) -> dict[str, Any]:
    """The plain aggregator's, with changes in its tables: `request__url=…`."""
    made = copy.deepcopy(FORM)
    made["request"]["url"] = URL
    for path, value in changes.items():
        *tables, key = path.split("__")
        table = made
        for name in tables:
            table = table.setdefault(name, {})
        table[key] = value
    return made


def provider(made: dict[str, Any]) -> HttpProvider:
    return HttpProvider(ProviderSpec(name="acme", type="sms.http", config=made), RecordingSink())


def call(made: dict[str, Any], text: str = "Hello", **more: Any) -> Call | PartRefused:
    one = provider(made)
    return one._codec.call(submission(one, "att_1", "+4915112345678", text, **more), 0, NOW_MS)


def good(made: dict[str, Any], text: str = "Hello", **more: Any) -> Call:
    found = call(made, text, **more)
    assert isinstance(found, Call)
    return found


BAD: list[tuple[dict[str, Any], str]] = [
    ({"request__url": "http://api.example.com/x"}, "/request/url: .*https"),
    ({"request__url": "https://{to}.example.com/x"}, "/request/url"),
    ({"request__url": "https://u:p@example.com/x"}, "/request/url"),
    ({"request__url": "https://example.com:99999/x"}, "/request/url"),
    ({"request__url": "https://example.com/x#y"}, "/request/url"),
    ({"request__url": "https://example.com/x?api_key=abc"}, "/request/url: .*clear"),
    ({"request__url": "https://example.com/{nobody}"}, r"/request/url: .*nobody.*there are: .*text"),
    ({"request__method": "PATCH"}, "/request/method"),
    ({"request__method": "GET"}, "/request/form: .*GET"),
    ({"request__xml": "<a/>"}, "/request/xml: one body"),
    ({"request__form": {"to": "{to"}}, "/request/form/to: .*brace"),
    ({"request__form": {"password": "abc"}}, "/request/form/password: .*clear"),
    ({"request__form": {"to": 7}}, "/request/form"),
    ({"request__form": None, "request__json": {"a": [{"b": "{x}"}]}}, "/request/json/a/0/b"),
    ({"request__form": None, "request__json": {"auth": {"api_key": "abc"}}}, "/request/json/auth/api_key"),
    ({"request__form": None, "request__xml": "<token>abc</token>"}, "/request/xml: .*clear"),
    ({"request__form": None, "request__text": "a", "request__text_type": "a\r\nb: c"}, "/request/text_type"),
    ({"request__headers": {"Host": "x"}}, "/request/headers/Host"),
    ({"request__headers": {"a b": "x"}}, "/request/headers/a b"),
    ({"request__headers": {"X-Api-Key": "abc"}}, "/request/headers/X-Api-Key: .*clear"),
    ({"request__valid_least_s": 0}, "/request/valid_least_s"),
    ({"auth__kind": "basic"}, "/auth: .*username"),
    ({"auth__kind": "digest"}, "/auth/kind"),
    ({"auth__kind": "header", "auth__name": "X-Key", "auth__value": "abc"}, "/auth/value: .*clear"),
    ({"auth__kind": "query", "auth__name": "key"}, "/auth: .*value"),
    ({"auth__kind": "hmac", "auth__name": "X-Sig", "auth__signed": "{body}"}, "/auth: .*secret"),
    ({"auth__kind": "hmac", "auth__name": "X-Sig", "auth__signed": "{text}", "secret": "s"}, "/auth/signed"),
    ({"response__ok_status": ["ok"]}, "/response/ok_status/0"),
    ({"response__id": "json:id"}, "/response/id: .*pointer"),
    ({"response__id": "jq:.id"}, "/response/id: .*begin with"),
    ({"response__id": "field:id"}, "/response/id: .*cannot be used here"),
    ({"response__id": "regex:(a+)+b"}, "/response/id: .*costly"),
    ({"response__success_values": []}, "/response/success_values"),
    ({"codes__retryable": ["too_fast"]}, "/codes/throttled: .*retryable"),
    ({"codes__permanent": {"x": "Not A Code"}}, "/codes/permanent/x"),
    ({"codes__other": "ignore"}, "/codes/other"),
    ({"callbacks__verify": {"kind": "none"}}, "/callbacks/verify/kind"),
    ({"callbacks__verify": {"kind": "hmac"}}, "/callbacks/verify/at"),
    ({"callbacks__verify__signed": "{timestamp}{body}"}, "/callbacks/verify/timestamp"),
    ({"callbacks__verify__signed": "constant"}, "/callbacks/verify/signed"),
    ({"callbacks__verify__signed": "{url}{body}"}, "/public_url"),
    ({"callbacks__verify": {"kind": "basic"}}, "/callback_password"),
    ({"callbacks__verify": {"kind": "address"}}, "/callbacks/verify/networks"),
    ({"callbacks__verify__networks": ["10.0.0.0/40"]}, "10.0.0.0/40"),
    ({"callback_secret": ""}, "/callback_secret"),
    ({"callbacks__receipts__id": "nothing"}, "/callbacks/receipts/id"),
    ({"callbacks__receipts__each": "results"}, "/callbacks/receipts/each"),
    ({"callbacks__receipts__states": {"x": "gone"}}, "/callbacks/receipts/states"),
    ({"callbacks__reply_status": 404}, "/callbacks/reply_status"),
    ({"encoding__segments": "none"}, "/encoding/segments"),
    ({"encoding__most_chars": 0}, "/encoding/most_chars"),
    ({"window": 0}, "window"),
    ({"public_url": "x"}, "public_url"),
]


@pytest.mark.parametrize(("changes", "says"), BAD, ids=[says for _, says in BAD])
def test_bad_configurations_are_refused_by_pointer(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=rf"provider acme: .*{says}"):
        check("acme", {key: value for key, value in config(**changes).items() if value is not None})


def test_neither_receipts_nor_messages() -> None:
    made = config()
    del made["callbacks"]["receipts"], made["callbacks"]["inbound"]
    with pytest.raises(SettingsError, match="/callbacks: needs"):
        check("acme", made)


def test_only_the_operator_opens_networks() -> None:
    spec = ProviderSpec(name="acme", type="sms.http", config=config(allow_networks=["10.0.0.0/8"]), origin="api")
    with pytest.raises(SettingsError, match=r"allow_networks.*tidings\.toml"):
        registry.check(spec)


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_a_form_says_what_was_meant(text: str) -> None:
    found = good(config(), text)
    assert found.body is not None
    assert dict(parse_qsl(found.body.decode(), keep_blank_values=True, strict_parsing=True)) == {
        "to": "4915112345678",
        "from": "ACME",
        "text": text,
    }
    assert found.headers["Authorization"] == "Bearer s3cr3t"


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_json_says_what_was_meant(text: str) -> None:
    value = {
        "a": [{"text": "{text}", "both": "{to}: {text}", "n": "{part}"}],
        "brace": "{{x}}",
        "b": True,
        "none": None,
    }
    made = config(request__json=value)
    del made["request"]["form"]
    found = good(made, text)
    assert json.loads(found.body or b"") == {
        "a": [{"text": text, "both": f"+4915112345678: {text}", "n": 1}],
        "brace": "{x}",
        "b": True,
        "none": None,
    }


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_xml_says_what_was_meant_or_refuses(text: str) -> None:
    made = config(request__xml='<sms to="{to}" note="{text}"><text>{text}</text></sms>')
    del made["request"]["form"]
    found = call(made, text)
    if isinstance(found, PartRefused):
        assert found.error.code == "not_encodable"
        assert any(ord(c) < 32 or c in "\ufffe\uffff" for c in text)
        return
    root = ElementTree.fromstring(found.body or b"")
    assert (root.find("text").text or "") == text.replace("\r\n", "\n").replace("\r", "\n")  # type: ignore[union-attr]


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_a_query_says_what_was_meant(text: str) -> None:
    made = config(
        request__method="GET", request__query={"text": "{text}", "to": "{to}"}, request__url=f"{URL}/{{text}}?a=1"
    )
    del made["request"]["form"]
    found = good(made, text)
    parts = urlsplit(found.url)
    assert parts.hostname == "api.example.com"
    assert dict(parse_qsl(parts.query, keep_blank_values=True)) == {"a": "1", "text": text, "to": "+4915112345678"}
    assert "/" not in parts.path.removeprefix("/send/")
    assert found.body is None


@pytest.mark.parametrize("text", ["a\r\nX-Evil: 1", "naïve", "a\x00b"])
def test_no_header_is_smuggled(text: str) -> None:
    found = call(config(request__headers={"X-Text": "{text}"}), text)
    assert isinstance(found, PartRefused)
    assert "header" in found.error.detail


def test_missing_values_leave_their_fields_out() -> None:
    value = {
        "from": "{from}",
        "opt?": {"ttl": {"s": "{valid_s}"}, "unit": "s"},
        "list": ["{ref}"],
        "url": "{callback_url}",
    }
    made = config(request__json=value)
    del made["request"]["form"]
    assert json.loads(good(made, sender=None).body or b"") == {"list": []}
    made["public_url"] = "https://sms.example.com/"
    full = good(made, valid_until_ms=NOW_MS + 5_900, user_ref=7)
    assert json.loads(full.body or b"") == {
        "from": "ACME",
        "opt": {"ttl": {"s": 5}, "unit": "s"},
        "list": ["7"],
        "url": "https://sms.example.com/callbacks/acme",
    }
    made["request"] |= {"valid_least_s": 20, "valid_most_s": 60}
    for left_ms, wanted in ((5_000, 20), (40_000, 40), (900_000, 60)):
        body = good(made, valid_until_ms=NOW_MS + left_ms).body
        assert json.loads(body or b"")["opt"]["ttl"]["s"] == wanted


@pytest.mark.parametrize(
    ("auth", "more", "where"),
    [
        ({"kind": "basic"}, {"username": "u", "password": "p"}, ("Authorization", "Basic dTpw")),
        ({"kind": "header", "name": "X-Key", "value": "App {token}"}, {}, ("X-Key", "App s3cr3t")),
        ({"kind": "query", "name": "key", "value": "{token}"}, {}, "key=s3cr3t"),
        ({"kind": "none"}, {}, None),
    ],
)
def test_who_we_are(auth: dict[str, Any], more: dict[str, Any], where: Any) -> None:
    found = good({**config(), "auth": auth, **more})
    if isinstance(where, tuple):
        assert found.headers[where[0]] == where[1]
    elif where is not None:
        assert urlsplit(found.url).query == where
    else:
        assert "s3cr3t" not in repr(found)


def test_our_signature() -> None:
    auth = {
        "kind": "hmac",
        "name": "X-Sig",
        "signed": "{method}\n{path}\n{timestamp}\n{body}",
        "value": "v1={signature}",
        "algorithm": "sha512",
    }
    found = good({**config(), "auth": auth, "secret": "k3y"}, "Grüße")
    signed = f"POST\n/send\n{NOW_MS // 1000}\n{(found.body or b'').decode()}"
    assert found.headers["X-Sig"] == "v1=" + hmac.new(b"k3y", signed.encode(), "sha512").hexdigest()


def test_we_cut_or_the_carrier_does() -> None:
    text = "word " * 60
    assert len(provider(config()).plan(text).parts) == 1
    made = config(encoding__segments="us", encoding__words={"gsm": "plain"})
    made["request"]["form"] = {
        "udh": "{udh_hex}",
        "text": "{text}",
        "n": "{part}/{parts}",
        "enc": "{encoding}",
        "d": "{data_hex}",
    }
    one = provider(made)
    whole = submission(one, "a", "+4915112345678", text, concat_ref=0xAB)
    calls = [one._codec.call(whole, n, NOW_MS) for n in range(2)]
    fields = [dict(parse_qsl((found.body or b"").decode())) for found in calls if isinstance(found, Call)]
    assert [field["udh"] for field in fields] == ["050003AB0201", "050003AB0202"]
    assert "".join(field["text"] for field in fields) == text.rstrip() + " "
    assert [field["n"] for field in fields] == ["1/2", "2/2"]
    assert {field["enc"] for field in fields} == {"plain"}
    assert "udh" not in dict(parse_qsl((good(made).body or b"").decode()))
    with pytest.raises(SegmentError, match="1600"):
        provider(config()).plan("x" * 1_601)
    with pytest.raises(ValueError, match="alphabet"):
        provider(config(encoding__alphabet="gsm")).plan("中")
