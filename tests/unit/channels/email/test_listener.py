"""Our own mail server: what it takes, what it refuses, and who cannot hurt it. Clients: the standard library and swaks."""

from __future__ import annotations

import asyncio
import datetime as dt
import smtplib
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
import uvloop

from conftest import require_peer
from peers.carriers import RecordingSink, until
from peers.mails import RETURNS, SECRET, listening
from peers.tls import certificate
from tidings.channels.contract import ProviderSpec
from tidings.channels.email.accounts import mail_accounts
from tidings.channels.email.compose import key_of
from tidings.channels.email.incoming import target
from tidings.channels.email.listener import MailLimits
from tidings.kit.ids import new_id
from tidings.protocols.mail import token
from tidings.sandbox.email_reports import Taken, delivery_report

KEY = key_of(SECRET)
WORDS = b"From: Bob <bob@example.net>\r\nSubject: Re: Hello\r\nMessage-ID: <1@example.net>\r\n\r\nFine\r\n"


def address(purpose: Any, attempt: str, domain: str = "") -> str:
    return f"{token.token(purpose, attempt.removeprefix('att_'), KEY)}@{domain or {'b': 'bounce.test', 'r': 'reply.test'}[purpose]}"


async def talk(port: int, *pieces: bytes, wait_s: float = 0.0) -> list[str]:
    """Writes each piece after the answer to the one before; every line that came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines: list[str] = []
    try:
        async with asyncio.timeout(20):
            lines.append((await reader.readline()).decode().strip())
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                while True:
                    line = (await reader.readline()).decode().strip()
                    lines.append(line)
                    if line[3:4] != "-":
                        break
                if not line:
                    break
                await asyncio.sleep(wait_s)
    except ConnectionError:
        pass
    finally:
        writer.close()
    return lines


def steps(to: str, raw: bytes, sender: str = "bob@example.net") -> list[bytes]:
    return [
        b"EHLO x\r\n",
        f"MAIL FROM:<{sender}>\r\n".encode(),
        f"RCPT TO:<{to}>\r\n".encode(),
        b"DATA\r\n",
        raw + b".\r\n",
    ]


async def test_a_reply_is_kept_before_250() -> None:
    sink = RecordingSink()
    sink.gate = asyncio.Event()
    attempt = new_id("att")
    async with listening(sink) as listener:
        talking = asyncio.create_task(talk(listener.port, *steps(address("r", attempt), WORDS)))
        await until(lambda: sink.log == ["receiving"])
        assert not talking.done()
        sink.gate.set()
        assert (await talking)[-1].startswith("250 2.0.0")
    (part,) = sink.inbound
    assert (part.provider, part.sender, part.text, part.answers) == ("acme", "bob@example.net", "Fine", (attempt,))


async def test_what_was_not_kept_is_not_taken() -> None:
    sink = RecordingSink()
    sink.refuse_receives = 1
    async with listening(sink) as listener:
        mail = steps(address("r", new_id("att")), WORDS)
        assert (await talk(listener.port, *mail))[-1].startswith("451 4.3.0")
        assert (await talk(listener.port, *mail))[-1].startswith("250 2.0.0")
    assert len(sink.inbound) == 1


async def test_a_store_that_hangs_is_not_waited_for_without_end() -> None:
    sink = RecordingSink()
    sink.gate = asyncio.Event()
    async with listening(sink, limit=MailLimits(store_s=0.05)) as listener:
        assert (await talk(listener.port, *steps(address("r", new_id("att")), WORDS)))[-1].startswith("451 4.3.0")


HIDDEN = b"MAIL FROM:<eve@example.com>\r\nRCPT TO:<x@reply.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n"
SMUGGLED = [
    b"Subject: a\r\n\r\nx\n.\n" + HIDDEN, b"Subject: a\r\n\r\nx\n.\r\n" + HIDDEN, b"Subject: a\r\n\r\nx\r.\r" + HIDDEN,
    b"Subject: a\r\n\r\nx\r\n.\n" + HIDDEN, b"Subject: a\r\n\r\nx\r\n.\r" + HIDDEN, b"Subject: a\r\n\r\nx\r.\r\n" + HIDDEN,
    b"Subject: a\r\n\r\nbare\nlf\r\n", b"Subject: a\r\n\r\nbare\rcr\r\n", b"Subject: a\nBcc: x\r\n\r\nx\r\n", b"a\r\r\n",
]  # fmt: skip


@pytest.mark.parametrize("raw", SMUGGLED, ids=range(len(SMUGGLED)))
async def test_smuggling_is_refused(raw: bytes) -> None:
    """One answer for one mail, and nothing of it is kept: neither the mail nor one within it."""
    sink = RecordingSink()
    async with listening(sink) as listener:
        lines = await talk(listener.port, *steps(address("r", new_id("att")), raw), b"NOOP\r\n")
        assert lines[-2].startswith("550 5.6.11")
        assert lines[-1].startswith("250")
    assert sink.log == []


async def test_smuggling_saboteur(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check such a mail is kept: the test above sees it."""
    monkeypatch.setattr("tidings.channels.email.listener.bare", lambda data: False)
    sink = RecordingSink()
    async with listening(sink) as listener:
        lines = await talk(listener.port, *steps(address("r", new_id("att")), SMUGGLED[0]))
        assert lines[-1].startswith("250")
    assert sink.inbound


