"""The outbound client: what it refuses to dial, and that every failure is a value in time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from listening import Listening
from tidings.kit import outbound
from tidings.kit.outbound import Answer, Guard, Outbound

REFUSED = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.0.1",
    "169.254.169.254", "100.64.0.1", "100.100.100.200", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.1",
    "203.0.113.9", "192.88.99.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16",
    "::", "::1", "::7f00:1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b::169.254.169.254", "64:ff9b:1::1", "2002:7f00:1::1", "2002:808:808::1", "2001:0:7f00:1::1", "100::1",
    "3fff::1", "5f00::1", "4000::1",
]  # fmt: skip
PUBLIC = [
    "8.8.8.8", "93.184.215.14", "172.32.0.1", "100.128.0.1", "2001:4860:4860::8888", "2a00::1", "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]  # fmt: skip


@pytest.mark.parametrize("address", REFUSED)
def test_refused(address: str) -> None:
    assert not Guard().permits(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert Guard().permits(address)


@pytest.mark.parametrize(
    ("address", "open"),
    [
        ("127.0.0.1", True), ("10.0.0.1", True), ("::1", True), ("fd12::1", True), ("100.64.0.1", True),
        ("::ffff:192.168.1.1", True), ("8.8.8.8", True),
        ("169.254.169.254", False), ("fd00:ec2::254", False), ("100.100.100.200", False), ("168.63.129.16", False),
        ("0.0.0.0", False), ("224.0.0.1", False), ("240.0.0.1", False), ("fe80::1", False),
    ],
)  # fmt: skip
def test_allow_private_opens_private_networks_but_no_metadata_service(address: str, open: bool) -> None:
    assert Guard(allow_private=True).permits(address) is open


def test_allow_opens_its_networks_only() -> None:
    guard = Guard(allow=("10.1.0.0/16", "169.254.169.254/32", "fd00::/8"))
    assert all(
        guard.permits(a) for a in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "169.254.169.254", "fd00::1")
    )
    assert not any(guard.permits(a) for a in ("10.2.0.1", "::ffff:10.2.0.1", "169.254.169.253", "127.0.0.1", "::1"))


@pytest.mark.parametrize(
    ("host", "refused"),
    [("localhost", True), ("a.localhost.", True), ("127.0.0.1", True), ("[::1]", True), ("example.com", False), ("8.8.8.8", False)],
)  # fmt: skip
def test_a_url_s_host_is_refused_at_once_where_it_is_plain(host: str, refused: bool) -> None:
    assert (Guard().refusal(host) is not None) is refused


class Server:
    """Answers each connection with the given bytes after the request's head."""

    def __init__(self, reply: bytes, *, hang: bool = False) -> None:
        self.reply, self.hang = reply, hang
        self.connections = self.requests = 0
        self.heads: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
            self.requests += 1
            writer.write(self.reply)
            await writer.drain()
            if self.hang:
                await reader.read()


