"""Kept connections: a server may close one that has nothing to do, at any moment; no mail waits or is lost for it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
import uvloop

from peers.carriers import RecordingSink, until
from peers.mail_script import OFFERS, ScriptedServer, scripted
from peers.mails import FAST, mail, sending, sent
from tidings.channels.contract import ProviderSpec
from tidings.channels.email.smtp import SmtpProvider
from tidings.channels.email.smtp_session import Flight
from tidings.channels.email.smtp_wire import Wire
from tidings.domain.attempt import PartOutcome, PartRetry, PartSent, PartUnknown
from tidings.protocols.smtp.replies import Reply

PLAIN = OFFERS.replace("250-PIPELINING\n", "")
CONNECTIONS = 4


async def all_kept(provider: SmtpProvider, server: ScriptedServer, sink: RecordingSink) -> None:
    """A mail over each connection, and one whose envelope leaves ahead; then they rest."""
    server.gate = asyncio.Event()
    provider.submit([mail(f"x@d{n}.test", name=f"k{n}", lane="otp") for n in range(2 * CONNECTIONS)])
    await until(lambda: len(server.mails) == CONNECTIONS)
    server.gate.set()
    await until(lambda: len(sink.done) == 2 * CONNECTIONS)
    assert server.lines == CONNECTIONS
    sink.links.clear()


async def closed_at_mail(answer: str | None, offers: str) -> tuple[PartOutcome, ScriptedServer, RecordingSink]:
    """Each kept connection is closed after our MAIL is written and before it is answered."""
    sink = RecordingSink()
    async with scripted(offers=offers) as (server, port), sending(sink, port, connections=CONNECTIONS) as provider:
        await all_kept(provider, server, sink)
        server.script = {"MAIL": [answer] * CONNECTIONS}
        (outcome,) = await sent(provider, sink, mail(name="a1"))
    return outcome, server, sink


@pytest.mark.parametrize("offers", [OFFERS, PLAIN], ids=["pipelined", "plain"])
@pytest.mark.parametrize("answer", [None, "421 4.4.2 Error: timeout exceeded", "421 bye", "what?"])
async def test_closed_under_our_envelope(answer: str | None, offers: str) -> None:
    """The mail goes over a new connection at once: no refusal, no pause for the others, no trouble with the server."""
    outcome, server, sink = await closed_at_mail(answer, offers)
    assert outcome == PartSent("a1")
    assert len(server.mails) == 2 * CONNECTIONS + 1
    assert server.lines == CONNECTIONS + 1
    assert sink.states in ([], ["draining", "down"])


async def test_saboteur_counting_them_defers_the_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    real = SmtpProvider.back

    def back(provider: SmtpProvider, flight: Flight, *, stale: bool) -> None:
        real(provider, flight, stale=False)

    monkeypatch.setattr(SmtpProvider, "back", back)
    outcome, _, _ = await closed_at_mail(None, OFFERS)
    assert isinstance(outcome, PartRetry)


@pytest.mark.parametrize("farewell", [b"", b"421 4.4.2 timeout\r\n", b"421 bye\r\n"])
async def test_closed_while_it_rests(farewell: bytes) -> None:
    sink = RecordingSink()
    async with scripted() as (server, port), sending(sink, port, connections=CONNECTIONS) as provider:
        await all_kept(provider, server, sink)
        for line in server.held:
            line.write(farewell)
            line.close()
        outcomes = await sent(provider, sink, *(mail(f"x@d{n}.test", name=f"a{n}") for n in range(8)))
        assert outcomes == [PartSent(f"a{n}") for n in range(8)]
        assert len(server.mails) == 2 * CONNECTIONS + 8
        assert sink.states == []
        assert provider.credit("otp") > 0


async def test_one_that_asks_us_to_come_slower_is_heard() -> None:
    sink = RecordingSink()
    async with scripted() as (server, port), sending(sink, port, connections=1) as provider:
        await sent(provider, sink, mail(name="a1"))
        server.script = {"MAIL": ["421 4.7.0 too fast"]}
        heard = list[str]()
        real = provider.answered

        def answered(flight: Flight, reply: Reply, stage: Any) -> None:
            heard.append(f"{stage} {reply.code}")
            real(flight, reply, stage)

        provider.answered = answered  # pyright: ignore[reportAttributeAccessIssue]
        assert await sent(provider, sink, mail(name="a2")) == [PartSent("a2")]
        assert heard == ["MAIL 421", "mail 250"]
        assert "backoff" in sink.states


async def test_one_that_was_never_of_use_is_not_opened_again_at_once() -> None:
    """Else a server that closes every connection would be called in a loop."""
    sink = RecordingSink()
    async with scripted() as (server, port), sending(sink, port, connections=1, requeue_s=0.3) as provider:
        server.script = {"MAIL": [None] * 500}
        (outcome,) = await sent(provider, sink, mail(name="a1"))
        assert isinstance(outcome, PartRetry)
        assert server.lines <= 4
        assert "backoff" in sink.states


async def test_each_break_has_its_own_time() -> None:
    """The time in which the server must be back begins with the break, not with one before that is over."""
    sink = RecordingSink()
    async with scripted() as (server, port):
        config = {"host": "127.0.0.1", "port": port, "connections": 1, "requeue_s": 1.5}
        spec = ProviderSpec(
            name="acme", type="email.smtp", config=FAST | config | {"reconnect_min_s": 1, "reconnect_max_s": 1}
        )
        least = Random()
        least.random = lambda: 0.0  # pauses of half a second
        provider = SmtpProvider(spec, sink, random=least)
        await provider.start()
        try:
            await until(lambda: provider.credit("otp") > 0)
            for name in ("a1", "a2"):  # the second pause holds the end of the first time
                server.script = {"RCPT": [None]}
                assert await sent(provider, sink, mail(name=name)) == [PartSent(name)]
                await asyncio.sleep(0.7 if name == "a1" else 0)
        finally:
            await provider.stop(0)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_an_answer_that_is_there_is_no_silence(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """The process was held up for longer than the time-out, and the answer came meanwhile."""

    async def go() -> Reply:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            _, wire = await asyncio.get_running_loop().create_connection(Wire, *listener.getsockname())
            peer, _ = listener.accept()
            with peer:
                reading = asyncio.create_task(wire.reply(0.05))
                await asyncio.sleep(0)
                peer.sendall(b"250 2.0.0 kept\r\n")
                time.sleep(0.2)  # noqa: ASYNC251  # the process is held up
                try:
                    return await reading
                finally:
                    wire.abort()

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(go()).code == 250


async def test_silence_stays_silence() -> None:
    sink = RecordingSink()
    async with scripted() as (server, port), sending(sink, port, connections=1, end_timeout_s=0.1) as provider:
        server.script = {"END": ["..."]}
        assert await sent(provider, sink, mail(name="a1")) == [PartUnknown("no_answer")]
