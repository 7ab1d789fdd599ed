"""The mail system simulator: a real SMTP server on loopback that plays the sandbox recipients of email.

Reports and replies are sent over SMTP to our own mail server (`inbound`), by another client than the one that sends
mails; a report that is not taken is tried again, as mail systems do.

`delivered@` a delivery report, where asked for · `bounced@` a bounce some time after 250 · `complained@` a complaint ·
`deferred@` refused for now, taken the next time · `opened@` a read receipt · `replies@` a person answers "YES" ·
`unknown@` the answer to the mail never comes · anybody else takes delivery. All at sandbox.test.
"""

import asyncio
import datetime as dt
import logging
import secrets
import warnings
from collections import OrderedDict, deque
from hashlib import sha256
from hmac import compare_digest
from typing import Any, Final, cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tidings.channels.contract import ProviderSpec
from tidings.kit.clock import Clock, wall_ms
from tidings.sandbox.email_queue import ReportQueue
from tidings.sandbox.email_reports import DAEMON, Taken, complaint, delivery_report, read_receipt, reply

DOMAIN: Final = "sandbox.test"
BOUNCES: Final = "bounce.sandbox.test"
REPLIES: Final = "reply.sandbox.test"
_LOGIN: Final = "sandbox"
#: What is remembered; the oldest is forgotten first.
MAILS: Final = 1_000
DEFERRED: Final = 10_000
_TURNS: Final = 5  # of the event loop, until a connection that was just let in is made, cut off, and closed
_UNKNOWN: Final = "550 5.1.1 There is no such mailbox"


