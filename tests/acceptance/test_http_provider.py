"""`sms.http` with the configurations that its page shows, word for word, through the real server.

Nobody publishes a mock of these three that could be had here, so the judge is a small server that answers as their
documents say; what it checks of a request is written from the same documents, not from our templates.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import os
import re
import secrets
import tomllib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from aiohttp import web

from acceptance.conftest import Answer, Api, start_server, stop_server
from peers.http_carriers import FAST, HttpCarrier, served

PAGE = Path(__file__).resolve().parents[2] / "docs" / "providers" / "http.md"
BLOCKS = {
    tomllib.loads(text)["providers"][0]["name"]: text
    for text in re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.S)
}
TO, OWN, SECRET = "+4915112345678", "+4930123456", "s3cr3t-of-the-test"
USER = "user1234"  # an account's name is shown; everything else that the blocks take from the environment is not
LONG = 'Grüße 😀 & "quotes" <tags> {braces} \\ 100 %\n+plus'


class Aggregator(HttpCarrier):
    """Answers as documented; `check` is what the document demands of a request."""

    def __init__(self, check: Callable[[web.Request, bytes], Any], answer: Callable[[int], tuple[int, Any]]) -> None:
        super().__init__()
        self._check, self._answer = check, answer
        self.texts: list[str] = []

    def accept(self, request: web.Request, body: bytes) -> web.Response:
        self.texts.append(self._check(request, body))
        status, value = self._answer(self.written)
        return web.json_response(value, status=status)


def _vonage(request: web.Request, body: bytes) -> str:
    assert (request.method, request.path) == ("POST", "/sms/json")
    assert request.content_type == "application/x-www-form-urlencoded"
    fields = dict(parse_qsl(body.decode(), strict_parsing=True))
    assert (fields["api_key"], fields["api_secret"]) == (USER, SECRET)
    assert re.fullmatch(r"\d{7,15}", fields["to"])
    assert fields["to"] == TO[1:]
    assert fields["from"] == OWN[1:]
    assert fields["type"] == ("text" if fields["text"].isascii() else "unicode")
    assert 20_000 <= int(fields.get("ttl", 20_000)) <= 604_800_000
    assert len(fields["client-ref"]) <= 40
    assert len(fields["callback"]) <= 100
    return fields["text"]


def _infobip(request: web.Request, body: bytes) -> str:
    assert (request.method, request.path) == ("POST", "/sms/3/messages")
    assert request.headers["Authorization"] == f"App {SECRET}"
    value = json.loads(body)
    assert set(value) == {"messages"}
    (message,) = value["messages"]
    assert message["sender"] == OWN[1:]
    assert message["destinations"] == [{"to": TO[1:]}]
    assert message["webhooks"]["delivery"] == {"url": "https://sms.example.com/callbacks/infobip"}
    assert message["webhooks"]["callbackData"].isdigit()
    if "options" in message:
        period = message["options"]["validityPeriod"]
        assert isinstance(period["amount"], int)
        assert 1 <= period["amount"] <= 172_800
        assert period["timeUnit"] == "SECONDS"
    return message["content"]["text"]


def _plivo(request: web.Request, body: bytes) -> str:
    assert (request.method, request.path) == ("POST", f"/v1/Account/{USER}/Message/")
    assert request.headers["Authorization"] == "Basic " + base64.b64encode(f"{USER}:{SECRET}".encode()).decode()
    value = json.loads(body)
    assert value.keys() == {"src", "dst", "text", "url"}
    assert (value["src"], value["dst"]) == (OWN[1:], TO[1:])
    assert value["url"] == "https://sms.example.com/callbacks/plivo"
    return value["text"]


def _answers() -> dict[str, tuple[Any, Any]]:
    """(check of a request, documented answer to the n-th)."""
    return {
        "vonage": (
            _vonage,
            lambda n: (
                200,
                {"message-count": "1", "messages": [{"to": TO[1:], "message-id": f"0A{n:014X}", "status": "0"}]},
            ),
        ),
        "infobip": (
            _infobip,
            lambda n: (
                200,
                {
                    "bulkId": "b",
                    "messages": [
                        {
                            "messageId": f"ib-{n}",
                            "status": {"groupId": 1, "groupName": "PENDING", "id": 26, "name": "PENDING_ACCEPTED"},
                            "destination": TO[1:],
                        }
                    ],
                },
            ),
        ),
        "plivo": (
            _plivo,
            lambda n: (202, {"message": "message(s) queued", "message_uuid": [f"pl-{n}"], "api_id": "x"}),
        ),
    }


def _ref(name: str, n: int) -> str:
    return {"vonage": f"0A{n:014X}", "infobip": f"ib-{n}", "plivo": f"pl-{n}"}[name]


Call = tuple[str, dict[str, str], bytes]


def _receipt(name: str, ref: str, good: bool, secret: str = SECRET) -> Call:
    """A receipt as documented: (query, headers, body)."""
    if name == "vonage":
        status = "delivered" if good else "expired"
        said = {"msisdn": TO[1:], "to": OWN[1:], "messageId": ref, "status": status, "err-code": "0" if good else "1"}
        return f"?token={secret}", {"Content-Type": "application/json"}, json.dumps(said).encode()
    if name == "infobip":
        item = {
            "messageId": ref, "to": TO[1:], "sender": OWN[1:],
            "status": {"groupName": "DELIVERED" if good else "UNDELIVERABLE"}, "error": {"name": "NO_ERROR" if good else "EC_1"},
        }  # fmt: skip
        other = item | {"messageId": "of-another-system", "status": {"groupName": "PENDING"}}
        login = base64.b64encode(f"infobip:{secret}".encode()).decode()
        headers = {"Content-Type": "application/json", "Authorization": f"Basic {login}"}
        return "", headers, json.dumps({"results": [other, item]}).encode()
    said = {"From": OWN[1:], "To": TO[1:], "MessageUUID": f"{ref}-part", "ParentMessageUUID": ref, "ErrorCode": "000"}
    return _signed_by_plivo(said | {"Status": "delivered" if good else "undelivered"}, secret)


def _signed_by_plivo(fields: dict[str, str], secret: str) -> Call:
    nonce = "12345678901234567890"
    made = hmac.new(secret.encode(), f"https://sms.example.com/callbacks/plivo{nonce}".encode(), "sha256").digest()
    headers = {
        "Content-Type": "application/x-www-form-urlencoded", "X-Plivo-Signature-V2-Nonce": nonce,
        "X-Plivo-Signature-V2": base64.b64encode(made).decode(),
    }  # fmt: skip
    return "", headers, urlencode(fields).encode()


def _message(name: str) -> Call:
    """A person's message as documented."""
    if name == "vonage":
        said: Any = {
            "msisdn": TO[1:],
            "to": OWN[1:],
            "messageId": "in-1",
            "text": "Ja 😀",
            "type": "unicode",
            "keyword": "JA",
        }
    elif name == "infobip":
        item = {"messageId": "in-1", "from": TO[1:], "to": OWN[1:], "text": "Ja 😀", "cleanText": "😀", "smsCount": 1}
        said = {"results": [item], "messageCount": 1, "pendingMessageCount": 0}
    else:
        return _signed_by_plivo(
            {"From": TO[1:], "To": OWN[1:], "Type": "sms", "Text": "Ja 😀", "MessageUUID": "in-1"}, SECRET
        )
    query, headers, _ = _receipt(name, "", True)
    return query, headers, json.dumps(said).encode()


