"""Node's http2 as an APNs-shaped server (`apns.js`), with keys and certificates made for the run."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from conftest import PEERS_DIR, require_peer

TEAM, KEY_ID, TOPIC = "TEAM567890", "KEY4567890", "com.example.app"
TOKEN = "ab" * 32


def pem(key: ec.EllipticCurvePrivateKey) -> str:
    """The key as a `.p8` file has it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@cache
def signing_key() -> ec.EllipticCurvePrivateKey:
    """The team's key."""
    return ec.generate_private_key(ec.SECP256R1())


def certificate(folder: Path) -> tuple[Path, Path]:
    """A key and a certificate for 127.0.0.1 that signs itself, as PEM files."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "apns")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, SHA256())
    )
    (folder / "apns.key").write_text(pem(key))
    (folder / "apns.crt").write_bytes(made.public_bytes(Encoding.PEM))
    return folder / "apns.key", folder / "apns.crt"


class ApnsPeer:
    """The process of `apns.js`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._lock = asyncio.Lock()
        self.port = 0

    async def command(self, cmd: str, **fields: Any) -> dict[str, Any]:
        """Sends a command; what it tells of itself: `count`, `connections`, `most_streams`, `tokens`."""
        assert self._process.stdin is not None
        async with self._lock, asyncio.timeout(30):
            self._process.stdin.write(json.dumps({"cmd": cmd} | fields).encode() + b"\n")
            await self._process.stdin.drain()
            return await self.told()

    async def told(self) -> dict[str, Any]:
        """The next line."""
        assert self._process.stdout is not None
        line: dict[str, Any] = json.loads(await self._process.stdout.readline())
        return line

    async def script(self, *answers: dict[str, Any]) -> None:
        """How the next requests are answered."""
        await self.command("next", answers=list(answers))

    async def requests(self) -> list[dict[str, Any]]:
        """What came since the last time: `headers`, `body`, `fault`."""
        found: list[dict[str, Any]] = (await self.command("requests"))["requests"]
        return found


def apns_options(**options: Any) -> str:
    """The peer's options, with our team and the key that provider tokens are verified with."""
    public = signing_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return json.dumps({"team_id": TEAM, "key_id": KEY_ID, "topic": TOPIC, "public_key": public} | options)


@asynccontextmanager
async def apns_peer(tls: tuple[Path, Path] | None = None, **options: Any) -> AsyncIterator[ApnsPeer]:
    """The server on a port of its own; it verifies provider tokens of `signing_key`. Options: see `apns.js`."""
    require_peer("node")
    if tls is not None:
        options |= {"key": str(tls[0]), "cert": str(tls[1])}
    process = await asyncio.create_subprocess_exec(
        "node", "apns.js", cwd=PEERS_DIR, env={**os.environ, "APNS_OPTIONS": apns_options(**options)},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 24,
    )  # fmt: skip
    peer = ApnsPeer(process)
    try:
        async with asyncio.timeout(60):
            peer.port = (await peer.told())["port"]
        yield peer
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(30):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def apns_config(port: int, scheme: str = "http", **more: Any) -> dict[str, Any]:
    """The configuration of a provider that sends to it."""
    return {
        "team_id": TEAM, "key_id": KEY_ID, "private_key": pem(signing_key()), "topic": TOPIC,
        "base_url": f"{scheme}://127.0.0.1:{port}", "allow_networks": ["127.0.0.0/8"], "reconnect_min_s": 0.02,
        "reconnect_max_s": 0.1, "response_timeout_s": 5.0, "requeue_s": 0.3, **more,
    }  # fmt: skip
