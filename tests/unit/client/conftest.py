"""A server that answers from a script, and both clients behind one face."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from tidings_client import AsyncTidings, Policy, Tidings

FAST = Policy(retries=3, first_s=0.001, last_s=0.002, timeout_s=30.0)
KEY = "tk_test_unit"


@dataclass
class Seen:
    """A request that came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Script:
    """What to answer: (status, body, headers), the last one for ever; or "drop": no answer, the connection ends."""

    steps: list[Any] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        headers = {k.lower(): v for k, v in request.headers.items()}
        self.seen.append(
            Seen(
                request.method, request.raw_path.split("?")[0], dict(request.query), headers, json.loads(raw or b"null")
            )
        )
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if step == "drop":
            assert request.transport is not None
            request.transport.abort()
            await asyncio.Event().wait()  # the client is gone; the server ends with the test
        if callable(step):
            return await step(request)
        status, body, *more = step
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text, headers=more[0] if more else None)


@pytest.fixture
async def script() -> AsyncIterator[Script]:
    found = Script()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


Act = Callable[[Any], Any]


async def _sync(url: str, act: Act, take: int | None, policy: Policy) -> Any:
    def work() -> Any:
        with Tidings(KEY, url, policy=policy) as client:
            found = act(client)
            if take is None:
                return found
            items = []
            for item in found:
                items.append(item)
                if len(items) == take:
                    found.close()
                    break
            return items

    return await asyncio.to_thread(work)


async def _async(url: str, act: Act, take: int | None, policy: Policy) -> Any:
    async with AsyncTidings(KEY, url, policy=policy) as client:
        found = act(client)
        if take is None:
            return await found
        items = []
        async for item in found:
            items.append(item)
            if len(items) == take:
                await found.aclose()
                break
        return items


@dataclass
class Client:
    """`do`: one call. `take`: so many items of an iterator (0: all)."""

    carry_out: Callable[..., Awaitable[Any]]

    async def do(self, url: str, act: Act, policy: Policy = FAST) -> Any:
        return await self.carry_out(url, act, None, policy)

    async def take(self, url: str, act: Act, n: int = 0, policy: Policy = FAST) -> Any:
        return await self.carry_out(url, act, n, policy)


@pytest.fixture(params=[_sync, _async], ids=["sync", "async"])
def client(request: pytest.FixtureRequest) -> Client:
    return Client(request.param)
