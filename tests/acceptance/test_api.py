"""The manners of the API, against the real server: api.md "Manners", "Keys", "Messages"."""

import base64
import json
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

GOOD = {"to": "+15005550001", "text": "hello"}


def test_send_answers_what_api_md_says(server: Any) -> None:
    answer = server.call("POST", "/v1/messages", {**GOOD, "reference": "r-1", "tags": ["a"], "metadata": {"k": 1}})
    assert answer.status == 202
    assert answer.json.keys() >= {"id", "status", "channel", "created_at"}
    assert re.fullmatch("msg_[0-9a-f]{32}", answer.json["id"])
    found = server.wait_for(answer.json["id"], "delivered")
    assert (found["reference"], found["tags"], found["metadata"]) == ("r-1", ["a"], {"k": 1})
    assert [attempt["status"] for attempt in found["attempts"]] == ["delivered"]
    assert found["mode"] == "test"
    events = server.call("GET", f"/v1/messages/{answer.json['id']}/events").json["data"]
    types = [event["type"] for event in events]
    assert types[0] == "message.accepted"
    assert types[-1] == "message.delivered"
    assert all(event["message_id"] == answer.json["id"] for event in events)


BAD = [
    ({}, {"/to", "/text"}),
    ({"to": "123", "text": ""}, {"/to", "/text"}),
    ({"to": 5, "text": 6, "tags": [1, "a", 2], "nope": 1}, {"/to", "/text", "/tags/0", "/tags/2", "/nope"}),
    ({**GOOD, "class": "x", "valid_for_s": 0, "tags": [""]}, {"/class", "/valid_for_s", "/tags/0"}),
    ({**GOOD, "send_at": "soon", "valid_until": "2020-01-01T00:00:00Z"}, {"/send_at", "/valid_until"}),
    ({**GOOD, "to": {"phone": 1, "what": 2}}, {"/to/phone", "/to/what"}),
    ({**GOOD, "fallback": {"after_s": "1", "on": ["never"]}}, {"/fallback/after_s", "/fallback/on/0"}),
    ({**GOOD, "a/b~c": 1}, {"/a~1b~0c"}),
    ([], {""}),
    ("text", {""}),
]


@pytest.mark.parametrize(("body", "pointers"), BAD)
def test_every_bad_field_is_named_at_once(server: Any, body: Any, pointers: set[str]) -> None:
    answer = server.call("POST", "/v1/messages", body)
    assert answer.status == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json
    assert problem["code"] == "invalid_request"
    assert {error["pointer"] for error in problem["errors"]} == pointers
    assert all(error["code"] and error["detail"] for error in problem["errors"])
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["doc_url"].startswith("/docs/errors#")


MALFORMED = [
    (b'{"to": "+15005550001",\n "text": nope}', "line 2, column"),
    (b'{"to": ', "line 1, column 8"),
    (b"", "empty"),
    (b"[" * 100_000, "not JSON|nested"),
    (b'{"to": "\xff"}', "UTF-8|not JSON"),
]


@pytest.mark.parametrize(("body", "says"), MALFORMED)
def test_malformed_json_says_where(server: Any, body: bytes, says: str) -> None:
    answer = server.call("POST", "/v1/messages", body)
    assert (answer.status, answer.json["code"]) == (400, "malformed_json")
    assert re.search(says, answer.json["detail"])


