"""A real server whose provider talks to a simulated Meta: what comes back is genuine, kept once, and in any order."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from acceptance.conftest import Answer, Api, start_server, stop_server
from peers.carriers import until
from peers.http_carriers import served
from peers.whatsapp_carriers import CLOUD, MetaCarrier, call, failed, said, signed, status

PERSON, WA_ID = "+14155550123", "14155550123"


class Town:
    """The server, and Meta on both sides of it."""

    def __init__(self, api: Api, carrier: MetaCarrier) -> None:
        self.api, self.carrier = api, carrier

    async def call(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        return await asyncio.to_thread(lambda: self.api.call(method, path, body, **more))

    async def told(
        self, *values: dict[str, Any], secret: str = CLOUD["app_secret"], path: str = "/callbacks/acme"
    ) -> Answer:
        """As Meta calls."""
        request = signed(call(*values), secret)
        headers = {"content-type": "application/json", **request.headers}
        return await self.call("POST", path, request.body, key=None, headers=headers)

    async def sent(self, **fields: Any) -> tuple[str, str]:
        """(id of the message, Meta's id) once it is sent. The person has written before."""
        body = {"to": PERSON, "channel": "whatsapp", "text": "hello", **fields}
        answer = await self.call("POST", "/v1/messages", body)
        assert answer.status == 202, answer.body
        found = await self.ended(answer.json["id"], "sent", "delivered")
        return found["id"], f"wamid.{self.carrier.written}"

    async def ended(self, message: str, *wanted: str) -> Any:
        return await asyncio.to_thread(lambda: self.api.wait_for(message, *wanted))

    async def events(self, message: str) -> list[str]:
        found = (await self.call("GET", f"/v1/messages/{message}/events")).json["data"]
        return [item["type"] for item in found]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    carrier = MetaCarrier()
    carrier.receipts = False
    path: Path = tmp_path_factory.mktemp("whatsapp")
    async with served(carrier) as url:
        config = {**CLOUD, "base_url": url, "allow_networks": ["127.0.0.0/8"], "response_timeout_s": 3}
        lines = ["[[providers]]", 'name = "acme"', 'type = "whatsapp.cloud_api"']
        lines += [f"{key} = {json.dumps(value)}" for key, value in config.items()]
        key = f"tk_live_{secrets.token_hex(24)}"
        process, base = await asyncio.to_thread(
            start_server, path / "data", key, "\n".join([*lines, "[delivery]", "unknown_wait_s = 30"])
        )
        try:
            made = Town(Api(url=base, key=key, data=path / "data"), carrier)
            assert (await made.told(said("wamid.first", "Hi", WA_ID))).status == 200
            yield made
        finally:
            await asyncio.to_thread(stop_server, process)


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    "words", [("sent", "delivered", "read"), ("read", "delivered", "sent"), ("delivered", "read", "sent"), ("read",)]
)
async def test_statuses_in_any_order_and_twice(town: Town, words: tuple[str, ...]) -> None:
    message, ref = await town.sent()
    for word in [*words, *words]:
        assert (await town.told(status(ref, word, WA_ID))).status == 200
    found = await town.ended(message, "delivered")
    assert found["engagement"]["read_at"]
    events = await town.events(message)
    assert (events.count("message.delivered"), events.count("message.read")) == (1, 1)


async def test_a_status_before_the_answer(town: Town) -> None:
    """Meta's callback may overtake its own answer."""
    ref = f"wamid.{town.carrier.written + 1}"
    assert (await town.told(status(ref, "delivered", WA_ID))).status == 200
    message, sent = await town.sent()
    assert sent == ref
    await town.ended(message, "delivered")


async def test_a_failure_says_why_and_delivered_wins(town: Town) -> None:
    message, ref = await town.sent()
    assert (await town.told(failed(ref, 131026))).status == 200
    found = await town.ended(message, "undelivered")
    assert (found["error"]["code"], found["error"]["provider_code"]) == ("undeliverable", "131026")
    assert (await town.told(status(ref, "delivered"))).status == 200
    await town.ended(message, "delivered")


