"""Our mail server: takes replies, bounces and complaints, and nothing else. 250 is said after the commit.

A mail with a bare CR or LF is refused as a whole, so that no sender can smuggle a second one into it; connections, mails,
sizes, commands and times are bounded; a mail for an address that leads nowhere is refused at RCPT.
Source: RFC 5321 §2.3.8, §3.3, §4.5.3; RFC 3463; RFC 2920; RFC 3207
"""

import asyncio
import logging
import ssl
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, cast

import msgspec
import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session

from tidings.channels.contract import Sink
from tidings.channels.email.incoming import Incoming, MailAccount, Target, read, target
from tidings.kit import limits
from tidings.kit.clock import Clock, wall_ms
from tidings.protocols.smtp.data import bare

#: A larger mail is read in a thread, so that nobody else waits for it.
_LARGE_OCTETS: Final = 65_536
_RECIPIENTS: Final = 50
#: Commands of one kind on one connection; a mail system that sends more opens another.
_COMMANDS: Final = 1_000
_log = structlog.get_logger("tidings.channels.email.listener")


class MailLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much is taken. Times in seconds."""

    mail_octets: int = limits.MAIL_IN_BYTES
    connections: int = limits.MAIL_IN_CONNECTIONS
    per_peer: int = limits.MAIL_IN_PER_PEER
    mails_per_min: int = limits.MAIL_IN_PER_MIN
    idle_s: float = limits.MAIL_IN_IDLE_S
    store_s: float = 30.0


class MailListener:
    """See the module. `accounts` gives the providers whose mails come back here (`accounts.mail_accounts`), whenever it is
    asked; `sink` keeps what came.
    """

    def __init__(
        self, host: str, port: int, accounts: Callable[[], tuple[MailAccount, ...]], sink: Sink, *, hostname: str = "",
        limit: MailLimits | None = None, tls: ssl.SSLContext | None = None, clock: Clock = wall_ms,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.host, self.port = host, port
        self.accounts = accounts
        self.limit = limit or MailLimits()
        self._sink, self._clock, self._tls, self._monotonic = sink, clock, tls, monotonic
        self._hostname = hostname or "mail.invalid"
        self._server: asyncio.Server | None = None
        self._open: set[_Connection] = set()
        self._peers: Counter[str] = Counter()
        self._empty = asyncio.Event()
        self._mails: dict[str, tuple[float, float]] = {}  # peer → (tokens left, since)

    async def start(self) -> None:
        """Listens. Raises OSError. `port` is the real one afterwards."""
        logging.getLogger("mail.log").setLevel(logging.ERROR)  # aiosmtpd's: it would write people's addresses
        self._server = await asyncio.get_running_loop().create_server(self._made, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Takes no more; mails under way are not answered, so that they come again."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._open):
            connection.abort()
        if self._open:
            await self._empty.wait()
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    def _made(self) -> asyncio.BaseProtocol:
        return _Connection(self, _Handler(self), self._hostname, self._tls)

    def entered(self, connection: "_Connection", peer: str) -> bool:
        """Counts it; whether it may stay."""
        self._open.add(connection)
        self._peers[peer] += 1
        self._empty.clear()
        return len(self._open) <= self.limit.connections and self._peers[peer] <= self.limit.per_peer

    def left(self, connection: "_Connection", peer: str) -> None:
        """It is gone."""
        if connection in self._open:
            self._open.discard(connection)
            self._peers[peer] -= 1
            self._peers += Counter()  # those at 0 go
        if not self._open:
            self._empty.set()

    def allowed(self, peer: str) -> bool:
        """One mail more from this address? A bucket that refills over a minute."""
        now, most = self._monotonic(), float(self.limit.mails_per_min)
        left, since = self._mails.get(peer, (most, now))
        left = min(most, left + (now - since) * most / 60)
        if len(self._mails) > 10_000:
            self._mails.clear()
        self._mails[peer] = (left - 1, now) if left >= 1 else (left, now)
        return left >= 1

    async def keep(self, to: Sequence[Target], sender: str, raw: bytes) -> None:
        """Returns after the commit. Raises what the sink raises, TimeoutError."""
        accounts = self.accounts()
        for one in to:
            if len(raw) > _LARGE_OCTETS:
                found = await asyncio.to_thread(read, accounts, one, sender, raw, self._clock())
            else:
                found = read(accounts, one, sender, raw, self._clock())
            async with asyncio.timeout(self.limit.store_s):
                await self._hand_on(found)

    async def _hand_on(self, found: Incoming) -> None:
        providers = {item.provider for item in (*found.receipts, *found.inbound)}
        for provider in providers:
            receipts = [item for item in found.receipts if item.provider == provider]
            inbound = [item for item in found.inbound if item.provider == provider]
            await self._sink.received(provider, receipts, inbound)


class _Connection(SMTP):
    """aiosmtpd's, with a bound on how many there are, and an end for those that only sit there."""

    def __init__(self, owner: MailListener, handler: "_Handler", hostname: str, tls: ssl.SSLContext | None) -> None:
        super().__init__(
            handler, data_size_limit=owner.limit.mail_octets, enable_SMTPUTF8=True, hostname=hostname, ident="Tidings",
            tls_context=tls, timeout=owner.limit.idle_s, command_call_limit=_COMMANDS, auth_exclude_mechanism=("LOGIN", "PLAIN"),
            loop=asyncio.get_running_loop(),
        )  # fmt: skip
        self._owner = owner
        self._peer = ""
        self._wire: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refused with 421 where there are too many. Source: RFC 5321 §3.1"""
        if self._wire is None:
            self._wire = cast("asyncio.Transport", transport)
            self._peer = str((transport.get_extra_info("peername") or ("",))[0])
            if not self._owner.entered(self, self._peer):
                self._wire.write(b"421 4.7.0 Too many connections, come later\r\n")
                self._wire.close()
                return
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Also for one that was never let in."""
        self._owner.left(self, self._peer)
        if self.session is not None:
            super().connection_lost(error)

    def abort(self) -> None:
        """Closes it at once."""
        if self._wire is not None:
            self._wire.abort()