class SandboxEmail:
    """See the module. `inbound` is where reports go to (host, port); without it there are none.

    `never`: seconds after which even `unknown@` gets its line closed.
    """

    def __init__(
        self, *, receipt_delay_s: float = 0.05, clock: Clock = wall_ms, password: str = "", never_s: float = 3_600
    ) -> None:
        self.receipt_delay_s, self._clock, self._never_s = receipt_delay_s, clock, never_s
        self.password = password or secrets.token_urlsafe(24)
        self._mail_secret = secrets.token_urlsafe(24)
        self.port = 0
        self.reports = ReportQueue()
        self.mails: deque[Taken] = deque(maxlen=MAILS)
        self.written = 0  # mails whose end came, whatever they were answered
        self._next: deque[str] = deque()
        self._deferred: OrderedDict[bytes, None] = OrderedDict()
        self._lines: set[_Line] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listens on an ephemeral port of 127.0.0.1."""
        logging.getLogger("mail.log").setLevel(logging.ERROR)  # aiosmtpd's: it warns of passwords without TLS
        self._server = await asyncio.get_running_loop().create_server(lambda: _Line(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self.reports.start()

    async def stop(self) -> None:
        """Closes every line and drops what was not sent yet."""
        if self._server is not None:
            self._server.close()
        await self.reports.stop()
        for _ in range(_TURNS):
            self.drop_links()
            await asyncio.sleep(0)
        if self._server is not None:
            await self._server.wait_closed()

    @property
    def inbound(self) -> tuple[str, int] | None:
        """Where reports go to: host and port of our own mail server."""
        return self.reports.inbound

    @inbound.setter
    def inbound(self, address: tuple[str, int] | None) -> None:
        self.reports.inbound = address

    def spec(self, public_url: str = "") -> ProviderSpec:
        """The provider that sends to it. Its mails come back to `inbound`, not to `public_url`."""
        del public_url
        return ProviderSpec(name="sandbox-email", type="email.smtp", config=self.config, origin="sandbox")

    @property
    def config(self) -> dict[str, Any]:
        """Of a provider that sends to it."""
        return {
            "host": "127.0.0.1", "port": self.port, "tls": "none", "username": _LOGIN, "password": self.password,
            "sender": f"Sandbox <no-reply@{DOMAIN}>", "mail_secret": self._mail_secret, "bounce_domain": BOUNCES,
            "reply_domain": REPLIES, "receipts": True, "read_receipts": True, "domain_concurrency": 4,
            "allow_networks": ["127.0.0.0/8"],
        }  # fmt: skip

    def answer_next(self, *replies: str) -> None:
        """Scripts the answers to the ends of the next mails."""
        self._next += replies

    def drop_links(self) -> None:
        """Every line breaks."""
        for line in list(self._lines):
            line.abort()

    def write_to_us(self, sender: str, to: str, text: str, *, subject: str = "Hello") -> None:
        """A person writes a mail of their own accord."""
        taken = Taken(to, sender, f"From: {to}\r\nSubject: {subject}\r\n\r\n".encode())
        self.reports.add(sender, to, reply(taken, to, text, self._now()), 0)

    # what the lines call

    def entered(self, line: "_Line", *, gone: bool = False) -> None:
        """A line was opened, or closed."""
        (self._lines.discard if gone else self._lines.add)(line)

    async def take(self, taken: Taken) -> str:
        """The answer to a whole mail."""
        self.written += 1
        self.mails.append(taken)
        if self._next:
            said = self._next.popleft()
            if not said.startswith("250"):
                return said
        local, _, domain = taken.to.lower().partition("@")
        person = local if domain == DOMAIN else ""
        if person == "unknown":
            await asyncio.sleep(self._never_s)
        if person == "deferred" and self._first_time(taken):
            return "451 4.7.1 Greylisted, come later"
        self._play(person, taken)
        return "250 2.0.0 Taken"

    def _first_time(self, taken: Taken) -> bool:
        """Whether a mail that says this has not come before. Each try has its own Message-ID."""
        mark = sha256("|".join((taken.header("From"), taken.to, taken.header("Subject"), taken.text)).encode()).digest()
        if mark in self._deferred:
            del self._deferred[mark]
            return False
        self._deferred[mark] = None
        while len(self._deferred) > DEFERRED:
            self._deferred.popitem(last=False)
        return True

    def _play(self, person: str, taken: Taken) -> None:
        now = self._now()
        if person == "bounced":
            self._report(taken, delivery_report(taken, "failed", "5.1.1", _UNKNOWN, now))
            return
        if "SUCCESS" in taken.notify:
            self._report(taken, delivery_report(taken, "delivered", "2.1.5", "250 2.1.5 Delivered", now))
        later_s = 2 * self.receipt_delay_s
        if person == "complained":
            to = f"fbl@{taken.sender.partition('@')[2]}"
            self.reports.add("feedback@sandbox.test", to, complaint(taken, to, now), later_s)
        elif person == "opened" and (to := taken.header("Disposition-Notification-To").strip("<>")):
            self.reports.add(taken.to, to, read_receipt(taken, to, now), later_s)
        elif person == "replies":
            to = (taken.header("Reply-To") or taken.header("From")).rpartition("<")[2].rstrip(">")
            self.reports.add(taken.to, to, reply(taken, to, "YES", now), later_s)

    def _report(self, taken: Taken, report: bytes) -> None:
        if taken.sender:  # never a report on a report: RFC 5321 §4.5.5
            self.reports.add("", taken.sender, report, self.receipt_delay_s)

    def _now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self._clock() / 1000, dt.UTC)


class _Line(SMTP):
    """One connection of a client."""

    def __init__(self, owner: SandboxEmail) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a password on loopback without TLS is what we want
            super().__init__(
                _Steps(owner), enable_SMTPUTF8=True, hostname="mx.sandbox.test", ident="Tidings sandbox", auth_required=True,
                auth_require_tls=False, authenticator=self._known, loop=asyncio.get_running_loop(),
            )  # fmt: skip
        self._owner = owner
        self._wire: asyncio.Transport | None = None
        self.notify = self.envelope_id = ""

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802
        """DSN, which aiosmtpd does not know. Source: RFC 3461 §4.3, §4.4"""
        options, rest = _options(arg, ("RET", "ENVID"))
        self.envelope_id = options.get("ENVID", "")
        await super().smtp_MAIL(rest)

    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802
        """The same. Source: RFC 3461 §4.1, §4.2"""
        options, rest = _options(arg, ("NOTIFY", "ORCPT"))
        self.notify = options.get("NOTIFY", "").upper()
        await super().smtp_RCPT(rest)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._wire = cast("asyncio.Transport", transport)
        self._owner.entered(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio."""
        self._owner.entered(self, gone=True)
        super().connection_lost(error)

    def abort(self) -> None:
        """Closes it at once."""
        if self._wire is not None:
            self._wire.abort()

    def _known(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        del server, session, envelope, mechanism
        good = isinstance(data, LoginPassword) and compare_digest(
            data.login + b"\0" + data.password, f"{_LOGIN}\0{self._owner.password}".encode()
        )
        return AuthResult(success=good, handled=False)


def _options(arg: str | None, names: tuple[str, ...]) -> tuple[dict[str, str], str | None]:
    """The parameters of these names, and the command without them."""
    found, kept = dict[str, str](), list[str]()
    for word in (arg or "").split(" "):
        name, equals, value = word.partition("=")
        if equals and name.upper() in names:
            found[name.upper()] = value
        else:
            kept.append(word)
    return found, None if arg is None else " ".join(kept)


class _Steps:
    """What aiosmtpd asks at each step."""

    def __init__(self, owner: SandboxEmail) -> None:
        self._owner = owner

    async def handle_EHLO(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        """PIPELINING and DSN beside what aiosmtpd offers."""
        del server, envelope
        session.host_name = hostname
        return [*responses[:-1], "250-PIPELINING", "250-ENHANCEDSTATUSCODES", "250-DSN", responses[-1]]

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Anybody."""
        del server, session, options
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """The whole mail."""
        del session
        line, raw = cast("_Line", server), cast("bytes", envelope.content)
        sender = (envelope.mail_from or "").strip("<>")
        return await self._owner.take(Taken(sender, envelope.rcpt_tos[0], raw, line.envelope_id, line.notify))


__all__ = ["BOUNCES", "DAEMON", "DOMAIN", "REPLIES", "SandboxEmail"]
