"""The Cloud API provider against a simulated Meta: requests, refusals before the wire, templates, files, read marks."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.policy import HTTP
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from aiohttp import web

from peers.carriers import RecordingSink, until
from peers.http_carriers import NEVER_ANSWERS
from peers.whatsapp_carriers import CLOUD, NUMBER, NUMBER_ID, TOKEN, WABA, MetaCarrier, call, meta_carrier, said, signed
from peers.whatsapp_contents import GOOD
from tidings.channels.callback import Taken
from tidings.channels.contract import Facts, ProviderSpec
from tidings.channels.errands import ErrandFailed
from tidings.channels.whatsapp import cloud_api, graph
from tidings.channels.whatsapp.cloud_api import CloudApiProvider
from tidings.channels.whatsapp.graph import Graph
from tidings.domain import whatsapp
from tidings.domain.attempt import PartRefused, PartSent, PartUnknown, Submission
from tidings.domain.errors import SettingsError
from tidings.domain.inbound import InboundContent
from tidings.kit import limits

DAY_MS = 86_400_000
HELLO = whatsapp.read(None, "Hello")
OPEN = Facts(now_ms=DAY_MS, last_inbound_ms=1)
PERSON = "+16505551234"


def template(name: str = "order", *texts: str, language: str = "en_US") -> whatsapp.WhatsAppContent:
    parameters = [{"type": "text", "text": text} for text in texts]
    components = [{"type": "body", "parameters": parameters}] if texts else []
    return whatsapp.read({"template": {"name": name, "language": language, "components": components}}, None)


def submission(name: str, content: whatsapp.WhatsAppContent = HELLO, **more: Any) -> Submission:
    fields = {"lane": "transactional", "to": PERSON, "sender": None, "user_ref": 7, "channel": "whatsapp", **more}
    return Submission(attempt_id=name, message_id=f"msg_{name}", content=content, **fields)


def provider(sink: RecordingSink | None = None, **config: Any) -> CloudApiProvider:
    spec = ProviderSpec(name="acme", type="whatsapp.cloud_api", config={**CLOUD, **config})
    return CloudApiProvider(spec, sink or RecordingSink())


class Meta(MetaCarrier):
    """With templates and files."""

    def __init__(self) -> None:
        super().__init__()
        self.templates: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.url = ""
        self.lies = False

    def accept(self, request: web.Request, body: bytes) -> web.Response:
        path = request.path.removeprefix("/v23.0/")
        if path == f"{WABA}/message_templates":
            return self._page(int(request.query.get("after", "0")))
        if path == f"{NUMBER_ID}/media":
            self.files["777777"] = body
            return web.json_response({"id": "777777"})
        if path.startswith("files/"):
            return web.Response(body=self.files[path[6:]], content_type="image/jpeg")
        if path in self.files:
            made = sha256(b"" if self.lies else self.files[path]).hexdigest()
            found = {"url": f"{self.url}/v23.0/files/{path}", "sha256": made, "file_size": str(len(self.files[path]))}
            return web.json_response(found | {"id": path, "mime_type": "image/jpeg", "messaging_product": "whatsapp"})
        if b'"status":"read"' in body:
            return web.json_response({"success": True})
        return super().accept(request, body)

    def _page(self, start: int) -> web.Response:
        paging: dict[str, Any] = {"cursors": {"before": "x", "after": str(start + 1)}}
        if start + 1 < len(self.templates):
            paging["next"] = "https://elsewhere.example.com/steals-the-token"
        return web.json_response({"data": self.templates[start : start + 1], "paging": paging})


@asynccontextmanager
async def world(**config: Any) -> AsyncIterator[tuple[CloudApiProvider, Meta, RecordingSink]]:
    """A started provider and its carrier."""
    async with meta_carrier(Meta()) as carrier:
        assert isinstance(carrier, Meta)
        carrier.url = carrier.config["base_url"]
        sink = RecordingSink()
        made = provider(sink, **{**carrier.config, **config})
        carrier.attach(made, sink)
        await made.start()
        try:
            yield made, carrier, sink
        finally:
            await made.stop(0)


async def test_every_kind_is_taken() -> None:
    async with world(response_timeout_s=20) as (made, carrier, sink):
        carrier.words = ("sent", "delivered")
        made.submit([submission(str(n), whatsapp.read(*row[1:])) for n, row in enumerate(GOOD)])
        await until(lambda: len(sink.done) == len(GOOD))
        assert {type(part) for outcome in sink.done for part in outcome.parts} == {PartSent}
        await until(lambda: len(sink.receipts) == 2 * len(GOOD))
        assert {(item.to, item.user_ref) for item in sink.receipts} == {(PERSON, 7)}
        assert all(request.headers["User-Agent"] == "Tidings/0.1.0" for request in carrier.requests)


async def test_what_cannot_be_sent_is_refused_before_the_wire() -> None:
    long = msgspec.structs.replace(HELLO, text="x" * 5_000)
    async with world() as (made, carrier, sink):
        made.submit(
            [
                submission("a", long),
                submission("b", sender="+15550001111"),
                submission("c", channel="sms", content=None),
            ]
        )
        await until(lambda: len(sink.done) == 3)
        codes = [part.error.code for one in "abc" for part in sink.outcome(one) if isinstance(part, PartRefused)]
        assert codes == ["invalid_content", "invalid_sender", "unsupported_content"]
        assert carrier.written == 0


@pytest.mark.parametrize(
    ("last_ms", "code"),
    [(None, "outside_window"), (1, None), (0, "outside_window"), (-1, "outside_window"), (DAY_MS, None)],
)
def test_the_window(last_ms: int | None, code: str | None) -> None:
    made = provider()
    facts = Facts(now_ms=DAY_MS, last_inbound_ms=last_ms)
    found = made.refuses(PERSON, None, HELLO, facts)
    assert (found.code if found else None) == code
    assert found is None or "only a template" in found.detail
    assert made.refuses(PERSON, None, template(), facts) is None


def test_another_number_and_bad_content_are_refused() -> None:
    made = provider()
    assert made.refuses(PERSON, NUMBER, HELLO, OPEN) is None
    assert (found := made.refuses(PERSON, "+15550001111", HELLO, OPEN)) is not None
    assert found.code == "invalid_sender"
    assert (found := made.refuses(PERSON, None, whatsapp.read(None, ""), OPEN)) is not None
    assert (found.code, found.detail[:6]) == ("invalid_content", "/text ")


def known(status: str, text: str = "Hi {{1}}, your {{2}} is {{1}}", name: str = "order", **more: Any) -> dict[str, Any]:
    parts = [{"type": "HEADER", "format": "TEXT", "text": "{{9}}"}, {"type": "BODY", "text": text}]
    return {"name": name, "language": "en_US", "status": status, "category": "UTILITY", "components": parts, **more}


@pytest.mark.parametrize(
    ("status", "texts", "code"),
    [
        ("APPROVED", ("a", "b"), None), ("APPROVED", ("a",), "template_parameters"), ("APPROVED", (), "template_parameters"),
        ("REJECTED", ("a", "b"), "template_not_approved"), ("PENDING", ("a", "b"), "template_not_approved"),
        ("PAUSED", ("a", "b"), "template_paused"), ("DISABLED", ("a", "b"), "template_disabled"),
        ("SOMETHING_NEW", ("a", "b"), None),
    ],
)  # fmt: skip
async def test_templates_that_meta_has_not_approved(status: str, texts: tuple[str, ...], code: str | None) -> None:
    async with meta_carrier(Meta()) as carrier:
        assert isinstance(carrier, Meta)
        carrier.templates = [known("APPROVED", name="other"), known(status), known("APPROVED", name="third")]
        made = provider(**carrier.config, business_account_id=WABA)
        assert [item.name for item in await made.templates()] == ["other", "order", "third"]  # three pages
        found = made.refuses(PERSON, None, template("order", *texts), Facts(now_ms=0))
        assert (found.code if found else None) == code
        assert found is None or "'order' (en_US)" in found.detail
        assert made.refuses(PERSON, None, template("unheard_of"), Facts(now_ms=0)) is None
        assert all(request.host == carrier.requests[0].host for request in carrier.requests)


async def test_the_sync_runs_and_callbacks_tell_in_between() -> None:
    async with meta_carrier(Meta()) as carrier:
        assert isinstance(carrier, Meta)
        carrier.answer_next(500, "down")
        carrier.templates = [known("APPROVED")]
        made = provider(**{**carrier.config, "business_account_id": WABA, "templates_every_s": 10})
        await made.start()
        await until(lambda: carrier.requests)
        assert made.catalogue.all() == []  # and it goes on
        await made.templates()
        assert made.refuses(PERSON, None, template("order", "a", "b"), OPEN) is None
        value = {"event": "PAUSED", "message_template_name": "order", "message_template_language": "en_US"}
        body = call(value, field="message_template_status_update")
        made.callback(signed(body, "forged"))
        assert made.refuses(PERSON, None, template("order", "a", "b"), OPEN) is None
        assert isinstance(made.callback(signed(body)), Taken)
        assert (found := made.refuses(PERSON, None, template("order", "a", "b"), OPEN)) is not None
        assert found.code == "template_paused"
        await made.stop(0)


async def test_templates_need_the_account() -> None:
    with pytest.raises(ErrandFailed, match="business_account_id"):
        await provider().templates()


def photo(ref: str = "1003383421387256") -> Taken:
    image = {"id": ref, "mime_type": "image/jpeg", "caption": "Look"}
    found = provider().callback(signed(call(said("wamid.1", "", type="image", image=image))))
    assert isinstance(found, Taken)
    return found


def content(taken: Taken) -> InboundContent:
    found = taken.inbound[0].content
    assert found is not None
    return found


async def test_files_are_fetched() -> None:
    async with world() as (made, carrier, _):
        carrier.files["1003383421387256"] = b"\xff\xd8 a photo"
        (file,) = content(await made.complete(photo())).attachments
        assert base64.b64decode(file.data or "") == b"\xff\xd8 a photo"
        assert (file.size, file.ref, file.media_type) == (10, "1003383421387256", "image/jpeg")
        assert carrier.requests[0].query["phone_number_id"] == NUMBER_ID
        assert {request.headers["Authorization"] for request in carrier.requests} == {f"Bearer {TOKEN}"}


async def test_many_files_of_one_call_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidings.channels.whatsapp.cloud_media.WHATSAPP_CALL_BYTES", 100)
    async with world() as (made, carrier, _):
        carrier.files = {f"10000{n}": b"x" * 40 for n in range(8)}
        inbound = tuple(photo(ref).inbound[0] for ref in carrier.files)
        done = await made.complete(Taken(inbound=inbound))
        kept = [file for part in done.inbound if part.content for file in part.content.attachments if file.data]
        assert (
            3 <= len(kept) <= 2 + limits.WHATSAPP_FETCHES
        )  # those that are under way when the sum is reached still count
        assert len(done.inbound) == 8


@pytest.mark.parametrize("what", ["lies", "large", "larger than it says", "gone", "elsewhere", "late", "named"])
async def test_a_file_that_cannot_be_had_is_named(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"named": {"media": "name"}, "late": {"phone_number_id": f"10{NEVER_ANSWERS}00"}}.get(what, {})
    async with world(**config) as (made, carrier, _):
        carrier.files["1003383421387256"] = b"x" * 2_000
        if what == "lies":
            carrier.lies = True
        elif what == "large":
            monkeypatch.setattr("tidings.channels.whatsapp.cloud_media.WHATSAPP_KEPT_BYTES", 1_999)
        elif what == "larger than it says":
            monkeypatch.setattr("tidings.channels.whatsapp.graph.WHATSAPP_KEPT_BYTES", 1_999)
        elif what == "gone":
            carrier.files.clear()
            carrier.error_next(400, 100)
        elif what == "elsewhere":
            carrier.url = "http://files.example.com"
        elif what == "late":
            monkeypatch.setattr(cloud_api, "CALLBACK_COMPLETE_S", 0.2)
        (file,) = content(await made.complete(photo())).attachments
        assert file.data is None
        assert file.ref


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1", True),
        ("https://scontent.whatsapp.net/a", True),
        ("http://lookaside.fbsbx.com/a", False),
        ("https://lookaside.fbsbx.com.example.com/a", False),
        ("https://evilfbsbx.com/a", False),
        ("https://user@lookaside.fbsbx.com/a", False),
        ("https://graph.facebook.com/a", True),
        ("https://[::1/a", False),
        ("file:///etc/passwd", False),
        ("", False),
    ],
)
async def test_the_token_goes_to_meta_only(url: str, good: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def exchange(self: Graph, method: str, url: str, *_: Any) -> Any:
        asked.append(url)
        return graph.Reply(200, {"content-type": "image/jpeg; a=b"}, b"x")

    monkeypatch.setattr(Graph, "_exchange", exchange)
    async with Graph(provider().config) as errand:
        if good:
            assert await errand.file(url) == graph.Fetched("image/jpeg", b"x")
        else:
            with pytest.raises(ErrandFailed, match="not Meta's"):
                await errand.file(url)
    assert asked == ([url] if good else [])


async def test_files_are_uploaded() -> None:
    async with world() as (made, carrier, _):
        assert await made.upload("image/png", b"\x89PNG\r\n--boundary") == "777777"
        request = carrier.requests[0]
        assert request.content_type == "multipart/form-data"
        reader = _multipart(request.headers["Content-Type"], carrier.bodies[0])
        assert reader == {"messaging_product": b"whatsapp", "type": b"image/png", "file": b"\x89PNG\r\n--boundary"}
        carrier.error_next(400, 131053)
        with pytest.raises(ErrandFailed, match="131053"):
            await made.upload("image/png", b"x")


def _multipart(header: str, body: bytes) -> dict[str, bytes]:
    """As Python's own `email` reads it."""
    whole = message_from_bytes(f"Content-Type: {header}\r\n\r\n".encode() + body, policy=HTTP)
    return {
        part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
        for part in whole.iter_parts()
    }


