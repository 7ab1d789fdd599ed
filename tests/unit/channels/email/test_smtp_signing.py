"""Signed mails: the event loop stays free, several threads sign, order and outcomes are as without, and nothing is left."""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from peers.carriers import RecordingSink, until
from peers.mail_script import OFFERS, scripted
from peers.mails import FAST, mail, sending, sent
from tidings.channels.contract import ProviderSpec
from tidings.channels.email import smtp, smtp_signing
from tidings.channels.email.smtp import SmtpProvider
from tidings.channels.email.smtp_lanes import Waiting
from tidings.domain.attempt import PartExpired, PartRefused, PartRetry, PartSent
from tidings.domain.message import Lane

KEY = base64.b64encode(bytes(range(32))).decode()
DKIM: dict[str, Any] = {"dkim": [{"domain": "example.com", "selector": "s1", "private_key": KEY}]}
Wait = Callable[[Any], object]


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("mail-sign")]


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many cores there are."""
    monkeypatch.setattr(smtp_signing.THREADS, "size", 2)


def slowly(monkeypatch: pytest.MonkeyPatch, wait: Wait) -> list[str]:
    """Every mail is made after `wait(submission)`; the names of those that were begun."""
    real, begun = smtp.finished, list[str]()

    def slow(submission: Any, *args: Any, **more: Any) -> Any:
        begun.append(submission.attempt_id)
        wait(submission)
        return real(submission, *args, **more)

    monkeypatch.setattr(smtp, "finished", slow)
    return begun


async def held_up(monkeypatch: pytest.MonkeyPatch, mails: int) -> int:
    """How many mails were made while the loop did not turn; each waits for five turns, up to a second."""
    turns, blocked = 0, 0

    def wait(submission: Any) -> None:
        nonlocal blocked
        before = turns
        for _ in range(1_000):
            if turns >= before + 5:
                return
            time.sleep(0.001)
        blocked += 1

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    slowly(monkeypatch, wait)
    sink = RecordingSink()
    async with scripted() as (_, port), sending(sink, port, connections=1, **DKIM) as provider:
        turning = asyncio.create_task(turn())
        try:
            names = [f"a{n}" for n in range(mails)]
            assert await sent(provider, sink, *(mail(name=name) for name in names)) == [
                PartSent(name) for name in names
            ]
        finally:
            turning.cancel()
    return blocked


async def test_the_loop_turns_while_mails_are_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await held_up(monkeypatch, 40) == 0


async def test_saboteur_signing_on_the_loop_holds_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_once(signer: Any, item: Waiting) -> None:
        item.made = signer._sign(item)

    monkeypatch.setattr(smtp_signing.Signer, "add", at_once)
    assert await held_up(monkeypatch, 2) == 2


async def test_two_sign_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2)
    slowly(monkeypatch, lambda _: both.wait(20))
    sink = RecordingSink()
    async with scripted() as (_, port), sending(sink, port, **DKIM) as provider:
        assert await sent(provider, sink, mail(name="a1"), mail(name="a2")) == [PartSent("a1"), PartSent("a2")]


async def test_order_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of mails to one domain, those that are signed sooner wait for those before them."""
    slowly(monkeypatch, lambda one: time.sleep(0.01 if int(one.attempt_id[1:]) % 2 == 0 else 0))
    sink, names = RecordingSink(), [f"a{n}" for n in range(20)]
    async with scripted() as (server, port), sending(sink, port, connections=1, **DKIM) as provider:
        await sent(provider, sink, *(mail(f"{name}@example.net", name=name) for name in names))
    there = [line for line in server.commands if line.startswith("RCPT")]
    assert there == [f"RCPT TO:<{name}@example.net>" for name in names]
    assert all(b"DKIM-Signature: v=1; a=ed25519-sha256;" in one for one in server.mails)


