"""What tests of email share: a rig of provider, simulated mail system and our own mail server; submissions; waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from peers.carriers import RecordingSink, until
from tidings.channels.contract import ProviderSpec
from tidings.channels.email.accounts import mail_accounts
from tidings.channels.email.listener import MailLimits, MailListener
from tidings.channels.email.smtp import SmtpProvider
from tidings.domain.attempt import PartOutcome, Submission
from tidings.domain.email import EmailContent
from tidings.domain.message import Lane
from tidings.kit.ids import new_id
from tidings.sandbox.email import SandboxEmail

FAST: dict[str, Any] = {
    "tls": "none", "allow_networks": ["127.0.0.0/8", "::1/128"], "reconnect_min_s": 0.02, "reconnect_max_s": 0.1, "requeue_s": 0.5,
    "command_timeout_s": 10, "end_timeout_s": 10, "greeting_timeout_s": 10, "connect_timeout_s": 10,
    "sender": "Ann <ann@example.com>",
}  # fmt: skip
SECRET = "a secret of our own, for tests"
RETURNS: dict[str, Any] = {"mail_secret": SECRET, "bounce_domain": "bounce.test", "reply_domain": "reply.test"}


def mail(
    to: str = "bob@example.net", *, name: str = "", lane: Lane = "transactional", subject: str = "Hello", text: str | None = "Hi",
    sender: str | None = None, valid_until_ms: int | None = None, tries: int = 0, **content: Any,
) -> Submission:  # fmt: skip
    """A submission of an email, with an attempt's id like those of the server unless `name` gives one."""
    return Submission(
        attempt_id=name or new_id("att"), message_id=new_id("msg"), lane=lane, to=to, sender=sender, channel="email",
        content=EmailContent(subject=subject, text=text, **content), valid_until_ms=valid_until_ms, tries=tries,
    )  # fmt: skip


@asynccontextmanager
async def sending(
    sink: RecordingSink, port: int, *, up: bool = True, host: str = "127.0.0.1", **config: Any
) -> AsyncIterator[SmtpProvider]:
    """A started provider that sends to this port."""
    spec = ProviderSpec(name="acme", type="email.smtp", config=FAST | {"host": host, "port": port} | config)
    provider = SmtpProvider(spec, sink)
    await provider.start()
    try:
        if up:
            await until(lambda: provider.credit("otp") > 0)
        yield provider
    finally:
        await provider.stop(0)


async def sent(provider: SmtpProvider, sink: RecordingSink, *mails: Submission) -> list[PartOutcome]:
    """Submits; the outcome of each."""
    provider.submit(mails)
    await until(lambda: {one.attempt_id for one in mails} <= {o.attempt_id for o in sink.done})
    return [sink.outcome(one.attempt_id)[0] for one in mails]


@asynccontextmanager
async def listening(sink: RecordingSink, spec: ProviderSpec | None = None, **more: Any) -> AsyncIterator[MailListener]:
    """Our mail server, for one provider."""
    declared = spec or ProviderSpec(name="acme", type="email.smtp", config=RETURNS)
    accounts = mail_accounts([declared])
    listener = MailListener("127.0.0.1", 0, lambda: accounts, sink, **more)
    await listener.start()
    try:
        yield listener
    finally:
        await listener.stop()


class MailRig:
    """Everything there and back on loopback."""

    def __init__(
        self, sandbox: SandboxEmail, provider: SmtpProvider, listener: MailListener, sink: RecordingSink
    ) -> None:
        self.sandbox, self.provider, self.listener, self.sink = sandbox, provider, listener, sink

    async def send(self, *mails: Submission) -> list[PartOutcome]:
        """See `sent`."""
        return await sent(self.provider, self.sink, *mails)


@asynccontextmanager
async def mail_rig(**config: Any) -> AsyncIterator[MailRig]:
    """Provider → simulator → our mail server."""
    sink, sandbox = RecordingSink(), SandboxEmail(receipt_delay_s=0.01)
    await sandbox.start()
    try:
        spec = sandbox.spec()
        made = ProviderSpec(name="acme", type=spec.type, config=FAST | spec.config | config)
        async with listening(sink, made) as listener:
            sandbox.inbound = ("127.0.0.1", listener.port)
            provider = SmtpProvider(made, sink)
            await provider.start()
            try:
                await until(lambda: provider.credit("otp") > 0)
                yield MailRig(sandbox, provider, listener, sink)
            finally:
                await provider.stop(0)
    finally:
        await sandbox.stop()


__all__ = [
    "FAST",
    "RETURNS",
    "SECRET",
    "MailLimits",
    "MailRig",
    "asyncio",
    "listening",
    "mail",
    "mail_rig",
    "sending",
    "sent",
]
