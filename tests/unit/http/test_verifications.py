"""`/v1/verifications` over the whole application: two calls, all answers, and what may be seen of it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from http_inside import Answer, Inside, inside
from tidings.http.v1 import verifications
from tidings.kit import limits
from tidings.kit.secrets import digest
from tidings.verify import ask
from tidings.verify.code import typed_code

TO = "+15005550001"


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Inside]:
    async with inside(tmp_path) as made:
        yield made


class Customer:
    """A customer's server: short ways to call."""

    def __init__(self, running: Inside, key: str | None = None) -> None:
        self.running, self.key = running, key or running.test_key

    async def call(self, method: str, path: str, body: Any = None, idempotency: str | None = None) -> Answer:
        headers = {"idempotency-key": idempotency} if idempotency else None
        return await self.running.call(method, f"/v1/verifications{path}", body, key=self.key, headers=headers)

    async def start(self, to: str = TO, **fields: Any) -> Any:
        answer = await self.call("POST", "", {"to": to} | fields)
        assert answer.status == 201, answer.body
        return answer.json

    async def check(self, id: str, code: str, idempotency: str | None = None) -> tuple[int, Any]:
        answer = await self.call("POST", f"/{id}/check", {"code": code}, idempotency)
        told = answer.json
        return answer.status, (told["status"], told["valid"], told["attempts_left"]) if answer.status == 200 else told

    async def code(self, id: str) -> str:
        return (await self.call("GET", f"/{id}/code")).json["code"]

    async def messages(self, id: str) -> list[Any]:
        return (await self.running.call("GET", f"/v1/messages?reference={id}", key=self.key)).json["data"]


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 10 ** len(code):0{len(code)}}"


async def test_two_calls(running: Inside) -> None:
    shop = Customer(running)
    begun = await shop.start(brand="ACME", locale="pt-BR", reference="user-42")
    assert (begun["status"], begun["attempts_left"], begun["sends_left"], begun["to"]) == ("pending", 5, 4, TO)
    code = await shop.code(begun["id"])
    assert (len(code), begun["code_length"]) == (6, 6)
    assert await shop.check(begun["id"], wrong(code)) == (200, ("pending", False, 4))
    assert await shop.check(begun["id"], f"{code[:3]} {code[3:]}") == (200, ("approved", True, 0))
    ended = (await shop.call("GET", f"/{begun['id']}")).json
    assert ended["status"] == "approved"
    assert ended["time_to_verify_ms"] > 0
    status, problem = await shop.check(begun["id"], code)
    assert (status, problem["code"]) == (409, "already_approved")