async def test_urgent_mails_are_signed_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before everything that no thread has in hand yet."""
    gate = threading.Event()
    begun = slowly(monkeypatch, lambda _: gate.wait(20))
    sink = RecordingSink()
    async with scripted() as (_, port), sending(sink, port, **DKIM) as provider:
        provider.submit([mail(f"x@d{n}.test", name=f"a{n}", lane="marketing") for n in range(20)])
        await until(lambda: len(begun) == 2)
        provider.submit([mail(name="urgent", lane="otp")])
        gate.set()
        await until(lambda: len(sink.done) == 21)
    assert begun.index("urgent") <= 4


@pytest.mark.parametrize("lane", ["otp", "transactional"])
async def test_stop_leaves_no_thread_and_no_mail(monkeypatch: pytest.MonkeyPatch, lane: Lane) -> None:
    """Two mails are in the middle of being signed; each has one outcome, none is written."""
    gate = threading.Event()
    begun = slowly(monkeypatch, lambda _: gate.wait(20))
    sink, names = RecordingSink(), [f"a{n}" for n in range(8)]
    async with scripted() as (server, port), sending(sink, port, **DKIM) as provider:
        provider.submit([mail(name=name, lane=lane) for name in names])
        await until(lambda: len(begun) == 2)
        assert len(threads()) == 2
        stopping = asyncio.create_task(provider.stop(0))
        await until(lambda: len(sink.done) == 8)
        gate.set()
        await stopping
        assert threads() == []
    assert sorted(one.attempt_id for one in sink.done) == names
    assert all(isinstance(sink.outcome(name)[0], PartRetry) for name in names)
    assert len(begun) == 2
    assert server.mails == []


async def test_the_last_provider_ends_the_threads() -> None:
    sink = RecordingSink()
    async with scripted() as (_, port), sending(sink, port, **DKIM) as first:
        async with sending(sink, port, **DKIM) as second:
            assert await sent(second, sink, mail(name="a1")) == [PartSent("a1")]
        assert await sent(first, sink, mail(name="a2")) == [PartSent("a2")]
        assert threads()
    assert threads() == []


async def test_a_plain_mail_needs_no_thread() -> None:
    sink = RecordingSink()
    async with scripted() as (_, port), sending(sink, port) as provider:
        assert await sent(provider, sink, mail(name="a1")) == [PartSent("a1")]
        assert threads() == []


async def test_one_that_expires_meanwhile_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    until_ms = time.time_ns() // 1_000_000 + 300

    def wait(submission: Any) -> None:
        while time.time_ns() // 1_000_000 <= until_ms:
            time.sleep(0.01)

    slowly(monkeypatch, wait)
    sink = RecordingSink()
    async with scripted() as (server, port), sending(sink, port, **DKIM) as provider:
        assert await sent(provider, sink, mail(name="a1", valid_until_ms=until_ms)) == [PartExpired()]
        assert len(server.commands) == 1


async def test_what_cannot_be_written_and_what_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither holds up the mails behind it."""

    def wait(submission: Any) -> None:
        if submission.attempt_id == "a2":
            raise RuntimeError("a fault of ours")

    slowly(monkeypatch, wait)
    sink = RecordingSink()
    async with scripted() as (_, port), sending(sink, port, connections=1, **DKIM) as provider:
        bad, fault, good = await sent(
            provider, sink, mail(name="a1", headers={"Bcc": "x"}), mail(name="a2"), mail(name="a3")
        )
        assert isinstance(bad, PartRefused)
        assert bad.error.code == "invalid_content"
        assert isinstance(fault, PartRetry)
        assert fault.error.code == "internal_error"
        assert good == PartSent("a3")


async def test_a_server_of_seven_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where eight were hoped for, the mails that are ready are signed anew, once; those after them at once rightly."""
    begun = slowly(monkeypatch, lambda _: None)
    sink, offers = RecordingSink(), OFFERS.replace("250-8BITMIME\n", "")
    async with scripted(offers=offers) as (server, port), sending(sink, port, eight_bit=True, **DKIM) as provider:
        assert await sent(provider, sink, mail(name="a1", text="Grüße")) == [PartSent("a1")]
        assert await sent(provider, sink, mail(name="a2", text="Grüße")) == [PartSent("a2")]
        assert begun == ["a1", "a1", "a2"]
        assert all(one.isascii() for one in server.mails)
        assert not any("8BITMIME" in line for line in server.commands)


async def test_a_connection_is_kept_for_a_mail_that_is_being_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where connections that have nothing to do are closed at once."""
    slowly(monkeypatch, lambda _: time.sleep(0.02))
    sink = RecordingSink()
    async with scripted() as (server, port), sending(sink, port, connections=1, idle_s=0, **DKIM) as provider:
        await sent(provider, sink, *(mail(name=f"a{n}") for n in range(8)))
        assert server.lines <= 3  # that of the start, that of the first mail; one more if they crossed


async def test_a_provider_that_never_started_has_no_thread() -> None:
    provider = SmtpProvider(
        ProviderSpec(name="acme", type="email.smtp", config=FAST | {"host": "127.0.0.1", "port": 9} | DKIM),
        RecordingSink(),
    )
    provider.submit([mail(name="a1")])
    await provider.stop(0)
    assert threads() == []