async def test_who_is_known() -> None:
    attempt = new_id("att")
    accounts = mail_accounts([ProviderSpec(name="acme", type="email.smtp", config=RETURNS)])
    good = address("b", attempt)
    found = target(accounts, good.upper())  # mail systems change case
    assert found is not None
    assert (found.purpose, found.attempt) == ("bounce", attempt)
    flipped = good.replace(good[5], "z" if good[5] != "z" else "y", 1)
    for bad in (
        flipped,
        "x@bounce.test",
        good.replace("b-", "r-"),
        good.replace("bounce.test", "example.com"),
        "x",
        "@",
        "x@",
    ):
        assert target(accounts, bad) is None, bad
    other = mail_accounts(
        [ProviderSpec(name="acme", type="email.smtp", config=RETURNS | {"mail_secret": "of somebody else!"})]
    )
    assert target(other, good) is None
    assert target(accounts, "postmaster@bounce.test") is not None
    anybody = target(accounts, "support@reply.test")
    assert anybody is not None
    assert (anybody.purpose, anybody.attempt) == ("reply", "")


async def test_addresses_that_lead_nowhere_are_refused() -> None:
    sink = RecordingSink()
    async with listening(sink) as listener:
        for to in ("x@bounce.test", "x@example.com", "b-aaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaa@bounce.test"):
            lines = await talk(listener.port, *steps(to, WORDS)[:3])
            assert lines[-1].startswith("550 5.1.1"), to


async def test_a_bounce_from_nobody() -> None:
    sink, attempt = RecordingSink(), new_id("att")
    taken = Taken(address("b", attempt), "bob@example.net", b"Message-ID: <x@y>\r\n\r\nx", attempt, "")
    report = delivery_report(taken, "failed", "5.1.1", "550 no", dt.datetime.now(dt.UTC))
    async with listening(sink) as listener:
        assert (await talk(listener.port, *steps(taken.sender, report, sender="")))[-1].startswith("250")
    (receipt,) = sink.receipts
    assert (receipt.refs, receipt.state) == ((attempt,), "undelivered")


async def test_an_automatic_answer_to_a_bounce_address_says_nothing() -> None:
    sink = RecordingSink()
    raw = b"From: bob@example.net\r\nAuto-Submitted: auto-replied\r\nSubject: Out of office\r\n\r\nI am away\r\n"
    async with listening(sink) as listener:
        to = address("b", new_id("att"))
        assert (await talk(listener.port, *steps(to, raw, sender="")))[-1].startswith("250")
    assert not sink.receipts
    assert not sink.inbound


async def test_sizes() -> None:
    sink = RecordingSink()
    async with listening(sink, limit=MailLimits(mail_octets=1_000)) as listener:
        to = address("r", new_id("att"))
        assert (await talk(listener.port, b"EHLO x\r\n", b"MAIL FROM:<a@b.test> SIZE=1001\r\n"))[-1].startswith("552")
        assert (await talk(listener.port, *steps(to, WORDS + b"x" * 70 * 20 + b"\r\n")))[-1].startswith(("552", "500"))
        assert (await talk(listener.port, *steps(to, WORDS + b"a\r\n" * 400)))[-1].startswith("552")
        assert (await talk(listener.port, *steps(to, WORDS)))[-1].startswith("250")
    assert len(sink.inbound) == 1