PLAIN_PROBLEMS = [
    ("GET", "/v1/nope", None, {}, 404),
    ("GET", "/v1/messages/msg_none", None, {}, 404),
    ("DELETE", "/v1/messages", None, {}, 405),
    ("PUT", "/v1/keys", {}, {}, 405),
    ("POST", "/v1/messages", b"to=1", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ("POST", "/v1/keys", b"{}", {"Content-Encoding": "gzip"}, 415),
    ("POST", "/v1/messages", b"x" * 16_777_217, {}, 413),
    ("POST", "/v1/suppressions", b" " * 1_048_577, {}, 413),
    ("GET", "/v1/messages?limit=0", None, {}, 422),
    ("GET", "/v1/messages?limit=201", None, {}, 422),
    ("GET", "/v1/messages?limti=5", None, {}, 422),
    ("GET", "/v1/messages?limit=5&limit=6", None, {}, 422),
    ("GET", "/v1/messages?cursor=abc", None, {}, 422),
    ("GET", "/v1/events?cursor=" + base64.urlsafe_b64encode(b"t1:x").decode().rstrip("="), None, {}, 422),
    ("GET", "/v1/messages?since=2026-01-01T00:00:00", None, {}, 422),
]


@pytest.mark.parametrize(("method", "path", "body", "headers", "status"), PLAIN_PROBLEMS)
def test_every_refusal_is_a_problem(
    server: Any, method: str, path: str, body: Any, headers: dict[str, str], status: int
) -> None:
    answer = server.call(method, path, body, headers=headers)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["status"] == status
    assert answer.json["request_id"]
    if status == 405:
        assert "OPTIONS" in answer.headers["allow"]


def test_a_body_without_length_is_cut_off_while_it_is_read(server: Any) -> None:
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), timeout=30) as wire:
        head = f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.test_key}\r\n"
        wire.sendall(head.encode() + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
        sent = 0
        wire.settimeout(5)
        try:
            for _ in range(40):  # 2.5 MiB: more than may be kept
                wire.sendall(chunk)
                sent += 1
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert wire.recv(100).startswith(b"HTTP/1.1 413")


def test_idempotency_key_replays_and_refuses_another_body(server: Any) -> None:
    headers = {"Idempotency-Key": "order-1"}
    first = server.call("POST", "/v1/messages", GOOD, headers=headers)
    again = server.call("POST", "/v1/messages", GOOD, headers=headers)
    other = server.call("POST", "/v1/messages", {**GOOD, "text": "other"}, headers=headers)
    assert (first.status, again.status) == (202, 202)
    assert first.json["id"] == again.json["id"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert (other.status, other.json["code"]) == (422, "idempotency_key_reused")
    bad = server.call("POST", "/v1/messages", GOOD, headers={"Idempotency-Key": "x" * 256})
    assert bad.status == 422


def test_one_key_at_once_makes_one_message(server: Any) -> None:
    def post(_: int) -> str:
        answer = server.call("POST", "/v1/messages", GOOD, headers={"Idempotency-Key": "race"})
        assert answer.status == 202
        return answer.json["id"]

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(post, range(100)))) == 1


IDEMPOTENT = [
    (
        "/v1/keys",
        {"name": "k", "mode": "test", "scopes": ["messages:read"]},
        {"name": "k2", "mode": "test", "scopes": ["*"]},
    ),
    ("/v1/suppressions", {"to": "+15005550123"}, {"to": "+15005550124"}),
    ("/v1/webhooks", {"url": "http://127.0.0.1:9/hook"}, {"url": "http://127.0.0.1:9/other"}),
]


@pytest.mark.parametrize(("path", "body", "other"), IDEMPOTENT)
def test_other_posts_are_idempotent_too(server: Any, path: str, body: Any, other: Any) -> None:
    headers = {"Idempotency-Key": f"one{path}"}
    first, again = (server.call("POST", path, body, headers=headers) for _ in range(2))
    assert (first.status, again.status) == (201, 201)
    assert again.headers["idempotency-replayed"] == "true"
    ids = {answer.json.get("id", answer.json.get("to")) for answer in (first, again)}
    assert len(ids) == 1
    assert server.call("POST", path, other, headers=headers).json["code"] == "idempotency_key_reused"
    if path == "/v1/keys":
        assert first.json["key"] == again.json["key"]
        assert server.call("GET", "/v1/messages", key=first.json["key"]).status == 200


