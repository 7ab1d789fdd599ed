"""The HTTP/2 client: guard, deadlines and caps. What it makes of GOAWAY and resets is in channels/push/test_apns.py."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from listening import Listening
from peers.apns import TOKEN, TOPIC, apns_peer
from tidings.kit.http2 import Http2
from tidings.kit.outbound import FORBIDDEN, Guard, NoReply, NotSent, Reply

LOOPBACK = Guard(allow=("127.0.0.0/8", "::1/128"))
HEADERS = {"apns-topic": TOPIC, "apns-push-type": "alert"}


@asynccontextmanager
async def client(guard: Guard = LOOPBACK) -> AsyncIterator[Http2]:
    made = Http2(guard)
    try:
        yield made
    finally:
        await made.close()


async def post(http: Http2, url: str, *, connect_s: float = 5, timeout_s: float = 10, most: int = 1_000) -> Any:
    return await http.exchange(
        "POST", url, HEADERS, b'{"aps":{}}', connect_s=connect_s, timeout_s=timeout_s, most_bytes=most
    )


async def test_answers_with_and_without_a_body() -> None:
    async with apns_peer(public_key=None) as peer, client() as http:
        url = f"http://127.0.0.1:{peer.port}/3/device/"
        good = await post(http, url + TOKEN)
        assert isinstance(good, Reply)
        assert (good.status, good.body) == (200, b"")
        bad = await post(http, url + "x")
        assert bad.body == b'{"reason":"BadDeviceToken"}'
        assert (await post(http, url + "x", most=5)).body == b'{"rea'
        by_name = await post(http, f"http://localhost:{peer.port}/3/device/{TOKEN}")
        assert by_name.status == 200


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "10.0.0.1", "[::ffff:127.0.0.1]"]
)
async def test_private_addresses_are_not_dialled(host: str) -> None:
    async with client(Guard()) as http:
        assert await post(http, f"https://{host}:1/") == NotSent(FORBIDDEN)


async def test_what_is_not_there(unused_port: int) -> None:
    async with client() as http:
        refused = await post(http, f"http://127.0.0.1:{unused_port}/")
        assert isinstance(refused, NotSent)
        assert "refused" in refused.reason
        assert "http" not in refused.reason  # a URL may name a device
        assert await post(http, "http://no.such.host.invalid/") == NotSent("the host name cannot be resolved")


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65_536):
        pass


async def test_a_handshake_that_never_ends_is_not_sent() -> None:
    async with Listening(silence) as port, client() as http:
        assert await post(http, f"https://127.0.0.1:{port}/", connect_s=0.2) == NotSent("no connection in time")
        assert (
            len(await asyncio.gather(*(post(http, f"https://127.0.0.1:{port}/", connect_s=0.2) for _ in range(5)))) == 5
        )


async def test_silence_after_the_request_is_no_reply() -> None:
    async with Listening(silence) as port, client() as http:
        came = await post(http, f"http://127.0.0.1:{port}/", timeout_s=0.3)
        assert came == NoReply("no answer in time", timed_out=True)


async def test_a_name_that_hangs_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(*_: Any, **__: Any) -> Any:
        asyncio.run_coroutine_threadsafe(gone.wait(), loop).result(30)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    async with client() as http:
        assert await post(http, "https://slow.example/", connect_s=0.1) == NotSent(
            "the host name was not resolved in time"
        )
        assert await post(http, "https://slow.example/", connect_s=5, timeout_s=0.1) == NotSent("no connection in time")
        gone.set()


async def test_a_host_that_comes_back_is_looked_up_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[str] = []
    real = socket.getaddrinfo

    def count(host: str, *more: Any, **named: Any) -> Any:
        looked_up.append(host)
        return real("127.0.0.1", *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", count)
    async with client() as http:
        async with apns_peer(public_key=None) as peer:
            port = peer.port
            url = f"http://push.example:{port}/3/device/{TOKEN}"
            for _ in range(3):
                assert (await post(http, url)).status == 200
            assert looked_up.count("push.example") == 1
        while not isinstance(await post(http, url), NotSent):
            await asyncio.sleep(0.01)
        async with apns_peer(public_key=None, port=port):
            assert (await post(http, url)).status == 200
        assert looked_up.count("push.example") > 1


async def test_the_environments_proxy_is_not_asked(monkeypatch: pytest.MonkeyPatch, unused_port: int) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{unused_port}")
    async with apns_peer(public_key=None) as peer, client() as http:
        assert (await post(http, f"http://127.0.0.1:{peer.port}/3/device/{TOKEN}")).status == 200


async def test_a_caller_that_goes_away_leaves_the_connection_to_others() -> None:
    async with apns_peer(public_key=None, silent=["aa" * 32]) as peer, client() as http:
        waiting = asyncio.create_task(post(http, f"http://127.0.0.1:{peer.port}/3/device/" + "aa" * 32))
        while (await peer.command("count"))["count"] == 0:
            await asyncio.sleep(0.01)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        assert (await post(http, f"http://127.0.0.1:{peer.port}/3/device/{TOKEN}")).status == 200
        assert (await peer.command("count"))["connections"] == 1