async def test_read_marks() -> None:
    async with world() as (made, carrier, _):
        await made.mark_read("wamid.1")
        assert json.loads(carrier.bodies[0]) == {
            "messaging_product": "whatsapp",
            "status": "read",
            "message_id": "wamid.1",
        }
        carrier.error_next(400, 100)
        with pytest.raises(ErrandFailed, match="code 100"):
            await made.mark_read("wamid.1")


async def test_the_rate_is_that_of_one_number() -> None:
    assert provider().config.rate_per_s == 80
    async with world(rate_per_s=5) as (made, carrier, sink):
        made.submit([submission(str(n)) for n in range(6)])
        await until(lambda: len(sink.done) == 6)
        assert carrier.written == 6
        assert made.engine.pacer.limit_per_s == 5


async def test_no_answer_is_unknown() -> None:
    async with world(response_timeout_s=0.3) as (made, _, sink):
        made.submit([submission("a", to="+15005550009")])
        await until(lambda: sink.done)
        assert isinstance(sink.outcome("a")[0], PartUnknown)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"phone_number_id": ""}, "phone_number_id"),
    ({"phone_number_id": "../me"}, "phone_number_id"),
    ({"business_account_id": "abc"}, "business_account_id"),
    ({"phone_number": "15550783881"}, "phone_number"),
    ({"access_token": ""}, "access_token"),
    ({"access_token": "a\r\nb"}, "access_token"),
    ({"app_secret": ""}, "app_secret"),
    ({"version": "v23/../x"}, "version"),
    ({"templates_every_s": 1}, "templates_every_s"),
    ({"base_url": "http://graph.example.com"}, "base_url"),
    ({"media": "keep"}, "media"),
    ({"window": 0}, "window"),
    ({"colour": 1}, "colour"),
]


@pytest.mark.parametrize(("config", "key"), BAD, ids=[f"{n} {row[1]}" for n, row in enumerate(BAD)])
def test_bad_configuration_names_the_key(config: dict[str, Any], key: str) -> None:
    with pytest.raises(SettingsError, match=rf"provider acme: .*`{key}`"):
        cloud_api.check("acme", {**CLOUD, **config})
    cloud_api.check("acme", CLOUD)


def test_the_limits_hang_together() -> None:
    assert limits.WHATSAPP_KEPT_BYTES <= limits.WHATSAPP_MEDIA_BYTES
    assert provider().config.response_timeout_s < limits.LEASE_S