async def test_connections_are_bounded() -> None:
    sink = RecordingSink()
    async with listening(sink, limit=MailLimits(per_peer=2)) as listener:
        held = [await asyncio.open_connection("127.0.0.1", listener.port) for _ in range(2)]
        for reader, _ in held:
            assert (await reader.readline()).startswith(b"220")
        assert (await talk(listener.port))[0].startswith("421 4.7.0")
        for _, writer in held:
            writer.close()
        lines: list[str] = []
        for _ in range(100):
            lines = await talk(listener.port)
            if lines[0].startswith("220"):
                break
        assert lines[0].startswith("220")


async def test_the_rate_is_bounded() -> None:
    now = [0.0]
    sink = RecordingSink()
    async with listening(sink, limit=MailLimits(mails_per_min=2), monotonic=lambda: now[0]) as listener:
        begin = [b"EHLO x\r\n", b"MAIL FROM:<a@b.test>\r\n"]
        said = [(await talk(listener.port, *begin))[-1][:9] for _ in range(3)]
        assert said == ["250 2.1.0", "250 2.1.0", "450 4.7.1"]
        now[0] = 30.0
        assert (await talk(listener.port, *begin))[-1].startswith("250")


async def test_slow_ones_are_cut_off_and_hold_up_nobody() -> None:
    """One that sends an octet now and then, in a command and in a mail, has an end; others are served meanwhile."""
    sink = RecordingSink()
    async with listening(sink, limit=MailLimits(idle_s=0.6)) as listener:

        async def drip(first: bytes) -> bool:
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            try:
                async with asyncio.timeout(20):
                    writer.write(first)
                    while True:
                        writer.write(b"x")
                        await writer.drain()
                        try:
                            async with asyncio.timeout(0.05):
                                if not await reader.read(4_096):
                                    return True
                        except TimeoutError:
                            continue
            except ConnectionError:
                return True
            finally:
                writer.close()

        to = address("r", new_id("att"))
        slow = [asyncio.create_task(drip(start)) for start in (b"", b"".join(steps(to, b"")[:4]), b"EHLO x\r\nNOO")]
        assert (await talk(listener.port, *steps(to, WORDS)))[-1].startswith("250")
        assert await asyncio.gather(*slow) == [True] * 3
    assert len(sink.inbound) == 1


async def test_endless_lines_and_commands() -> None:
    sink = RecordingSink()
    async with listening(sink) as listener:
        assert (await talk(listener.port, b"x" * 200_000 + b"\r\n"))[-1].startswith("500")
        lines = await talk(listener.port, *[b"NOPE\r\n"] * 30)
        assert lines[-1][:3] in ("502", "")
        assert len(lines) < 30


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_starttls(kind: str, tmp_path: Path) -> None:
    """On both event loops, by the standard library's client; nothing that was said in the clear counts afterwards."""
    key, chain = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    sink = RecordingSink()

    def client(port: int) -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as smtp:
            smtp.starttls(context=ssl.create_default_context(cafile=str(chain)))
            smtp.sendmail("bob@example.net", [address("r", new_id("att"))], WORDS)

    async def go() -> None:
        async with listening(sink, tls=context) as listener:
            await asyncio.to_thread(client, listener.port)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if kind == "uvloop" else None) as runner:
        runner.run(go())
    assert len(sink.inbound) == 1


async def test_swaks(tmp_path: Path) -> None:
    require_peer("swaks")
    sink, attempt = RecordingSink(), new_id("att")
    picture = tmp_path / "a.png"
    picture.write_bytes(b"\x89PNG" + bytes(range(256)))
    async with listening(sink) as listener:
        done = await asyncio.to_thread(
            subprocess.run,
            ["swaks", "--server", "127.0.0.1", "--port", str(listener.port), "--from", "bob@example.net", "--to",
             address("r", attempt), "--header", "Subject: Re: Hi", "--body", "Yes please", "--attach", f"@{picture}", "--pipeline"],
            capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
    (part,) = sink.inbound
    assert part.text == "Yes please"
    assert part.answers == (attempt,)
    assert part.content is not None
    (file,) = part.content.attachments
    assert (file.size, file.name) == (260, "a.png")


async def test_stop_closes_what_is_open() -> None:
    sink = RecordingSink()
    async with listening(sink) as listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        await reader.readline()
        await listener.stop()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", listener.port), timeout=1)
        assert await reader.read() == b""
        writer.close()
