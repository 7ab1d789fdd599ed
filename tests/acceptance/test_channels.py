"""Every written channel with a test key: the whole real path to its simulator and back."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest

PHONE = "+1500555"
#: channel, `to`, what else the request says, the status in the end, what the person did, events of the timeline
JOURNEYS: list[tuple[str, Any, dict[str, Any], str, set[str], set[str]]] = [
    ("email", "delivered@sandbox.test", {"content": {"subject": "s"}}, "delivered", set(), {"sent", "delivered"}),
    ("email", "bounced@sandbox.test", {"content": {"subject": "s"}}, "undelivered", set(), {"sent", "undelivered"}),
    ("email", "complained@sandbox.test", {"content": {"subject": "s"}}, "delivered", {"complained_at"}, {"complained"}),
    ("email", "opened@sandbox.test", {"content": {"subject": "s"}}, "delivered", {"read_at"}, {"read"}),
    ("email", "replies@sandbox.test", {"content": {"subject": "s"}}, "delivered", {"replied_at"}, {"replied"}),
    ("whatsapp", PHONE + "0001", {}, "delivered", set(), {"sent", "delivered"}),
    ("whatsapp", PHONE + "0002", {}, "undelivered", set(), {"undelivered"}),
    ("whatsapp", PHONE + "0003", {}, "delivered", set(), {"queued", "delivered"}),
    ("whatsapp", PHONE + "0006", {}, "delivered", {"read_at"}, {"read"}),
    ("whatsapp", PHONE + "0007", {}, "delivered", {"replied_at"}, {"replied"}),
    ("push", {"push": ["sandbox-delivered"]}, {}, "delivered", set(), {"sent", "delivered"}),
    ("push", {"push": ["sandbox-throttled"]}, {}, "delivered", set(), {"delivered"}),
    ("push", {"push": ["sandbox-unregistered-1"]}, {}, "failed", set(), {"failed"}),
    ("push", {"push": ["sandbox-opened"]}, {}, "delivered", {"read_at"}, {"read"}),
    ("push", {"push": ["sandbox-delivered-2", "sandbox-unregistered-2"]}, {}, "delivered", set(), {"delivered"}),
]


def engaged(found: Any) -> set[str]:
    return {name for name, at in found["engagement"].items() if at is not None}


def timeline(server: Any, id: str) -> list[str]:
    events = server.call("GET", f"/v1/messages/{id}/events").json["data"]
    return [event["type"].removeprefix("message.") for event in events]


def until(server: Any, id: str, events: set[str], timeout_s: float = 30) -> list[str]:
    end_s = time.monotonic() + timeout_s
    while not events <= set(found := timeline(server, id)):
        assert time.monotonic() < end_s, found
        time.sleep(0.05)
    return found


@pytest.mark.parametrize(
    ("channel", "to", "more", "status", "did", "events"), JOURNEYS, ids=[f"{j[0]}-{j[1]}" for j in JOURNEYS]
)
def test_journey(
    server: Any, channel: str, to: Any, more: dict[str, Any], status: str, did: set[str], events: set[str]
) -> None:
    sent = server.send(to=to, channel=channel, text="hello", **more)
    assert sent["channel"] == channel
    until(server, sent["id"], events | {"accepted"})
    found = server.wait_for(sent["id"], status)
    assert engaged(found) == did
    assert {attempt["channel"] for attempt in found["attempts"]} == {channel}


def test_the_channel_follows_from_the_address(server: Any) -> None:
    assert server.send(to="a@sandbox.test", content={"subject": "s"})["channel"] == "email"
    assert server.send(to={"email": "a@sandbox.test"}, content={"subject": "s"})["channel"] == "email"
    assert server.send(to={"push": ["sandbox-delivered"]})["channel"] == "push"
    assert server.send()["channel"] == "sms"


def test_a_reply_is_threaded_and_its_quotation_gone(server: Any) -> None:
    sent = server.send(to="replies@sandbox.test", content={"subject": "Lunch?"})
    until(server, sent["id"], {"replied"})
    replies = server.call("GET", "/v1/inbound").json["data"]
    reply = next(one for one in replies if one["in_reply_to"] == sent["id"])
    assert (reply["channel"], reply["text"]) == ("email", "YES")
    assert reply["content"]["subject"].startswith("Re:")
    assert "hello" in reply["content"]["full_text"]


def test_a_bounce_and_a_complaint_suppress(server: Any) -> None:
    for name, reason in (("bounced", "bounced"), ("complained", "complained")):
        server.call("DELETE", "/v1/suppressions", {"to": f"{name}@sandbox.test", "channel": "email"})
        sent = server.send(to=f"{name}@sandbox.test", content={"subject": "s"})
        until(server, sent["id"], {"undelivered" if name == "bounced" else "complained"})
        listed = server.call("GET", "/v1/suppressions").json["data"]
        assert {"email", reason, f"{name}@sandbox.test"} <= {
            str(v) for one in listed if one["to"] == f"{name}@sandbox.test" for v in one.values()
        }
        again = server.send(to=f"{name}@sandbox.test", content={"subject": "s"})
        assert server.wait_for(again["id"], "suppressed")["attempts"] == []


@pytest.mark.parametrize(
    ("first", "to", "on", "after_s", "reason"),
    [
        ("push", {"push": ["sandbox-unregistered-9"]}, "failed", 30, "failed"),
        ("push", {"push": ["sandbox-silent"]}, "not_delivered", 1, "not_delivered"),
        ("whatsapp", {"whatsapp": PHONE + "0001"}, "not_read", 1, "not_read"),
        ("email", {"email": "delivered@sandbox.test"}, "not_read", 1, "not_read"),
    ],
)
def test_fallback(server: Any, first: str, to: dict[str, Any], on: str, after_s: int, reason: str) -> None:
    content = {"email": {"subject": "s"}} if first == "email" else None
    sent = server.send(
        to={**to, "phone": PHONE + "0006"}, channels=[first, "sms"], content=content,
        fallback={"on": [on], "after_s": after_s},
    )  # fmt: skip
    until(server, sent["id"], {"fallback", "delivered", "read"})
    found = server.call("GET", f"/v1/messages/{sent['id']}").json
    assert (found["status"], found["channel"], found["channels"]) == ("delivered", "sms", [first, "sms"])
    assert [attempt["channel"] for attempt in found["attempts"]] == [first, "sms"]
    events = server.call("GET", f"/v1/messages/{sent['id']}/events").json["data"]
    gone_on = next(event for event in events if event["type"] == "message.fallback")
    assert gone_on["data"] == {"from": first, "to": "sms", "reason": reason}


def test_a_retry_tries_every_channel_again(server: Any) -> None:
    to = {"phone": PHONE + "0002", "whatsapp": PHONE + "0002"}
    sent = server.send(to=to, channels=["whatsapp", "sms"], text="hello", fallback={"on": ["failed"]})
    first = server.wait_for(sent["id"], "undelivered", "failed")
    again = server.call("POST", f"/v1/messages/{sent['id']}/retry")
    assert again.status == 202, again.body
    second = server.wait_for(again.json["id"], "undelivered", "failed")
    for found in (first, second):
        assert [attempt["channel"] for attempt in found["attempts"]] == ["whatsapp", "sms"]
    same = ("channels", "fallback", "text", "class")
    assert {name: second[name] for name in same} == {name: first[name] for name in same}
    assert (second["retry_of"], first["retry_of"]) == (sent["id"], None)


def test_a_read_message_asks_no_other_channel(server: Any) -> None:
    sent = server.send(
        to={"whatsapp": PHONE + "0006", "phone": PHONE + "0001"}, channels=["whatsapp", "sms"],
        fallback={"on": ["not_read"], "after_s": 1},
    )  # fmt: skip
    until(server, sent["id"], {"read"})
    time.sleep(2)
    found = server.call("GET", f"/v1/messages/{sent['id']}").json
    assert [attempt["channel"] for attempt in found["attempts"]] == ["whatsapp"]


def test_attachments_go_out_and_are_not_shown_again(server: Any) -> None:
    data = base64.b64encode(b"x" * 2_000_000).decode()
    file = {"name": "a.bin", "media_type": "application/octet-stream", "data": data}
    sent = server.send(to="delivered@sandbox.test", content={"subject": "s", "attachments": [file]})
    found = server.wait_for(sent["id"], "delivered")
    assert found["content"]["attachments"] == [{"name": "a.bin", "media_type": "application/octet-stream"}]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"to": "a@sandbox.test", "channel": "sms"}, "/to"),
    ({"to": "no address@", "channel": "email", "content": {"subject": "s"}}, "/to"),
    ({"to": "a@sandbox.test", "content": {"subject": "a\r\nBcc: x@example.com"}}, "/content/subject"),
    ({"to": {"push": []}, "channel": "push"}, "/to/push"),
    ({"to": {"push": ["a", "a"]}, "channel": "push"}, "/to/push"),
    ({"to": PHONE + "0001", "channel": "fax"}, "/channel"),
    ({"to": PHONE + "0001", "channels": ["sms", "email"]}, "/to"),
    ({"to": {"phone": PHONE + "0001"}, "channels": ["sms", "email"], "content": {"email": {"subject": "s"}}}, "/to/email"),
    ({"to": {"phone": PHONE + "0001"}, "channels": ["sms"], "content": {"push": {}}}, "/content/push"),
    ({"to": {"phone": PHONE + "0001", "email": "a@b.example"}, "channels": ["sms", "email"], "content": {"email": {"subject": 1}}},
     "/content/email"),
    ({"to": {"phone": PHONE + "0001", "push": ["x"]}, "channels": ["sms", "push"], "from": "ACME"}, "/from"),
    ({"to": PHONE + "0001", "channel": "whatsapp", "from": "ACME"}, "/from"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "pointer"), REFUSED)
def test_what_is_wrong_is_named(server: Any, body: dict[str, Any], pointer: str) -> None:
    answer = server.call("POST", "/v1/messages", {"text": "hello"} | body)
    assert answer.status == 422, answer.body
    assert any(error["pointer"].startswith(pointer) for error in answer.json["errors"]), answer.json["errors"]


def test_preview_shows_every_channel_of_the_chain(server: Any) -> None:
    body = {
        "to": {"phone": "+15005550001", "email": "a@sandbox.test"}, "channels": ["email", "sms"], "data": {"n": 7},
        "text": "Order {{ n }}", "content": {"email": {"subject": "No. {{ n }}"}},
    }  # fmt: skip
    shown = server.call("POST", "/v1/messages/preview", body).json
    email, sms = shown.pop("channels")
    assert email == shown
    assert (email["channel"], email["to"], email["content"]["subject"]) == ("email", "a@sandbox.test", "No. 7")
    assert (sms["channel"], sms["to"], sms["text"]) == ("sms", "+15005550001", "Order 7")
    assert (sms["encoding"], sms["parts"], sms["decision"]) == ("gsm", 1, {"outcome": "allow"})
    assert (email["route"]["provider"], sms["route"]["provider"]) == ("sandbox-email", "sandbox")
    alone = server.call("POST", "/v1/messages/preview", {"to": "+15005550001", "text": "x"}).json
    assert "channels" not in alone


def test_preview_shows_the_content_and_what_the_channel_forbids(server: Any) -> None:
    body = {
        "to": "a@sandbox.test", "text": "Hi {{ name }}", "data": {"name": "<b>"},
        "content": {"subject": "S", "html": "<p>{{ name }}</p>"},
    }  # fmt: skip
    shown = server.call("POST", "/v1/messages/preview", body).json
    assert (shown["channel"], shown["text"], shown["parts"]) == ("email", "Hi <b>", 1)
    assert "&lt;b&gt;" in shown["content"]["html"]
    assert shown["route"]["provider"] == "sandbox-email"
