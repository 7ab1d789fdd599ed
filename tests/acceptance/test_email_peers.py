"""Email against mail systems that others wrote: Postfix there and back, npm `smtp-server`, maildev, aiosmtpd."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import urllib.request
from contextlib import AsyncExitStack
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP

from conftest import find_free_port, require_peer
from peers.carriers import RecordingSink, until
from peers.mail_script import scripted
from peers.mails import RETURNS, listening, mail, sending, sent
from peers.npm_mail import node_server
from peers.postfix import postfix
from tidings.domain.attempt import PartRefused, PartSent
from tidings.domain.email import Attachment


async def test_a_real_bounce_end_to_end() -> None:
    """Provider → Postfix, which takes it and cannot deliver → its DSN by SMTP → our mail server: the receipt of that very
    attempt, with what the last server said."""
    sink = RecordingSink()
    async with listening(sink) as listener, scripted() as (gone, gone_at), scripted() as (far, far_at):
        gone.script = {"RCPT": ["550 5.1.1 <bob@gone.test>: no such user"]}
        far.script = {"END": ["554 5.7.1 <bob@far.test>: policy"]}
        routes = {
            "bounce.test": f"smtp:[127.0.0.1]:{listener.port}", "gone.test": f"smtp:[127.0.0.1]:{gone_at}",
            "far.test": f"smtp:[127.0.0.1]:{far_at}",
        }  # fmt: skip
        async with postfix(routes) as port, sending(sink, port, **RETURNS) as provider:
            one, two = mail("bob@gone.test"), mail("bob@far.test")
            assert await sent(provider, sink, one, two) == [PartSent(one.attempt_id), PartSent(two.attempt_id)]
            await until(lambda: len(sink.receipts) == 2, 60)
    found = {receipt.refs[0]: receipt for receipt in sink.receipts}
    first, second = found[one.attempt_id], found[two.attempt_id]
    assert (first.state, first.carrier_state, first.error_code) == ("undelivered", "failed", "5.1.1")
    assert (second.state, second.carrier_state, second.error_code) == ("undelivered", "failed", "5.7.1")
    assert (first.suppress, second.suppress) == ("bounced", None)
    assert first.error is not None
    assert second.error is not None
    assert (first.error.code, second.error.code) == ("invalid_recipient", "rejected_by_policy")
    assert first.error.permanent
    assert "bob@" not in first.error.detail + second.error.detail
    assert first.user_ref == int(one.attempt_id[-4:], 16)


async def test_what_postfix_refuses_at_once() -> None:
    sink = RecordingSink()
    routes = {"gone.test": "error:5.1.1 no such user here", "full.test": "error:5.2.2 mailbox full"}
    async with postfix(routes) as port, sending(sink, port) as provider:
        gone, full, good = await sent(
            provider, sink, mail("bob@gone.test"), mail("bob@full.test"), mail("bob@unrouted.test")
        )
    assert isinstance(gone, PartRefused)
    assert isinstance(full, PartRefused)
    assert (gone.error.code, gone.error.provider_code, gone.suppress) == ("invalid_recipient", "5.1.1", "bounced")
    assert (full.error.code, full.error.provider_code, full.suppress) == ("mailbox_full", "5.2.2", None)
    assert isinstance(good, PartSent)


async def test_a_real_delivery_receipt() -> None:
    """Postfix relays to a server without DSN: it says that it has handed the mail on."""
    sink = RecordingSink()
    async with listening(sink) as listener, scripted(offers="250-hi\n250 8BITMIME") as (behind, far):
        routes = {"bounce.test": f"smtp:[127.0.0.1]:{listener.port}", "far.test": f"smtp:[127.0.0.1]:{far}"}
        async with postfix(routes) as port, sending(sink, port, receipts=True, **RETURNS) as provider:
            one = mail("bob@far.test")
            await sent(provider, sink, one)
            await until(lambda: sink.receipts, 60)
            assert behind.mails
    (receipt,) = sink.receipts
    assert (receipt.refs, receipt.state, receipt.carrier_state) == ((one.attempt_id,), "pending", "relayed")
    assert receipt.to == "bob@far.test"


async def test_postfix_hands_on_what_we_wrote() -> None:
    """Through a real relay and out again: addresses that are not ASCII, dots, long lines, many mails over two connections."""
    sink = RecordingSink()
    async with AsyncExitStack() as stack:
        behind, far = await stack.enter_async_context(scripted())
        port = await stack.enter_async_context(postfix({"far.test": f"smtp:[127.0.0.1]:{far}"}))
        async with sending(sink, port, connections=2, domain_concurrency=2) as provider:
            mails = [mail(f"bob{n}@far.test", text=f".\n..\n{n} Grüße {'x' * 3_000}\nFrom me") for n in range(20)]
            mails.append(mail("jörg@far.test", text="Grüße"))
            assert await sent(provider, sink, *mails) == [PartSent(one.attempt_id) for one in mails]
            await until(lambda: len(behind.mails) == 21, 60)
    bodies = [message_from_bytes(raw.replace(b"\r\n..", b"\r\n."), policy=policy.default) for raw in behind.mails]
    said = sorted(body.get_content().replace("\r\n", "\n") for body in bodies)  # type: ignore[attr-defined]
    assert said == sorted(f"{one.content.text}\n" for one in mails)  # type: ignore[union-attr]


async def test_postfix_refuses_and_sends_replies_to_us() -> None:
    """What Postfix itself refuses at once; and a mail that it relays to our mail server as a reply."""
    sink = RecordingSink()
    async with AsyncExitStack() as stack:
        listener = await stack.enter_async_context(listening(sink))
        port = await stack.enter_async_context(postfix({"reply.test": f"smtp:[127.0.0.1]:{listener.port}"}))
        async with sending(sink, port, **RETURNS) as provider:
            refused, _ = await sent(
                provider, sink, mail("bob@example.net", text="x" * 60_000, attachments=_big()), mail("support@reply.test",
                 text="Hello\n\n> quoted")
            )  # fmt: skip
            assert isinstance(refused, PartRefused)
            assert refused.error.code == "message_too_large"
            await until(lambda: sink.inbound, 60)
    (part,) = sink.inbound
    assert (part.sender, part.to, part.text) == ("ann@example.com", "support@reply.test", "Hello")


def _big() -> Any:
    return (
        Attachment(name="a.bin", media_type="application/octet-stream", data=base64.b64encode(bytes(900_000)).decode()),
    )


async def test_npm_smtp_server(node_peer: Path) -> None:
    """Pipelined, STARTTLS with its own certificate, AUTH, refusals among mails that it takes."""
    sink = RecordingSink()
    async with node_server(node_peer) as (port, events):
        config: dict[str, Any] = {"tls": "opportunistic", "username": "ann", "password": "right", "connections": 1}
        async with sending(sink, port, **config) as provider:
            mails = [
                mail(f"{'nobody' if n % 3 == 1 else 'bob'}{n}@example.net", text=f"Mail {n}\n.\nGrüße")
                for n in range(9)
            ]
            found = await sent(provider, sink, *mails)
            assert [type(one) for one in found] == [PartSent, PartRefused, PartSent] * 3
            await until(lambda: len([one for one in events if one["event"] == "mail"]) == 6)
    taken = [one for one in events if one["event"] == "mail"]
    assert {one["secure"] for one in taken} == {True}
    assert {one["user"] for one in taken} == {"ann"}
    for one in taken:
        body = message_from_bytes(base64.b64decode(one["raw"]), policy=policy.default)
        assert "\n.\nGrüße" in body.get_content().replace("\r\n", "\n")  # type: ignore[attr-defined]


async def test_maildev(node_peer: Path) -> None:
    """maildev's own view of a mail with everything in it."""
    require_peer("npm-maildev")
    smtp, web = find_free_port(), find_free_port()
    process = await asyncio.create_subprocess_exec(
        "node", "node_modules/.bin/maildev", "--ip", "127.0.0.1", "--smtp", str(smtp), "--web", str(web), "--web-ip", "127.0.0.1",
        cwd=node_peer, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    sink = RecordingSink()
    try:
        picture = Attachment(
            name="logo.png",
            media_type="image/png",
            data=base64.b64encode(b"\x89PNG" + bytes(99)).decode(),
            content_id="logo",
        )
        paper = Attachment(
            name="Rechnung März.pdf", media_type="application/pdf", data=base64.b64encode(b"%PDF").decode()
        )
        async with sending(sink, smtp, up=False, requeue_s=60) as provider:  # it needs a moment to be there
            await sent(
                provider, sink, mail("Bob.B@example.net", sender="Änn <ann@example.com>", subject="Grüße 😀 aus Köln", text="Hallo",
                html='<p>Hallo <img src="cid:logo">', attachments=(picture, paper), headers={"X-Kind": "test"},
                list_unsubscribe="https://example.com/u")
            )  # fmt: skip

        def seen() -> Any:
            with urllib.request.urlopen(f"http://127.0.0.1:{web}/api/email", timeout=10) as answer:
                return json.load(answer)

        (shown,) = await asyncio.to_thread(seen)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
    assert shown["subject"] == "Grüße 😀 aus Köln"
    assert shown["from"] == [{"address": "ann@example.com", "name": "Änn"}]
    assert shown["text"].strip() == "Hallo"
    assert "Hallo <img" in shown["html"]
    assert {one.get("fileName") or one.get("filename") for one in shown["attachments"]} == {
        "logo.png",
        "Rechnung März.pdf",
    }
    assert shown["headers"]["x-kind"] == "test"


@pytest.mark.parametrize("utf8", [True, False])
async def test_aiosmtpd(utf8: bool) -> None:
    """A server that offers neither PIPELINING nor ENHANCEDSTATUSCODES."""
    taken: list[bytes] = []

    class Handler:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
            taken.append(envelope.content)
            return "250 OK"

    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(Handler(), enable_SMTPUTF8=utf8, hostname="x.test", loop=loop), "127.0.0.1", 0
    )
    sink = RecordingSink()
    async with sending(sink, server.sockets[0].getsockname()[1]) as provider:
        found = await sent(provider, sink, mail(name="a1"), mail("jörg@example.net", name="a2"), mail(name="a3"))
        assert [type(one) for one in found] == [PartSent, PartSent if utf8 else PartRefused, PartSent]
    server.close()
    assert len(taken) == (3 if utf8 else 2)
