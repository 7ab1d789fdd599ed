"""Checks of a WhatsApp content: each names the field that is wrong, and how."""

from __future__ import annotations

from typing import Any

import pytest

from tidings.domain import whatsapp
from tidings.domain.whatsapp_content import KINDS, WhatsAppContent

LINK = {"link": "https://example.com/a.png"}
BODY = {"body": "Well?"}
BUTTON = {"id": "a", "title": "A"}
INTER = "/content/interactive"
MENU, PART = f"{INTER}/list/sections", "/content/template/components/0"
NAMED = {"name": {"formatted_name": "A"}}
LINKED = {"type": "button", "sub_type": "url"}
TEXT, PAYLOAD = {"type": "text", "text": "a"}, {"type": "payload", "payload": "a"}


def _buttons(*buttons: Any, **more: Any) -> dict[str, Any]:
    return {"interactive": {**BODY, **more, "buttons": list(buttons)}}


def _rows(count: int) -> list[dict[str, str]]:
    return [{"id": str(n), "title": f"Row {n}"} for n in range(count)]


def _list(*sections: Any, button: str = "Choose", **more: Any) -> dict[str, Any]:
    return {"interactive": {**BODY, **more, "list": {"button": button, "sections": list(sections)}}}


def _template(*components: Any, name: str = "order_2", language: str = "en_US") -> dict[str, Any]:
    return {"template": {"name": name, "language": language, "components": list(components)}}


BAD: list[tuple[Any, str | None, str, str]] = [
    (None, None, "/text", "required"),
    ({}, None, "/text", "required"),
    ({"preview_url": True}, None, "/content/text", "required"),
    (None, "", "/text", "length"),
    (None, "x" * 4_097, "/text", "length"),
    ({"text": "x" * 4_097}, None, "/content/text", "length"),
    ({"text": "a"}, "b", "/content/text", "conflict"),
    ({"image": LINK, "location": {"latitude": 1, "longitude": 1}}, None, "/content/location", "conflict"),
    ({"colour": 1}, "a", "/content", "invalid"),
    ({"image": {"src": "x"}}, None, "/content/image", "invalid"),
    ({"interactive": {"buttons": [{"id": 7, "title": "A"}]}}, None, INTER + "/buttons/0/id", "invalid"),
    ({"image": {}}, None, "/content/image", "required"),
    ({"image": {**LINK, "id": "12345"}}, None, "/content/image", "required"),
    ({"image": {"link": "ftp://example.com/a"}}, None, "/content/image/link", "invalid"),
    ({"image": {"link": "https://example.com/a b"}}, None, "/content/image/link", "invalid"),
    ({"image": {"link": "https://[::1/a"}}, None, "/content/image/link", "invalid"),
    ({"image": {"link": "https://example.com/" + "a" * 2_048}}, None, "/content/image/link", "invalid"),
    ({"image": {"id": "../../me"}}, None, "/content/image/id", "invalid"),
    ({"image": {**LINK, "filename": "a.png"}}, None, "/content/image/filename", "conflict"),
    ({"image": {**LINK, "caption": "x" * 1_025}}, None, "/content/image/caption", "length"),
    ({"image": LINK}, "x" * 1_025, "/text", "length"),
    ({"image": {**LINK, "caption": "a"}}, "b", "/text", "conflict"),
    ({"audio": {**LINK, "caption": "a"}}, None, "/content/audio/caption", "conflict"),
    ({"sticker": LINK}, "a", "/text", "conflict"),
    ({"preview_url": True, "image": LINK}, None, "/content/preview_url", "conflict"),
    ({"interactive": {"buttons": [BUTTON]}}, None, INTER + "/body", "required"),
    (_buttons(BUTTON), "b", "/text", "conflict"),
    ({"interactive": BODY}, None, INTER, "required"),
    ({"interactive": {**BODY, "buttons": [BUTTON], "list": {"button": "x", "sections": []}}}, None, INTER, "required"),
    (_buttons(*({"id": str(n), "title": str(n)} for n in range(4))), None, INTER + "/buttons", "length"),
    (_buttons(BUTTON, {"id": "b", "title": "A"}), None, INTER + "/buttons/1/title", "duplicate"),
    (_buttons(BUTTON, {"id": "a", "title": "B"}), None, INTER + "/buttons/1/id", "duplicate"),
    (_buttons({"id": " a", "title": "A"}), None, INTER + "/buttons/0/id", "invalid"),
    (_buttons({"id": "a", "title": "x" * 21}), None, INTER + "/buttons/0/title", "length"),
    (_buttons(BUTTON, footer="x" * 61), None, INTER + "/footer", "length"),
    (_buttons(BUTTON, header={}), None, INTER + "/header", "required"),
    (_buttons(BUTTON, header={"text": "x" * 61}), None, INTER + "/header/text", "length"),
    (_buttons(BUTTON, header={"image": {}}), None, INTER + "/header/image", "required"),
    (_list({"rows": _rows(1)}, header={"image": LINK}), None, INTER + "/header/image", "conflict"),
    (_list(), None, MENU, "length"),
    (_list({"rows": _rows(11)}), None, MENU, "length"),
    (_list({"rows": []}), None, MENU + "/0/rows", "required"),
    (_list({"title": "A", "rows": _rows(1)}, {"rows": [{"id": "x", "title": "X"}]}), None, MENU + "/1/title", "required"),
    (_list({"title": "A", "rows": _rows(1)}, {"title": "B", "rows": _rows(1)}), None, MENU + "/1/rows/0/id", "duplicate"),
    (_list({"rows": [{"id": "a", "title": "x" * 25}]}), None, MENU + "/0/rows/0/title", "length"),
    (_list({"rows": [{"id": "a", "title": "A", "description": "x" * 73}]}), None, MENU + "/0/rows/0/description", "length"),
    (_list({"rows": _rows(1)}, button="x" * 21), None, INTER + "/list/button", "length"),
    (_template(), "Hello", "/text", "conflict"),
    (_template(name="Order 2"), None, "/content/template/name", "invalid"),
    (_template(language="english"), None, "/content/template/language", "invalid"),
    (_template({"type": "footer"}), None, PART + "/type", "invalid"),
    (_template({"type": "body", "parameters": [{"type": "smell"}]}), None, PART + "/parameters/0/type", "invalid"),
    (_template({"type": "body", "parameters": [{"type": "image", "image": LINK}]}), None, PART + "/parameters/0/type", "conflict"),
    (_template({"type": "body", "parameters": [{"type": "text", "text": ""}]}), None, PART + "/parameters/0/text", "length"),
    (_template({"type": "header", "parameters": []}), None, PART + "/parameters", "length"),
    (_template({"type": "header", "parameters": [{"type": "image", "image": {}}]}), None, PART + "/parameters/0/image", "required"),
    (_template({"type": "body"}, {"type": "body"}), None, "/content/template/components/1", "duplicate"),
    (_template({"type": "body", "index": 1}), None, PART + "/index", "conflict"),
    (_template({"type": "button", "index": 0, "parameters": [PAYLOAD]}), None, PART + "/sub_type", "required"),
    (_template({**LINKED, "parameters": [TEXT]}), None, PART + "/index", "range"),
    (_template({**LINKED, "index": 0, "parameters": [PAYLOAD]}), None, PART + "/parameters/0/type", "conflict"),
    ({"location": {"latitude": 90.1, "longitude": 0}}, None, "/content/location/latitude", "range"),
    ({"location": {"latitude": 0, "longitude": float("nan")}}, None, "/content/location/longitude", "range"),
    ({"location": {"longitude": 0}}, None, "/content/location", "invalid"),
    ({"contacts": [NAMED] * 6}, None, "/content/contacts", "length"),
    ({"contacts": [{"name": {"formatted_name": " "}}]}, None, "/content/contacts/0/name/formatted_name", "length"),
    ({"contacts": [{**NAMED, "birthday": "18.8.1990"}]}, None, "/content/contacts/0/birthday", "invalid"),
    ({"contacts": [{**NAMED, "emails": [{"email": "a"}]}]}, None, "/content/contacts/0/emails/0/email", "invalid"),
    ({"contacts": [{**NAMED, "urls": [{"url": "javascript:alert(1)"}]}]}, None, "/content/contacts/0/urls/0/url", "invalid"),
    ({"reaction": {"message_id": "wamid.1", "emoji": "ok"}}, None, "/content/reaction/emoji", "invalid"),
    ({"reaction": {"message_id": "", "emoji": "👍"}}, None, "/content/reaction/message_id", "length"),
    ({"reaction": {"message_id": "a", "emoji": "👍"}, "reply_to": "b"}, None, "/content/reply_to", "conflict"),
    ({"reply_to": " "}, "a", "/content/reply_to", "length"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "text", "pointer", "code"), BAD, ids=[f"{n}{row[2]}" for n, row in enumerate(BAD)])
