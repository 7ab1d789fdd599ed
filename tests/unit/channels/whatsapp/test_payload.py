"""What we make of every kind of content is valid as Meta's published schema, which sees what is not."""

from __future__ import annotations

from typing import Any

import pytest

from peers import meta_openapi
from peers.whatsapp_contents import GOOD
from tidings.channels.whatsapp import payload
from tidings.domain import whatsapp

TO = "+16505551234"


def made(content: dict[str, Any] | None, text: str | None, callback_data: str | None = None) -> dict[str, Any]:
    return payload.message(whatsapp.read(content, text), TO, callback_data)


@pytest.mark.parametrize(("content", "text"), [row[1:] for row in GOOD], ids=[row[0] for row in GOOD])
def test_every_kind_is_valid(content: dict[str, Any] | None, text: str | None) -> None:
    assert whatsapp.problems(content, text) == []
    assert meta_openapi.complaints("Message", made(content, text)) == []


def test_a_read_mark_is_valid() -> None:
    assert meta_openapi.complaints("MarkMessageRequestPayload", payload.read_mark("wamid.X")) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: body.pop("messaging_product"),
        lambda body: body.update(type="pigeon"),
        lambda body: body["text"].update(colour="red"),
        lambda body: body.update(to=7),
        lambda body: body.pop("text"),
    ],
)
def test_the_judge_sees_what_is_wrong(spoil: Any) -> None:
    body = made(None, "Hello")
    spoil(body)
    assert meta_openapi.complaints("Message", body)


def test_what_the_published_document_does_not_know() -> None:
    """Meta's reference has `biz_opaque_callback_data` for every message, its OpenAPI only where nothing is forbidden."""
    assert any("biz_opaque_callback_data" in said for said in meta_openapi.complaints("Message", made(None, "Hi", "7")))
    template = {"template": {"name": "hello_world", "language": "en_US"}}
    assert meta_openapi.complaints("Message", made(template, None, "7")) == []


@pytest.mark.parametrize(
    ("content", "text", "path", "value"),
    [
        (None, "Hi", ("text",), {"body": "Hi", "preview_url": False}),
        ({"image": {"id": "12345"}}, "Look", ("image",), {"id": "12345", "caption": "Look"}),
        ({"reply_to": "wamid.1"}, "Yes", ("context", "message_id"), "wamid.1"),
        ({"interactive": {"buttons": [{"id": "a", "title": "A"}]}}, "Well?", ("interactive", "body", "text"), "Well?"),
        ({"interactive": {"buttons": [{"id": "a", "title": "A"}]}}, "W", ("interactive", "action", "buttons"),
         [{"type": "reply", "reply": {"id": "a", "title": "A"}}]),
        ({"location": {"latitude": 1e-9, "longitude": -12.50}}, None, ("location",), {"latitude": "0", "longitude": "-12.5"}),
        ({"template": {"name": "x", "language": "en"}}, None, ("template",),
         {"name": "x", "language": {"policy": "deterministic", "code": "en"}}),
        ({"reaction": {"message_id": "w", "emoji": ""}}, None, ("reaction",), {"message_id": "w", "emoji": ""}),
    ],
)  # fmt: skip
def test_fields(content: Any, text: str | None, path: tuple[str, ...], value: Any) -> None:
    found: Any = made(content, text)
    for name in path:
        found = found[name]
    assert found == value
