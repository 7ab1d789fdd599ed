"""A person is one person for the whole application, however the address is written; with a saboteur."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from http_inside import Inside, inside
from tidings.domain import address

NATIONAL, NUMBER = "+4407700900123", "+447700900123"
KEYS = {
    "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
    "auth": "BTBZMqHH6r4Tts7J_aSIgg",
}
BROWSER = json.dumps({"endpoint": "https://push.example.com/a", "keys": KEYS})
#: channel, one spelling, the other
SPELLINGS = [
    ("sms", NATIONAL, NUMBER), ("sms", NUMBER, NATIONAL), ("sms", "+525512345678", "+5215512345678"),
    ("push", BROWSER, BROWSER.replace('"keys"', '  "keys"')), ("email", "ada@EXAMPLE.test", "ada@example.test"),
]  # fmt: skip


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Inside]:
    async with inside(tmp_path) as made:
        yield made


async def suppress(running: Inside, channel: str, to: str) -> None:
    body = {"to": to, "channel": channel}
    assert (await running.call("POST", "/v1/suppressions", body, key=running.test_key)).status == 201


async def one_row_under_both(running: Inside, channel: str, one: str, other: str) -> None:
    for to in (one, one) if other.startswith("+521") else (one, other, one):  # that may be received, not written to
        await suppress(running, channel, to)
    listed = (await running.call("GET", "/v1/suppressions", key=running.test_key)).json["data"]
    assert [item["channel"] for item in listed] == [channel]
    gone = f"/v1/suppressions?channel={channel}&to={quote(other)}"
    assert (await running.call("DELETE", gone, key=running.test_key)).status == 204
    assert (await running.call("GET", "/v1/suppressions", key=running.test_key)).json["data"] == []


@pytest.mark.parametrize(("channel", "one", "other"), SPELLINGS)
async def test_set_under_one_listed_once_lifted_under_the_other(
    running: Inside, channel: str, one: str, other: str
) -> None:
    await one_row_under_both(running, channel, one, other)


async def decision(running: Inside, to: str) -> Any:
    body = {"to": to, "text": "hello"}
    answer = await running.call("POST", "/v1/messages/preview", body, key=running.test_key)
    return answer.json["decision"].get("code")


async def ends_suppressed(running: Inside, to: str) -> None:
    sent = (await running.call("POST", "/v1/messages", {"to": to, "text": "hello"}, key=running.test_key)).json
    timeline = f"/v1/messages/{sent['id']}/events"
    found: set[str] = set()
    while not found & {"message.suppressed", "message.sent"}:
        events = (await running.call("GET", timeline, key=running.test_key)).json["data"]
        found = {event["type"] for event in events}
    assert "message.suppressed" in found


async def holds(running: Inside) -> None:
    await suppress(running, "sms", NATIONAL)
    for to in (NUMBER, NATIONAL):
        assert await decision(running, to) == "suppressed"
        await ends_suppressed(running, to)
        found = await running.call("GET", f"/v1/messages?to={quote(to)}", key=running.test_key)
        assert found.json["data"]


async def test_a_message_is_stopped_whatever_the_spelling(running: Inside) -> None:
    await holds(running)


async def test_saboteur_who_goes_by_the_spelling(running: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "one_spelling", lambda text: text)
    with pytest.raises(AssertionError):
        await holds(running)
    with pytest.raises(AssertionError):
        await one_row_under_both(running, *SPELLINGS[1])
