"""The WhatsApp simulator: it speaks as Meta's document says, calls back signed, and its people do what api.md promises."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from peers import meta_openapi
from peers.carriers import RecordingSink, until
from peers.prism import SPECS
from tidings.channels.callback import RawRequest, Taken
from tidings.channels.contract import Facts
from tidings.channels.whatsapp.cloud_api import CloudApiProvider
from tidings.domain import whatsapp
from tidings.domain.attempt import InboundPart, PartRefused, PartRetry, PartSent, PartUnknown, Submission
from tidings.sandbox.whatsapp import OPEN, SandboxWhatsApp

HELLO = whatsapp.read(None, "Hello")
#: Bodies of calls as Meta's document has them: the schema behind each type of message.
SCHEMAS = {"text": "TextMessage_2", "image": "ImageMessage_1"}


class World:
    """The simulator, our side of its callbacks, and a provider between them."""

    def __init__(self, sandbox: SandboxWhatsApp, sink: RecordingSink) -> None:
        self.sandbox, self.sink = sandbox, sink
        self.calls: list[dict[str, Any]] = []
        self.refuse = 0
        self.provider: CloudApiProvider

    async def called(self, request: web.Request) -> web.Response:
        """What the server's route does."""
        body = await request.read()
        raw = RawRequest(
            method="POST", query="", headers={name.lower(): value for name, value in request.headers.items()}, body=body,
            peer="127.0.0.1", received_ms=1_000,
        )  # fmt: skip
        if self.refuse:
            self.refuse -= 1
            return web.Response(status=503)
        taken = self.provider.callback(raw)
        assert isinstance(taken, Taken)
        self.calls.append(json.loads(body))
        taken = await self.provider.complete(taken)
        await self.sink.received("sandbox-whatsapp", taken.receipts, taken.inbound)
        return web.Response(status=taken.reply.status)

    def send(self, to: str, content: Any = HELLO) -> None:
        self.provider.submit(
            [
                Submission(
                    attempt_id=to, message_id="msg_1", lane="transactional", to=to, sender=None, user_ref=7,
                    channel="whatsapp", content=content,
                )
            ]
        )  # fmt: skip

    def words(self) -> list[str]:
        return [item.carrier_state for item in self.sink.receipts]


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    sandbox, sink = SandboxWhatsApp(receipt_delay_s=0.01), RecordingSink()
    await sandbox.start()
    made = World(sandbox, sink)
    app = web.Application()
    app.router.add_post("/callbacks/sandbox-whatsapp", made.called)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    spec = sandbox.spec(f"http://127.0.0.1:{runner.addresses[0][1]}")
    spec.config["response_timeout_s"] = 0.5
    made.provider = CloudApiProvider(spec, sink)
    await made.provider.start()
    try:
        yield made
    finally:
        await made.provider.stop(0)
        await sandbox.stop()
        await runner.cleanup()


async def _receipts(town: World, *words: str) -> None:
    await until(lambda: sorted(town.words()) == sorted(words))
    assert {(item.to, item.user_ref) for item in town.sink.receipts} == {(town.sink.done[0].attempt_id, 7)}


def _heard(town: World) -> InboundPart:
    (part,) = town.sink.inbound
    return part


async def _reply(town: World, text: str) -> None:
    await until(lambda: town.sink.inbound)
    part, (sent,) = _heard(town), town.sink.outcome(OPEN[6 if text == "YES" else 7])
    assert isinstance(sent, PartSent)
    assert (part.text, part.answers) == (text, (sent.ref,))


@pytest.mark.parametrize(
    ("last", "kind", "words", "reply"),
    [
        (1, PartSent, ("sent", "delivered"), None), (2, PartSent, ("sent", "failed"), None),
        (3, PartRetry, (), None), (4, PartSent, ("sent",), None), (6, PartSent, ("sent", "delivered", "read"), None),
        (7, PartSent, ("sent", "delivered"), "YES"), (8, PartSent, ("sent", "delivered"), "STOP"), (9, PartUnknown, (), None),
    ],
)  # fmt: skip
async def test_recipients(last: int, kind: type, words: tuple[str, ...], reply: str | None) -> None:
    async with world() as town:
        to = f"+1500555000{last}"
        town.send(to)
        await until(lambda: town.sink.done)
        assert type(town.sink.outcome(to)[0]) is kind
        if kind is PartSent:
            await _receipts(town, *words)
        if reply is not None:
            await _reply(town, reply)
        if last == 3:  # the second try is taken
            town.send(to)
            await until(lambda: len(town.sink.done) == 2)
            assert isinstance(town.sink.done[1].parts[0], PartSent)
        if SPECS.is_dir():
            _judge_calls(town.calls)


def _judge_calls(calls: list[dict[str, Any]]) -> None:
    for call in calls:
        value = call["entry"][0]["changes"][0]["value"]
        if "statuses" in value:
            assert meta_openapi.complaints("WebhookPayload", call) == []
        for item in value.get("messages", ()):
            item.pop("context", None)  # the document knows only that of a product; its own examples have ours
            assert meta_openapi.inbound_complaints(SCHEMAS[item["type"]], item) == []


