"""Limits of tidings.toml on the path: what may not leave yet waits in the store, and leaves in its turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tidings.delivery.settle import UnknownWait
from tidings.domain.errors import SettingsError
from tidings.routing.pace import Limit
from tidings.settings import load

from .scripted import Several


@pytest.fixture
async def several(tmp_path: Path) -> AsyncIterator[Several]:
    made = Several(tmp_path, UnknownWait(0.3, 0.3))
    yield made
    await made.close()


async def test_a_rate(several: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Limit(name="slow", senders=["ACME"], each="sender", rate_per_s=4)
    await several.open_with("a", patch=monkeypatch, limits=[slow])
    free = await asyncio.gather(*(several.send(sender="OTHER") for _ in range(20)))
    held = await asyncio.gather(*(several.send(sender="ACME") for _ in range(8)))
    for message in [*free, *held]:
        await several.until_status(message, "sent")
    at = [
        row[0]
        for row in await several.rows("select created_ms from attempts where sender = 'ACME' order by created_ms")
    ]
    assert len(at) == 8
    for n in range(8):
        for m in range(n, 8):
            assert m - n + 1 <= 2 + (at[m] - at[n]) * 4 / 1000 + 0.05
    assert (await several.events(held[-1]))[:2] == ["accepted", "queued"]


async def test_a_day(several: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    await several.open_with("a", patch=monkeypatch, limits=[Limit(name="warm", per_day=3)])
    sent = [await several.send() for _ in range(3)]
    for message in sent:
        await several.until_status(message, "sent")
    over = await several.send()
    late = await several.send(valid_for_s=30)
    await several.until_status(over, "queued")
    assert (
        await several.until_status(late, "queued", "expired", "sent") == "expired"
        or several.now() % 86_400_000 > 86_360_000
    )
    several.ahead_ms = 86_400_000
    await several.until_status(over, "sent")


async def test_saboteur_nothing_is_taken(several: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    from tidings.routing import pace

    monkeypatch.setattr(pace, "_taken", lambda bucket, fill, now_ms: fill)
    with pytest.raises(AssertionError):
        await test_a_rate(several, monkeypatch)


TOML = """
[[limits]]
name = "gmail"
channels = ["email"]
to = ["@gmail.com"]
each = "sender"
rate_per_s = 5
per_day = 100000
warm_up = [50, 100, 500]
began = 2026-11-26
"""


def test_limits_of_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "tidings.toml"
    path.write_text(TOML)
    [limit] = load(path).limits
    assert (limit.name, limit.warm_up, str(limit.began)) == ("gmail", [50, 100, 500], "2026-11-26")
    for bad, told in [
        (TOML.replace("began = 2026-11-26", ""), r"limits\[0\] \(gmail\)\.began: warm_up and began"),
        (TOML + TOML, r"limits\[1\] \(gmail\): the name is taken"),
        (TOML.replace("@gmail", "gmail"), r"\.to\.0: must be a prefix"),
    ]:
        path.write_text(bad)
        with pytest.raises(SettingsError, match=told):
            load(path)
