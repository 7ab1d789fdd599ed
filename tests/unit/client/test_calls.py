"""Retries, idempotency, paging, errors: both clients against a server that answers from a script."""

import datetime as dt
import uuid
from typing import Any

import pytest

from tidings_client import (
    ApiError,
    AsyncTidings,
    BadRequest,
    Conflict,
    ConnectionFailed,
    Forbidden,
    NotFound,
    Policy,
    RateLimited,
    ServerError,
    Tidings,
    TidingsError,
    Unauthorized,
    UnexpectedAnswer,
)  # fmt: skip

SENT = (202, {"id": "msg_1", "status": "accepted", "channel": "sms", "new_field": {"of": "later"}})
IN_FLIGHT = (409, {"code": "idempotency_key_in_flight", "detail": "the first one is not done"})
ENDPOINT = (200, {"id": "whk_1", "url": "http://x", "secret": "whsec_MTIz"})


def send(client: Any) -> Any:
    return client.messages.send(to="+15005550001", text="hello", sender="ACME", lane="otp")


async def test_send_says_what_api_md_says(client: Any, script: Any) -> None:
    script.steps = [SENT]
    message = await client.do(script.url, send)
    (seen,) = script.seen
    assert (message.id, message.status) == ("msg_1", "accepted")
    assert (seen.method, seen.path) == ("POST", "/v1/messages")
    assert seen.body == {"to": "+15005550001", "text": "hello", "from": "ACME", "class": "otp"}
    assert seen.headers["authorization"] == "Bearer tk_test_unit"
    assert uuid.UUID(seen.headers["idempotency-key"])


RETRIED = [
    [(503, {}), SENT],
    [(429, {}), (500, "oops"), (502, "<html>"), SENT],
    ["drop", SENT],
    [IN_FLIGHT, IN_FLIGHT, SENT],
]


@pytest.mark.parametrize("steps", RETRIED, ids=str)
async def test_a_retry_carries_the_same_idempotency_key(client: Any, script: Any, steps: list[Any]) -> None:
    script.steps = list(steps)
    assert (await client.do(script.url, send)).id == "msg_1"
    assert len(script.seen) == len(steps)
    assert len({seen.headers["idempotency-key"] for seen in script.seen}) == 1


async def test_two_sends_have_two_keys_and_a_given_one_is_kept(client: Any, script: Any) -> None:
    script.steps = [SENT]
    await client.do(script.url, send)
    await client.do(script.url, send)
    await client.do(script.url, lambda c: c.messages.send(to="+1", text="x", idempotency_key="mine"))
    keys = [seen.headers["idempotency-key"] for seen in script.seen]
    assert keys[0] != keys[1]
    assert keys[2] == "mine"


async def test_retry_after_is_honoured(client: Any, script: Any) -> None:
    script.steps = [(429, {}, {"Retry-After": "1"}), SENT]
    start = dt.datetime.now(dt.UTC)
    await client.do(script.url, send)
    assert (dt.datetime.now(dt.UTC) - start).total_seconds() >= 1.0


NOT_REPEATED = [
    lambda c: c.webhooks.rotate_secret("whk_1"),
    lambda c: c.webhooks.replay("whk_1", "2026-01-01T00:00:00Z"),
    lambda c: c.webhooks.replay_delivery("whd_1"),
    lambda c: c.providers.upload("p", b"GIF", "image/gif"),
]


@pytest.mark.parametrize("act", NOT_REPEATED, ids=["rotate", "replay", "replay_delivery", "upload"])
async def test_what_the_server_would_do_twice_is_not_repeated(client: Any, script: Any, act: Any) -> None:
    for step, error in ((("drop"), ConnectionFailed), ((500, {"code": "internal"}), ServerError)):
        script.steps, script.seen = [step, ENDPOINT], []
        with pytest.raises(error):
            await client.do(script.url, act)
        assert len(script.seen) == 1


async def test_not_accepted_is_repeated_even_there(client: Any, script: Any) -> None:
    script.steps = [(503, {}), ENDPOINT]
    assert (await client.do(script.url, NOT_REPEATED[0])).secret == "whsec_MTIz"


FINAL = [
    (400, BadRequest), (401, Unauthorized), (403, Forbidden), (404, NotFound), (409, Conflict), (413, BadRequest),
    (422, BadRequest), (507, ServerError),
]  # fmt: skip


@pytest.mark.parametrize(("status", "kind"), FINAL)
async def test_final_answers_raise_at_once(client: Any, script: Any, status: int, kind: type[ApiError]) -> None:
    problem = {
        "code": "some_code", "detail": "do this", "doc_url": "/docs/errors#some_code", "request_id": "req_1",
        "errors": [{"pointer": "/to", "code": "number", "detail": "is no number"}], "new": 1,
    }  # fmt: skip
    script.steps = [(status, problem)]
    with pytest.raises(kind) as caught:
        await client.do(script.url, send)
    error = caught.value
    assert type(error) is kind
    assert len(script.seen) == 1
    assert (error.status, error.code, error.detail, error.request_id) == (status, "some_code", "do this", "req_1")
    assert [(field.pointer, field.code) for field in error.errors] == [("/to", "number")]
    assert "/to: is no number" in str(error)


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimited), (503, ServerError), (500, ServerError)])
async def test_retries_end(client: Any, script: Any, status: int, kind: type[ApiError]) -> None:
    script.steps = [(status, "<html>not a problem</html>")]
    with pytest.raises(kind, match="not a problem"):
        await client.do(script.url, send)
    assert len(script.seen) == 4


async def test_no_server(client: Any, free_port: int) -> None:
    with pytest.raises(ConnectionFailed, match=str(free_port)):
        await client.do(f"http://127.0.0.1:{free_port}", send)