Start = Callable[..., Awaitable[tuple[Server, int]]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    async with contextlib.AsyncExitStack() as servers:

        async def make(reply: bytes, *, tls: ssl.SSLContext | None = None, **more: Any) -> tuple[Server, int]:
            server = Server(reply, **more)
            return server, await servers.enter_async_context(Listening(server.serve, tls))

        yield make


@pytest.fixture
async def client() -> AsyncIterator[Outbound]:
    """Patient: what has to succeed does, however busy the machine is."""
    made = Outbound(Guard(allow=("127.0.0.1/32",)), timeout_s=PATIENCE_S)
    yield made
    await made.close()


@pytest.fixture
async def hasty() -> AsyncIterator[Outbound]:
    made = Outbound(Guard(allow=("127.0.0.1/32",)), timeout_s=0.5)
    yield made
    await made.close()


PATIENCE_S = 30
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def test_connections_are_used_again(start: Start, client: Outbound) -> None:
    server, port = await start(OK)
    for _ in range(5):
        assert await client.post(f"http://127.0.0.1:{port}/x?y=1", {"webhook-id": "a"}, b"{}") == Answer(200)
    assert (server.requests, server.connections) == (5, 1)
    head = server.heads[0].lower()
    assert head.startswith(b"post /x?y=1 http/1.1\r\n")
    assert b"user-agent: tidings" in head
    assert b"cookie" not in head


async def test_no_redirect_is_followed_and_no_cookie_kept(start: Start, client: Outbound) -> None:
    target, port = await start(OK)
    away = (
        f"HTTP/1.1 307 X\r\nlocation: http://127.0.0.1:{port}/\r\nset-cookie: a=b; path=/\r\ncontent-length: 0\r\n\r\n"
    )
    server, from_port = await start(away.encode())
    for _ in range(2):
        assert await client.post(f"http://127.0.0.1:{from_port}/", {}, b"{}") == Answer(307)
    assert target.requests == 0
    assert b"cookie" not in server.heads[1].lower()


async def test_an_endless_body_is_cut_off(start: Start, client: Outbound) -> None:
    server, port = await start(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_000, hang=True)
    assert (await client.post(f"http://127.0.0.1:{port}/", {}, b"{}")).ok, "it was read to its end, which never comes"
    assert server.requests == 1


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab"])
async def test_nothing_waits_longer_than_its_deadline(start: Start, hasty: Outbound, reply: bytes) -> None:
    _, port = await start(reply, hang=True)
    async with asyncio.timeout(PATIENCE_S):  # the server would never answer
        assert await hasty.post(f"http://127.0.0.1:{port}/", {}, b"{}") == Answer(None, "no answer in time")


async def test_failures_are_values_without_the_url(hasty: Outbound, start: Start, unused_port: int) -> None:
    _, garbled = await start(b"what?\r\n\r\n", hang=True)
    urls = [f"http://127.0.0.1:{unused_port}/token", f"http://127.0.0.1:{garbled}/token", "http://nope.invalid/token"]
    for url in [*urls, f"https://127.0.0.1:{garbled}/token"]:
        answer = await hasty.post(url, {}, b"{}")
        assert (answer.ok, answer.status) == (False, None), url
        assert answer.error
        assert "token" not in answer.error


def _resolve(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        address = answers[min(len(asked), len(answers)) - 1]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        where = (address, port, 0, 0) if family == socket.AF_INET6 else (address, port)
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", where)]

    monkeypatch.setattr(outbound.socket, "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254"])
async def test_a_name_that_leads_inside_is_refused_when_dialled(
    start: Start, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    server, port = await start(OK)
    asked = _resolve(monkeypatch, address)
    client = Outbound(Guard(), timeout_s=PATIENCE_S)
    answer = await client.post(f"http://inside.example.com:{port}/", {}, b"{}")
    await client.close()
    assert answer == Answer(None, "the address is private or reserved")
    assert (asked, server.connections) == (["inside.example.com"], 0)


async def test_a_name_that_changes_its_answer_is_refused_too(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the second look-up leads elsewhere; the guard looks at what is dialled each time."""
    server, port = await start(OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
    monkeypatch.setattr(outbound, "DNS_CACHE_S", 0)
    _resolve(monkeypatch, "127.0.0.1", "127.0.0.2")
    client = Outbound(Guard(allow=("127.0.0.1/32",)), timeout_s=PATIENCE_S)
    assert (await client.post(f"http://turning.example.com:{port}/", {}, b"{}")).ok
    answer = await client.post(f"http://turning.example.com:{port}/", {}, b"{}")
    await client.close()
    assert answer == Answer(None, "the address is private or reserved")
    assert server.requests == 1


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "127.1", "0x7f.1", "localhost"]
)
async def test_an_address_in_the_url_is_refused_when_dialled(start: Start, host: str) -> None:
    server, port = await start(OK)
    client = Outbound(Guard(), timeout_s=PATIENCE_S)
    answer = await client.post(f"http://{host}:{port}/", {}, b"{}")
    await client.close()
    assert (answer.ok, server.connections) == (False, 0)


async def test_saboteur_without_the_guard_the_same_calls_get_through(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Takes the protection out; the refusals above must come from it and not from anything else."""
    server, port = await start(OK)
    monkeypatch.setattr(Guard, "permits", lambda self, text: True)
    _resolve(monkeypatch, "127.0.0.1")
    client = Outbound(Guard(), timeout_s=PATIENCE_S)
    assert (await client.post(f"http://inside.example.com:{port}/", {}, b"{}")).ok
    assert (await client.post(f"http://127.0.0.1:{port}/", {}, b"{}")).ok
    await client.close()
    assert server.requests == 2


async def test_proxies_of_the_environment_are_not_used(
    start: Start, monkeypatch: pytest.MonkeyPatch, client: Outbound
) -> None:
    proxy, proxy_port = await start(OK)
    server, port = await start(OK)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy_port}")
    assert (await client.post(f"http://127.0.0.1:{port}/", {}, b"{}")).ok
    assert (proxy.requests, server.requests) == (0, 1)


async def test_certificates_are_verified(start: Start, client: Outbound, self_signed: ssl.SSLContext) -> None:
    server, port = await start(OK, tls=self_signed)
    answer = await client.post(f"https://127.0.0.1:{port}/", {}, b"{}")
    assert answer == Answer(None, "the certificate cannot be verified")
    assert server.requests == 0


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    import datetime as dt

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - dt.timedelta(1)).not_valid_after(now + dt.timedelta(1))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("tls")
    (folder / "c.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "k.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "c.pem", folder / "k.pem")
    return context
