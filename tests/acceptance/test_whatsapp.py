"""WhatsApp through the whole server: the sandbox's people over the simulated Cloud API, windows, templates and what comes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from acceptance.conftest import Api


def send(api: Api, last: str, **fields: Any) -> dict[str, Any]:
    body = {"to": f"+1500555{last}", "channel": "whatsapp", **fields}
    answer = api.call("POST", "/v1/messages", body)
    assert answer.status == 202, answer.body
    return answer.json


def template(name: str, *texts: str) -> dict[str, Any]:
    body = {"type": "body", "parameters": [{"type": "text", "text": text} for text in texts]}
    return {"template": {"name": name, "language": "en_US", "components": [body] if texts else []}}


def message(api: Api, id: str) -> Any:
    return api.call("GET", f"/v1/messages/{id}").json


def until(find: Callable[[], Any], timeout_s: float = 30) -> Any:
    """What `find` returns once it is true."""
    end_s = time.monotonic() + timeout_s
    while not (found := find()):
        assert time.monotonic() < end_s
        time.sleep(0.02)
    return found


@pytest.mark.parametrize(
    ("last", "fields", "status"),
    [
        ("0001", {"text": "Grüße 😀"}, "delivered"),
        ("0001", {"text": "Hi {{ name }}", "data": {"name": "Ann"}}, "delivered"),
        ("0001", {"content": {"interactive": {"body": "Well?", "buttons": [{"id": "y", "title": "Yes"}]}}}, "delivered"),
        ("0001", {"content": {"image": {"link": "https://example.com/a.png"}}, "text": "Look"}, "delivered"),
        ("0001", {"content": {"location": {"latitude": 1.5, "longitude": 2}}}, "delivered"),
        ("0001", {"content": template("order_update", "{{ name }}", "7"), "data": {"name": "Ann"}}, "delivered"),
        ("0002", {"text": "Hello"}, "undelivered"),
        ("0003", {"text": "Hello"}, "delivered"),
        ("0010", {"content": template("hello_world")}, "delivered"),
    ],
)  # fmt: skip
def test_out_and_back(server: Api, last: str, fields: dict[str, Any], status: str) -> None:
    sent = send(server, last, **fields)
    found = server.wait_for(sent["id"], "delivered", "undelivered", "failed")
    assert found["status"] == status, found
    assert (found["channel"], found["provider"]) == ("whatsapp", "sandbox-whatsapp")


@pytest.mark.parametrize(
    ("last", "fields", "code"),
    [
        ("0010", {"text": "Hello"}, "outside_window"),
        ("0010", {"content": {"sticker": {"link": "https://example.com/a.webp"}}}, "outside_window"),
        ("0001", {"content": template("seasonal_offer", "Ann")}, "template_not_approved"),
        ("0001", {"content": template("old_news", "Ann")}, "template_paused"),
        ("0001", {"content": template("order_update", "Ann")}, "template_parameters"),
        ("0001", {"content": template("unheard_of")}, "template_not_found"),
        ("0001", {"text": "Hello", "from": "+15005550099"}, "invalid_sender"),
    ],
)
def test_what_may_not_be_sent_says_why(server: Api, last: str, fields: dict[str, Any], code: str) -> None:
    found = server.wait_for(send(server, last, **fields)["id"], "failed", "sent", "delivered")
    assert (found["status"], found["error"]["code"]) == ("failed", code)
    assert len(found["attempts"]) == (1 if code == "template_not_found" else 0)  # refused before the wire, all but one


def test_bad_fields_are_named(server: Api) -> None:
    content = {"interactive": {"body": "x", "buttons": [{"id": str(n), "title": str(n)} for n in range(4)]}}
    answer = server.call("POST", "/v1/messages", {"to": "+15005550001", "channel": "whatsapp", "content": content})
    assert answer.status == 422
    assert [item["pointer"] for item in answer.json["errors"]] == ["/content/interactive/buttons"]


def test_reads_come_back(server: Api) -> None:
    sent = send(server, "0006", text="Hello")
    assert until(lambda: message(server, sent["id"])["engagement"]["read_at"])
    assert server.wait_for(sent["id"], "delivered")


def test_people_answer_and_open_the_window(server: Api) -> None:
    sent = send(server, "0007", text="Will you come?")
    assert until(lambda: message(server, sent["id"])["engagement"]["replied_at"])
    found = [item for item in server.call("GET", "/v1/inbound").json["data"] if item["in_reply_to"] == sent["id"]]
    assert [(item["from"], item["text"], item["channel"]) for item in found] == [("+15005550007", "YES", "whatsapp")]
    wamid = found[0]["content"]["ref"]
    again = send(server, "0007", text="Good", content={"reply_to": wamid})
    assert server.wait_for(again["id"], "delivered")


def test_stop_is_for_whatsapp(server: Api) -> None:
    sent = send(server, "0008", text="News")
    assert until(lambda: message(server, sent["id"])["engagement"]["unsubscribed_at"])
    assert server.wait_for(send(server, "0008", text="More news")["id"], "suppressed")
    kept = server.call("GET", "/v1/suppressions").json["data"]
    assert ("whatsapp", "+15005550008") in [(item["channel"], item["to"]) for item in kept]
    server.call("DELETE", "/v1/suppressions/whatsapp/+15005550008")


def test_no_answer_is_unknown(server: Api) -> None:
    sent = send(server, "0009", text="Hello", on_unknown="hold")
    found = until(lambda: [item for item in message(server, sent["id"])["attempts"] if item["status"] == "unknown"])
    assert len(found) == 1


def test_templates_are_listed(server: Api) -> None:
    answer = server.call("GET", "/v1/providers/sandbox-whatsapp/templates?limit=4")
    assert answer.status == 200, answer.body
    more = server.call("GET", f"/v1/providers/sandbox-whatsapp/templates?limit=4&cursor={answer.json['next_cursor']}")
    found = {item["name"]: item["status"] for item in answer.json["data"] + more.json["data"]}
    assert (len(found), more.json["next_cursor"]) == (6, None)
    assert (found["hello_world"], found["seasonal_offer"], found["old_news"]) == ("APPROVED", "REJECTED", "PAUSED")
    other = server.call("GET", "/v1/providers/sandbox/templates")
    assert (other.status, other.json["code"]) == (409, "not_supported")
    assert server.call("GET", "/v1/providers/nobody/templates").status == 404


def test_files_are_uploaded_and_sent(server: Api) -> None:
    path = "/v1/providers/sandbox-whatsapp/media"
    made = server.call("POST", path, {"media_type": "image/png", "data": "iVBORw0KGgo="})
    assert made.status == 201, made.body
    assert (made.json["media_type"], made.json["size"]) == ("image/png", 8)
    sent = send(server, "0001", content={"image": {"id": made.json["id"], "caption": "Look"}})
    assert server.wait_for(sent["id"], "delivered")
    bad = server.call("POST", path, {"media_type": "image/gif", "data": "iVBORw0KGgo="})
    assert (bad.status, bad.json["errors"][0]["pointer"]) == (422, "/media_type")
    large = server.call("POST", path, {"media_type": "video/mp4", "data": "A" * 8_000_000})
    assert large.status == 201, large.body
    assert server.call("POST", "/v1/providers/sandbox/media", {"media_type": "image/png", "data": "AA=="}).status == 409


def test_messages_are_marked_as_read(server: Api) -> None:
    sent = send(server, "0007", text="Will you read?")
    found = until(
        lambda: [item for item in server.call("GET", "/v1/inbound").json["data"] if item["in_reply_to"] == sent["id"]]
    )
    for _ in range(2):
        assert server.call("POST", f"/v1/inbound/{found[0]['id']}/read").status == 204
    assert server.call("POST", "/v1/inbound/msg_nothing/read").status == 404


def test_the_next_channel_takes_over_outside_the_window(server: Api) -> None:
    """And within it WhatsApp is enough."""
    both = {"phone": "+15005550010", "whatsapp": "+15005550010"}
    body = {"to": both, "channels": ["whatsapp", "sms"], "text": "Hello", "fallback": {"after_s": 30, "on": ["failed"]}}
    sent = server.call("POST", "/v1/messages", body)
    assert sent.status == 202, sent.body
    found = server.wait_for(sent.json["id"], "delivered")
    assert (found["channel"], [item["channel"] for item in found["attempts"]]) == ("sms", ["sms"])
    inside = server.call("POST", "/v1/messages", body | {"to": {"phone": "+15005550001", "whatsapp": "+15005550001"}})
    found = server.wait_for(inside.json["id"], "delivered")
    assert [item["channel"] for item in found["attempts"]] == ["whatsapp"]


@pytest.mark.parametrize(("last", "code"), [("0001", None), ("0010", "outside_window")])
def test_a_preview_says_whether_it_may_be_sent(server: Api, last: str, code: str | None) -> None:
    body = {"to": f"+1500555{last}", "channel": "whatsapp", "text": "Hi {{ name }}", "data": {"name": "Ann"}}
    answer = server.call("POST", "/v1/messages/preview", body)
    assert answer.status == 200, answer.body
    assert (answer.json["channel"], answer.json["text"]) == ("whatsapp", "Hi Ann")
    assert code is None or code in answer.body.decode()
