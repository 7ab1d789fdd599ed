"""A server that does what it is asked and whose answer gets lost: the retry must not do it twice."""

from typing import Any

import pytest
from aiohttp import web

from tidings_client import Conflict


class Committer:
    """Keeps idempotency keys as api.md says, and loses its first answers after the work is done."""

    def __init__(self, lost: int) -> None:
        self.lost = lost
        self.by_key: dict[str, str] = {}
        self.requests = 0

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        key = request.headers["Idempotency-Key"]
        replayed = key in self.by_key
        made = self.by_key.setdefault(key, f"msg_{len(self.by_key) + 1}")
        if self.requests <= self.lost:
            assert request.transport is not None
            request.transport.abort()
        headers = {"Idempotency-Replayed": "true"} if replayed else {}
        return web.json_response({"id": made, "status": "accepted", "channel": "sms"}, status=202, headers=headers)


@pytest.mark.parametrize("lost", [0, 1, 3])
async def test_a_lost_answer_makes_no_second_message(client: Any, script: Any, lost: int) -> None:
    server = Committer(lost)
    script.steps = [server]
    message = await client.do(script.url, lambda c: c.messages.send(to="+15005550001", text="hello"))
    assert message.id == "msg_1"
    assert (len(server.by_key), server.requests) == (1, lost + 1)


async def test_a_batch_takes_the_same_words_as_a_send(client: Any, script: Any) -> None:
    problem = {
        "code": "invalid_request",
        "detail": "no",
        "status": 422,
        "errors": [{"pointer": "/to", "code": "number"}],
    }
    script.steps = [(202, {"data": [{"id": "msg_1", "status": "accepted", "channel": "sms"}, {"error": problem}]})]
    wanted = [
        {"to": "+15005550001", "text": "a", "sender": "ACME", "lane": "otp"},
        {"to": "x", "text": "b", "from": "B"},
    ]
    batch = await client.do(script.url, lambda c: c.messages.send_batch(wanted))
    assert script.seen[0].path == "/v1/messages/batch"
    assert script.seen[0].body == {
        "messages": [
            {"to": "+15005550001", "text": "a", "from": "ACME", "class": "otp"}, {"to": "x", "text": "b", "from": "B"},
        ]
    }  # fmt: skip
    good, bad = batch.data
    assert (good.id, good.error) == ("msg_1", None)
    assert (bad.id, bad.error.code, bad.error.errors[0]["pointer"]) == (None, "invalid_request", "/to")


async def test_a_conflict_whose_text_names_the_flight_is_final(client: Any, script: Any) -> None:
    """Only the code says that the first request is still on its way; the detail may quote anything."""
    script.steps = [(409, {"code": "conflict", "detail": "a provider named in_flight exists"})]
    with pytest.raises(Conflict, match="409 conflict"):
        await client.do(script.url, lambda c: c.providers.create(name="in_flight", type="sms.smpp", config={}))
    assert len(script.seen) == 1
