"""One connection of a customer: framing, session states, both windows, timers. Knows no store. Source: SMPP 3.4 §2.2–2.4, §7.2

Requests are answered in the order in which they came. No more than `window` of them wait for their answer; behind that
nothing is read, so a client that sends faster than messages become durable waits in its own socket.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any, Final, Literal, Protocol, cast

from tidings.protocols.smpp import constants as c
from tidings.protocols.smpp.constants import Status
from tidings.protocols.smpp.pdu import Frame, Framer, SmppFrameError, pdu
from tidings.smppd.account import Account
from tidings.smppd.config import BATCH, CLOSE_S, UNBOUND_BYTES, WRITE_HIGH_BYTES, SmppServerSettings
from tidings.smppd.deliver import Delivery
from tidings.smppd.intake import Answer, Request

Kind = Literal["receiver", "transmitter", "transceiver"]
KINDS: Final[dict[int, Kind]] = {
    c.BIND_RECEIVER: "receiver",
    c.BIND_TRANSMITTER: "transmitter",
    c.BIND_TRANSCEIVER: "transceiver",
}
_WORK: Final = frozenset({c.SUBMIT_SM, c.DATA_SM, c.QUERY_SM, c.CANCEL_SM})
_REFUSED: Final = frozenset({c.SUBMIT_MULTI, c.REPLACE_SM})
_VERSION_34: Final = 0x34


class Desk(Protocol):
    """What a session asks of the server."""

    settings: SmppServerSettings

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs it within the server's task group."""
        ...

    def connected(self, session: "Session") -> None:
        """A connection that has not bound yet."""
        ...

    def closed(self, session: "Session", deliveries: list[Delivery]) -> None:
        """It is gone; what it did not acknowledge goes to another one."""
        ...

    async def bind(self, session: "Session", kind: Kind, body: bytes) -> Answer:
        """Checks a bind; after ESME_ROK the session has its account."""
        ...

    async def answer(self, account: Account, batch: list[Request]) -> list[Answer]:
        """Carries out requests; an answer for each."""
        ...

    def acknowledged(self, session: "Session", delivery: Delivery, status: int) -> None:
        """The client answered a deliver_sm."""
        ...

    def feed(self, account: Account) -> None:
        """A session has room to deliver more."""
        ...


