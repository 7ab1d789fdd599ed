"""The event loop of the server: its timers have milliseconds, and may ring before their time."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import uvloop

from peers.carriers import RecordingSink
from peers.mail_script import scripted
from peers.mails import mail, sending, sent
from peers.tls import certificate
from tidings.domain.attempt import PartOutcome, PartSent


def test_lines_that_break_are_opened_anew() -> None:
    """A provider that once missed the end of its pause rested for ever."""

    async def go() -> list[PartOutcome]:
        sink, found = RecordingSink(), list[PartOutcome]()
        async with scripted() as (server, port), sending(sink, port, connections=1, requeue_s=20) as provider:
            for n in range(30):
                server.script = {"RCPT": [None]}
                found += await sent(provider, sink, mail(name=f"a{n}"))
        return found

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(go()) == [PartSent(f"a{n}") for n in range(30)]


def test_starttls(tmp_path: Path) -> None:
    key, chain = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)

    async def go() -> list[PartOutcome]:
        sink = RecordingSink()
        async with scripted(context) as (_, port), sending(sink, port, tls="starttls", tls_ca=str(chain)) as provider:
            return await sent(provider, sink, mail(name="a1"))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(go()) == [PartSent("a1")]
