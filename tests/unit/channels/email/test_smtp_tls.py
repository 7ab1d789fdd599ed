"""TLS and logins of `email.smtp`: what is asked for is had, or nothing is sent."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path
from typing import Any

import pytest

from peers.carriers import RecordingSink, until
from peers.mail_script import OFFERS, scripted
from peers.mails import mail, sending, sent
from peers.tls import certificate
from tidings.domain.attempt import PartRetry, PartSent


def context(folder: Path) -> tuple[ssl.SSLContext, str]:
    key, chain = certificate(folder)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(chain, key)
    return made, str(chain)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("tls", ["starttls", "implicit", "opportunistic"])
async def test_secured(tmp_path: Path, tls: str, host: str) -> None:
    server_side, ca = context(tmp_path)
    sink = RecordingSink()
    async with (
        scripted(server_side, implicit=tls == "implicit") as (server, port),
        sending(sink, port, host=host, tls=tls, tls_ca=ca) as provider,
    ):
        assert await sent(provider, sink, mail(name="a1")) == [PartSent("a1")]
        hellos = [line for line in server.commands if line.startswith("EHLO")]
        assert len(hellos) == (1 if tls == "implicit" else 2)


async def fails(sink: RecordingSink, port: int, said: str, **config: Any) -> None:
    """Nothing is sent, and the operator is told why."""
    async with sending(sink, port, up=False, **config) as provider:
        (outcome,) = await sent(provider, sink, mail(name="a1"))
        assert isinstance(outcome, PartRetry)
        await until(lambda: any(said in (link.last_error or "") for link in sink.links))


async def test_a_certificate_that_nobody_knows(tmp_path: Path) -> None:
    server_side, _ = context(tmp_path)
    async with scripted(server_side) as (server, port):
        await fails(RecordingSink(), port, "certificate", tls="starttls")
        assert not server.mails


async def test_no_starttls_offered() -> None:
    async with scripted(offers=OFFERS.replace("250-STARTTLS\n", "")) as (server, port):
        await fails(RecordingSink(), port, "STARTTLS", tls="starttls")
        assert [line.split(" ")[0] for line in server.commands] == ["EHLO"] * len(server.commands)


async def test_what_is_said_in_the_clear_behind_starttls_is_an_attack(tmp_path: Path) -> None:
    """A reply that somebody put behind the one to STARTTLS must not be taken for one that came over TLS."""
    server_side, ca = context(tmp_path)
    async with scripted(server_side) as (server, port):
        server.behind_starttls = b"250-evil\r\n250 AUTH PLAIN\r\n"
        await fails(RecordingSink(), port, "in the clear", tls="starttls", tls_ca=ca)


PLAIN, LOGIN = "250-AUTH PLAIN LOGIN", "250-AUTH LOGIN"
ACCOUNT: dict[str, Any] = {"username": "ünï", "password": "päss word"}


async def test_auth_plain() -> None:
    sink = RecordingSink()
    async with scripted(offers=OFFERS.replace("250-DSN", PLAIN)) as (server, port):
        server.script = {"AUTH": ["235 2.7.0 welcome"]}
        async with sending(sink, port, **ACCOUNT):
            secret = base64.b64encode("\0ünï\0päss word".encode()).decode()
            assert server.commands[1] == f"AUTH PLAIN {secret}"


async def test_auth_login() -> None:
    sink = RecordingSink()
    user, password = (base64.b64encode(text.encode()).decode() for text in ("ünï", "päss word"))
    async with scripted(offers=OFFERS.replace("250-DSN", LOGIN)) as (server, port):
        server.script = {
            "AUTH": ["334 VXNlcm5hbWU6"],
            user.upper(): ["334 UGFzc3dvcmQ6"],
            password.upper(): ["235 2.7.0 welcome"],
        }
        async with sending(sink, port, **ACCOUNT):
            assert server.commands[1:] == ["AUTH LOGIN", user, password]


@pytest.mark.parametrize(
    ("offers", "answer", "state"),
    [
        (PLAIN, "535 5.7.8 no", "auth_failed"), (PLAIN, "454 4.7.0 later", "backoff"), ("250-DSN", "", "auth_failed"),
        ("250-AUTH CRAM-MD5", "", "auth_failed"),
    ],
)  # fmt: skip
async def test_logins_that_fail(offers: str, answer: str, state: str) -> None:
    sink = RecordingSink()
    async with scripted(offers=OFFERS.replace("250-DSN", offers)) as (server, port):
        server.script = {"AUTH": [answer] * 50}
        async with sending(sink, port, up=False, **ACCOUNT) as provider:
            await until(lambda: state in sink.states)
            provider.submit([mail(name="a1")])
            await until(lambda: sink.done)
            assert isinstance(sink.outcome("a1")[0], PartRetry)
            assert not server.mails
            assert "päss" not in repr((sink.links, sink.done, provider.links()))


@pytest.mark.parametrize("greeting", ["554 5.7.1 not you", "421 4.3.2 later", "what?", None])
async def test_a_server_that_does_not_want_us(greeting: str | None) -> None:
    sink = RecordingSink()
    async with scripted() as (server, port):
        server.script = {"GREET": [greeting]}
        async with sending(sink, port) as provider:  # and then it does
            assert "backoff" in sink.states
            assert await sent(provider, sink, mail(name="a1")) == [PartSent("a1")]
