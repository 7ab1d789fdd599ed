"""`sms.twilio` before its judges: Prism on Twilio's published OpenAPI, and the official SDK that signs callbacks."""

from __future__ import annotations

import asyncio
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from twilio.request_validator import RequestValidator

from acceptance.conftest import Answer, Api, start_server, stop_server
from peers.carriers import RecordingSink, submission, until
from peers.http_carriers import PUBLIC, SID, TOKEN, TwilioCarrier, served, twilio_carrier
from peers.prism import prism, spec
from tidings.channels.contract import ProviderSpec
from tidings.channels.sms.twilio import TwilioProvider
from tidings.delivery.fleet import Fleet
from tidings.domain.attempt import PartSent

MG = "MG" + "a" * 32


@pytest.fixture(scope="module")
def mock() -> Iterator[str]:
    with prism(spec("twilio_api_v2010.json")) as url:
        yield url


@pytest.fixture
async def provider(mock: str, request: pytest.FixtureRequest) -> AsyncIterator[tuple[TwilioProvider, RecordingSink]]:
    sink = RecordingSink()
    config = {
        "account_sid": SID, "auth_token": TOKEN, "base_url": mock, "public_url": PUBLIC,
        "allow_networks": ["127.0.0.0/8"], "response_timeout_s": 20, **getattr(request, "param", {}),
    }  # fmt: skip
    made = TwilioProvider(ProviderSpec(name="acme", type="sms.twilio", config=config), sink)
    await made.start()
    yield made, sink
    await made.stop(0)


