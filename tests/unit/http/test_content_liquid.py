"""Liquid of a typed content is read when the message is accepted: what cannot be Liquid is refused, with its field and line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from http_inside import Inside, inside
from tidings.delivery import accept
from tidings.templates import fill

EMAIL = {"to": "ada@example.test", "data": {}}
BOTH = {"to": {"email": "ada@example.test", "push": ["token"]}, "channels": ["push", "email"], "data": {}, "text": "x"}
BUTTON = {
    "to": "+15005550001", "channel": "whatsapp", "data": {},
    "content": {"template": {"name": "a", "language": "en", "components": [
        {"type": "body", "parameters": [{"type": "text", "text": "{{ code"}]},
    ]}},
}  # fmt: skip
#: body, pointers, what the first says
BROKEN: list[tuple[dict[str, Any], list[str], str]] = [
    (EMAIL | {"content": {"subject": "Hi {{ name", "text": "x"}}, ["/content/subject"], "line 1"),
    (EMAIL | {"content": {"subject": "s", "html": "<p>\n\n{% for %}"}}, ["/content/html"], "line 3"),
    (EMAIL | {"content": {"subject": "{{", "html": "{% nonsense %}"}}, ["/content/subject", "/content/html"], "Liquid"),
    (EMAIL | {"text": "{{ x", "content": {"subject": "{% if %}"}}, ["/text", "/content/subject"], "line 1"),
    (BOTH | {"content": {"email": {"subject": "{{ a"}}}, ["/content/email/subject"], "line 1"),
    (
        BOTH | {"content": {"push": {"data": {"a/b": "{{ a"}}, "email": {"subject": "s"}}},
        ["/content/push/data/a~1b"],
        "",
    ),
    (BUTTON, ["/content/template/components/0/parameters/0/text"], "line 1"),
]
FINE: list[dict[str, Any]] = [
    EMAIL | {"content": {"subject": "Hi {{ name }}", "html": "{% if name %}x{% endif %}"}},
    {"to": "ada@example.test", "content": {"subject": "{{ as it is", "text": "no data, no Liquid"}},
    EMAIL | {"content": {"subject": "s", "text": "x", "headers": {"X-Campaign": "{{ headers are no Liquid"}}},
]


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Inside]:
    async with inside(tmp_path) as made:
        yield made


async def pointers(running: Inside, body: dict[str, Any]) -> tuple[list[str], str]:
    answer = await running.call("POST", "/v1/messages", body, key=running.test_key)
    assert answer.status == 422
    assert answer.json["code"] != "no_provider"
    assert {error["code"] for error in answer.json["errors"]} == {"template_syntax"}
    return [error["pointer"] for error in answer.json["errors"]], answer.json["errors"][0]["detail"]


@pytest.mark.parametrize(("body", "where", "says"), BROKEN)
async def test_what_is_no_liquid_is_refused(running: Inside, body: dict[str, Any], where: list[str], says: str) -> None:
    found, detail = await pointers(running, body)
    assert found == where
    assert says in detail
    assert len(detail) < 200


@pytest.mark.parametrize("body", FINE)
async def test_what_is_liquid_or_need_not_be_goes_on(running: Inside, body: dict[str, Any]) -> None:
    answer = await running.call("POST", "/v1/messages", body, key=running.test_key)
    assert answer.json["code"] == "no_provider"  # the next check: this application has SMS alone


async def test_saboteur_nobody_looks(running: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accept, "unparsable", lambda *_: ())
    with pytest.raises(AssertionError):
        await pointers(running, BROKEN[0][0])


def test_plain_words_are_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fill, "parse", lambda _: pytest.fail("parsed"))
    assert list(fill.unparsable({"text": "{ plain }"}, frozenset({"text"}), frozenset(), "")) == []
