"""What goes wrong between the store and the carrier, and that nothing says the code."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from http_inside import Inside, inside
from tidings.domain.errors import Overloaded
from tidings.domain.verification import Worth
from tidings.kit.ids import new_id
from tidings.verify.expiry import Expiry

START = {"to": "+15005550001"}


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Inside]:
    async with inside(tmp_path) as made:
        yield made


async def messages(running: Inside, verification: str) -> list[Any]:
    page = await running.call("GET", f"/v1/messages?reference={verification}", key=running.test_key)
    return page.json["data"]


async def start(running: Inside, body: Any = None, *, key: str | None = None, idempotency: str | None = None) -> Any:
    headers = {"idempotency-key": idempotency} if idempotency else {}
    return await running.call("POST", "/v1/verifications", body or START, key=key or running.test_key, headers=headers)


class Refusing:
    """An acceptor that refuses so many times."""

    def __init__(self, acceptor: Any, times: int, error: Exception) -> None:
        self._acceptor, self._times, self._error = acceptor, times, error

    async def accept(self, *asked: Any) -> Any:
        self._times -= 1
        if self._times >= 0:
            raise self._error
        return await self._acceptor.accept(*asked)


async def test_what_is_not_accepted_is_as_if_never_asked(running: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    service = running.services.verify
    refusing = Refusing(running.services.acceptor, 1, Overloaded("full", status=503))
    monkeypatch.setattr(service, "_acceptor", refusing)
    first = await start(running, idempotency="k")
    assert first.status == 503
    again = await start(running, idempotency="k")
    assert (again.status, again.headers.get("idempotency-replayed")) == (201, None)
    listed = (await running.call("GET", "/v1/verifications", key=running.test_key)).json["data"]
    assert [(item["status"], item["reason"], item["sends"]) for item in listed] == [
        ("pending", None, 1),
        ("canceled", "not_sent", 0),
    ]
    assert len(await messages(running, again.json["id"])) == 1


async def test_a_crash_before_the_message_is_mended_by_asking_again(
    running: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        running.services.verify, "_acceptor", Refusing(running.services.acceptor, 1, RuntimeError("killed"))
    )
    assert (await start(running, idempotency="k")).status == 500
    again = await start(running, idempotency="k")
    assert (again.status, again.headers["idempotency-replayed"]) == (201, "true")
    third = await start(running, idempotency="k")
    assert third.json["id"] == again.json["id"]
    assert len(await messages(running, again.json["id"])) == 1
    assert (await start(running, {"to": "+15005550002"}, idempotency="k")).json["code"] == "idempotency_key_reused"


async def test_without_a_provider_nothing_begins(running: Inside) -> None:
    answer = await start(running, key=running.live_key)
    assert (answer.status, answer.json["code"]) == (422, "no_provider")
    for n in range(7):  # and it does not count
        assert (await start(running, key=running.live_key, idempotency=f"k{n}")).json["code"] == "no_provider"


async def test_a_resend_that_is_not_accepted_does_not_count(running: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    id = (await start(running)).json["id"]
    monkeypatch.setattr("tidings.store.verifying.VERIFY_RESEND_S", 0)
    refusing = Refusing(running.services.acceptor, 1, Overloaded("full", status=503))
    monkeypatch.setattr(running.services.verify, "_acceptor", refusing)
    assert (await running.call("POST", f"/v1/verifications/{id}/resend", {}, key=running.test_key)).status == 503
    again = await running.call("POST", f"/v1/verifications/{id}/resend", key=running.test_key)
    assert (again.status, again.json["sends"]) == (200, 2)
    assert len(await messages(running, id)) == 2


async def jobs(running: Inside, verification: str) -> list[str]:
    """Kinds of the jobs that its messages still have."""
    sql = "select j.kind from jobs j join messages m on m.id = j.message where m.reference = ?"
    engine: Any = running.services.store.engine
    return [row[0] for row in await engine.read(lambda connection: list(connection.execute(sql, (verification,))))]


CHAIN = {
    "to": {"phone": "+15005550004", "email": "delivered@sandbox.test"}, "channels": ["sms", "email"], "max_attempts": 1,
    "fallback": {"after_s": 3600, "on": ["not_delivered"]},
}  # fmt: skip


async def carriers(running: Inside) -> None:
    """Live ones: the sandbox's for SMS, and a mail server that is not there."""
    control: Any = running.services.control
    sms = {"name": "sms", "type": "sms.smpp", "config": control._fleet.spec("sandbox").config}
    mail = {
        "name": "mail",
        "type": "email.smtp",
        "config": {"host": "127.0.0.1", "port": 9, "sender": "shop@example.com"},
    }
    for body in (sms, mail):
        made = await running.call("POST", "/v1/providers", body, key=running.live_key)
        assert made.status == 201, made.body


