"""Verifications over kills: asked for again with its key, each one has one message, and the code in it is right.

Storing a verification and accepting its message are two commits. The server here dawdles between them, and is killed
while some of them are there.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tidings.sandbox.sms import SandboxSmsc

from .rig import KEY, Server

CAMPAIGN = os.environ.get("TIDINGS_CAMPAIGN") == "1"
COUNT, CALLERS, KILLS = (400, 16, 8) if CAMPAIGN else (48, 16, 1)
#: Verifications whose message is still to be accepted.
BETWEEN = """
select count(*) from verifications v where not exists (select 1 from messages m where m.reference = v.id)"""
DAWDLE = """
import asyncio
from tidings.delivery.accept import Acceptor
accept = Acceptor.accept
async def slowly(self, *asked):
    await asyncio.sleep(0.3)
    return await accept(self, *asked)
Acceptor.accept = slowly
"""
#: The saboteur: a code that only this process knows, as if it were random.
FORGETFUL = """
import random, secrets
from tidings.verify import service
known = {}
service.code_of = lambda ring, id, salt, digits: known.setdefault(id, f"{secrets.randbelow(10**digits):0{digits}}")
"""


class Customer:
    """Starts each verification until it is told its id; the same key every time."""

    def __init__(self, url: str) -> None:
        self.url, self.next, self.ids = url, 0, dict[int, set[str]]()

    async def run(self) -> None:
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
            await asyncio.gather(*(self._caller(session) for _ in range(CALLERS)))

    async def _caller(self, session: aiohttp.ClientSession) -> None:
        while self.next < COUNT:
            n, self.next = self.next, self.next + 1
            while not await self._once(session, n):
                await asyncio.sleep(0.02)
            await self._once(session, n)  # and once more, when all is well

    async def _once(self, session: aiohttp.ClientSession, n: int) -> bool:
        try:
            async with session.post(
                f"{self.url}/v1/verifications", json={"to": f"+1500555{n:04}"}, headers={"Idempotency-Key": f"v{n}"}
            ) as answer:
                told = await answer.json()
                assert answer.status in (201, 503), told
                if answer.status == 201:
                    self.ids.setdefault(n, set()).add(told["id"])
                return answer.status == 201
        except (aiohttp.ClientError, OSError):
            return False


async def wrong_after_kills(folder: Path, patch: str) -> list[str]:
    """What does not balance, after the server was killed again and again while verifications were started."""
    smsc = SandboxSmsc(system_id="perf", password="perf", receipt_delay_s=0.01)
    await smsc.start()
    server = Server(folder, smsc.port, unknown_wait_s=0.2)
    await server.start_patched(patch)
    try:
        customer = Customer(server.url)
        async with asyncio.timeout(600 if CAMPAIGN else 150), asyncio.TaskGroup() as group:
            group.create_task(customer.run())
            for kill in range(KILLS):
                while customer.next < (kill + 1) * COUNT // (KILLS + 1):
                    await asyncio.sleep(0.002)
                while await server.rows(BETWEEN) == [(0,)]:
                    await asyncio.sleep(0.002)
                await server.end(signal.SIGKILL)
                await server.start_patched(patch)
        return await books(server, smsc, customer)
    finally:
        await server.end()
        await smsc.stop()


async def books(server: Server, smsc: SandboxSmsc, customer: Customer) -> list[str]:
    wrong = [f"{n} has {len(ids)} verifications" for n, ids in customer.ids.items() if len(ids) != 1]
    ids = {n: next(iter(ids)) for n, ids in customer.ids.items()}
    found = dict(await server.rows("select reference, count(*) from messages group by reference"))
    wrong += [f"{n} has {found.get(id, 0)} messages" for n, id in ids.items() if found.get(id) != 1]
    async with asyncio.timeout(60):
        while len({message.to for message in smsc.messages}) < COUNT:
            await asyncio.sleep(0.05)
    codes: dict[str, set[str]] = {}
    for message in smsc.messages:
        told: Any = re.match(r"\d{6}", message.text)
        codes.setdefault(message.to, set()).add(told[0])
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
        for n, id in ids.items():
            sent = codes[f"1500555{n:04}"]
            if len(sent) != 1:
                wrong.append(f"{n} was sent {len(sent)} codes")
            path = f"{server.url}/v1/verifications/{id}/check"
            async with session.post(path, json={"code": next(iter(sent))}) as answer:
                if (await answer.json()).get("valid") is not True:
                    wrong.append(f"{n} was sent a code that is not right")
    return wrong


@pytest.mark.timeout(240)
async def test_each_has_one_message_with_the_right_code(tmp_path: Path) -> None:
    assert await wrong_after_kills(tmp_path, DAWDLE) == []


@pytest.mark.timeout(240)
async def test_with_random_codes_the_books_do_not_balance(tmp_path: Path) -> None:
    wrong = await wrong_after_kills(tmp_path, DAWDLE + FORGETFUL)
    assert any("not right" in line for line in wrong), wrong
