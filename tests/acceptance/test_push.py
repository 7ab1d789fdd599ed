"""Push messages with a test key: the simulated FCM, its devices, and what they acknowledge to the real server."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest


def push(server: Any, *tokens: str, **more: Any) -> Any:
    """Sends to these devices; the answer's JSON."""
    to = tokens[0] if len(tokens) == 1 else {"push": list(tokens)}
    answer = server.call("POST", "/v1/messages", {"channel": "push", "to": to, "text": "It has shipped", **more})
    assert answer.status == 202, answer.body
    return answer.json


def events(server: Any, message: str) -> list[str]:
    found = server.call("GET", f"/v1/messages/{message}/events").json["data"]
    return [event["type"].removeprefix("message.") for event in found]


def until(server: Any, message: str, wanted: str) -> dict[str, Any]:
    """The message, once the event is there."""
    end = time.monotonic() + 30
    while wanted not in events(server, message):
        assert time.monotonic() < end, events(server, message)
        time.sleep(0.02)
    found: dict[str, Any] = server.call("GET", f"/v1/messages/{message}").json
    return found


def test_the_device_acknowledges(server: Any) -> None:
    message = push(server, "sandbox-delivered", content={"title": "Order 7", "data": {"order": "7"}, "badge": 1})
    found = server.wait_for(message["id"], "delivered")
    assert found["channel"] == "push"
    assert [attempt["status"] for attempt in found["attempts"]] == ["delivered"]
    assert found["attempts"][0]["provider"] == "sandbox-push"


def test_opened_is_read(server: Any) -> None:
    message = push(server, "sandbox-opened")
    found = until(server, message["id"], "read")
    assert found["status"] == "delivered"
    assert found["engagement"]["read_at"]


def test_nothing_comes_back(server: Any) -> None:
    message = push(server, "sandbox-silent")
    found = server.wait_for(message["id"], "sent")
    assert [attempt["status"] for attempt in found["attempts"]] == ["sent"]


def test_a_device_that_is_gone_is_left_alone_from_then_on(server: Any) -> None:
    token = "sandbox-unregistered-once"
    first = push(server, token)
    found = server.wait_for(first["id"], "failed")
    assert found["error"]["code"] == "unregistered"
    assert found["error"]["provider_code"] == "UNREGISTERED"
    listed = server.call("GET", "/v1/suppressions").json["data"]
    assert "unregistered" in {item["reason"] for item in listed}
    second = push(server, token)
    assert server.wait_for(second["id"], "suppressed")["attempts"] == []
    third = push(server, token, "sandbox-delivered-beside")
    found = server.wait_for(third["id"], "delivered")
    assert len(found["attempts"]) == 1


def test_one_of_two_devices_is_gone(server: Any) -> None:
    message = push(server, "sandbox-delivered-a", "sandbox-unregistered-b")
    found = server.wait_for(message["id"], "delivered")
    assert [attempt["status"] for attempt in found["attempts"]] == ["delivered"]


def test_throttled_is_tried_again(server: Any) -> None:
    message = push(server, "sandbox-throttled", text="throttle me once")
    found = server.wait_for(message["id"], "delivered")
    assert [attempt["status"] for attempt in found["attempts"]] == ["refused", "delivered"]
    assert found["attempts"][0]["error"]["code"] == "throttled"


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"to": "a b"}, {"/to"}),
        ({"to": {"push": ["ok", "é"]}}, {"/to/push/1"}),
        ({"to": {"push": []}}, {"/to/push"}),
        ({"to": {"push": [f"t{n}" for n in range(21)]}}, {"/to/push"}),
        ({"to": '{"endpoint": "https://push.example.com/1"}'}, {"/to"}),
        ({"from": "ACME"}, {"/from"}),
        ({"content": {"badge": -1, "ttl_s": 3_000_000, "data": {"from": "x"}}},
         {"/content/badge", "/content/ttl_s", "/content/data/from"}),
        ({"content": {"image": "http://x.example/1.png", "collapse_key": "x" * 65}},
         {"/content/image", "/content/collapse_key"}),
        ({"text": "x" * 4_100}, {"/content"}),
    ],
)  # fmt: skip
def test_every_bad_field_is_named(server: Any, body: dict[str, Any], pointers: set[str]) -> None:
    answer = server.call("POST", "/v1/messages", {"channel": "push", "to": "tok", "text": "Hi", **body})
    assert answer.status == 422, answer.body
    assert {error["pointer"] for error in answer.json["errors"]} == pointers, answer.json["errors"]


ID = "0" * 32
FORGED = ["", "x", "prj_a.att_b.c.0", "...", f"prj_{ID}.att_{ID}.{base64.urlsafe_b64encode(bytes(16)).decode()}.0"]


@pytest.mark.parametrize("token", FORGED)
def test_a_token_that_is_not_ours(server: Any, token: str) -> None:
    answer = server.call("POST", "/v1/push/ack", {"token": token, "event": "delivered"}, key=None)
    assert answer.status == 403
    assert answer.json["code"] == "forbidden"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400), (b"{", 400), ({}, 422), ({"token": 7}, 422), ({"token": "x", "event": "seen"}, 422),
        ({"token": "x" * 201}, 422), ({"token": "x", "more": 1}, 422), (json.dumps({"token": "x" * 5_000}).encode(), 413),
    ],
)  # fmt: skip
def test_an_acknowledgement_that_cannot_be_read(server: Any, body: Any, status: int) -> None:
    assert server.call("POST", "/v1/push/ack", body, key=None).status == status


def test_a_service_worker_needs_no_preflight(server: Any) -> None:
    answer = server.call(
        "POST", "/v1/push/ack", b'{"token": "x"}', key=None, headers={"Content-Type": "text/plain;charset=UTF-8"}
    )
    assert answer.status == 403  # read, and found to be forged
