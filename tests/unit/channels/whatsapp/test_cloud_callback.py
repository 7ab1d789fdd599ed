"""Callbacks of the Cloud API: only what the app's secret signed is read, and everything that Meta sends is."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peers import meta_openapi
from peers.whatsapp_carriers import NUMBER, NUMBER_ID, TOKEN, WABA, call, failed, said, signed, status
from tidings.channels.callback import NotGenuine, RawRequest, Taken, Unreadable
from tidings.channels.whatsapp import cloud_callback
from tidings.channels.whatsapp.cloud_callback import Account, callback_data, news, take
from tidings.channels.whatsapp.number import person
from tidings.domain.attempt import CarrierReceipt, InboundPart

ACCOUNT = Account(
    provider="acme",
    app_secret=TOKEN,
    verify_token="v token&",
    phone_number_id=NUMBER_ID,
    phone_number=NUMBER,
    business_account_id=WABA,
)
BODY = call(status("wamid.1", "delivered"))


def taken(*values: dict[str, Any], **more: Any) -> Taken:
    found = take(ACCOUNT, signed(call(*values, **more)))
    assert isinstance(found, Taken), found
    return found


def receipt(value: dict[str, Any]) -> CarrierReceipt:
    (found,) = taken(value).receipts
    return found


def part(item: dict[str, Any]) -> InboundPart:
    (found,) = taken(said("wamid.1", "", **item)).inbound
    return found


def test_the_signature_is_the_one_of_the_published_vector() -> None:
    """GitHub signs `X-Hub-Signature-256` in the same way and documents a test vector."""
    account = msgspec.structs.replace(ACCOUNT, app_secret="It's a Secret to Everybody")
    made = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    request = signed(b"Hello, World!", headers={"x-hub-signature-256": f"sha256={made}"})
    assert cloud_callback.genuine(account, request)
    assert isinstance(take(account, request), Unreadable)


def _forgeries() -> list[RawRequest]:
    good = signed(BODY)
    signature = good.headers["x-hub-signature-256"]

    def headed(value: str) -> RawRequest:
        return msgspec.structs.replace(good, headers={"x-hub-signature-256": value})

    return [
        msgspec.structs.replace(good, headers={}),
        msgspec.structs.replace(good, headers={"x-hub-signature": signature.replace("sha256", "sha1")}),
        headed(""), headed("sha256="), headed(signature[7:]), headed(signature[:-1]), headed(signature.upper()),
        headed("sha1=" + signature[7:]), headed(f"{signature}, {signature}"), headed("sha256=" + "é" * 64),
        msgspec.structs.replace(good, body=BODY + b" "),
        msgspec.structs.replace(good, body=BODY.replace(b"delivered", b"read")),
        msgspec.structs.replace(good, body=json.dumps(json.loads(BODY), indent=1).encode()),
        signed(BODY, "another"),
        signed(BODY, ""),
    ]  # fmt: skip


def _refuses_forgeries() -> None:
    for forged in _forgeries():
        assert isinstance(take(ACCOUNT, forged), NotGenuine), forged


def test_forgeries_are_refused() -> None:
    _refuses_forgeries()
    unsigned = msgspec.structs.replace(ACCOUNT, app_secret="")
    assert isinstance(take(unsigned, signed(BODY, "")), NotGenuine)


@pytest.mark.parametrize(
    ("where", "name"),
    [(cloud_callback, "genuine"), (cloud_callback.hmac, "compare_digest")],
    ids=["check", "compare"],
)
def test_a_saboteur_is_seen(monkeypatch: pytest.MonkeyPatch, where: Any, name: str) -> None:
    """The test above can go red: with the check patched out, or one that finds everything equal."""
    monkeypatch.setattr(where, name, lambda *_: True)
    with pytest.raises(AssertionError):
        _refuses_forgeries()


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=v+token%26", b"1158201444"),
        ("hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=other", None),
        ("hub.mode=subscribe&hub.challenge=1158201444", None),
        ("hub.mode=unsubscribe&hub.challenge=1158201444&hub.verify_token=v+token%26", None),
        ("hub.mode=subscribe&hub.challenge=%3Cscript%3E&hub.verify_token=v+token%26", b""),
        ("hub.mode=subscribe&hub.verify_token=v+token%26", b""),
        ("hub.verify_token=%ff", None),
        ("&".join(f"a{n}=1" for n in range(300)), None),
    ],
)
def test_the_challenge(query: str, answer: bytes | None) -> None:
    found = take(ACCOUNT, signed(b"", method="GET", query=query))
    if answer is None:
        assert isinstance(found, NotGenuine)
    elif not answer:
        assert isinstance(found, Unreadable)
    else:
        assert isinstance(found, Taken)
        assert (found.reply.status, found.reply.body) == (200, answer)
    closed = msgspec.structs.replace(ACCOUNT, verify_token="")
    assert isinstance(take(closed, signed(b"", method="GET", query=query)), NotGenuine)
    assert isinstance(take(closed, signed(b"", method="GET", query="hub.mode=subscribe&hub.challenge=1")), NotGenuine)


@pytest.mark.parametrize(
    ("value", "state", "error", "code", "engagement", "suppress"),
    [
        (status("wamid.1", "sent"), "pending", None, None, None, None),
        (status("wamid.1", "delivered"), "delivered", None, None, None, None),
        (status("wamid.1", "read"), "delivered", None, None, "read", None),
        (status("wamid.1", "something_new"), "pending", None, None, None, None),
        (status("wamid.1", "failed"), "undelivered", "undeliverable", None, None, None),
        (failed("wamid.1", 131026), "undelivered", "undeliverable", "131026", None, None),
        (failed("wamid.1", 131047), "undelivered", "outside_window", "131047", None, None),
        (failed("wamid.1", 131050), "undelivered", "unsubscribed", "131050", None, "unsubscribed"),
        (failed("wamid.1", 999_999), "undelivered", "undeliverable", "999999", None, None),
    ],
)
def test_statuses(
    value: dict[str, Any], state: str, error: str | None, code: str | None, engagement: str | None, suppress: str | None
) -> None:
    found = receipt(value)
    assert (found.state, found.carrier_state) == (state, value["statuses"][0]["status"])
    assert (found.error.code if found.error else None, found.error_code) == (error, code)
    assert (found.engagement, found.suppress, found.refs) == (engagement, suppress, ("wamid.1",))
    assert found.to is None  # an id may differ from the number that we wrote to


def test_our_reference_comes_back() -> None:
    found = receipt(status("wamid.1", "delivered", biz_opaque_callback_data=callback_data(4_242, "+525512345678")))
    assert (found.user_ref, found.to) == (4_242, "+525512345678")
    for other in ("", "7", "7:5512345678", "999999:+15005550001", {"a": 1}, None):
        found = receipt(status("wamid.1", "delivered", biz_opaque_callback_data=other))
        assert (found.user_ref, found.to) == (None, None)


def test_several_entries_and_numbers() -> None:
    found = taken(status("wamid.1", "sent"), said("wamid.2", "Hi"), status("wamid.3", "read"))
    assert [item.refs[0] for item in found.receipts] == ["wamid.1", "wamid.3"]
    assert [item.dedup for item in found.inbound] == ["wamid.2"]
    other = taken(status("wamid.1", "sent"), said("wamid.2", "Hi"), number_id="1" * 15)
    assert (other.receipts, other.inbound, other.reply.status) == ((), (), 200)
    for field in ("account_update", "phone_number_quality_update"):
        assert taken(status("wamid.1", "sent"), field=field).receipts == ()


def test_news_of_templates() -> None:
    value = {
        "event": "PAUSED",
        "message_template_id": 7,
        "message_template_name": "order",
        "message_template_language": "en",
    }
    request = signed(call(value, field="message_template_status_update"))
    assert [(item.name, item.language, item.status) for item in news(ACCOUNT, request)] == [("order", "en", "PAUSED")]
    for other in (signed(BODY), signed(b"["), signed(b"", method="GET")):
        assert news(ACCOUNT, other) == []
    for account_id in ("", "1" * 15):  # another account of the same app
        assert news(msgspec.structs.replace(ACCOUNT, business_account_id=account_id), request) == []


EXAMPLES: dict[str, tuple[str, str] | None] = {
    "Text Message": ("text", "Does it come in another color?"),
    "Text Message with Context (Product Inquiry)": ("text", "Is this still available?"),
    "Text Message from Click to WhatsApp Ad": ("text", "Hello! Can I get more info on this?"),
    "Reaction Message": ("reaction", ""),
    "Image Message": ("image", "Taj Mahal"),
    "Location Message": ("location", ""),
    "Contact Sharing Message": ("contacts", ""),
    "Unsupported Message": ("unsupported", ""),
    "Button Message": ("button", "Unsubscribe"),
    "Interactive List Reply Message": ("interactive", "Priority Mail Express"),
    "Interactive Button Reply Message": ("interactive", "Cancel"),
    "Order Message": ("order", ""),
    "System Message": None,
    "Group Create Message": None,
    "Group Settings Update": None,
    "Group Remove Participants": None,
}


def test_every_example_of_meta_is_read() -> None:
    examples = meta_openapi.examples()
    assert set(EXAMPLES) == set(examples)
    for name, wanted in EXAMPLES.items():
        number_id = examples[name]["entry"][0]["changes"][0]["value"]["metadata"]["phone_number_id"]
        account = msgspec.structs.replace(ACCOUNT, phone_number_id=number_id)
        found = take(account, signed(json.dumps(examples[name]).encode()))
        assert isinstance(found, Taken), name
        if wanted is None:
            assert found.inbound == (), name
            continue
        (item,) = found.inbound
        assert item.content is not None
        assert (item.content.kind, item.text, item.sender, item.channel) == (*wanted, "+16505551234", "whatsapp"), name
        assert item.content.ref == item.dedup


def test_kinds() -> None:
    image = part({"type": "image", "image": {"id": "7", "mime_type": "image/jpeg", "caption": "Look"}})
    assert image.content is not None
    assert [(file.ref, file.media_type) for file in image.content.attachments] == [("7", "image/jpeg")]
    paper = part({"type": "document", "document": {"id": "8", "mime_type": "application/pdf", "filename": "a.pdf"}})
    assert paper.content is not None
    assert (paper.text, paper.content.attachments[0].name) == ("", "a.pdf")
    place = part({"type": "location", "location": {"latitude": 1, "longitude": -2.5, "name": "Here"}}).content
    assert place is not None
    assert place.location is not None
    assert (place.location.latitude, place.location.longitude, place.location.name) == (1, -2.5, "Here")
    reaction = part({"type": "reaction", "reaction": {"message_id": "wamid.0", "emoji": "👍"}})
    assert reaction.content is not None
    assert reaction.content.reaction is not None
    assert (reaction.content.reaction.emoji, reaction.answers) == ("👍", ("wamid.0",))
    reply = {"type": "list_reply", "list_reply": {"id": "air", "title": "Air"}}
    chosen = part({"type": "interactive", "interactive": reply, "context": {"from": "1", "id": "wamid.0"}})
    assert chosen.content is not None
    assert chosen.content.button is not None
    assert (chosen.content.button.id, chosen.text, chosen.answers) == ("air", "Air", ("wamid.0",))
    assert chosen.content.profile_name == "Ann"
    flow = {"type": "nfm_reply", "nfm_reply": {"name": "flow", "body": "Sent", "response_json": '{"a":1}'}}
    filled = part({"type": "interactive", "interactive": flow})
    assert filled.content is not None
    assert filled.content.button is not None
    assert (filled.text, filled.content.button.id) == ("Sent", '{"a":1}')


@pytest.mark.parametrize(("title", "word"), [("Stop promotions", "stop"), ("STOP", "stop"), ("Stop it", None)])
def test_the_button_of_metas_own_templates_ends_consent(title: str, word: str | None) -> None:
    assert part({"type": "button", "button": {"payload": title, "text": title}}).word == word


@pytest.mark.parametrize(
    ("wa_id", "number"),
    [
        ("16505551234", "+16505551234"), ("5215512345678", "+525512345678"), ("525512345678", "+525512345678"),
        ("553181234567", "+5531981234567"), ("5531981234567", "+5531981234567"), ("553132345678", "+553132345678"),
        ("5491123456789", "+5491123456789"), ("", None), ("ann", None), ("１６５０５５５１２３４", None), ("1" * 16, None),
    ],
)  # fmt: skip
def test_numbers(wa_id: str, number: str | None) -> None:
    assert person(wa_id) == number


leaves = st.none() | st.booleans() | st.integers(-9, 1 << 70) | st.floats() | st.text(max_size=5)
junk = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)


KINDS = ["text", "image", "location", "contacts", "button", "interactive", "reaction", "order", "system", "errors"]


@settings(max_examples=50)
@given(junk, st.sampled_from(["statuses", "messages", "contacts", "metadata", "errors"]), junk, st.sampled_from(KINDS))
def test_nothing_that_is_signed_raises(value: Any, name: str, other: Any, kind: str) -> None:
    good = json.loads(
        call(said("wamid.1", "Hi", context=value, type=kind, **({kind: other} if kind != "text" else {})))
    )
    inner = good["entry"][0]["changes"][0]["value"]
    bodies = [json.dumps(good), json.dumps({**good, "entry": value}), json.dumps({**good, "entry": [value, other]})]
    inner[name] = value
    bodies += [json.dumps(good), json.dumps(value), json.dumps(call_of(value, other))]
    for body in bodies:
        for field in ("messages", "message_template_status_update"):
            sent = body.replace('"field": "messages"', f'"field": "{field}"').encode()
            assert isinstance(take(ACCOUNT, signed(sent)), Taken | Unreadable)
            news(ACCOUNT, signed(sent))


def call_of(value: Any, other: Any) -> Any:
    """Statuses of any form, in a call that is ours."""
    return json.loads(
        call({"statuses": [value, {"id": other, "status": value}, {"id": "w", "status": "failed", "errors": value}]})
    )