async def test_what_the_telephone_shows(running: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the wire: the words, the code, the class and the end of the validity."""
    seen: list[Any] = []
    provider: Any = running.services.control._fleet.member("sandbox").provider
    submit = provider.submit
    monkeypatch.setattr(provider, "submit", lambda batch: (seen.extend(batch), submit(batch))[1])
    shop = Customer(running)
    begun = await shop.start(brand="ACME", domain="shop.example.com", valid_for_s=120, code_length=8)
    while not seen:
        await asyncio.sleep(0.01)
    text = b"".join(seen[0].parts).decode("ascii")
    code = await shop.code(begun["id"])
    assert text.startswith(f"ACME: {code} is your")
    assert text.splitlines()[-1].endswith(f"shop.example.com #{code}")
    (message,) = await shop.messages(begun["id"])
    assert (message["class"], message["reference"]) == ("otp", begun["id"])
    assert message["valid_until"] <= begun["expires_at"]
    assert message["valid_until"][:16] == begun["expires_at"][:16] or message["valid_until"] < begun["expires_at"]


async def test_too_many_wrong_codes(running: Inside) -> None:
    shop = Customer(running)
    id = (await shop.start(max_attempts=2))["id"]
    code = await shop.code(id)
    answers = [await shop.check(id, text) for text in (wrong(code), wrong(code), code)]
    assert answers == [
        (200, ("pending", False, 1)),
        (200, ("max_attempts", False, 0)),
        (200, ("max_attempts", False, 0)),
    ]
    resent = await shop.call("POST", f"/{id}/resend", {})
    assert (resent.status, resent.json["code"]) == (409, "verification_ended")


async def test_resending_gives_the_same_code_and_no_new_attempts(
    running: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guessing on and on, with a resend between the guesses, ends where guessing alone would."""
    shop = Customer(running)
    id = (await shop.start())["id"]
    code = await shop.code(id)
    early = await shop.call("POST", f"/{id}/resend", {})
    assert (early.status, early.json["code"]) == (409, "resend_too_soon")
    monkeypatch.setattr("tidings.store.verifying.VERIFY_RESEND_S", 0)
    guesses = [f"{n:06}" for n in range(20) if f"{n:06}" != code]
    ends: list[str] = []
    for n, guess in enumerate(guesses):
        ends.append((await shop.check(id, guess))[1][0])
        resent = await shop.call("POST", f"/{id}/resend", idempotency=f"r{n}")
        assert resent.status in (200, 409)
    assert ends == ["pending"] * 4 + ["max_attempts"] * (len(guesses) - 4)
    assert len(await shop.messages(id)) == limits.VERIFY_SENDS
    assert await shop.code(id) == code


async def test_guessing_over_many_verifications_is_stopped(running: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new code gives new attempts, and the person a number of them a day."""
    monkeypatch.setattr("tidings.policy.velocity._VELOCITY", (("to", "wrong", limits.VERIFY_WRONG_PER_ADDRESS),))
    shop, tried = Customer(running), 0
    while (begun := await shop.call("POST", "", {"to": TO, "max_attempts": 10})).status == 201:
        code = await shop.code(begun.json["id"])
        while (await shop.check(begun.json["id"], wrong(code)))[1][0] == "pending":
            tried += 1
        tried += 1
    assert (begun.status, begun.json["code"]) == (429, "velocity_limited")
    assert tried == limits.VERIFY_WRONG_PER_ADDRESS[1]
    assert int(begun.headers["retry-after"]) > 80_000


async def test_a_check_repeated_with_its_key_says_the_same(running: Inside) -> None:
    shop = Customer(running)
    id = (await shop.start())["id"]
    code = await shop.code(id)
    assert await shop.check(id, wrong(code), "k1") == await shop.check(id, wrong(code), "k1")
    assert await shop.check(id, code, "k2") == (200, ("approved", True, 0))
    assert await shop.check(id, code, "k2") == (200, ("approved", True, 0))
    assert (await shop.check(id, code, "k3"))[0] == 409
    assert (await shop.check(id, code, "k1"))[1]["code"] == "idempotency_key_reused"


async def test_canceling(running: Inside) -> None:
    shop = Customer(running)
    id = (await shop.start())["id"]
    code = await shop.code(id)
    for _ in range(2):
        canceled = await shop.call("POST", f"/{id}/cancel")
        assert (canceled.status, canceled.json["status"], canceled.json["reason"]) == (200, "canceled", "canceled")
    assert await shop.check(id, code) == (200, ("canceled", False, 0))


async def test_velocity(running: Inside) -> None:
    shop = Customer(running)
    _, most = limits.VERIFY_STARTS_PER_ADDRESS
    answers = [await shop.call("POST", "", {"to": TO}) for _ in range(most + 1)]
    assert [answer.status for answer in answers] == [201] * most + [429]
    assert answers[-1].json["code"] == "velocity_limited"
    assert 0 < int(answers[-1].headers["retry-after"]) <= limits.VERIFY_STARTS_PER_ADDRESS[0]
    await shop.start("+15005550002")


async def test_pumping_and_the_operator_s_word(running: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "VERIFY_PUMPING_GRACE_S", -1)
    shop = Customer(running)
    sample, _ = limits.VERIFY_PUMPING_BLOCK
    for n in range(sample):
        await shop.start(f"+4915112340{n:03}")
    refused = await shop.call("POST", "", {"to": "+4915112340999"})
    assert (refused.status, refused.json["code"]) == (403, "pumping_suspected")
    await shop.start("+4915212340999")
    assert (await shop.call("POST", "/prefixes", {"prefix": "+49151"})).json == {"prefix": "+49151"}
    await shop.start("+4915112340999")
    assert [item["prefix"] for item in (await shop.call("GET", "/prefixes")).json["data"]] == ["+49151"]
    assert (await shop.call("DELETE", "/prefixes/+49151")).status == 204
    assert (await shop.call("DELETE", "/prefixes/+49151")).status == 404
    assert (await shop.call("POST", "", {"to": "+4915112340999"})).status == 403


async def test_lists_and_numbers(running: Inside) -> None:
    shop = Customer(running)
    first, second = await shop.start(reference="a"), await shop.start("+15005550002", reference="b")
    await shop.check(first["id"], await shop.code(first["id"]))
    for query, ids in (
        ("", [second["id"], first["id"]]),
        ("?status=approved", [first["id"]]),
        ("?reference=b", [second["id"]]),
        ("?to=%2B15005550002", [second["id"]]),
        ("?limit=1", [second["id"]]),
    ):
        page = (await shop.call("GET", query)).json
        assert [item["id"] for item in page["data"]] == ids
    rest = (await shop.call("GET", f"?limit=1&cursor={page['next_cursor']}")).json
    assert [item["id"] for item in rest["data"]] == [first["id"]]
    (row,) = (await shop.call("GET", "/stats")).json["data"]
    assert (row["started"], row["approved"], row["pending"], row["conversion"]) == (2, 1, 1, 1.0)
    assert row["time_to_verify_ms"]["p50"] > 0
    assert (await shop.call("GET", "/stats?since=2026-01-01T00:00:00Z")).status == 422


async def test_another_project_and_the_other_mode_find_nothing(running: Inside) -> None:
    """All answers to a stranger are those for an id that never was."""
    id = (await Customer(running).start())["id"]
    project = await running.call("POST", "/v1/projects", {"name": "stranger"}, key=running.live_key)
    wanted = {"name": "s", "mode": "test", "scopes": ["verify:*"], "project": project.json["id"]}
    stranger = (await running.call("POST", "/v1/keys", wanted, key=running.live_key)).json["key"]
    code = await Customer(running).code(id)
    for key in (stranger, running.live_key):
        other = Customer(running, key)
        for method, verb, body in (
            ("GET", "", None), ("GET", "/code", None), ("POST", "/check", {"code": code}), ("POST", "/resend", {}),
            ("POST", "/cancel", None),
        ):  # fmt: skip
            answers = [await other.call(method, f"/{one}{verb}", body) for one in (id, "ver_" + "0" * 32)]
            assert [answer.status for answer in answers] == [404, 404]
            assert answers[0].json["detail"] == answers[1].json["detail"]
        assert (await other.call("GET", "")).json["data"] == []
        assert (await other.call("GET", "/stats")).json["data"] == []
    assert (await Customer(running).check(id, code))[1][0] == "approved"


async def test_without_the_filter_a_stranger_would_find_it(running: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    id = (await Customer(running).start())["id"]
    project = await running.call("POST", "/v1/projects", {"name": "stranger"}, key=running.live_key)
    wanted = {"name": "s", "mode": "test", "scopes": ["verify"], "project": project.json["id"]}
    stranger = Customer(running, (await running.call("POST", "/v1/keys", wanted, key=running.live_key)).json["key"])
    assert (await stranger.call("GET", f"/{id}")).status == 404
    engine = running.services.store.engine
    read = engine.read

    class Blind:
        def __init__(self, connection: Any) -> None:
            self._connection = connection

        def execute(self, sql: str, *values: Any) -> Any:
            return self._connection.execute(sql.replace("v.project = ?", "(v.project = ? or 1)"), *values)

    monkeypatch.setattr(engine, "read", lambda fn: read(lambda connection: fn(Blind(connection))))
    assert (await stranger.call("GET", f"/{id}")).json["id"] == id


async def test_its_message_is_sent_again_only_by_a_resend(running: Inside) -> None:
    """Else a retry would be a way round the number of sends and the end of the validity."""
    shop = Customer(running)
    id = (await shop.start("+15005550002"))["id"]
    while (message := (await shop.messages(id))[0])["status"] != "undelivered":
        await asyncio.sleep(0.01)
    retried = await running.call("POST", f"/v1/messages/{message['id']}/retry", key=running.test_key)
    assert (retried.status, retried.json["code"]) == (409, "verification")


class Hook:
    """A customer's webhook endpoint."""

    def __init__(self) -> None:
        self.bodies: list[str] = []

    async def take(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.text())
        return web.Response()


@pytest.fixture
async def hook(running: Inside) -> AsyncIterator[Hook]:
    made = Hook()
    app = web.Application()
    app.router.add_post("/", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    endpoint = {"url": f"http://127.0.0.1:{port}/", "types": ["verification.*", "message.*"]}
    assert (await running.call("POST", "/v1/webhooks", endpoint, key=running.live_key)).status == 201
    yield made
    await runner.cleanup()


TOLD = {"verification.started", "verification.approved", "verification.canceled", "message.sent", "message.delivered"}


async def leaks(running: Inside, hook: Hook, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Where a code can be read by who should not: after one was sent, guessed, right, repeated; and one canceled."""
    caplog.set_level(logging.DEBUG)
    shop = Customer(running)
    id = (await shop.start(code_length=10, brand="ACME"))["id"]
    code = await shop.code(id)
    await shop.check(id, wrong(code), "k1")
    await shop.check(id, code, "k2")
    await shop.check(id, code)
    gone = (await shop.start("+15005550002", code_length=10))["id"]
    codes = [code, await shop.code(gone)]
    await shop.call("POST", f"/{gone}/cancel")
    async with asyncio.timeout(30):
        while not {json.loads(body)["type"] for body in hook.bodies} >= TOLD:
            await asyncio.sleep(0.02)
    places = {"log": caplog.text, "webhooks": "".join(hook.bodies)}
    for path in ("/v1/events?limit=200", "/v1/messages", "/v1/verifications"):
        places[path] = (await running.call("GET", path, key=running.test_key)).body.decode()
    engine: Any = running.services.store.engine
    places["files"] = b"".join(path.read_bytes() for path in engine.path.parent.iterdir()).decode("latin-1")
    found = [place for place, text in places.items() for code in codes if code in text]
    body = json.dumps({"code": code}).encode()
    if digest(f"/v1/verifications/{id}/check\n".encode() + body) in places["files"]:
        found.append("a plain hash of ten digits, which is as good as the digits")
    return found


async def test_nothing_tells_the_code(running: Inside, hook: Hook, caplog: pytest.LogCaptureFixture) -> None:
    assert await leaks(running, hook, caplog) == []


async def test_a_webhook_tells_no_address(running: Inside, hook: Hook, caplog: pytest.LogCaptureFixture) -> None:
    await leaks(running, hook, caplog)
    told = [json.loads(body) for body in hook.bodies if json.loads(body)["type"].startswith("verification.")]
    assert not any(TO in json.dumps(body) or "{{" in json.dumps(body) for body in told)
    approved = next(body["data"] for body in told if body["type"] == "verification.approved")
    assert (approved["status"], approved["attempts"], approved["mode"]) == ("approved", 1, "test")
    assert approved["time_to_verify_ms"] > 0


def _in_the_text(patch: pytest.MonkeyPatch) -> None:
    make = ask.message_of

    def literal(terms: ask.Terms, code: str, *rest: Any) -> Any:
        return msgspec.structs.replace(make(terms, code, *rest), text=code, data=None)

    patch.setattr(ask, "message_of", literal)


def _in_a_plain_hash(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(verifications, "_sealed", lambda request, claim: claim)


def _in_the_log(patch: pytest.MonkeyPatch) -> None:
    judge = typed_code

    def loud(text: str) -> str | None:
        logging.getLogger("tidings").info("checking %s", text)
        return judge(text)

    patch.setattr(verifications, "typed_code", loud)


SABOTEURS = {
    _in_the_text: {"webhooks", "/v1/messages"},
    _in_a_plain_hash: {"a plain hash of ten digits, which is as good as the digits"},
    _in_the_log: {"log"},
}


@pytest.mark.parametrize("saboteur", SABOTEURS)
async def test_a_code_that_is_told_is_found(
    running: Inside, hook: Hook, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, saboteur: Any
) -> None:
    saboteur(monkeypatch)
    assert set(await leaks(running, hook, caplog)) == SABOTEURS[saboteur]