def test_a_batch_stands_item_by_item(server: Any) -> None:
    items = [GOOD, {"to": "x"}, {**GOOD, "text": 5}, {**GOOD, "reference": "in-batch"}]
    headers = {"Idempotency-Key": "batch"}
    answer = server.call("POST", "/v1/messages/batch", {"messages": items}, headers=headers)
    assert answer.status == 202
    data = answer.json["data"]
    assert ["id" in item for item in data] == [True, False, False, True]
    assert {error["pointer"] for error in data[1]["error"]["errors"]} == {"/to", "/text"}
    again = server.call("POST", "/v1/messages/batch", {"messages": items}, headers=headers).json["data"]
    assert [item.get("id") for item in again] == [item.get("id") for item in data]
    longer = server.call("POST", "/v1/messages/batch", {"messages": [*items, GOOD]}, headers=headers)
    assert longer.json["code"] == "idempotency_key_reused"
    assert server.call("POST", "/v1/messages/batch", {"messages": []}).status == 422
    assert server.call("POST", "/v1/messages/batch", {"messages": [GOOD] * 1001}).status == 422


def test_lists_page_without_gaps_or_repeats(server: Any) -> None:
    sent = [server.send(reference="paged")["id"] for _ in range(7)]
    seen: list[str] = []
    cursor = ""
    while True:
        page = server.call("GET", f"/v1/messages?reference=paged&limit=3{cursor}").json
        seen += [item["id"] for item in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == sent[::-1]


def test_filters_select(server: Any) -> None:
    mine = server.send(reference="f-1", tags=["only-here"], to="+15005550006")["id"]
    server.wait_for(mine, "delivered")
    for query in ("reference=f-1", "tag=only-here", "tag=only-here&status=delivered", "tag=only-here&channel=sms",
                  "reference=f-1&to=" + quote("+15005550006"), "tag=only-here&since=2026-01-01T00:00:00Z"):  # fmt: skip
        found = server.call("GET", f"/v1/messages?{query}").json["data"]
        assert [item["id"] for item in found] == [mine], query
    for query in ("reference=f-2", "tag=only", "tag=only-here&status=failed", "tag=only-here&until=2026-01-01T00:00:00Z",
                  "reference=f-1&to=" + quote("+15005550001")):  # fmt: skip
        assert server.call("GET", f"/v1/messages?{query}").json["data"] == [], query


def test_cancel_and_retry(server: Any) -> None:
    later = server.send(send_at="2027-01-01T00:00:00Z" if time.gmtime().tm_year < 2027 else "2099-01-01T00:00:00Z")
    assert later["status"] == "scheduled"
    path = f"/v1/messages/{later['id']}"
    assert server.call("POST", f"{path}/retry").status == 409
    canceled = server.call("POST", f"{path}/cancel")
    assert (canceled.status, canceled.json["status"]) == (200, "canceled")
    assert server.call("POST", f"{path}/cancel").status == 200
    again = server.call("POST", f"{path}/retry", headers={"Idempotency-Key": "again"})
    assert again.status == 202
    assert again.json["retry_of"] == later["id"] != again.json["id"]
    assert server.call("POST", f"{path}/retry", headers={"Idempotency-Key": "again"}).json["id"] == again.json["id"]
    assert server.call("GET", f"/v1/messages/{again.json['id']}").json["retry_of"] == later["id"]
    assert server.call("POST", f"{path}/retry", key=server.key).json["code"] == "wrong_mode"
    delivered = server.send()["id"]
    server.wait_for(delivered, "delivered")
    assert server.call("POST", f"/v1/messages/{delivered}/cancel").status == 409


def test_preview_sends_nothing(server: Any) -> None:
    body = {"to": "+15005550001", "text": "Hi {{ name }} 🎉", "data": {"name": "Ann"}, "reference": "previewed"}
    answer = server.call("POST", "/v1/messages/preview", body)
    assert answer.status == 200
    assert answer.json["text"] == "Hi Ann 🎉"
    assert server.call("GET", "/v1/messages?reference=previewed").json["data"] == []


def test_suppressed_recipients_get_nothing(server: Any) -> None:
    to = "+15005550177"
    assert server.call("POST", "/v1/suppressions", {"channel": "sms", "to": to, "reason": "manual"}).status == 201
    listed = server.call("GET", "/v1/suppressions?limit=200").json["data"]
    assert to in [item["to"] for item in listed]
    server.wait_for(server.send(to=to)["id"], "suppressed")
    assert server.call("DELETE", "/v1/suppressions", {"channel": "sms", "to": to}).status == 204
    assert server.call("DELETE", f"/v1/suppressions?to={quote(to)}").status == 404


def test_keys_never_grow(server: Any) -> None:
    def make(by: str, **fields: Any) -> Any:
        return server.call(
            "POST", "/v1/keys", {"name": "x", "mode": "test", "scopes": ["messages:read"], **fields}, key=by
        )

    small = make(server.test_key, scopes=["keys:write", "messages:*"]).json["key"]
    assert make(small, scopes=["messages:read", "messages:write"]).status == 201
    assert make(small, scopes=["*"]).status == 403
    assert make(small, scopes=["keys:*"]).status == 403
    assert make(small, scopes=["projects:write"]).status == 403
    assert make(server.test_key, mode="live").status == 403
    assert make(server.test_key, scopes=["nope"]).status == 422
    assert make(server.test_key, expires_at="2020-01-01T00:00:00Z").status == 422
    short = make(server.test_key, scopes=["*"], expires_at="2099-01-01T00:00:00Z")
    assert make(short.json["key"], scopes=["*"], expires_at="2099-06-01T00:00:00Z").status == 403
    assert make(short.json["key"], scopes=["*"]).json["expires_at"] == short.json["expires_at"]
    assert server.call("POST", "/v1/projects", {"name": "p"}).status == 403  # a test key
    project = server.call("POST", "/v1/projects", {"name": "p"}, key=server.key)
    assert project.status == 201
    assert make(server.test_key, project=project.json["id"]).status == 403
    theirs = make(server.key, project=project.json["id"], scopes=["*"], mode="live")
    assert theirs.json["project"] == project.json["id"]
    assert server.call("POST", "/v1/projects", {"name": "q"}, key=theirs.json["key"]).status == 403
    assert len(server.call("GET", "/v1/projects", key=theirs.json["key"]).json["data"]) == 1


def test_a_revoked_key_stops_at_once(server: Any) -> None:
    made = server.call("POST", "/v1/keys", {"name": "x", "mode": "test", "scopes": ["*"]}).json
    assert server.call("GET", "/v1/messages", key=made["key"]).status == 200
    assert server.call("DELETE", f"/v1/keys/{made['id']}").status == 204
    assert server.call("GET", "/v1/messages", key=made["key"]).status == 401
    assert server.call("POST", "/v1/messages", GOOD, key=made["key"]).status == 401
    assert server.call("GET", f"/v1/keys/{made['id']}").json["revoked_at"]
    assert made["key"].encode() not in server.call("GET", "/v1/keys?limit=200").body


def test_request_ids_and_headers(server: Any) -> None:
    for path, method, body in (("/v1/messages", "POST", GOOD), ("/v1/messages", "GET", None)):
        answer = server.call(method, path, body, headers={"X-Request-Id": "mine-1"})
        assert answer.headers["x-request-id"] == "mine-1"
        assert re.fullmatch(r'"default";r=\d+;t=1', answer.headers["ratelimit"])
        assert answer.headers["ratelimit-policy"] == '"default";q=10000;w=1'
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in answer.headers
        odd = server.call(method, path, body, headers={"X-Request-Id": "<script>"})
        assert odd.headers["x-request-id"].startswith("req_")


def test_head_and_options(server: Any) -> None:
    head, get = server.call("HEAD", "/v1/keys"), server.call("GET", "/v1/keys")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert server.call("HEAD", "/v1/stream").status == 200
    options = server.call("OPTIONS", "/v1/keys", key=None)
    assert options.status == 204
    assert "access-control-allow-origin" not in options.headers


def test_operations_need_no_key(server: Any) -> None:
    assert server.call("GET", "/healthz", key=None).json == {"status": "ok"}
    assert server.call("GET", "/readyz", key=None).status == 200
    metrics = server.call("GET", "/metrics", key=None)
    assert metrics.status == 200
    assert b"tidings_http_requests_total" in metrics.body
    assert server.call("GET", "/metrics", key=None, headers={"X-Forwarded-For": "10.0.0.1"}).status == 401


def test_the_reference_needs_no_other_host(server: Any) -> None:
    page = server.call("GET", "/docs", key=None)
    assert page.status == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    parts = re.findall(r'(?:src|href)="([^"]+)"', page.body.decode())
    assert len(parts) >= 4
    for part in parts:
        assert part.startswith("/")
        assert server.call("GET", part, key=None).status == 200
    assert server.call("GET", "/docs/assets/..%2f__init__.py", key=None).status == 404
    assert b'id="idempotency_key_reused"' in server.call("GET", "/docs/errors", key=None).body
    assert server.call("GET", "/openapi.json", key=None).json["openapi"].startswith("3.1")


def _frames(
    server: Any, path: str, count: int, headers: dict[str, str] | None = None, opened: threading.Event | None = None
) -> list[dict[str, str]]:
    """The first `count` events of a stream; `opened` is set once it answers."""
    where = urlsplit(server.url)
    lines = [f"GET {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {server.test_key}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    with socket.create_connection((where.hostname, where.port), timeout=30) as wire:
        wire.sendall("\r\n".join([*lines, "", ""]).encode())
        raw = b""
        while raw.count(b"\ndata: ") < count or not raw.endswith(b"\n\n\r\n"):
            got = wire.recv(65_536)
            assert got, raw
            raw += got
            if opened is not None:
                opened.set()
    frames = re.findall(rb"id: (\d+)\nevent: (\S+)\ndata: (.*)\n\n", raw)
    return [{"id": i.decode(), "event": e.decode(), **json.loads(d)} for i, e, d in frames]


def test_the_stream_goes_on_where_it_stopped(server: Any) -> None:
    sent = server.send(reference="streamed")["id"]
    server.wait_for(sent, "delivered")
    first = server.call("GET", f"/v1/messages/{sent}/events").json["data"][0]["seq"]
    frames = _frames(server, f"/v1/stream?after={first - 1}", 2)
    assert frames[0]["event"] == frames[0]["type"] == "message.accepted"
    assert frames[0]["data"]["id"] == sent
    assert frames[0]["data"]["status"] == "accepted"
    resumed = _frames(server, "/v1/stream?after=0", 1, {"Last-Event-ID": frames[0]["id"]})
    assert resumed[0]["id"] == frames[1]["id"]
    only = _frames(server, f"/v1/stream?after={first - 1}&types=message.delivered", 1)
    assert only[0]["type"] == "message.delivered"


def test_the_stream_is_live(server: Any) -> None:
    with ThreadPoolExecutor(1) as pool:
        opened = threading.Event()
        waiting = pool.submit(_frames, server, "/v1/stream?types=message.delivered", 1, opened=opened)
        assert opened.wait(30)
        sent = server.send()["id"]
        assert waiting.result(30)[0]["data"]["id"] == sent


def test_replies_are_listed(server: Any) -> None:
    sent = server.send(to="+15005550007")["id"]
    end_s = time.monotonic() + 30
    while time.monotonic() < end_s:
        found = [item for item in server.call("GET", "/v1/inbound").json["data"] if item["in_reply_to"] == sent]
        if found:
            break
        time.sleep(0.05)
    assert [(item["text"], item["from"]) for item in found] == [("YES", "+15005550007")]
    assert server.call("GET", f"/v1/inbound/{found[0]['id']}").json == found[0]
    assert server.call("GET", "/v1/receipts?matched=false").json["data"] == []
    assert server.call("GET", "/v1/receipts?matched=true").status == 422