@pytest.mark.parametrize("end", ["approved", "max_attempts", "canceled"])
async def test_no_other_channel_is_tried_for_a_code_that_is_of_no_use(running: Inside, end: str) -> None:
    """The carrier never tells that it was delivered, but the person has typed it."""
    await carriers(running)
    id = (await start(running, CHAIN, key=running.live_key)).json["id"]
    async with asyncio.timeout(30):
        while await jobs(running, id) != ["fallback"]:
            await asyncio.sleep(0.01)
    (message,) = await messages(running, id)
    stored = (await running.services.store.messages.load(running.services.ring, message["project"], [message["id"]]))[
        message["id"]
    ]
    code = (stored.message.personal.data or {})["code"]
    path, body = "check", {"code": code if end == "approved" else f"{10**6 - int(code) - 1:06}"}
    if end == "canceled":
        path, body = "cancel", {}
    told = await running.call("POST", f"/v1/verifications/{id}/{path}", body, key=running.live_key)
    assert (told.status, told.json["status"]) == (200, end)
    assert await jobs(running, id) == []
    assert [message["status"] for message in await messages(running, id)] == ["sent"]


async def test_a_message_that_waits_is_canceled_with_it(running: Inside) -> None:
    dead = {"host": "127.0.0.1", "port": 9, "system_id": "x", "password": "x"}
    body = {"name": "dead", "type": "sms.smpp", "config": dead}
    assert (await running.call("POST", "/v1/providers", body, key=running.live_key)).status == 201
    id = (await start(running, key=running.live_key)).json["id"]
    await running.call("POST", f"/v1/verifications/{id}/cancel", key=running.live_key)
    assert [message["status"] for message in await messages(running, id)] == ["canceled"]


async def test_nobody_has_to_ask_for_its_end(running: Inside) -> None:
    id = (await start(running, {**START, "valid_for_s": 30})).json["id"]
    services = running.services
    expiry = Expiry(services.store, services.bus, lambda: services.now() + 30_000)
    assert await expiry.turn() is False
    found = (await running.call("GET", f"/v1/verifications/{id}", key=running.test_key)).json
    assert (found["status"], found["resend_at"], found["attempts_left"]) == ("expired", None, 0)
    await expiry.start()
    await expiry.stop()


@pytest.mark.parametrize(("days", "status"), [(29, 200), (31, 404)])
async def test_what_ended_is_forgotten_after_the_days_that_it_is_kept(running: Inside, days: int, status: int) -> None:
    id = (await start(running, idempotency="k")).json["id"]
    await running.call("POST", f"/v1/verifications/{id}/cancel", key=running.test_key)
    services = running.services
    assert await Expiry(services.store, services.bus, lambda: services.now() + days * 86_400_000, 30).turn() is False
    assert (await running.call("GET", f"/v1/verifications/{id}", key=running.test_key)).status == status
    listed = await running.call("GET", "/v1/events", key=running.test_key)
    assert id in listed.body.decode(), "what happened stays in the log"


async def test_a_code_is_worth_what_the_server_is_set_to(running: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    worth = Worth(code_length=8, valid_for_s=120, max_attempts=2)
    monkeypatch.setattr(running.services.verify, "worth", worth)
    made = (await start(running)).json
    code = (await running.call("GET", f"/v1/verifications/{made['id']}/code", key=running.test_key)).json["code"]
    assert (made["code_length"], len(code), made["attempts_left"]) == (8, 8, 2)
    lives = dt.datetime.fromisoformat(made["expires_at"]) - dt.datetime.fromisoformat(made["created_at"])
    assert lives.total_seconds() == 120
    asked = (await start(running, {**START, "code_length": 5, "max_attempts": 7, "valid_for_s": None})).json
    assert (asked["code_length"], asked["attempts_left"]) == (5, 7)


async def test_a_failing_look_is_not_the_last(running: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    services, turns = running.services, asyncio.Semaphore(0)
    expiry = Expiry(services.store, services.bus, services.now)
    monkeypatch.setattr("tidings.verify.expiry.VERIFY_SWEEP_S", 0.001)

    async def fails() -> bool:
        turns.release()
        raise ValueError("broken")

    monkeypatch.setattr(expiry, "turn", fails)
    await expiry.start()
    for _ in range(3):
        await turns.acquire()
    await expiry.stop()


async def test_erased_means_no_more_messages(running: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    id = (await start(running)).json["id"]
    monkeypatch.setattr("tidings.store.verifying.VERIFY_RESEND_S", 0)

    def erase(connection: Any, items: list[str]) -> list[None]:
        connection.execute("delete from personal where owner = ?", (items[0],))
        return [None]

    await running.services.store.engine.write(erase, [id])
    found = (await running.call("GET", f"/v1/verifications/{id}", key=running.test_key)).json
    assert found["to"] is None
    refused = await running.call("POST", f"/v1/verifications/{id}/resend", {}, key=running.test_key)
    assert (refused.status, refused.json["code"]) == (409, "erased")
    checked = await running.call("POST", f"/v1/verifications/{id}/check", {"code": "1"}, key=running.test_key)
    assert checked.json["status"] == "pending"


async def test_ids_of_nothing(running: Inside) -> None:
    for verb, body in (("check", {"code": "1"}), ("resend", {}), ("cancel", None)):
        answer = await running.call("POST", f"/v1/verifications/{new_id('ver')}/{verb}", body, key=running.test_key)
        assert (answer.status, answer.json["code"]) == (404, "not_found")