class Session(asyncio.Protocol):
    """One connection."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._settings = desk, desk.settings
        self._loop = asyncio.get_running_loop()
        self._framer = Framer()
        self._transport: asyncio.Transport | None = None
        self._inbox: deque[Frame] = deque()
        self._pending: list[Request] = []
        self._delivering: dict[int, Delivery] = {}
        self._out: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._sequence = 0
        self._working = self._binding = self._ending = self._left = self._closing = self._broken = False
        self._reading = self._writable = True
        self._heard_s = self._loop.time()
        self.waiting = 0  # requests without their answer
        self.peer = ""
        self.version = _VERSION_34
        self.kind: Kind | None = None
        self.account: Account | None = None

    @property
    def receives(self) -> bool:
        """Whether it takes deliver_sm."""
        return self.kind in ("receiver", "transceiver") and not self._closing and not self._ending

    @property
    def room(self) -> int:
        """How many deliver_sm may be sent now."""
        able = self.receives and self._writable and self._transport is not None
        return self._settings.window - len(self._delivering) if able else 0

    def deliver(self, delivery: Delivery) -> None:
        """Puts a deliver_sm into the window; `flush` writes it."""
        delivery.sent_s = self._loop.time()
        sequence = self._next()
        self._delivering[sequence] = delivery
        body = delivery.body + delivery.tlvs if self.version >= _VERSION_34 else delivery.body
        self._out.append(pdu(c.DELIVER_SM, 0, sequence, body))

    def flush(self) -> None:
        """Writes what has been put, in one call."""
        if self._out and self._transport is not None:
            out, self._out = self._out, []
            self._transport.write(b"".join(out))

    def end(self) -> None:
        """Unbinds from our side: the key was revoked, or the server stops."""
        if self._closing or self._ending or self._transport is None:
            return
        if self.kind is None:
            self.close()
            return
        self._ending = True
        self._out.append(pdu(c.UNBIND, 0, self._next()))
        self.flush()
        self._loop.call_later(CLOSE_S, self.close)

    def close(self) -> None:
        """Closes behind what was written; a peer that does not read is cut off."""
        self._closing = True
        self.flush()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()
            self._loop.call_later(CLOSE_S, self.abort)

    def abort(self) -> None:
        """Cuts the connection."""
        if self._transport is not None:
            self._transport.abort()

    def bound(self, account: Account, kind: Kind, version: int) -> None:
        """The bind was accepted."""
        self.account, self.kind, self.version = account, kind, version
        self._rearm(self._tick_s, self._tick)

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if peer else ""
        self._rearm(self._settings.bind_timeout_s, self.abort)
        self._desk.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._transport = None
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        left = list(self._delivering.values())
        self._delivering.clear()
        self._inbox.clear()
        self._desk.closed(self, left)

    def pause_writing(self) -> None:
        """A client that does not read is not read from."""
        self._writable = False
        self._look_at_reading()

    def resume_writing(self) -> None:
        """There is room again."""
        self._writable = True
        self._advance()
        if self.account is not None:
            self._desk.feed(self.account)

    def data_received(self, data: bytes) -> None:
        """Called by the loop: everything that came is answered with one write, where it can be answered at once."""
        self._heard_s = self._loop.time()
        try:
            self._inbox += self._framer.feed(data)
            self._framer.feed(b"")  # a bad length behind good PDUs is told at once, not with the next bytes
        except SmppFrameError:
            self._broken = True
        if self.kind is None and (self._framer.buffered > UNBOUND_BYTES or len(self._inbox) > 8):
            self._broken = True
        self._advance()

    # -- what came

    def _advance(self) -> None:
        """Works through what came, as far as the window reaches."""
        window = self._settings.window
        while self._inbox and not self._binding and not self._closing and self.waiting < window:
            self._frame(*self._inbox.popleft())
        if self._broken and not self._inbox and not self._closing:
            self._out.append(pdu(c.GENERIC_NACK, Status.ESME_RINVCMDLEN, 0))
            self.close()
        if self._pending and not self._working:
            self._working = True
            self._desk.spawn(self._work())
        self.flush()
        self._look_at_reading()

    def _look_at_reading(self) -> None:
        wanted = self._writable and not self._inbox
        if self._transport is None or wanted == self._reading or self._transport.is_closing():
            return
        self._reading = wanted
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _frame(self, command: int, status: int, sequence: int, body: bytes) -> None:
        if self._ending and not command & c.RESP:
            self._answer(command, 0 if command in (c.UNBIND, c.ENQUIRE_LINK) else Status.ESME_RINVBNDSTS, sequence)
        elif command in _WORK or command == c.UNBIND:
            self._request(command, sequence, body)
        elif command in (c.DELIVER_SM_RESP, c.DATA_SM_RESP):
            self._acknowledged(sequence, status)
        elif command == c.ENQUIRE_LINK:
            self._answer(command, 0, sequence)
        elif command in KINDS:
            self._bind(command, sequence, body)
        elif command == c.GENERIC_NACK:
            self._acknowledged(sequence, status or Status.ESME_RUNKNOWNERR)
        elif command == c.UNBIND_RESP and self._ending:
            self._left = True
            if not self._working:
                self.close()
        elif command in _REFUSED:
            self._answer(command, Status.ESME_RINVCMDID if self.kind else Status.ESME_RINVBNDSTS, sequence)
        elif not command & c.RESP and command not in c.UNANSWERED:
            self._out.append(pdu(c.GENERIC_NACK, Status.ESME_RINVCMDID, sequence))

    def _request(self, command: int, sequence: int, body: bytes) -> None:
        """Requests keep their order: an unbind is answered behind the submits before it."""
        sends = self.kind in ("transmitter", "transceiver")
        if not sends and not (command == c.UNBIND and self.kind):
            self._answer(command, Status.ESME_RINVBNDSTS, sequence)
            return
        self._pending.append((command, sequence, body))
        self.waiting += 1

    def _bind(self, command: int, sequence: int, body: bytes) -> None:
        if self.kind is not None:
            self._answer(command, Status.ESME_RALYBND, sequence)
            return
        self._binding = True
        self._desk.spawn(self._bind_now(command, sequence, body))

    async def _bind_now(self, command: int, sequence: int, body: bytes) -> None:
        status, answer = await self._desk.bind(self, KINDS[command], body)
        self._binding = False
        self._answer(command, status, sequence, answer)
        if status:
            self.close()
            return
        self._advance()
        if self.account is not None:
            self._desk.feed(self.account)

    async def _work(self) -> None:
        """Answers what waits until nothing does. What came during one commit is the next batch."""
        account = self.account
        assert account is not None
        while self._pending and self._transport is not None:
            batch, self._pending = self._pending[:BATCH], self._pending[BATCH:]
            leaves = next((n for n, request in enumerate(batch) if request[0] == c.UNBIND), None)
            asked = batch[:leaves]
            try:
                answers: Sequence[Answer] = await self._desk.answer(account, asked) if asked else ()
            except BaseException:
                self.abort()  # without an answer the client knows that it does not know
                raise
            for (command, sequence, _), (status, body) in zip(asked, answers, strict=True):
                self._answer(command, status, sequence, body)
            if leaves is not None:
                self._answer(c.UNBIND, 0, batch[leaves][1])
                self.close()
                break
            self.waiting -= len(batch)
            self._advance()
        self._working = False
        if self._left:
            self.close()

    def _acknowledged(self, sequence: int, status: int) -> None:
        delivery = self._delivering.pop(sequence, None)
        if delivery is not None:
            self._desk.acknowledged(self, delivery, status)

    # -- timers

    @property
    def _tick_s(self) -> float:
        return min(self._settings.enquire_link_s, self._settings.response_timeout_s, 10.0) / 2

    def _tick(self) -> None:
        """Enquires on a silent link; gives up one that stays silent, or does not answer a deliver_sm."""
        now_s, settings = self._loop.time(), self._settings
        silent_s = now_s - self._heard_s
        oldest = next(iter(self._delivering.values()), None)
        overdue = oldest is not None and now_s - oldest.sent_s > settings.response_timeout_s
        held_back = not self._reading and self._writable  # by us: the silence is ours
        if overdue or (silent_s > settings.enquire_link_s + settings.response_timeout_s and not held_back):
            self.abort()
            return
        if silent_s > settings.enquire_link_s:
            self._out.append(pdu(c.ENQUIRE_LINK, 0, self._next()))
            self.flush()
        self._rearm(self._tick_s, self._tick)

    def _rearm(self, seconds: float, call: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, call)

    # -- writing

    def _next(self) -> int:
        self._sequence = self._sequence + 1 if self._sequence < 0x7FFFFFFF else 1
        return self._sequence

    def _answer(self, command: int, status: int, sequence: int, body: bytes = b"") -> None:
        self._out.append(pdu(command | c.RESP, int(status), sequence, body))
