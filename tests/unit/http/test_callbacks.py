"""The route of carriers' calls: verified first, stored before it is answered, and never a 2xx for what was not kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from http_inside import Inside, inside
from tidings.channels.callback import CallbackReply, CallbackTaker, Called, NotGenuine, RawRequest, Taken, Unreadable
from tidings.domain.attempt import CarrierReceipt, InboundPart
from tidings.domain.errors import StoreError, StoreFull
from tidings.http.app import create_app
from tidings.kit.limits import CALLBACK_BYTES

RECEIPT = CarrierReceipt(
    provider="acme", refs=("1",), to=None, sender=None, state="delivered", carrier_state="delivered"
)


class Desk:
    """Takes everything for `acme`; records what it was given, in order."""

    def __init__(self) -> None:
        self.says: Called = Taken(receipts=(RECEIPT,), reply=CallbackReply(status=200, body=b"OK", media="text/plain"))
        self.seen: list[RawRequest] = []
        self.kept: list[CarrierReceipt] = []
        self.fault: Exception | None = None
        self.gate: asyncio.Event | None = None

    def taker(self, provider: str) -> CallbackTaker | None:
        return self if provider == "acme" else None

    def callback(self, request: RawRequest) -> Called:
        self.seen.append(request)
        return self.says

    async def received(self, provider: str, receipts: Sequence[CarrierReceipt], inbound: Sequence[InboundPart]) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        self.kept += receipts


class Door:
    """The application with the desk behind its route."""

    def __init__(self, running: Inside, desk: Desk) -> None:
        self._running, self.desk = running, desk
        self.app = create_app(replace(running.services, callbacks=desk))

    async def call(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Any:
        return await self._running.call(method, path, body, headers=headers, app=self.app)

    def counted(self) -> str:
        return self.app.meter.text(dict).decode()


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with inside(tmp_path) as running:
        yield Door(running, Desk())


async def test_the_request_arrives_as_it_was(door: Door) -> None:
    body = b"a=1&b=%20\xff"
    answer = await door.call(
        "POST", "/callbacks/acme?x=%2B&y=a+b", body, **{"X-Sig": "abc", "content-type": "text/xml"}
    )
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"OK", "text/plain; charset=utf-8")
    (seen,) = door.desk.seen
    assert (seen.method, seen.query, seen.body, seen.peer) == ("POST", "x=%2B&y=a+b", body, "127.0.0.1")
    assert (seen.headers["x-sig"], seen.headers["content-type"]) == ("abc", "text/xml")
    await door.call("GET", "/callbacks/acme?status=1")
    assert (door.desk.seen[1].method, door.desk.seen[1].body) == ("GET", b"")


@pytest.mark.parametrize(
    ("says", "status", "result"),
    [(NotGenuine("it knows the secret s3cr3t"), 403, "forged"), (Unreadable("no id"), 400, "unreadable"), (Taken(), 204, "taken")],
)  # fmt: skip
async def test_what_the_provider_says(door: Door, says: Called, status: int, result: str) -> None:
    door.desk.says = says
    answer = await door.call("POST", "/callbacks/acme", b"x")
    assert answer.status == status
    assert b"s3cr3t" not in answer.body
    assert not door.desk.kept
    assert f'tidings_callbacks_total{{provider="acme",result="{result}"}} 1.0' in door.counted()


@pytest.mark.parametrize(
    ("fault", "status"), [(StoreFull("full"), 507), (StoreError("gone"), 503), (RuntimeError("x"), 500)]
)
async def test_what_is_not_kept_is_not_acknowledged(door: Door, fault: Exception, status: int) -> None:
    door.desk.fault = fault
    assert (await door.call("POST", "/callbacks/acme", b"x")).status == status
    assert 'result="not_kept"' in door.counted()
    assert 'result="taken"' not in door.counted()


async def test_the_answer_waits_for_the_commit(door: Door) -> None:
    door.desk.gate = asyncio.Event()
    task = asyncio.create_task(door.call("POST", "/callbacks/acme", b"x"))
    await asyncio.sleep(0.05)
    assert door.desk.seen
    assert not task.done()
    door.desk.gate.set()
    assert (await task).status == 200
    assert door.desk.kept == [RECEIPT]


async def test_nothing_is_read_for_nobody(door: Door) -> None:
    assert (await door.call("POST", "/callbacks/nobody", b"x" * (CALLBACK_BYTES + 1))).status == 404
    assert (await door.call("POST", "/callbacks/acme", b"x" * (CALLBACK_BYTES + 1))).status == 413
    assert (await door.call("PATCH", "/callbacks/acme")).status == 405
    assert not door.desk.seen
    assert "tidings_callbacks_total{" not in door.counted()
    closed = create_app(replace(door._running.services, callbacks=None))
    assert (await door._running.call("POST", "/callbacks/acme", b"x", app=closed)).status == 404
