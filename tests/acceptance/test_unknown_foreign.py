"""The answer to a submit is lost, the receipt comes: what a whole server makes of it, against an SMSC that is not ours."""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from acceptance.conftest import Api, start_server, stop_server
from peers.carriers import NodeSmsc, node_smsc, until

ONE, OTHER = "+491701234567", "+491701234568"
SHORT = "id:ID stat:DELIVRD err:000 text:"


@asynccontextmanager
async def running(port: int, folder: Path, settings: str = "") -> AsyncIterator[Api]:
    """A server whose only carrier is the one on `port`; an answer is given up after 0.3 s."""
    key = f"tk_live_{secrets.token_hex(24)}"
    lines = [
        "[[providers]]", 'name = "foreign"', 'type = "sms.smpp"', 'host = "127.0.0.1"', f"port = {port}",
        'system_id = "perf"', 'password = "perf"', "response_timeout_s = 0.3", settings, "",
    ]  # fmt: skip
    process, url = await asyncio.to_thread(start_server, folder / "data", key, "\n".join(lines))
    try:
        api = Api(url=url, key=key)
        async with asyncio.timeout(30):
            while not any(
                link["state"] == "up"
                for one in (await get(api, "/v1/providers"))["data"]
                if one["name"] == "foreign"
                for link in one["links"]
            ):
                await asyncio.sleep(0.02)
        yield api
    finally:
        await asyncio.to_thread(stop_server, process)


async def send(api: Api, to: str, **more: Any) -> str:
    body = {"to": to, "from": "ACME", "text": "hello", "on_unknown": "hold"} | more
    answer = await asyncio.to_thread(api.call, "POST", "/v1/messages", body)
    assert answer.status == 202, answer.body
    return str(answer.json["id"])


async def get(api: Api, path: str) -> Any:
    return (await asyncio.to_thread(api.call, "GET", path)).json


async def reaches(api: Api, message: str, status: str) -> Any:
    return await asyncio.to_thread(api.wait_for, message, status)


async def unknown(api: Api, *messages: str) -> None:
    """Waits until the attempt of each has the status `unknown`."""
    async with asyncio.timeout(30):
        for message in messages:
            while [a["status"] for a in (await get(api, f"/v1/messages/{message}"))["attempts"]] != ["unknown"]:
                await asyncio.sleep(0.02)


def lost(smsc: NodeSmsc, count: int) -> bool:
    return len(smsc.of("swallowed")) == count and len(smsc.of("deliver_resp")) == count


@pytest.mark.parametrize("receipt_ms", [0, 800], ids=["the receipt comes first", "the time-out comes first"])
async def test_the_only_candidate_is_settled(node_peer: Path, tmp_path: Path, receipt_ms: int) -> None:
    options: dict[str, Any] = {"swallow": [ONE[1:]], "receipt_text": SHORT, "receipt_ms": receipt_ms}
    async with node_smsc(node_peer, **options) as smsc, running(smsc.port, tmp_path) as api:
        message = await send(api, ONE)
        view = await reaches(api, message, "delivered")
        assert [attempt["status"] for attempt in view["attempts"]] == ["delivered"]
        await until(lambda: lost(smsc, 1))
        assert (await get(api, "/v1/receipts"))["data"] == []
        assert len(smsc.of("submit")) == 1, "it was sent twice"


async def test_an_echoed_reference_tells_two_apart(node_peer: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "swallow": [ONE[1:]], "receipt_text": SHORT, "receipt_ms": 800, "echo_reference": True,
    }  # fmt: skip
    async with (
        node_smsc(node_peer, **options) as smsc,
        running(smsc.port, tmp_path, "user_message_reference = true") as api,
    ):
        messages = [await send(api, ONE, text=text) for text in ("first", "second")]
        for message in messages:
            await reaches(api, message, "delivered")
        await until(lambda: lost(smsc, 2))
        references = {line["user_ref"] for line in smsc.of("submit")}
        assert len(references) == 2
        assert None not in references
        assert (await get(api, "/v1/receipts"))["data"] == []


async def test_two_candidates_stay_unknown_and_the_receipts_are_listed(node_peer: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"swallow": [ONE[1:]], "receipt_text": SHORT, "receipt_ms": 1500}
    async with node_smsc(node_peer, **options) as smsc, running(smsc.port, tmp_path) as api:
        messages = [await send(api, ONE, text=text) for text in ("first", "second")]
        await unknown(api, *messages)
        await until(lambda: lost(smsc, 2))
        async with asyncio.timeout(30):
            while len(listed := (await get(api, "/v1/receipts"))["data"]) < 2:
                await asyncio.sleep(0.02)
        assert {item["provider"] for item in listed} == {"foreign"}
        assert {item["provider_ref"] for item in listed} == {line["id"] for line in smsc.of("swallowed")}
        await unknown(api, *messages)  # neither was guessed


async def test_another_recipient_is_no_candidate(node_peer: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"swallow": [ONE[1:]], "silent": [OTHER[1:]], "receipt_text": SHORT, "receipt_ms": 800}
    async with node_smsc(node_peer, **options) as smsc, running(smsc.port, tmp_path) as api:
        silent, answered = await send(api, OTHER), await send(api, ONE)
        await reaches(api, answered, "delivered")
        await unknown(api, silent)


@pytest.mark.parametrize(("zone", "matches"), [("+05:00", True), ("UTC", False)])
async def test_the_submit_date_is_read_in_the_carriers_zone(
    node_peer: Path, tmp_path: Path, zone: str, matches: bool
) -> None:
    local = dt.datetime.now(dt.timezone(dt.timedelta(hours=5)))
    dated = f"id:ID sub:001 dlvrd:001 submit date:{local:%y%m%d%H%M} done date:{local:%y%m%d%H%M} stat:DELIVRD text:"
    options: dict[str, Any] = {"swallow": [ONE[1:]], "receipt_text": dated, "receipt_ms": 800}
    async with (
        node_smsc(node_peer, **options) as smsc,
        running(smsc.port, tmp_path, f'receipt_timezone = "{zone}"') as api,
    ):
        message = await send(api, ONE)
        if matches:
            await reaches(api, message, "delivered")
        else:
            await until(lambda: lost(smsc, 1))
            await unknown(api, message)
            assert len((await get(api, "/v1/receipts"))["data"]) == 1