async def test_who_never_wrote_is_reached_by_templates_only() -> None:
    async with world() as town:
        never = "+15005550010"
        refused = town.provider.refuses(never, None, HELLO, Facts(now_ms=0))
        assert refused is not None
        assert refused.code == "outside_window"
        assert town.provider.refuses(OPEN[0], None, HELLO, Facts(now_ms=0)) is None
        town.send(never)  # past our own guard: Meta says the same
        await until(lambda: town.sink.done)
        (part,) = town.sink.done[0].parts
        assert isinstance(part, PartRefused)
        assert (part.error.code, part.error.provider_code) == ("outside_window", "131047")
        town.sandbox.inject(never, "Hello?")
        await until(lambda: town.sink.inbound)
        town.send(never)
        await until(lambda: len(town.sink.done) == 2)
        assert isinstance(town.sink.done[1].parts[0], PartSent)


def _template(name: str, *texts: str) -> whatsapp.WhatsAppContent:
    body = {"type": "body", "parameters": [{"type": "text", "text": text} for text in texts]}
    return whatsapp.read({"template": {"name": name, "language": "en_US", "components": [body] if texts else []}}, None)


@pytest.mark.parametrize(
    ("name", "texts", "ours", "theirs"),
    [
        ("hello_world", (), None, None), ("order_update", ("Ann", "7"), None, None),
        ("order_update", ("Ann",), "template_parameters", "132000"),
        ("seasonal_offer", ("Ann",), "template_not_approved", "132001"),
        ("old_news", ("Ann",), "template_paused", "132015"), ("unheard_of", (), None, "132001"),
    ],
)  # fmt: skip
async def test_templates(name: str, texts: tuple[str, ...], ours: str | None, theirs: str | None) -> None:
    async with world() as town:
        await until(lambda: town.provider.catalogue.all())
        refused = town.provider.refuses("+15005550010", None, _template(name, *texts), Facts(now_ms=0))
        assert (refused.code if refused else None) == ours
        town.send("+15005550010", _template(name, *texts))
        await until(lambda: town.sink.done)
        (part,) = town.sink.done[0].parts
        assert (part.error.provider_code if isinstance(part, PartRefused) else None) == theirs


async def test_files_both_ways() -> None:
    async with world() as town:
        media = await town.provider.upload("image/png", b"\x89PNG")
        town.send(OPEN[0], whatsapp.read({"image": {"id": media, "caption": "Look"}}, None))
        await until(lambda: town.sandbox.messages)
        assert town.sandbox.messages[0]["image"] == {"id": media, "caption": "Look"}
        town.sandbox.inject_file(OPEN[0], "image", "image/jpeg", b"\xff\xd8", "And you")
        await until(lambda: town.sink.inbound)
        content = _heard(town).content
        assert content is not None
        assert [(file.media_type, file.data, file.size) for file in content.attachments] == [("image/jpeg", "/9g=", 2)]
        if SPECS.is_dir():
            _judge_calls(town.calls)


async def test_read_marks_and_errors() -> None:
    async with world() as town:
        await town.provider.mark_read("wamid.1")
        assert list(town.sandbox.marks) == ["wamid.1"]
        town.sandbox.answer_next(131026)
        town.send(OPEN[0])
        await until(lambda: town.sink.done)
        assert isinstance(town.sink.done[0].parts[0], PartRefused)


async def test_a_call_that_is_not_taken_is_made_again() -> None:
    async with world() as town:
        town.refuse = 2
        town.sandbox.inject(OPEN[0], "Hi")
        await until(lambda: town.sink.inbound)
        assert _heard(town).text == "Hi"


def _post(path: str, **more: Any) -> Callable[[aiohttp.ClientSession, str], Any]:
    return lambda session, url: session.post(url + path, **more)


async def test_strangers_and_nonsense_are_refused() -> None:
    sandbox = SandboxWhatsApp()
    await sandbox.start()
    token = {"Authorization": f"Bearer {sandbox.config()['access_token']}"}
    messages = f"/v23.0/{sandbox.config()['phone_number_id']}/messages"
    base = {"messaging_product": "whatsapp", "to": OPEN[0]}
    try:
        async with aiohttp.ClientSession() as session:
            for wanted, call in (
                (401, _post(messages, data=b"{}")),
                (401, _post(messages, data=b"{}", headers={"Authorization": "Bearer x"})),
                (400, _post(messages, data=b"[", headers=token)),
                (400, _post(messages, data=b"7", headers=token)),
                (400, _post(messages, json={**base, "type": "x"}, headers=token)),
                (400, _post(messages, json={**base, "type": "template", "template": 1}, headers=token)),
                (404, lambda session, url: session.get(f"{url}/v23.0/1", headers=token)),
            ):  # fmt: skip
                async with call(session, sandbox.url) as answer:
                    assert answer.status == wanted
                    assert (await answer.json())["error"]["code"]
    finally:
        await sandbox.stop()
        await asyncio.sleep(0)
