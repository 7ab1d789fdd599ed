"""`whatsapp.twilio`: what a content becomes as a form, what it cannot become, and what comes back."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from twilio.http import HttpClient
from twilio.http.response import Response
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from peers.carriers import RecordingSink, until
from peers.http_carriers import FAST, PUBLIC, SID, TOKEN, TwilioCarrier, raw, served
from tidings.channels.callback import NotGenuine, Taken
from tidings.channels.contract import Facts, ProviderSpec
from tidings.channels.http.call import Call
from tidings.channels.whatsapp import twilio
from tidings.channels.whatsapp.twilio import TwilioWhatsAppProvider
from tidings.domain import whatsapp
from tidings.domain.attempt import PartRefused, PartSent, Submission
from tidings.domain.errors import SettingsError

HX = "HX" + "a" * 32
CONFIG: dict[str, Any] = {
    "account_sid": SID, "auth_token": TOKEN, "public_url": PUBLIC, "sender": "+15005550006",
    "contents": {"order_update": HX, "order_update:pt_BR": "HX" + "b" * 32},
}  # fmt: skip
PERSON, OPEN = "+16505551234", Facts(now_ms=1, last_inbound_ms=1)
LINK = {"link": "https://files.example.com/a.png"}


def template(name: str, *parts: Any, language: str = "en_US") -> dict[str, Any]:
    return {
        "template": {"name": name, "language": language, "components": [{"type": "body", "parameters": list(parts)}]}
    }


TEXTS = [{"type": "text", "text": "Ann"}, {"type": "text", "text": "7"}]
NAMED = [{"type": "text", "text": "Ann", "parameter_name": "who"}]
MONEY = {"type": "currency", "currency": {"fallback_value": "$1", "code": "USD", "amount_1000": 1_000}}
FORMS: list[tuple[dict[str, Any] | None, str | None, dict[str, str]]] = [
    (None, "Grüße 😀", {"Body": "Grüße 😀"}),
    ({"image": {**LINK, "caption": "Look"}}, None, {"MediaUrl": LINK["link"], "Body": "Look"}),
    ({"document": LINK}, "Bill", {"MediaUrl": LINK["link"], "Body": "Bill"}),
    ({"audio": LINK}, None, {"MediaUrl": LINK["link"]}),
    ({"location": {"latitude": 1.5, "longitude": -2, "name": "Here"}}, None,
     {"PersistentAction": "geo:1.5000000,-2.0000000|Here", "Body": "Here"}),
    (template("order_update", *TEXTS), None, {"ContentSid": HX, "ContentVariables": '{"1":"Ann","2":"7"}'}),
    (template("order_update", *NAMED), None, {"ContentSid": HX, "ContentVariables": '{"who":"Ann"}'}),
    ({"template": {"name": "order_update", "language": "pt_BR"}}, None, {"ContentSid": "HX" + "b" * 32}),
]  # fmt: skip
REFUSED: list[tuple[dict[str, Any] | None, str | None, str]] = [
    ({"interactive": {"body": "a", "buttons": [{"id": "a", "title": "A"}]}}, None, "unsupported_content"),
    ({"reaction": {"message_id": "a", "emoji": "👍"}}, None, "unsupported_content"),
    ({"contacts": [{"name": {"formatted_name": "A"}}]}, None, "unsupported_content"),
    ({"reply_to": "SM1"}, "Yes", "unsupported_content"),
    ({"image": {"id": "12345"}}, None, "unsupported_content"),
    (template("order_update", MONEY), None, "unsupported_content"),
    (template("unheard_of"), None, "template_not_found"),
    (None, "x" * 1_601, "message_too_long"),
    (None, "", "invalid_content"),
]


def provider(sink: RecordingSink | None = None, **config: Any) -> TwilioWhatsAppProvider:
    spec = ProviderSpec(name="acme", type="whatsapp.twilio", config={**CONFIG, **config})
    return TwilioWhatsAppProvider(spec, sink or RecordingSink())


@pytest.mark.parametrize(("content", "text", "fields"), FORMS)
async def test_forms(content: dict[str, Any] | None, text: str | None, fields: dict[str, str]) -> None:
    carrier, sink = TwilioCarrier(), RecordingSink()
    async with served(carrier) as url:
        made = provider(sink, base_url=url, **FAST)
        carrier.attach(made, sink)
        assert made.refuses(PERSON, None, whatsapp.read(content, text), OPEN) is None
        await made.start()
        try:
            made.submit([submission(whatsapp.read(content, text))])
            await until(lambda: sink.receipts)
        finally:
            await made.stop(0)
    found = dict(parse_qsl(carrier.bodies[0].decode()))
    assert found.pop("StatusCallback").endswith("/callbacks/acme?ref=7")
    assert found == {"From": "whatsapp:+15005550006", "To": f"whatsapp:{PERSON}", **fields}
    assert isinstance(sink.outcome("a")[0], PartSent)
    assert (sink.receipts[0].to, sink.receipts[0].user_ref, sink.receipts[0].state) == (PERSON, 7, "delivered")


class _Recorder(HttpClient):
    """Takes what the official SDK sends."""

    def __init__(self) -> None:
        self.body: dict[str, Any] = {}

    def request(self, method: str, url: str, params: Any = None, data: Any = None, **_: Any) -> Response:
        self.body = data
        return Response(201, '{"sid": "SM1"}')


#: Our field → the SDK's argument, and whether it is a list there.
_ARGUMENTS = {
    "Body": ("body", False), "MediaUrl": ("media_url", True), "PersistentAction": ("persistent_action", True),
    "ContentSid": ("content_sid", False), "ContentVariables": ("content_variables", False),
}  # fmt: skip


@pytest.mark.parametrize(("content", "text", "fields"), FORMS)
def test_the_sdk_sends_the_same(content: dict[str, Any] | None, text: str | None, fields: dict[str, str]) -> None:
    recorder = _Recorder()
    arguments = {}
    for name, value in fields.items():
        argument, several = _ARGUMENTS[name]
        arguments[argument] = [value] if several else value
    url = f"{PUBLIC}/callbacks/acme?ref=7"
    from_, to = "whatsapp:+15005550006", f"whatsapp:{PERSON}"
    Client(SID, TOKEN, http_client=recorder).messages.create(to=to, from_=from_, status_callback=url, **arguments)
    codec = twilio.WhatsAppCodec(provider().config, provider()._account)
    called = codec.call(submission(whatsapp.read(content, text)), 0, 0)
    assert isinstance(called, Call)
    assert sorted(parse_qsl((called.body or b"").decode())) == sorted(parse_qsl(urlencode(recorder.body, doseq=True)))


def submission(content: Any, **more: Any) -> Submission:
    fields = {"lane": "transactional", "to": PERSON, "sender": None, "user_ref": 7, "channel": "whatsapp", **more}
    return Submission(attempt_id="a", message_id="msg_a", content=content, **fields)


@pytest.mark.parametrize(("content", "text", "code"), REFUSED)
def test_what_twilio_cannot_say(content: dict[str, Any] | None, text: str | None, code: str) -> None:
    found = provider().refuses(PERSON, None, whatsapp.read(content, text), OPEN)
    assert found is not None
    assert found.code == code
    codec = twilio.WhatsAppCodec(provider().config, provider()._account)
    called = codec.call(submission(whatsapp.read(content, text)), 0, 0)
    assert isinstance(called, PartRefused)
    assert called.error.code == code


def test_the_window_and_the_sender() -> None:
    closed = provider().refuses(PERSON, None, whatsapp.read(None, "Hi"), Facts(now_ms=1))
    assert closed is not None
    assert closed.code == "outside_window"
    assert provider().refuses(PERSON, None, whatsapp.read(template("order_update"), None), Facts(now_ms=1)) is None
    codec = twilio.WhatsAppCodec(provider(sender="").config, provider()._account)
    assert isinstance(codec.call(submission(whatsapp.read(None, "Hi")), 0, 0), PartRefused)
    assert isinstance(codec.call(submission(None), 0, 0), PartRefused)


def called(**fields: str) -> Taken:
    url = f"{PUBLIC}/callbacks/acme"
    good = {"From": f"whatsapp:{PERSON}", "To": "whatsapp:+15005550006", "MessageSid": "SM1", **fields}
    signature = RequestValidator(TOKEN).compute_signature(url, good)
    found = provider().callback(raw(url, good, {"X-Twilio-Signature": signature}))
    assert isinstance(found, Taken)
    assert isinstance(
        provider().callback(raw(url, {**good, "Extra": "1"}, {"X-Twilio-Signature": signature})), NotGenuine
    )
    return found


@pytest.mark.parametrize(
    ("fields", "state", "error", "engagement", "suppress"),
    [
        ({"MessageStatus": "sent"}, "pending", None, None, None),
        ({"MessageStatus": "delivered"}, "delivered", None, None, None),
        ({"MessageStatus": "read"}, "delivered", None, "read", None),
        ({"MessageStatus": "failed", "ErrorCode": "63016"}, "undelivered", "outside_window", None, None),
        ({"MessageStatus": "undelivered", "ErrorCode": "63050"}, "undelivered", "unsubscribed", None, "unsubscribed"),
        ({"MessageStatus": "failed", "ErrorCode": "²"}, "undelivered", None, None, None),
    ],
)  # fmt: skip
def test_statuses(
    fields: dict[str, str], state: str, error: str | None, engagement: str | None, suppress: str | None
) -> None:
    (found,) = called(**(fields | {"To": f"whatsapp:{PERSON}", "From": "whatsapp:+15005550006"})).receipts
    assert (found.state, found.engagement, found.suppress) == (state, engagement, suppress)
    assert (found.error.code if found.error else None) == error
    assert (found.to, found.sender) == (PERSON, None)


def test_people() -> None:
    (part,) = called(
        Body="Look", NumMedia="1", MediaUrl0="https://api.twilio.com/m/1", MediaContentType0="image/jpeg", ProfileName="Ann",
        MessageType="image", OriginalRepliedMessageSid="SM0", WaId=PERSON[1:],
    ).inbound  # fmt: skip
    assert (part.sender, part.to, part.text, part.channel) == (PERSON, "+15005550006", "Look", "whatsapp")
    assert (part.answers, part.dedup) == (("SM0",), "SM1")
    assert part.content is not None
    assert (part.content.kind, part.content.profile_name, part.content.ref) == ("image", "Ann", "SM1")
    assert [(file.media_type, file.ref) for file in part.content.attachments] == [
        ("image/jpeg", "https://api.twilio.com/m/1")
    ]
    (part,) = called(Body="Yes", ButtonText="Yes", ButtonPayload="y-1", NumMedia="x").inbound
    assert part.content is not None
    assert part.content.button is not None
    assert (part.content.button.id, part.content.button.title, part.content.attachments) == ("y-1", "Yes", ())
    (part,) = called(Body="", Latitude="1.5", Longitude="-2", Label="Here", ListId="row", ListTitle="Row").inbound
    assert part.content is not None
    assert part.content.location is not None
    assert part.content.button is not None
    assert (part.content.location.latitude, part.content.location.name, part.content.button.id) == (1.5, "Here", "row")
    (part,) = called(Body="", Latitude="nan", Longitude="-2").inbound
    assert part.content is not None
    assert part.content.location is None


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"sender": "whatsapp:+15005550006"}, "sender"), ({"contents": {"a": "HX1"}}, "contents"), ({"contents": 7}, "contents"),
        ({"account_sid": "x"}, "account_sid"), ({"colour": 1}, "colour"),
    ],
)  # fmt: skip
def test_bad_configuration_names_the_key(config: dict[str, Any], key: str) -> None:
    with pytest.raises(SettingsError, match=rf"provider acme: .*`{key}`"):
        twilio.check("acme", {**CONFIG, **config})
    twilio.check("acme", CONFIG)
