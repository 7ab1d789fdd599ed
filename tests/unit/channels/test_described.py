"""`email.http`, `push.http`, `whatsapp.http`: what a described carrier of another channel than SMS is asked, and tells."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

import pytest

from peers.carriers import RecordingSink
from tidings.channels import registry
from tidings.channels.callback import RawRequest, Taken
from tidings.channels.contract import Facts, ProviderSpec
from tidings.channels.described.provider import DescribedProvider
from tidings.channels.http.call import Call
from tidings.domain.attempt import PartSent, Submission
from tidings.domain.channel import CHANNELS
from tidings.domain.errors import SettingsError
from tidings.kit.outbound import Reply

NOW_MS = 1_790_000_000_000
RECEIPTS = {"id": "json:/id", "status": "json:/event", "states": {
    "ok": "delivered", "open": "read", "click": "clicked", "spam": "complained", "bounce": "bounced", "out": "unsubscribed",
}}  # fmt: skip
CALLBACKS = {
    "verify": {"kind": "secret", "at": "header:x-secret"}, "receipts": RECEIPTS,
    "inbound": {"sender": "json:/from", "to": "json:/to", "text": "json:/text", "id": "json:/mid"},
}  # fmt: skip
REQUEST: dict[str, dict[str, Any]] = {
    "email": {"json": {"to": "{to}", "subject": "{subject}", "html": "{html}", "text": "{text}", "all": "{content}"}},
    "push": {"form": {"device": "{to}", "title": "{title}", "body": "{text}", "n": "{part}"}},
    "whatsapp": {"json": {"to": "{to_digits}", "message": "{content}"}},
}
CONTENT: dict[str, tuple[dict[str, Any] | None, str | None]] = {
    "email": ({"subject": "S", "html": "<p>é</p>"}, "T"), "push": ({"title": "T"}, "B"), "whatsapp": (None, "hello"),
}  # fmt: skip
TO = {"email": "ada@example.com", "push": "token-1", "whatsapp": "+4915112345678"}


def config(channel: str, **more: Any) -> dict[str, Any]:
    request = {"url": "https://api.example.com/send"} | REQUEST[channel]
    return {
        "request": request,
        "response": {"id": "json:/id"},
        "callbacks": CALLBACKS,
        "callback_secret": "sixteen-octets-or-more",
    } | more


def provider(channel: str, **more: Any) -> DescribedProvider:
    made = registry.create(
        ProviderSpec(name="acme", type=f"{channel}.http", config=config(channel, **more)), RecordingSink()
    )
    assert isinstance(made, DescribedProvider)
    return made


def submission(channel: str, **more: Any) -> Submission:
    read = CHANNELS[channel].read
    assert read is not None
    return Submission(
        attempt_id="att_1", message_id="msg_1", lane="otp", to=TO[channel], sender=None, channel=channel,
        content=read(*CONTENT[channel]), **more,
    )  # fmt: skip


def call(channel: str, index: int = 0, **more: Any) -> Call:
    made = provider(channel).engine._codec.call(submission(channel, **more), index, NOW_MS)
    assert isinstance(made, Call)
    return made


def test_email() -> None:
    said = json.loads(call("email").body or b"")
    assert (said["to"], said["subject"], said["html"], said["text"]) == ("ada@example.com", "S", "<p>é</p>", "T")
    assert (said["all"]["subject"], said["all"]["text"]) == ("S", "T")


def test_push_asks_once_for_each_device() -> None:
    each = ("token-1", "token-2")
    asked = [
        parse_qs((call("push", n, each=each, parts=(b"", b"")).body or b"").decode()) for n in range(2)
    ]  # fmt: skip
    assert [(one["device"], one["n"], one["body"]) for one in asked] == [
        (["token-1"], ["1"], ["B"]), (["token-2"], ["2"], ["B"]),
    ]  # fmt: skip


def test_whatsapp() -> None:
    said = json.loads(call("whatsapp").body or b"")
    assert said == {"to": "4915112345678", "message": {"text": "hello"}}


@pytest.mark.parametrize("channel", sorted(REQUEST))
def test_answers_are_read_as_for_an_sms(channel: str) -> None:
    codec = provider(channel).engine._codec
    assert codec.judge(Reply(200, {"content-type": "application/json"}, b'{"id": "x1"}')) == PartSent("x1")
    assert codec.weight(submission(channel), 0) == 1


@pytest.mark.parametrize(
    ("word", "state", "engagement", "suppress"),
    [
        ("ok", "delivered", None, None), ("open", "delivered", "read", None), ("click", "delivered", "clicked", None),
        ("spam", "pending", "complained", "complained"), ("bounce", "undelivered", None, "bounced"),
        ("out", "pending", "unsubscribed", "unsubscribed"), ("else", "pending", None, None),
    ],
)  # fmt: skip
def test_receipts(word: str, state: str, engagement: str | None, suppress: str | None) -> None:
    called = provider("email").callback(raw({"id": "x1", "event": word}))
    assert isinstance(called, Taken)
    receipt = called.receipts[0]
    assert (receipt.refs, receipt.state, receipt.engagement, receipt.suppress) == (("x1",), state, engagement, suppress)


@pytest.mark.parametrize("channel", sorted(REQUEST))
def test_inbound_knows_its_channel(channel: str) -> None:
    called = provider(channel).callback(raw({"from": TO[channel], "to": "us", "text": "hi", "mid": "m1"}))
    assert isinstance(called, Taken)
    part = called.inbound[0]
    assert (part.channel, part.sender, part.text) == (channel, TO[channel], "hi")


def raw(body: dict[str, Any]) -> RawRequest:
    headers = {"content-type": "application/json", "x-secret": "sixteen-octets-or-more"}
    return RawRequest(
        method="POST", query="", headers=headers, body=json.dumps(body).encode(), peer="127.0.0.1", received_ms=NOW_MS
    )


def test_files_are_refused_where_the_request_has_no_place_for_them() -> None:
    read = CHANNELS["email"].read
    assert read is not None
    file = {"name": "a", "media_type": "text/plain", "data": "eA=="}
    content = read({"subject": "s", "attachments": [file]}, "t")
    whole = provider("email")
    assert whole.refuses("a@b.example", None, content, Facts(now_ms=0)) is None
    bare = provider("email", request={"url": "https://api.example.com/send", "json": {"s": "{subject}"}})
    error = bare.refuses("a@b.example", None, content, Facts(now_ms=0))
    assert error is not None
    assert error.code == "not_supported"


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("push", {"request": {"url": "https://a.example/x", "form": {"s": "{subject}"}}}, "/request/form/s: .*{subject}"),
    ("email", {"request": {"url": "https://a.example/x", "json": {"u": "{udh_hex}"}}}, "/request/json.*{udh_hex}"),
    ("whatsapp", {"encoding": {"segments": "us"}}, "/encoding/segments"),
    ("email", {"callback_secret": ""}, "callback_secret"),
]


@pytest.mark.parametrize(("channel", "change", "says"), BAD)
def test_bad_configurations(channel: str, change: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        registry.check(ProviderSpec(name="acme", type=f"{channel}.http", config=config(channel) | change))
