"""Verifications on a database of many writers: what one node counts, another one sees."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from msgspec.structs import replace

from store_nodes import node, url
from store_world import NOW, PROJECT, World
from tidings.kit import limits
from tidings.kit.ids import new_id
from tidings.store.postgres import locks, verifications
from tidings.store.verifying import Act, NewVerification

__all__ = ["url"]


def made(world: World, mark: str) -> NewVerification:
    id = new_id("ver")
    return NewVerification(
        project=PROJECT, id=id, mode="live", channel="sms", channels='["sms"]', country=None, locale=None, reference=None,
        code_hash="right", code_length=6, max_attempts=5, created_ms=NOW, expires_ms=NOW + 600_000, key_id="k1",
        to_hash="h", sealed=world.ring.seal(b'{"to":"+1"}', id), event=new_id("evt"), marks=(("to", mark),),
    )  # fmt: skip


def wrong(item: NewVerification, n: int) -> Act:
    return Act(
        project=PROJECT, mode="live", id=item.id, now_ms=NOW + 1, event=new_id("evt"), code_hash=f"wrong {n}"
    )  # fmt: skip


async def test_checks_on_two_nodes_cannot_exceed_the_limit(url: str) -> None:
    async with node(url) as one, node(url) as two:
        for n in range(10):
            item = made(one, f"m{n}")
            await one.store.verifications.start(item)
            checks = [world.store.verifications.check(wrong(item, n)) for n in range(8) for world in (one, two)]
            assert Counter(done.kind for done in await asyncio.gather(*checks)) == {"pending": 4, "max_attempts": 12}


async def test_starts_on_two_nodes_cannot_exceed_the_limit(url: str) -> None:
    _, most = limits.VERIFY_STARTS_PER_ADDRESS
    async with node(url) as one, node(url) as two:
        for n in range(10):
            starts = [w.store.verifications.start(made(w, f"m{n}")) for _ in range(most) for w in (one, two)]
            kinds = Counter(started.kind for started in await asyncio.gather(*starts))
            assert kinds == {"new": most, "refused": most}


async def test_a_code_counts_once_on_two_nodes(url: str) -> None:
    async with node(url) as one, node(url) as two:
        for n in range(10):
            item = made(one, f"m{n}")
            await one.store.verifications.start(item)
            right = replace(wrong(item, 0), code_hash="right")
            checks = [w.store.verifications.check(replace(right, event=new_id("evt"))) for w in (one, two)]
            assert Counter(done.kind for done in await asyncio.gather(*checks)) == {"approved": 1, "already": 1}


class Together:
    """Whoever comes here waits for the other one: nothing that is read before is fresh any more."""

    def __init__(self, then: Any) -> None:
        self._then, self._barrier = then, asyncio.Barrier(2)

    async def __call__(self, *values: Any) -> Any:
        async with asyncio.timeout(30):
            await self._barrier.wait()
        return await self._then(*values)


async def test_without_its_lock_a_check_would_be_lost(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with node(url) as one, node(url) as two:
        item = made(one, "m")
        await one.store.verifications.start(item)
        monkeypatch.setattr(verifications, "_HOLD", verifications._HOLD.replace("for no key update of v", ""))
        monkeypatch.setattr(verifications, "_write", Together(verifications._write))
        await asyncio.gather(*(w.store.verifications.check(wrong(item, n)) for n, w in enumerate((one, two))))
        found = await one.store.verifications.get(one.ring, PROJECT, "live", item.id)
        assert found is not None
        assert found.attempts == 1, "two wrong codes, and one of them was free"


async def test_without_its_lock_a_start_would_slip_by(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, most = limits.VERIFY_STARTS_PER_ADDRESS

    async def none(*_: Any) -> None:
        return

    async with node(url) as one, node(url) as two:
        for _ in range(most - 1):
            await one.store.verifications.start(made(one, "m"))
        monkeypatch.setattr(locks, "marks", none)
        monkeypatch.setattr(verifications, "_refusal", Together(verifications._refusal))
        starts = [w.store.verifications.start(made(w, "m")) for w in (one, two)]
        assert [started.kind for started in await asyncio.gather(*starts)] == ["new", "new"]
