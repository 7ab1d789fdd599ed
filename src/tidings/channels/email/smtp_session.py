"""One connection to a mail server, from its greeting to QUIT: mails one after another, their envelopes ahead of them.

Where the server offers PIPELINING, an envelope is one write, and the envelope of the next mail leaves behind the end of
the one before it: a mail costs one round trip, not four. Until the end of a mail is written the server has nothing of
it; from then until its answer, whether it has it is unknown.
Source: RFC 5321 §3, §4.1, §4.5.3.2; RFC 2920 §3.1; RFC 3207; RFC 4954; RFC 4616
"""

import base64
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import msgspec

from tidings.channels.email.compose import Letter
from tidings.channels.email.smtp_config import Config
from tidings.channels.email.smtp_lanes import Waiting
from tidings.channels.email.smtp_wire import Wire, WireLost
from tidings.kit.limits import EMAIL_SIGN_S
from tidings.protocols.smtp.data import END, Envelope, mail_command, rcpt_command
from tidings.protocols.smtp.replies import Extensions, Reply
from tidings.protocols.smtp.status import Stage

#: A mail up to this size is one write with its end; of a larger one the end waits until the rest has left.
_ONE_WRITE: Final = 65_536


class Refused(Exception):
    """The server does not take us as a client. `credentials`: because of the login."""

    def __init__(self, reason: str, *, credentials: bool = False) -> None:
        super().__init__(reason)
        self.credentials = credentials


class Flight(msgspec.Struct):
    """A mail on this connection."""

    item: Waiting
    letter: Letter
    wire: bytes  # with its dots doubled and its end
    ended: bool = False  # the end was written: the server may have it


class Desk(Protocol):
    """Where a session gets its mails and leaves their fates. All calls return at once."""

    def take(self, extensions: Extensions) -> Flight | None:
        """The next mail for a server that can do this."""
        ...

    @property
    def coming(self) -> bool:
        """Whether there will be one in a moment, for which a connection is worth keeping."""
        ...

    def answered(self, flight: Flight, reply: Reply, stage: Stage) -> None:
        """The server's word on it. A refusal of the envelope has its stage; the mail's own is `mail`."""
        ...

    def back(self, flight: Flight, *, stale: bool) -> None:
        """Nothing of it reached the server's queue. `stale`: the connection was closed before it, not under it."""
        ...

    def lost(self, flight: Flight, *, timed_out: bool) -> None:
        """Its end was written, and no answer came."""
        ...


