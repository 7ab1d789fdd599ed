"""`[smpp_server]`: off by default, checked at the start, and TLS where a certificate is named."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tidings import settings
from tidings.domain.errors import SettingsError
from tidings.protocols.smpp import constants as c
from tidings.protocols.smpp.pdu import pdu
from unit.smppd.conftest import Opener

_NAMES = ("TIDINGS_SMPP_LISTEN", "TIDINGS_SMPP_TLS_CERT", "TIDINGS_SMPP_TLS_KEY", "TIDINGS_CONFIG", "TIDINGS_LISTEN")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _NAMES:
        monkeypatch.delenv(name, raising=False)


def load(folder: Path, text: str) -> settings.SmppServerSettings:
    file = folder / "tidings.toml"
    file.write_text(text)
    return settings.load(file).smpp_server


def test_off_by_default(tmp_path: Path) -> None:
    assert load(tmp_path, "").listen == ""


def test_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDINGS_SMPP_LISTEN", "127.0.0.1:2776")
    found = load(tmp_path, '[smpp_server]\nlisten = "0.0.0.0:2775"\nwindow = 7\n')
    assert (found.listen, found.window) == ("127.0.0.1:2776", 7)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('listen = "2775"', "HOST:PORT"),
        ("window = 0", "smpp_server.window"),
        ("max_connections = -1", "smpp_server.max_connections"),
        ("bind_timeout_s = 0.0", "smpp_server.bind_timeout_s"),
        ('tls_key = "key.pem"', "tls_cert"),
        ('default_alphabet = "ebcdic"', "default_alphabet"),
        ("windows = 5", "windows"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        load(tmp_path, f"[smpp_server]\n{text}\n")


def _certificate(folder: Path) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert, private = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(cert), str(private)


async def test_tls(open_office: Opener, tmp_path: Path) -> None:
    cert, key = _certificate(tmp_path)
    office = await open_office(tls_cert=cert, tls_key=key)
    context = ssl.create_default_context(cafile=cert)
    reader, writer = await asyncio.open_connection("127.0.0.1", office.port, ssl=context, server_hostname="localhost")
    writer.write(pdu(c.ENQUIRE_LINK, 0, 1))
    assert await asyncio.wait_for(reader.readexactly(16), 30) == pdu(c.ENQUIRE_LINK_RESP, 0, 1)
    writer.close()
    await writer.wait_closed()


async def test_a_certificate_that_cannot_be_read(open_office: Opener, tmp_path: Path) -> None:
    office = await open_office()
    office.server.settings = settings.SmppServerSettings(listen="127.0.0.1:0", tls_cert=str(tmp_path / "none"))
    with pytest.raises(SettingsError, match="tls_cert"):
        await office.server.start()


async def test_a_port_that_is_taken(open_office: Opener) -> None:
    office = await open_office()
    taken = settings.SmppServerSettings(listen=f"127.0.0.1:{office.port}")
    other = type(office.server)(
        taken, office.store, office.ring, office.node.bus, office.node.acceptor, office.node.control, office.node.now
    )
    with pytest.raises(SettingsError, match="cannot listen"):
        await other.start()