def test_the_judge_refuses_what_is_wrong(mock: str) -> None:
    """Without this, a judge that takes everything would go unseen."""
    for fields, headers in (({"Body": "no recipient"}, {"Authorization": "Basic eDp5"}), ({"To": "+15005550001"}, {})):
        call = urllib.request.Request(
            f"{mock}/2010-04-01/Accounts/{SID}/Messages.json", urlencode(fields).encode(), dict(headers)
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(call, timeout=30)
        assert 400 <= refused.value.code < 500
        refused.value.close()


@pytest.mark.parametrize(
    "provider",
    [
        {},
        {"messaging_service_sid": MG, "sender": ""},
        {"callback_overrides": "rc=3&rp=5xx,ct,rt", "api_key_sid": "SK" + "b" * 32, "api_key_secret": TOKEN},
    ],
    indirect=True,
)
async def test_every_request_is_valid(provider: tuple[TwilioProvider, RecordingSink]) -> None:
    made, sink = provider
    now_ms = time.time_ns() // 1_000_000
    messages: list[dict[str, Any]] = [
        {"text": "Hello"},
        {"text": "Grüße 😀 & = % + # \r\n ' \" \\ \x0c"},
        {"text": "word " * 320},
        {"text": "later", "valid_until_ms": now_ms + 90_000},
        {"text": "much later", "valid_until_ms": now_ms + 40 * 86_400_000},
        {"text": "short code", "sender": "12345"},
        {"text": "number", "sender": "+15005550006", "user_ref": 65_535},
        {"text": "", "user_ref": 0},
    ]
    batch = [submission(made, f"a{n}", "+15005550001", **more) for n, more in enumerate(messages)]
    made.submit(batch)
    await until(lambda: len(sink.done) == len(batch), 60)
    assert {type(part) for outcome in sink.done for part in outcome.parts} == {PartSent}, sink.done


async def test_the_query_is_valid(provider: tuple[TwilioProvider, RecordingSink]) -> None:
    made, _ = provider
    ref = "SM" + "c" * 32
    reply = await made.engine.ask(made._codec.fetch(ref))
    assert reply is not None
    assert reply.status == 200, reply.body
    assert await made.query("not-a-sid", None) is None  # Prism: 4xx, the pattern of Sid


class Town:
    """A real server whose provider talks to a simulated Twilio."""

    def __init__(self, api: Api, carrier: TwilioCarrier) -> None:
        self.api, self.carrier = api, carrier

    async def call(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        return await asyncio.to_thread(lambda: self.api.call(method, path, body, **more))

    async def callback(
        self, fields: dict[str, str], *, name: str = "acme", query: str = "", token: str = TOKEN
    ) -> Answer:
        """As Twilio calls: form, signed over the public URL; the server itself is reached under another one."""
        url = f"{PUBLIC}/callbacks/{name}{query}"
        headers = {
            "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
            "X-Twilio-Signature": RequestValidator(token).compute_signature(url, fields),
        }
        body = urlencode(fields).encode()
        return await self.call("POST", f"/callbacks/{name}{query}", body, key=None, headers=headers)

    async def sent(self, **fields: Any) -> tuple[str, str]:
        """(id of the message, Twilio's SID) once it is sent."""
        answer = await self.call("POST", "/v1/messages", {"to": "+14155550123", "text": "hello", **fields})
        assert answer.status == 202, answer.body
        found = await asyncio.to_thread(lambda: self.api.wait_for(answer.json["id"], "sent", "delivered"))
        return found["id"], f"SM{self.carrier.written:032x}"

    async def status(self, message: str, *wanted: str) -> Any:
        return await asyncio.to_thread(lambda: self.api.wait_for(message, *wanted))


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    carrier = TwilioCarrier()
    carrier.receipts = False
    async with served(carrier) as url:
        settings = "\n".join(
            [
                "[[providers]]", 'name = "acme"', 'type = "sms.twilio"', f'account_sid = "{SID}"', f'auth_token = "{TOKEN}"',
                f'base_url = "{url}"', f'public_url = "{PUBLIC}"', 'allow_networks = ["127.0.0.0/8"]', 'sender = "+15005550006"',
                "[delivery]", "unknown_wait_s = 30",
            ]
        )  # fmt: skip
        key = f"tk_live_{secrets.token_hex(24)}"
        process, base = await asyncio.to_thread(start_server, tmp_path / "data", key, settings)
        try:
            yield Town(Api(url=base, key=key, data=tmp_path / "data"), carrier)
        finally:
            await asyncio.to_thread(stop_server, process)


async def test_out_and_back(town: Town) -> None:
    message, sid = await town.sent()
    said = {"MessageSid": sid, "To": "+14155550123", "From": "+15005550006", "AccountSid": SID}
    assert (await town.callback({**said, "MessageStatus": "sent"})).status == 204
    assert (await town.status(message, "sent"))["status"] == "sent"
    assert (await town.callback({**said, "MessageStatus": "delivered"})).status == 204
    await town.status(message, "delivered")
    other, sid = await town.sent(text="Grüße 😀")
    said["MessageSid"] = sid
    answer = await town.callback({**said, "MessageStatus": "undelivered", "ErrorCode": "30007"})
    assert answer.status == 204
    found = await town.status(other, "undelivered")
    assert "30007" in str(found), found


async def test_only_twilio_is_heard(town: Town) -> None:
    message, sid = await town.sent()
    said = {"MessageSid": sid, "To": "+14155550123", "From": "+15005550006", "MessageStatus": "delivered"}
    assert (await town.callback(said, token="another")).status == 403
    assert (await town.callback(said, name="nobody")).status == 404
    unsigned = await town.call("POST", "/callbacks/acme", urlencode(said).encode(), key=None, headers={})
    assert unsigned.status == 403
    big = await town.callback(said | {"Body": "x" * 300_000})
    assert big.status == 413
    await asyncio.sleep(0.2)
    assert (await town.status(message, "sent"))["status"] == "sent"
    counted = (await town.call("GET", "/metrics", key=None)).body.decode()
    assert 'tidings_callbacks_total{provider="acme",result="forged"} 2.0' in counted
    assert TOKEN not in (await town.call("GET", "/v1/providers/acme")).body.decode()


async def test_people_write_once(town: Town) -> None:
    wrote = {
        "MessageSid": "SM" + "d" * 32, "SmsStatus": "received", "From": "+14155550124", "To": "+15005550006",
        "Body": "Désabonner", "NumMedia": "0", "NumSegments": "1", "OptOutType": "STOP", "AccountSid": SID,
    }  # fmt: skip
    for _ in range(2):  # Twilio repeats what it got no answer to
        answer = await town.callback(wrote)
        assert (answer.status, answer.body) == (200, b'<?xml version="1.0" encoding="UTF-8"?><Response/>')
    found = (await town.call("GET", "/v1/inbound")).json["data"]
    assert [(item["from"], item["to"], item["text"]) for item in found] == [
        ("+14155550124", "+15005550006", "Désabonner")
    ]
    refused = await town.call("POST", "/v1/messages", {"to": "+14155550124", "text": "hello"})
    await town.status(refused.json["id"], "suppressed")  # by a word that only Twilio knows


async def test_a_paused_provider_still_hears(town: Town) -> None:
    """Declared over the API, paused, and called all the same: pausing stops sending, not what comes back."""
    config = {"account_sid": SID, "auth_token": TOKEN, "public_url": PUBLIC}
    made = await town.call("POST", "/v1/providers", {"name": "mine", "type": "sms.twilio", "config": config})
    assert made.status == 201, made.body
    assert TOKEN not in made.body.decode()
    assert (await town.call("POST", "/v1/providers/mine/pause")).json["status"] == "paused"
    wrote = {"MessageSid": "SM" + "f" * 32, "From": "+14155550126", "To": "+15005550006", "Body": "Still here"}
    assert (await town.callback(wrote, name="mine", token="another")).status == 403
    assert (await town.callback(wrote, name="mine")).status == 200
    assert "Still here" in str((await town.call("GET", "/v1/inbound")).json)
    assert (await town.call("DELETE", "/v1/providers/mine")).status == 204
    assert (await town.callback(wrote, name="mine")).status == 404


async def test_receipts_are_heard_while_the_provider_drains() -> None:
    """A provider that is being paused waits for answers; what its carrier reports meanwhile must not meet a 404."""
    sink = RecordingSink()
    fleet = Fleet(sink)
    async with twilio_carrier() as carrier:
        spec = ProviderSpec(name="acme", type="sms.twilio", config=carrier.config, project="prj_1", origin="api")
        fleet.know([spec])
        member = await fleet.start("acme")
        assert member is not None
        member.provider.submit([submission(member.provider, "a", "+15005550009")])
        await until(lambda: carrier.written)
        fleet.know([])
        leaving = asyncio.create_task(fleet.stop("acme", 5.0))
        await asyncio.sleep(0.05)
        assert fleet.member("acme") is None
        assert fleet.taker("acme") is member.provider
        assert fleet.project("acme") == "prj_1"
        await leaving
        assert fleet.taker("acme") is None


async def test_an_unknown_outcome_is_settled_by_our_reference(town: Town) -> None:
    """The answer is lost; the status callback carries the reference in its signed URL."""
    town.carrier.answer_next(503, "upstream")
    answer = await town.call("POST", "/v1/messages", {"to": "+14155550125", "text": "hello"})
    await until(lambda: town.carrier.bodies)
    (callback,) = [value for name, value in parse_qsl(town.carrier.bodies[0].decode()) if name == "StatusCallback"]
    said = {"MessageSid": "SM" + "e" * 32, "MessageStatus": "delivered", "To": "+14155550125", "From": "+15005550006"}
    await asyncio.sleep(0.3)
    assert (await town.callback(said, query=callback.removeprefix(f"{PUBLIC}/callbacks/acme"))).status == 204
    await town.status(answer.json["id"], "delivered")
    assert town.carrier.written == 1
