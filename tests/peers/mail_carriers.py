"""Simulated carriers of email, as the conformance cases drive them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from peers.carriers import RecordingSink
from peers.mails import FAST, mail
from tidings.channels.contract import Provider, ProviderSpec
from tidings.channels.email.accounts import mail_accounts
from tidings.channels.email.listener import MailListener
from tidings.domain.attempt import CarrierReceipt, InboundPart, Submission
from tidings.sandbox.email import SandboxEmail

SECRET = "s3cr3t"


class _LateSink(RecordingSink):
    """Hands on to the sink of the case, once that is known."""

    case: RecordingSink | None = None

    async def received(self, provider: str, receipts: Sequence[CarrierReceipt], inbound: Sequence[InboundPart]) -> None:
        assert self.case is not None
        await self.case.received(provider, receipts, inbound)


class SmtpCarrier:
    """The sandbox's mail system, whose reports come back through our own mail server."""

    takes, never = "delivered@sandbox.test", "unknown@sandbox.test"
    person, number = "zoe@sandbox.test", "support@reply.sandbox.test"

    def __init__(self, sandbox: SandboxEmail, sink: _LateSink) -> None:
        self._sandbox, self._sink = sandbox, sink
        self.config: dict[str, Any] = FAST | sandbox.config | {"read_receipts": False, "end_timeout_s": 0.3}

    def attach(self, provider: Provider, sink: RecordingSink) -> None:
        """Where what comes back goes to."""
        self._sink.case = sink

    def name(self, n: int) -> str:
        """An attempt's id: it is part of the return path."""
        return f"att_{n:032x}"

    def submission(self, provider: Provider, name: str, to: str, text: str = "Hello", **more: Any) -> Submission:
        """An email."""
        more.pop("concat_ref", None)
        return mail(to, name=name, text=text, **more)

    def refuse_next(self) -> None:
        self._sandbox.answer_next("550 5.1.1 no such mailbox")

    def fail_next(self) -> None:
        self._sandbox.answer_next("451 4.3.0 come later")

    def throttle_next(self, count: int) -> None:
        self._sandbox.answer_next(*["451 4.7.28 too fast"] * count)

    def drop_links(self) -> None:
        self._sandbox.drop_links()

    def say(self, sender: str, to: str, text: str) -> None:
        self._sandbox.write_to_us(sender, to, text)

    @property
    def written(self) -> int:
        return self._sandbox.written


@asynccontextmanager
async def smtp_carrier() -> AsyncIterator[SmtpCarrier]:
    """The simulator, and our mail server beside it."""
    sandbox, sink = SandboxEmail(receipt_delay_s=0.01, password=SECRET), _LateSink()
    await sandbox.start()
    try:
        accounts = mail_accounts([ProviderSpec(name="acme", type="email.smtp", config=sandbox.config)])
        listener = MailListener("127.0.0.1", 0, lambda: accounts, sink)
        await listener.start()
        sandbox.inbound = ("127.0.0.1", listener.port)
        try:
            yield SmtpCarrier(sandbox, sink)
        finally:
            await listener.stop()
    finally:
        await sandbox.stop()