def test_every_problem_names_its_field(content: Any, text: str | None, pointer: str, code: str) -> None:
    found = whatsapp.problems(content, text)
    assert (pointer, code) in [(problem.pointer, problem.code) for problem in found], found
    assert all(problem.detail for problem in found)


def test_all_problems_are_told_at_once() -> None:
    content = {"image": {"link": "x", "filename": "y", "caption": "z" * 2_000}, "reply_to": ""}
    assert len(whatsapp.problems(content, None)) == 4


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "{{ name }}" + "x" * 5_000),
        ({"image": {"link": "https://example.com/{{ order.id }}.png"}}, "Order {{ order.id }}"),
        (_template({"type": "body", "parameters": [{"type": "text", "text": "{{ order.id }}"}]}), None),
    ],
)
def test_what_is_filled_in_later_is_judged_later(content: Any, text: str | None) -> None:
    assert whatsapp.problems(content, text) == []


def test_kinds() -> None:
    assert WhatsAppContent(text="a").kind == "text"
    assert set(KINDS) < set(WhatsAppContent.__struct_fields__)
    assert whatsapp.read(_template(), None).needs_window is False
    assert whatsapp.read(None, "a").needs_window is True
    assert set(WhatsAppContent.__struct_fields__) > whatsapp.LIQUID


@pytest.mark.parametrize(
    ("number", "good"), [("+14155550123", True), ("4155550123", False), ("ann@example.com", False)]
)
def test_addresses(number: str, good: bool) -> None:
    assert (whatsapp.address_problem(number) is None) == (whatsapp.sender_problem(number) is None) == good