def _refusals(name: str) -> list[tuple[int, Any, str]]:
    """Documented refusals: (status, body, our code)."""
    if name == "vonage":
        return [(200, {"message-count": "1", "messages": [{"status": "15", "error-text": "no"}]}, "invalid_sender")]
    if name == "infobip":
        status = {"groupId": 5, "groupName": "REJECTED", "id": 6, "name": "REJECTED_NETWORK"}
        return [
            (200, {"messages": [{"messageId": "x", "status": status}]}, "invalid_recipient"),
            (400, {"requestError": {"serviceException": {"messageId": "BAD_REQUEST"}}}, "refused"),
        ]
    return [(400, {"api_id": "x", "error": "dst parameter is not valid"}, "refused")]


class Town:
    """The real server with one provider of the page, and its aggregator."""

    def __init__(self, name: str, api: Api, carrier: Aggregator) -> None:
        self.name, self.api, self.carrier = name, api, carrier

    async def call(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        return await asyncio.to_thread(lambda: self.api.call(method, path, body, **more))

    async def back(self, call: Call) -> int:
        query, headers, body = call
        return (await self.call("POST", f"/callbacks/{self.name}{query}", body, key=None, headers=headers)).status

    async def send(self, *statuses: str, **fields: Any) -> Any:
        answer = await self.call("POST", "/v1/messages", {"to": TO, "from": OWN, "text": "hello", **fields})
        assert answer.status == 202, answer.body
        return await self.status(answer.json["id"], *statuses)

    async def status(self, message: str, *wanted: str) -> Any:
        return await asyncio.to_thread(lambda: self.api.wait_for(message, *wanted))


@pytest.fixture(params=sorted(BLOCKS))
async def town(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Town]:
    name = request.param
    block = BLOCKS[name]
    for key, variable in re.findall(r'(\w+) = "env:(\w+)"', block):
        monkeypatch.setitem(os.environ, variable, USER if key == "username" else SECRET)
    carrier = Aggregator(*_answers()[name])
    async with served(carrier) as url:
        block, swapped = re.subn(r'(?m)^url = "https://[^/"]+', f'url = "{url}', block)
        fast = "\n".join(f"{key} = {json.dumps(value)}" for key, value in FAST.items())
        block = block.replace('type = "sms.http"\n', f'type = "sms.http"\n{fast}\n', 1)
        block = re.sub(r"rate_per_s = \d+\n", "", block)
        assert swapped == 1
        key = f"tk_live_{secrets.token_hex(24)}"
        process, base = await asyncio.to_thread(start_server, tmp_path / "data", key, block)
        try:
            yield Town(name, Api(url=base, key=key, data=tmp_path / "data"), carrier)
        finally:
            await asyncio.to_thread(stop_server, process)


def test_the_page_shows_three() -> None:
    assert sorted(BLOCKS) == ["infobip", "plivo", "vonage"]


async def test_out_and_back(town: Town) -> None:
    first = await town.send("sent", valid_for_s=90)
    second = await town.send("sent", text=LONG)
    assert town.carrier.texts == ["hello", LONG]
    assert await town.back(_receipt(town.name, _ref(town.name, 1), good=True, secret="wrong-secret")) == 403
    assert (await town.status(first["id"], "sent"))["status"] == "sent"
    assert await town.back(_receipt(town.name, _ref(town.name, 1), good=True)) in (200, 204)
    await town.status(first["id"], "delivered")
    assert await town.back(_receipt(town.name, _ref(town.name, 2), good=False)) in (200, 204)
    await town.status(second["id"], "undelivered")
    for _ in range(2):  # it comes again where our answer was lost
        assert await town.back(_message(town.name)) in (200, 204)
    heard = (await town.call("GET", "/v1/inbound")).json["data"]
    assert [(item["from"], item["to"], item["text"]) for item in heard] == [(TO, OWN, "Ja 😀")]
    for status, body, code in _refusals(town.name):
        town.carrier.answer_next(status, body, {"Content-Type": "application/json"})
        assert code in str(await town.send("failed"))
    shown = (await town.call("GET", f"/v1/providers/{town.name}")).body.decode()
    assert SECRET not in shown
    assert "redacted" in shown


async def test_a_tenant_opens_no_private_network(town: Town) -> None:
    """Over the API the guard cannot be loosened, nor a secret written where it would be shown."""
    config = {"request": {"url": "https://127.0.0.1/x", "form": {"to": "{to}"}}}
    for more, pointer in (
        ({"allow_networks": ["127.0.0.0/8"]}, "allow_networks"),
        ({"request": {"url": "https://a.example", "headers": {"X-Api-Key": "abc"}}}, "/request/headers/X-Api-Key"),
        ({"request": {"url": "https://a.example", "form": {"to": "{too}"}}}, "/request/form/to"),
    ):
        body = {"name": "mine", "type": "sms.http", "config": config | more}
        answer = await town.call("POST", "/v1/providers", body)
        assert answer.status == 422, answer.body
        assert pointer in answer.body.decode()
