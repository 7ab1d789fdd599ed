"""The raw route and the Litestar route answer alike: every byte that is not an id, a time or a counter."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from http_inside import Inside, inside
from tidings.http.app import create_app

GOOD = {"to": "+15005550001", "text": "hello"}
CASES: list[tuple[Any, dict[str, str]]] = [
    (GOOD, {}),
    ({**GOOD, "tags": ["a"], "metadata": {"a": [1]}, "class": "otp", "valid_for_s": 60, "reference": "r"}, {}),
    ({**GOOD, "send_at": "2026-12-24T00:00:00Z"}, {}),
    ({**GOOD, "text": "{{ a }}", "data": {"a": 1}}, {}),
    ({**GOOD, "text": "{% if %}", "data": {}}, {}),
    (GOOD, {"X-Request-Id": "given"}),
    (GOOD, {"X-Request-Id": "not given well"}),
    (GOOD, {"Idempotency-Key": "one"}),
    (GOOD, {"Idempotency-Key": "one"}),
    ({**GOOD, "text": "other"}, {"Idempotency-Key": "one"}),
    (GOOD, {"Idempotency-Key": ""}),
    (GOOD, {"Idempotency-Key": "x" * 256}),
    ({}, {}),
    ({"to": 1, "text": 2, "nope": 3}, {}),
    ([], {}),
    (b"", {}),
    (b"{", {}),
    (b'{"to": "\xff"}', {}),
    (GOOD, {"Content-Type": "text/plain"}),
    (GOOD, {"Content-Type": "application/json; charset=utf-8"}),
    (GOOD, {"Content-Encoding": "gzip"}),
    (b" " * 1_048_577, {}),
    (GOOD, {"Content-Length": "999999999"}),
    (GOOD, {"Content-Length": "abc"}),
    (GOOD, {"Authorization": "Bearer tk_test_wrong"}),
    (GOOD, {"Authorization": "Basic x"}),
]
_CHANGING = re.compile(r"(msg|req)_[0-9a-f]{32}|\d{4}-\d\d-\d\dT[\d:.]+Z|r=\d+;")


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Inside]:
    async with inside(tmp_path) as running:
        yield running


def _masked(text: str) -> str:
    return _CHANGING.sub("…", text)


async def test_both_ways_answer_alike(running: Inside) -> None:
    slow = create_app(running.services, fast=False)
    for body, headers in CASES:
        answers = []
        for app in (running.app, slow):
            # each way has Idempotency-Keys of its own, of the same length
            own = {k: v.replace("one", "raw" if app is running.app else "lit") for k, v in headers.items()}
            answer = await running.call("POST", "/v1/messages", body, key=running.test_key, headers=own, app=app)
            answers.append(
                (answer.status, {k: _masked(v) for k, v in answer.headers.items()}, _masked(answer.body.decode()))
            )
        assert answers[0] == answers[1], (body, headers)


async def test_without_a_key_or_the_scope_too(running: Inside) -> None:
    slow = create_app(running.services, fast=False)
    reader = {"name": "x", "mode": "test", "scopes": ["messages:read"]}
    key = (await running.call("POST", "/v1/keys", reader, key=running.test_key)).json["key"]
    for given, status in ((None, 401), (key, 403)):
        for app in (running.app, slow):
            answer = await running.call("POST", "/v1/messages", GOOD, key=given, app=app)
            assert answer.status == status
            assert answer.headers.get("www-authenticate") == ('Bearer realm="tidings"' if status == 401 else None)
