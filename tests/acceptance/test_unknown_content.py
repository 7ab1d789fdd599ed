"""Messages that are no plain text, through the whole server, against an SMSC that is not ours."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from acceptance.test_unknown_foreign import ONE, get, reaches, running, send
from peers.carriers import node_smsc


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        ({"text": "now", "content": {"flash": True}}, (0x10, 0, "", "now")),
        (
            {"text": None, "content": {"data": "0106", "destination_port": 2948, "source_port": 9200}},
            (4, 0x40, "05040b8423f0", "\x01\x06"),
        ),
        ({"text": "İstanbul'da ışıklar " * 6}, (0, 0x40, "240101", "İstanbul'da ışıklar " * 6)),
    ],
    ids=["flash", "binary", "national"],
)
async def test_out(node_peer: Path, tmp_path: Path, body: dict[str, Any], seen: tuple[Any, ...]) -> None:
    async with node_smsc(node_peer) as smsc, running(smsc.port, tmp_path, 'national_tables = ["tr"]') as api:
        message = await send(api, ONE, **body)
        await reaches(api, message, "delivered")
        await smsc.caught_up()
        (line,) = smsc.of("submit")
        assert (line["data_coding"], line["esm_class"], line["udh"], line["text"]) == seen
        preview = await asyncio.to_thread(api.call, "POST", "/v1/messages/preview", {"to": ONE} | body)
        assert preview.json["parts"] == 1
        assert preview.json["encoding"] in ("gsm", "binary", "gsm+single-tr")


async def test_in(node_peer: Path, tmp_path: Path) -> None:
    async with node_smsc(node_peer) as smsc, running(smsc.port, tmp_path) as api:
        whole = {"from": ONE[1:], "to": "12345", "udh": "0605040b8423f0", "data_coding": 4}
        await smsc.command("part", hex="017f", **whole)
        for n, octets in ((2, "4344"), (1, "4142")):
            await smsc.command("part", **whole | {"udh": f"0500030702{n:02}"}, hex=octets)
        async with asyncio.timeout(30):
            while len(found := (await get(api, "/v1/inbound"))["data"]) < 2:
                await asyncio.sleep(0.02)
        joined, first = found
        assert (first["text"], joined["text"], joined["parts"]) == (None, None, 2)
        assert first["content"] == {"data": "017f", "destination_port": 2948, "source_port": 9200}
        assert joined["content"] == {"data": "41424344"}


@pytest.mark.parametrize(
    ("content", "pointer"),
    [
        ({"data": "xyz"}, "/content/data"),
        ({"flash": True, "data": "00"}, "/content/flash"),
        ({"html": "x"}, "/content"),
    ],
)
async def test_refused(node_peer: Path, tmp_path: Path, content: dict[str, Any], pointer: str) -> None:
    async with node_smsc(node_peer) as smsc, running(smsc.port, tmp_path) as api:
        answer = await asyncio.to_thread(api.call, "POST", "/v1/messages", {"to": ONE, "content": content})
        assert answer.status == 422, answer.body
        assert [error["pointer"] for error in answer.json["errors"]] == [pointer]