async def test_a_silent_server_times_out(client: Any, script: Any) -> None:
    import asyncio

    async def silent(request: Any) -> Any:
        await asyncio.sleep(1)

    script.steps = [silent]
    with pytest.raises(ConnectionFailed):
        await client.do(script.url, send, Policy(retries=0, timeout_s=0.1))


@pytest.mark.parametrize("body", ["<html>", "[]", '{"id": 5}', "", '{"id": "m\\ud800"'], ids=repr)
async def test_a_success_of_something_else(client: Any, script: Any, body: str) -> None:
    script.steps = [(200, body)]
    with pytest.raises(UnexpectedAnswer):
        await client.do(script.url, lambda c: c.messages.get("msg_1"))


async def test_redirects_are_not_followed_with_the_key(client: Any, script: Any) -> None:
    script.steps = [(307, "", {"Location": "http://127.0.0.1:1/"})]
    with pytest.raises(TidingsError):
        await client.do(script.url, send)
    assert len(script.seen) == 1


async def test_lists_go_on_page_after_page(client: Any, script: Any) -> None:
    script.steps = [
        (200, {"data": [{"id": "msg_3", "status": "sent"}, {"id": "msg_2", "status": "sent"}], "next_cursor": "c/1"}),
        (200, {"data": [], "next_cursor": "c2"}),
        (200, {"data": [{"id": "msg_1", "status": "sent"}], "next_cursor": None}),
    ]
    since = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    found = await client.take(script.url, lambda c: c.messages.list(status="sent", since=since))
    assert [message.id for message in found] == ["msg_3", "msg_2", "msg_1"]
    kept = {"status": "sent", "since": "2026-01-02T00:00:00+00:00"}
    assert [seen.query for seen in script.seen] == [kept, {**kept, "cursor": "c/1"}, {**kept, "cursor": "c2"}]


async def test_a_list_reads_no_page_that_nobody_wants(client: Any, script: Any) -> None:
    script.steps = [(200, {"data": [{"id": "msg_3", "status": "sent"}], "next_cursor": "c"})]
    await client.take(script.url, lambda c: c.messages.list(), 1)
    assert len(script.seen) == 1


PATHS = [
    (lambda c: c.messages.get("../keys?x"), "GET", "/v1/messages/..%2Fkeys%3Fx"),
    (lambda c: c.messages.cancel("m/1"), "POST", "/v1/messages/m%2F1/cancel"),
    (lambda c: c.messages.retry("m"), "POST", "/v1/messages/m/retry"),
    (lambda c: c.webhooks.update("w", status="disabled"), "PATCH", "/v1/webhooks/w"),
    (lambda c: c.webhooks.rotate_secret("w"), "POST", "/v1/webhooks/w/rotate"),
    (lambda c: c.providers.pause("p#"), "POST", "/v1/providers/p%23/pause"),
    (lambda c: c.providers.upload("p#", b"", "image/png"), "POST", "/v1/providers/p%23/media"),
    (lambda c: c.mark_read("i/1"), "POST", "/v1/inbound/i%2F1/read"),
    (lambda c: c.keys.create(name="k", scopes=["*"]), "POST", "/v1/keys"),
    (lambda c: c.projects.create(name="p"), "POST", "/v1/projects"),
    (lambda c: c.health(), "GET", "/readyz"),
]
ANYTHING = {"id": "x", "name": "x", "status": "x", "url": "x", "mode": "x", "type": "x"}


@pytest.mark.parametrize(("act", "method", "path"), PATHS, ids=[path for _, _, path in PATHS])
async def test_paths(client: Any, script: Any, act: Any, method: str, path: str) -> None:
    script.steps = [(200, ANYTHING)]
    await client.do(script.url, act)
    assert (script.seen[0].method, script.seen[0].path) == (method, path)


LISTS = [
    (lambda c: c.messages.events("m/1"), "/v1/messages/m%2F1/events"),
    (lambda c: c.webhooks.deliveries("w/1"), "/v1/webhooks/w%2F1/deliveries"),
    (lambda c: c.receipts.unmatched(), "/v1/receipts"),
    (lambda c: c.providers.templates("p/1"), "/v1/providers/p%2F1/templates"),
    (lambda c: c.projects.list(), "/v1/projects"),
]


@pytest.mark.parametrize(("act", "path"), LISTS, ids=[path for _, path in LISTS])
async def test_list_paths(client: Any, script: Any, act: Any, path: str) -> None:
    script.steps = [(200, {"data": [], "next_cursor": None})]
    assert await client.take(script.url, act) == []
    assert script.seen[0].path == path


async def test_health_asks_once(client: Any, script: Any) -> None:
    script.steps = [(503, {"code": "not_ready", "detail": "drains"})]
    with pytest.raises(ServerError, match="drains"):
        await client.do(script.url, lambda c: c.health())
    assert len(script.seen) == 1


@pytest.mark.parametrize("url", ["", "localhost:8300", "ftp://x", "http://"])
@pytest.mark.parametrize("kind", [Tidings, AsyncTidings])
def test_a_base_url_that_is_none(kind: Any, url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        kind("tk_test_x", url)


def test_both_clients_offer_the_same() -> None:
    def surface(kind: Any) -> dict[str, set[str]]:
        client = kind("tk_test_x")
        parts = {name: value for name, value in vars(client).items() if not name.startswith("_")}
        names = {name: {word for word in dir(part) if not word.startswith("_")} for name, part in parts.items()}
        return names | {"": {word for word in dir(client) if not word.startswith("_")}}

    assert surface(Tidings) == surface(AsyncTidings)
    assert surface(Tidings)["messages"] >= {"send", "send_batch", "preview", "get", "list", "events", "cancel", "retry"}