class _Handler:
    """What aiosmtpd asks at each step."""

    def __init__(self, owner: MailListener) -> None:
        self._owner = owner
        self._targets: list[Target] = []

    async def handle_EHLO(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        """PIPELINING beside what aiosmtpd offers; it reads commands one by one anyway."""
        session.host_name = hostname
        return [*responses[:-1], "250-PIPELINING", "250-ENHANCEDSTATUSCODES", responses[-1]]

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """The rate is counted here."""
        peer = str((session.peer or ("",))[0])
        if not self._owner.allowed(peer):
            return "450 4.7.1 Too many mails, come later"
        self._targets.clear()
        envelope.mail_from = address  # `<>` of a bounce: aiosmtpd wants something there
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Only addresses that lead somewhere."""
        if len(self._targets) >= _RECIPIENTS:
            return "452 4.5.3 Too many recipients"
        found = target(self._owner.accounts(), address)
        if found is None:
            return "550 5.1.1 No such address here"
        self._targets.append(found)
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """250 after the commit; whatever goes wrong, the sender is asked to come again."""
        raw = cast("bytes", envelope.content)
        if bare(raw):
            return "550 5.6.11 A mail must have no bare CR and no bare LF (RFC 5321, 2.3.8)"
        try:
            await self._owner.keep(tuple(self._targets), (envelope.mail_from or "").strip("<>"), raw)
        except Exception as error:  # the store, or a mail that no reader foresaw: it is not lost, it waits there
            _log.error("mail_not_kept", error=type(error).__name__)
            return "451 4.3.0 Not kept, come again"
        return "250 2.0.0 Kept"

    async def handle_exception(self, error: Exception) -> str:
        """aiosmtpd's answer would name the error."""
        _log.error("mail_session_failed", error=type(error).__name__)
        return "451 4.3.0 Internal error, come again"