class Session:
    """See the module. `connect` opens the connection."""

    def __init__(
        self, config: Config, desk: Desk, connect: Callable[[], Awaitable[Wire]], context: ssl.SSLContext | None
    ) -> None:
        self._config, self._desk, self._connect, self._context = config, desk, connect, context
        self._wire: Wire | None = None
        self.extensions = Extensions()
        self._flights: list[Flight] = []
        self._closing = False
        self._kept = self._rested = False

    @property
    def in_flight(self) -> int:
        """Mails on this connection."""
        return len(self._flights)

    async def open(self) -> None:
        """Greeting, EHLO, TLS, login. Raises Refused, WireLost, TimeoutError, OSError."""
        config = self._config
        self._wire = await self._connect()
        greeting = await self._wire.reply(config.greeting_timeout_s)
        if greeting.code != 220:
            raise Refused(f"the server greets with {greeting.code} {greeting.text}")
        await self._hello()
        if self._context is not None and config.tls != "implicit":
            await self._starttls(self._context)
        if config.username:
            await self._login()

    async def work(self) -> str:
        """Sends until there has been nothing to send for `idle_s`, or the connection is used up. Says why it ended.

        A server may close a connection that has nothing to do, also in the moment in which we write to it: that is no
        trouble with the server, and nothing happened to the mail, so another connection sends it at once.

        Raises WireLost, TimeoutError, OSError: then every mail of this connection has its fate.
        """
        sent = 0
        begun: Flight | None = None
        try:
            while sent < self._config.mails_per_connection and not (self._closing and begun is None):
                flight = begun or self._next()
                if flight is None:
                    if not await self._idle():
                        break
                    continue
                sent += 1
                begun = await self._send(flight, begun is not None, last=sent >= self._config.mails_per_connection)
            if begun is not None:
                self._drop(begun)
            await self._quit()
        except TimeoutError:
            self._abandon(timed_out=True)
            raise
        except WireLost:
            self._abandon(timed_out=False, stale=self._rested)
            if self._rested:
                return "stale"
            raise
        except BaseException:
            self._abandon(timed_out=False)
            raise
        return "idle" if not self._closing else "closing"

    def close_soon(self) -> None:
        """No further mail; QUIT after those that are on the way."""
        self._closing = True
        self.wake()

    def wake(self) -> None:
        """There may be something to send."""
        if self._wire is not None:
            self._wire.interrupt()

    def abort(self) -> None:
        """Closes the connection at once."""
        if self._wire is not None:
            self._wire.abort()

    async def _hello(self) -> None:
        said = await self._command(f"EHLO {_name(self._config.hello)}")
        if not said.ok:
            raise Refused(f"EHLO: {said.code} {said.text}")
        self.extensions = Extensions.of(said)

    async def _starttls(self, context: ssl.SSLContext) -> None:
        if "STARTTLS" not in self.extensions:
            if self._config.tls == "opportunistic":
                return
            raise Refused("the server offers no STARTTLS, and `tls` asks for it")
        said = await self._command("STARTTLS")
        if said.code != 220:
            raise Refused(f"STARTTLS: {said.code} {said.text}")
        assert self._wire is not None
        await self._wire.secure(context, self._config.host, self._config.connect_timeout_s)
        await self._hello()  # what was said in the clear counts no more: RFC 3207 §4.2

    async def _login(self) -> None:
        user, password = self._config.username, self._config.password
        offered = self.extensions.mechanisms
        if "PLAIN" in offered:
            secret = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
            said = await self._command(f"AUTH PLAIN {secret}")
        elif "LOGIN" in offered:
            said = await self._command("AUTH LOGIN")
            for word in (user, password):
                if said.code == 334:
                    said = await self._command(base64.b64encode(word.encode()).decode())
        else:
            raise Refused("the server offers neither AUTH PLAIN nor LOGIN", credentials=True)
        if said.code != 235:
            final = said.code // 100 == 5
            raise Refused(f"the server refuses the login: {said.code} {said.enhanced}".strip(), credentials=final)

    async def _command(self, line: str) -> Reply:
        assert self._wire is not None
        self._wire.write(line.encode() + b"\r\n")
        return await self._wire.reply(self._config.command_timeout_s)

    def _next(self) -> Flight | None:
        flight = None if self._closing else self._desk.take(self.extensions)
        if flight is not None:
            self._flights.append(flight)
        return flight

    async def _send(self, flight: Flight, begun: bool, *, last: bool) -> Flight | None:
        """One mail; the one whose envelope left behind it, if any."""
        wire, config = self._wire, self._config
        assert wire is not None
        pipelined = "PIPELINING" in self.extensions
        if not begun and not wire.quiet:  # a farewell (421) that came while nothing was sent
            said = await wire.reply(config.command_timeout_s)
            raise WireLost(f"{said.code} {said.text}")
        if pipelined and not begun:
            wire.write(self._envelope(flight.letter))
        refused = await (self._go_ahead() if pipelined else self._step_by_step(flight.letter))
        if refused is not None:
            self._settle(flight, *refused)
            return None
        end = flight.wire
        if len(end) > _ONE_WRITE:  # of a mail whose end was not written the server has nothing
            wire.write(end[: -len(END)])
            await wire.drained(config.data_timeout_s)
            end = END
        ahead = self._next() if pipelined and not last else None
        flight.ended = True
        wire.write(end if ahead is None else end + self._envelope(ahead.letter))
        await wire.drained(config.data_timeout_s)
        self._settle(flight, await wire.reply(config.end_timeout_s), "mail")
        return ahead

    async def _go_ahead(self) -> tuple[Reply, Stage] | None:
        """The answers to an envelope that was written as one: None if the mail may follow."""
        wire, config = self._wire, self._config
        assert wire is not None
        mail = await self._first_word()
        if mail.code == 421:  # nothing more will come
            return mail, "MAIL"
        rcpt = await wire.reply(config.command_timeout_s)
        if rcpt.code == 421:
            return rcpt, "RCPT"
        data = await wire.reply(config.command_timeout_s)
        bad = _first_bad(mail, rcpt, data)
        if bad is None:
            return None
        if data.code == 354:  # it waits for a mail to nobody: RFC 2920 §3.1
            wire.write(END)
            await wire.reply(config.end_timeout_s)
        await self._reset(bad[0])
        return bad

    async def _first_word(self) -> Reply:
        """The answer to MAIL. Raises WireLost, also for the farewell to a connection that had rested: RFC 5321 §3.8.

        One that asks us to come slower (4.7) is heard, whenever it is said.
        """
        assert self._wire is not None
        said = await self._wire.reply(self._config.command_timeout_s)
        if self._rested and said.code == 421 and not said.enhanced.startswith("4.7."):
            raise WireLost(f"421 {said.text}")
        self._rested = False
        return said

    async def _step_by_step(self, letter: Letter) -> tuple[Reply, Stage] | None:
        envelope = self._path(letter)
        steps: tuple[tuple[bytes, Stage], ...] = (
            (mail_command(envelope), "MAIL"), (rcpt_command(envelope), "RCPT"), (b"DATA\r\n", "DATA"),
        )  # fmt: skip
        assert self._wire is not None
        for command, stage in steps:
            self._wire.write(command)
            said = await (self._first_word() if stage == "MAIL" else self._wire.reply(self._config.command_timeout_s))
            if not said.ok and not (stage == "DATA" and said.code == 354):
                await self._reset(said)
                return said, stage
        return None

    async def _reset(self, said: Reply) -> None:
        if said.code != 421:
            await self._command("RSET")

    def _envelope(self, letter: Letter) -> bytes:
        envelope = self._path(letter)
        return mail_command(envelope) + rcpt_command(envelope) + b"DATA\r\n"

    def _path(self, letter: Letter) -> Envelope:
        able = self.extensions
        return Envelope(
            sender=letter.sender, recipient=letter.recipient, size=len(letter.data) if "SIZE" in able else 0,
            eight_bit=letter.eight_bit and "8BITMIME" in able, internationalised=letter.internationalised,
            notify="SUCCESS,FAILURE,DELAY" if self._config.receipts and "DSN" in able else "", envelope_id=letter.ref,
        )  # fmt: skip

    def _settle(self, flight: Flight, reply: Reply, stage: Stage) -> None:
        self._flights.remove(flight)
        self._kept = self._kept or reply.ok  # it is of use: one that never was is not opened again without a pause
        self._desk.answered(flight, reply, stage)
        if reply.code == 421:
            raise WireLost(f"421 {reply.text}")

    def _drop(self, flight: Flight, *, stale: bool = False) -> None:
        self._flights.remove(flight)
        self._desk.back(flight, stale=stale)

    def _abandon(self, *, timed_out: bool, stale: bool = False) -> None:
        for flight in list(self._flights):
            if flight.ended:
                self._flights.remove(flight)
                self._desk.lost(flight, timed_out=timed_out)
            else:
                self._drop(flight, stale=stale)
        self.abort()

    async def _idle(self) -> bool:
        """Waits for something to send; False if it was in vain. Raises WireLost."""
        assert self._wire is not None
        wait_s = self._config.idle_s or (EMAIL_SIGN_S if self._desk.coming else 0)
        if self._closing or wait_s <= 0:
            return False
        self._rested = self._kept
        woken = await self._wire.unasked(wait_s)
        if not self._wire.quiet:
            raise WireLost(self._wire.lost or "the server says farewell")
        return woken

    async def _quit(self) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            await self._command("QUIT")
        self.abort()


def _first_bad(mail: Reply, rcpt: Reply, data: Reply) -> tuple[Reply, Stage] | None:
    if not mail.ok:
        return mail, "MAIL"
    if not rcpt.ok:
        return rcpt, "RCPT"
    return None if data.code == 354 else (data, "DATA")


def _name(given: str) -> str:
    """For EHLO: what is configured, or this host's name; an address literal if that is no full name. RFC 5321 §4.1.3"""
    name = given or socket.getfqdn()
    return name if "." in name and name.isascii() and " " not in name else "[127.0.0.1]"