async def test_several_entries_of_several_numbers(town: Town) -> None:
    (first, one), (second, two) = await town.sent(), await town.sent()
    answer = await town.told(status(one, "delivered"), said("wamid.both", "Both", WA_ID), status(two, "read"))
    assert answer.status == 200
    await town.ended(first, "delivered")
    await town.ended(second, "delivered")
    assert "Both" in str((await town.call("GET", "/v1/inbound")).json)


async def test_only_meta_is_heard(town: Town) -> None:
    message, ref = await town.sent()
    assert (await town.told(status(ref, "delivered"), secret="another")).status == 403
    assert (await town.told(status(ref, "delivered"), path="/callbacks/nobody")).status == 404
    good = signed(call(status(ref, "delivered")))
    tampered = good.body.replace(b"delivered", b"read     ")
    assert (await town.call("POST", "/callbacks/acme", tampered, key=None, headers=dict(good.headers))).status == 403
    nonsense = signed(b"[]")
    assert (
        await town.call("POST", "/callbacks/acme", nonsense.body, key=None, headers=dict(nonsense.headers))
    ).status == 400
    await asyncio.sleep(0.2)
    assert (await town.ended(message, "sent"))["status"] == "sent"
    counted = (await town.call("GET", "/metrics", key=None)).body.decode()
    assert 'tidings_callbacks_total{provider="acme",result="forged"} 2.0' in counted
    shown = (await town.call("GET", "/v1/providers/acme")).body.decode()
    assert CLOUD["access_token"] not in shown


async def test_the_challenge(town: Town) -> None:
    query = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token="
    good = await town.call("GET", f"/callbacks/acme?{query}{CLOUD['verify_token']}", key=None)
    assert (good.status, good.body) == (200, b"1158201444")
    assert (await town.call("GET", f"/callbacks/acme?{query}wrong", key=None)).status == 403


async def test_people_write_once_and_to_what_they_answer(town: Town) -> None:
    (first, ref), _ = await town.sent(), await town.sent()
    for _ in range(2):  # Meta repeats what it got no answer to
        assert (await town.told(said("wamid.answer", "To the first", WA_ID, context={"id": ref}))).status == 200
    found = [item for item in (await town.call("GET", "/v1/inbound")).json["data"] if item["text"] == "To the first"]
    assert [(item["from"], item["to"], item["in_reply_to"]) for item in found] == [
        (PERSON, CLOUD["phone_number"], first)
    ]


async def test_the_window_opens_when_they_write(town: Town) -> None:
    other = "+14155550177"
    refused = await town.call("POST", "/v1/messages", {"to": other, "channel": "whatsapp", "text": "hello"})
    found = await town.ended(refused.json["id"], "failed")
    assert (found["error"]["code"], found["attempts"]) == ("outside_window", [])
    template = {"template": {"name": "hello_world", "language": "en_US"}}
    allowed = await town.call("POST", "/v1/messages", {"to": other, "channel": "whatsapp", "content": template})
    await town.ended(allowed.json["id"], "sent")
    assert (await town.told(said("wamid.opens", "Hello?", other[1:]))).status == 200
    answer = await town.call("POST", "/v1/messages", {"to": other, "channel": "whatsapp", "text": "hello"})
    await town.ended(answer.json["id"], "sent")


async def test_people_with_old_ids_are_the_same_people(town: Town) -> None:
    """A Mexican id has a 1 that the number has lost."""
    assert (await town.told(said("wamid.mx", "Hola", "5215512345678"))).status == 200
    await town.sent(to="+525512345678")


async def test_an_unknown_outcome_is_settled_by_our_reference(town: Town) -> None:
    written = town.carrier.written
    town.carrier.answer_next(503, "upstream")
    answer = await town.call("POST", "/v1/messages", {"to": PERSON, "channel": "whatsapp", "text": "lost answer"})
    await until(lambda: town.carrier.written > written)
    own = json.loads(town.carrier.bodies[-1])["biz_opaque_callback_data"]
    await asyncio.sleep(0.3)
    # the id may be written otherwise than the number that we wrote to
    assert (
        await town.told(status("wamid.lost", "delivered", "4155550123", biz_opaque_callback_data=own))
    ).status == 200
    await town.ended(answer.json["id"], "delivered")
    assert town.carrier.written == written + 1
