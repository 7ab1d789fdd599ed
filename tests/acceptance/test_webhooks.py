"""Webhooks out of the real server, judged by the official packages: api.md "Webhooks out"."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import standardwebhooks.webhooks as official
import svix.webhooks as svix


@dataclass
class Receiver:
    """Somebody's web server: keeps what it gets, answers `status`."""

    status: int = 200
    calls: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    def of(self, message_id: str) -> list[tuple[dict[str, str], bytes]]:
        return [call for call in self.calls if json.loads(call[1])["data"].get("id") == message_id]

    def types_of(self, message_id: str) -> set[str]:
        return {json.loads(body)["type"] for _, body in self.of(message_id)}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            found.calls.append(({key.lower(): value for key, value in self.headers.items()}, body))
            self.send_response(found.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}/hook"
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def until(check: Callable[[], Any], timeout_s: float = 30) -> Any:
    end_s = time.monotonic() + timeout_s
    while not (found := check()):
        assert time.monotonic() < end_s, "it never came"
        time.sleep(0.02)
    return found


@pytest.fixture
def endpoint(server: Any, receiver: Receiver) -> Iterator[Any]:
    made = server.call("POST", "/v1/webhooks", {"url": receiver.url, "types": ["message.*"]})
    assert made.status == 201, made.body
    yield made.json
    server.call("DELETE", f"/v1/webhooks/{made.json['id']}")


def test_a_message_is_told_of_with_signatures_that_the_official_packages_accept(
    server: Any, receiver: Receiver, endpoint: Any
) -> None:
    message = server.send(text="Your code is 4711", reference="r-7")
    until(lambda: receiver.types_of(message["id"]) >= {"message.accepted", "message.sent", "message.delivered"})
    for headers, body in receiver.of(message["id"]):
        assert official.Webhook(endpoint["secret"]).verify(body, headers) == json.loads(body)
        svix.Webhook(endpoint["secret"]).verify(body, headers)
        with pytest.raises(official.WebhookVerificationError):
            official.Webhook(endpoint["secret"]).verify(body + b" ", headers)
        said = json.loads(body)
        assert said.keys() == {"type", "timestamp", "data"}
        assert (said["data"]["text"], said["data"]["reference"]) == ("Your code is 4711", "r-7")
        assert headers["content-type"] == "application/json"
    events = server.call("GET", f"/v1/messages/{message['id']}/events").json["data"]
    assert {event["id"] for event in events} == {headers["webhook-id"] for headers, _ in receiver.of(message["id"])}


def test_deliveries_are_listed_and_replayed_under_the_same_id(server: Any, receiver: Receiver, endpoint: Any) -> None:
    message = server.send()
    until(lambda: "message.delivered" in receiver.types_of(message["id"]))
    path = f"/v1/webhooks/{endpoint['id']}/deliveries"
    listed = until(lambda: [d for d in server.call("GET", path).json["data"] if d["status"] == "delivered"])
    one = server.call("GET", f"/v1/webhooks/deliveries/{listed[0]['id']}")
    assert one.status == 200
    assert (one.json["webhook_id"], one.json["tries"], one.json["http_status"]) == (endpoint["id"], 1, 200)
    before = [headers["webhook-id"] for headers, _ in receiver.calls].count(one.json["event_id"])
    again = server.call("POST", f"/v1/webhooks/deliveries/{one.json['id']}/replay")
    assert again.status == 202
    assert again.json["id"] != one.json["id"]
    until(lambda: [h["webhook-id"] for h, _ in receiver.calls].count(one.json["event_id"]) == before + 1)
    many = server.call("POST", f"/v1/webhooks/{endpoint['id']}/replay", {"since": "2020-01-01T00:00:00Z"})
    assert many.status == 202
    assert many.json["queued"] >= len(listed)
    assert server.call("POST", f"/v1/webhooks/{endpoint['id']}/replay", {"since": "2020-01-01T00:00:00"}).status == 422


def test_rotation_gives_a_new_secret_and_both_sign(server: Any, receiver: Receiver, endpoint: Any) -> None:
    rotated = server.call("POST", f"/v1/webhooks/{endpoint['id']}/rotate")
    assert rotated.status == 200
    assert "secret" not in server.call("GET", f"/v1/webhooks/{endpoint['id']}").json

    def signed_by_both() -> bool:
        """The old secret signs all along; the new one as soon as the process that calls has heard of it."""
        message = server.send()
        headers, body = until(lambda: receiver.of(message["id"]))[0]
        official.Webhook(endpoint["secret"]).verify(body, headers)
        try:
            official.Webhook(rotated.json["secret"]).verify(body, headers)
        except official.WebhookVerificationError:
            return False
        return True

    assert until(signed_by_both)


def test_a_failing_receiver_is_called_again_after_five_seconds(server: Any, receiver: Receiver, endpoint: Any) -> None:
    receiver.status = 503
    message = server.send()
    first = until(lambda: receiver.of(message["id"]))[0][0]["webhook-id"]
    receiver.status = 200
    until(lambda: [h["webhook-id"] for h, _ in receiver.calls].count(first) == 2)
    path = f"/v1/webhooks/{endpoint['id']}/deliveries?limit=200"

    def settled() -> Any:
        return [
            d for d in server.call("GET", path).json["data"] if d["event_id"] == first and d["status"] == "delivered"
        ]

    assert until(settled)[0]["tries"] == 2


def test_gone_disables_and_a_customer_enables_again(server: Any, receiver: Receiver, endpoint: Any) -> None:
    receiver.status = 410
    server.send()
    path = f"/v1/webhooks/{endpoint['id']}"
    shown = until(lambda: (e := server.call("GET", path).json)["status"] == "disabled" and e)
    assert "410" in shown["reason"]
    receiver.status = 200
    enabled = server.call("PATCH", path, {"status": "enabled"})
    assert (enabled.status, enabled.json["status"], enabled.json["reason"]) == (200, "enabled", None)
    message = server.send()
    until(lambda: "message.delivered" in receiver.types_of(message["id"]))


def test_a_deleted_endpoint_is_gone_and_called_no_more(server: Any, receiver: Receiver) -> None:
    made = server.call("POST", "/v1/webhooks", {"url": receiver.url}).json
    assert server.call("DELETE", f"/v1/webhooks/{made['id']}").status == 204
    assert server.call("GET", f"/v1/webhooks/{made['id']}").status == 404
    time.sleep(2.5)  # docs/webhooks.md: the process of the pumps hears of it at once, or looks within two seconds
    message = server.send()
    server.wait_for(message["id"], "delivered")
    time.sleep(0.3)
    assert receiver.calls == []


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"url": "http://169.254.169.254/"}, ["/url"]),
        ({"url": "gopher://example.com"}, ["/url"]),
        ({"url": "https://example.com/", "types": ["message.sent", "message.lost"]}, ["/types/1"]),
        ({"url": "ftp://x", "types": ["nope"]}, ["/url", "/types/0"]),
    ],
)
def test_bad_endpoints_are_refused_with_every_field(server: Any, body: Any, pointers: list[str]) -> None:
    answer = server.call("POST", "/v1/webhooks", body)
    assert answer.status == 422
    assert [error["pointer"] for error in answer.json["errors"]] == pointers
