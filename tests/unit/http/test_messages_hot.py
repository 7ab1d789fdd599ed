"""The hot route and the Litestar route answer alike: every byte that is not an id, a time or a counter.

Over real connections: a request that comes whole goes one way, one that comes in two pieces the other.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from http_inside import Inside, Wire, inside, serving
from tidings.http.messages_hot import HotMessages

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


@pytest.fixture
async def wire(running: Inside) -> AsyncIterator[Wire]:
    async with serving(running.app) as wire:
        await running.call("GET", "/v1/messages", key=running.test_key)  # from now on its key is in memory
        yield wire


@pytest.fixture
def hot(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What the hot route took or left, in order."""
    taken: list[bool] = []
    take = HotMessages.take

    def counted(self: HotMessages, *request: Any) -> bool:
        taken.append(take(self, *request))
        return taken[-1]

    monkeypatch.setattr(HotMessages, "take", counted)
    return taken


async def test_both_ways_answer_alike(running: Inside, wire: Wire, hot: list[bool]) -> None:
    for body, headers in CASES:
        answers = []
        for pieces in (1, 2):
            # each way has Idempotency-Keys of its own, of the same length
            own = {k: v.replace("one", "hot" if pieces == 1 else "lit") for k, v in headers.items()}
            answer = await wire.post(
                "/v1/messages", body, {"Authorization": f"Bearer {running.test_key}", **own}, pieces
            )
            answers.append(
                (answer.status, {k: _masked(v) for k, v in answer.headers.items()}, _masked(answer.body.decode()))
            )
        assert answers[0] == answers[1], (body, headers)
    assert hot.count(True) >= len(CASES) - 6, "the hot route took next to nothing: there was nothing to compare"


async def test_without_a_key_or_the_scope_too(running: Inside, wire: Wire) -> None:
    reader = {"name": "x", "mode": "test", "scopes": ["messages:read"]}
    key = (await running.call("POST", "/v1/keys", reader, key=running.test_key)).json["key"]
    await running.call("GET", "/v1/messages", key=key)
    for given, status in (({}, 401), ({"Authorization": f"Bearer {key}"}, 403)):
        for pieces in (1, 2):
            answer = await wire.post("/v1/messages", GOOD, given, pieces)
            assert answer.status == status
            assert answer.headers.get("www-authenticate") == ('Bearer realm="tidings"' if status == 401 else None)


async def test_a_revoked_key_is_not_hot_for_a_moment_longer(running: Inside, wire: Wire) -> None:
    made = (
        await running.call("POST", "/v1/keys", {"name": "x", "mode": "test", "scopes": ["*"]}, key=running.test_key)
    ).json
    headers = {"Authorization": f"Bearer {made['key']}"}
    assert [(await wire.post("/v1/messages", GOOD, headers)).status for _ in range(2)] == [202, 202]
    assert (await running.call("DELETE", f"/v1/keys/{made['id']}", key=running.test_key)).status == 204
    assert (await wire.post("/v1/messages", GOOD, headers)).status == 401


async def test_what_comes_together_is_one_batch_and_each_gets_its_own_answer(
    running: Inside, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    accept = running.services.acceptor.accept

    async def counted(project: str, mode: Any, wants: Any) -> Any:
        sizes.append(len(wants))
        return await accept(project, mode, wants)

    monkeypatch.setattr(running.services.acceptor, "accept", counted)
    headers = {"Authorization": f"Bearer {running.test_key}"}
    bodies = [{**GOOD, "reference": f"r{n}"} for n in range(20)] + [{"to": "nobody", "text": "x"}]
    answers = await asyncio.gather(*(wire.post("/v1/messages", body, headers) for body in bodies))
    assert [answer.status for answer in answers] == [202] * 20 + [422]
    ids = [answer.json["id"] for answer in answers[:20]]
    for n, message in enumerate(ids):
        found = (await running.call("GET", f"/v1/messages/{message}", key=running.test_key)).json
        assert found["reference"] == f"r{n}"
    assert (sum(sizes), max(sizes) > 1) == (20, True)


async def test_one_that_breaks_the_batch_takes_no_other_with_it(
    running: Inside, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = running.services.acceptor.accept

    async def breaks(project: str, mode: Any, wants: Any) -> Any:
        if any(want.request.reference == "poison" for want in wants):
            raise RuntimeError("poison")
        return await accept(project, mode, wants)

    monkeypatch.setattr(running.services.acceptor, "accept", breaks)
    headers = {"Authorization": f"Bearer {running.test_key}"}
    bodies = [{**GOOD, "reference": "poison" if n == 3 else "good"} for n in range(8)]
    answers = await asyncio.gather(*(wire.post("/v1/messages", body, headers) for body in bodies))
    assert [answer.status for answer in answers] == [202] * 3 + [500] + [202] * 4
    assert running.app.litestar.state["load"].taken == 0


async def test_pipelined_requests_are_answered_in_order(running: Inside, wire: Wire) -> None:
    headers = {"Authorization": f"Bearer {running.test_key}"}
    posts = b"".join(wire.request("POST", "/v1/messages", {**GOOD, "reference": f"p{n}"}, headers) for n in range(3))
    other = wire.request("GET", "/healthz", None, {})
    answers = await wire.talk([posts + other + posts], 7)
    assert [answer.status for answer in answers] == [202, 202, 202, 200, 202, 202, 202]


async def test_a_caller_that_goes_away_leaves_no_place_taken(running: Inside, wire: Wire) -> None:
    headers = {"Authorization": f"Bearer {running.test_key}"}
    for pieces in (1, 2):
        await wire.talk([wire.request("POST", "/v1/messages", GOOD, headers)][:pieces], 0)
    async with asyncio.timeout(30):
        while running.app.litestar.state["load"].taken:
            await asyncio.sleep(0.01)


async def test_a_connection_that_is_to_close_closes_after_its_answer(running: Inside, wire: Wire) -> None:
    headers = {"Authorization": f"Bearer {running.test_key}", "Connection": "close"}
    answer = await wire.post("/v1/messages", GOOD, headers)  # reads to the end
    assert (answer.status, answer.headers["connection"]) == (202, "close")
