"""One bound connection: the window, the timers, the answers, and what the carrier sends us.

No future per submit: a dict from sequence number to the part, and one timer for the oldest. Everything that one
`data_received` brings is settled together.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol, cast

from tidings.channels.outbox import Item
from tidings.channels.sms.smpp_config import BindKind, Config
from tidings.channels.sms.smpp_inbound import Inbound, InboundReader
from tidings.protocols.smpp import constants as c
from tidings.protocols.smpp.constants import Status
from tidings.protocols.smpp.pdu import (
    Bind,
    Framer,
    SmppDecodeError,
    SmppFrameError,
    acknowledgement,
    decode_submit_resp,
    encode_bind,
    pdu,
)

#: Receipts and messages read from one link that may wait for their commit; beyond it we stop reading.
INBOUND_HIGH: Final = 2_000
INBOUND_LOW: Final = 500
INBOUND_BATCH: Final = 500
KEEP_FAILURES: Final = 2  # one by one; then the store is at fault, not what came
#: Parts whose answer may still come late: more than a carrier falls behind, and a few MB at most.
GIVEN_UP_MAX: Final = 10_000
#: An unsent buffer larger than this means that the carrier does not read; nothing more is written.
WRITE_HIGH_BYTES: Final = 65_536


class Owner(Protocol):
    """Whom a session reports to."""

    def answered(self, session: "SmppSession", item: Item, status: int, ref: str) -> None:
        """The carrier answered a submit."""
        ...

    def answered_late(self, item: Item, status: int, ref: str) -> None:
        """The carrier answered a submit that had been told as unanswered."""
        ...

    def unanswered(self, items: Sequence[Item], reason: str) -> None:
        """These were written, and no answer will be taken any more."""
        ...

    def tick(self) -> None:
        """What one wake-up brought is told: write more, report what is done."""
        ...

    async def deliver(self, things: Sequence[Inbound]) -> bool:
        """Commits what the carrier sent. False: not kept, the carrier must send it again."""
        ...


class SmppSession(asyncio.Protocol):
    """An SMPP session from connect to close. `closed` is done with the reason once it is over."""

    def __init__(
        self, owner: Owner, kind: BindKind, config: Config, reader: InboundReader, monotonic: Callable[[], float]
    ) -> None:
        self._owner = owner
        self._config = config
        self._reader = reader
        self._monotonic = monotonic
        self._loop = asyncio.get_running_loop()
        self.kind: BindKind = kind
        self.transmits = kind != "receiver"
        self.pending: dict[int, Item] = {}
        self.up = False
        self.late_answers = 0
        self._given_up: dict[int, Item] = {}  # oldest first; their answers may still come over this link
        self._queries: dict[int, asyncio.Future[tuple[int, bytes]]] = {}
        self.ended_at: float | None = None
        self.closed: asyncio.Future[str] = self._loop.create_future()
        self._bulk = 0
        self._window = config.window
        self._bulk_limit = config.window if config.window < 2 else min(config.window - 1, config.window * 4 // 5)
        self._writable = True
        self._sequence = 0
        self._out: list[bytes] = []
        self._framer = Framer()
        self._transport: asyncio.Transport | None = None
        self._reason = "closed by the carrier"
        self._reply: asyncio.Future[int] | None = None
        self.heard_at = self._message_at = 0.0  # when the carrier was last heard of (monotonic seconds)
        self._enquiry_sent_at: float | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._inbound: list[Inbound] = []
        self._inbound_wake = asyncio.Event()
        self._reading = True

    # -- room and writing

    @property
    def room(self) -> int:
        """Free places in the window, for any lane."""
        return self._window - len(self.pending) if self.up and self._writable else 0

    @property
    def bulk_room(self) -> int:
        """Free places for lanes other than otp: a fifth of the window stays reserved for one-time codes."""
        room, bulk = self.room, self._bulk_limit - self._bulk
        return room if room < bulk else bulk

    def next_sequence(self) -> int:
        """The next sequence number. Source: SMPP 3.4 §3.2 (1 to 0x7FFFFFFF)."""
        self._sequence = self._sequence + 1 if self._sequence < 0x7FFFFFFF else 1
        return self._sequence

    def put(self, item: Item, sequence: int, data: bytes, now: float) -> None:
        """Takes a part into the window; `flush` writes it."""
        item.written_at = now
        item.open.written += 1
        self._bulk += not item.otp
        self.pending[sequence] = item
        self._out.append(data)

    def flush(self) -> None:
        """Writes everything that was put, in one call."""
        if self._out and self._transport is not None:
            out, self._out = self._out, []
            self._transport.write(b"".join(out))
            self._message_at = self._monotonic()
            if "response" not in self._timers:
                self._arm("response", self._config.response_timeout_s, self._check_answers)

    # -- life

    async def bind(self) -> int | None:
        """Binds; the carrier's command_status, None if it hung up instead. The caller sets the deadline."""
        config = self._config
        bind = Bind(system_id=config.system_id, password=config.password, system_type=config.system_type)
        status = await self._ask(_BIND[self.kind], encode_bind(bind))
        if status == 0:
            self.up = True
            self.heard_at = self._message_at = self._monotonic()
            self._arm("enquire", config.enquire_link_s, self._check_link)
        return status

    async def unbind(self, timeout_s: float) -> None:
        """Says goodbye, waits for the answer at most `timeout_s`, and closes."""
        if self.closed.done():
            return
        self._reason = "stopped"
        if self.up:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._ask(c.UNBIND)
            except TimeoutError:
                self._reason = "stopped (unbind not answered)"
        self.abort(self._reason)

    async def _ask(self, command: int, body: bytes = b"") -> int | None:
        """The status of the answer to a bind or unbind; None if the connection ended first."""
        reply = self._reply = self._loop.create_future()
        self._write(pdu(command, 0, self.next_sequence(), body))
        await asyncio.wait({reply, self.closed}, return_when=asyncio.FIRST_COMPLETED)
        return reply.result() if reply.done() else None

    async def query(self, body: bytes, timeout_s: float) -> tuple[int, bytes] | None:
        """(command_status, body) of the answer to a query_sm; None if none came within `timeout_s`. Source: §4.8"""
        sequence = self.next_sequence()
        answer = self._queries[sequence] = self._loop.create_future()
        self._write(pdu(c.QUERY_SM, 0, sequence, body))
        try:
            await asyncio.wait({answer}, timeout=timeout_s)
            return answer.result() if answer.done() and not answer.cancelled() else None
        finally:
            self._queries.pop(sequence, None)

    def abort(self, reason: str) -> None:
        """Closes at once; parts on the wire are unanswered."""
        self._reason = reason
        self.up = False
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop: everything on the wire stays unanswered."""
        self.up = False
        self.ended_at = self._monotonic()
        self._transport = None
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if exc is not None and self._reason == "closed by the carrier":
            self._reason = f"connection lost: {type(exc).__name__}"
        items = list(self.pending.values())
        self.pending.clear()
        self._given_up.clear()
        for query in self._queries.values():
            query.cancel()
        self._bulk = 0
        self._out.clear()
        if not self.closed.done():
            self.closed.set_result(self._reason)
        self._inbound_wake.set()
        if items:
            self._owner.unanswered(items, "link_lost")
        self._owner.tick()

    def pause_writing(self) -> None:
        """Called by the loop: the carrier does not read."""
        self._writable = False

    def resume_writing(self) -> None:
        """Called by the loop: there is room again."""
        self._writable = True
        self._owner.tick()

    def data_received(self, data: bytes) -> None:
        """Called by the loop: answers first, then everything else, then one report."""
        self.heard_at = self._monotonic()
        try:
            for command, status, sequence, body in self._framer.feed(data):
                self._frame(command, status, sequence, body)
            self._framer.feed(b"")  # a bad length behind good PDUs is told at once, not with the next bytes
        except SmppFrameError as error:  # the length is wrong: nothing after it can be read
            self._write(pdu(c.GENERIC_NACK, Status.ESME_RINVCMDLEN, 0))
            self.abort(f"framing lost: {error}")
        if self._inbound:
            self._inbound_wake.set()
            if self._reading and len(self._inbound) > INBOUND_HIGH and self._transport is not None:
                self._reading = False
                self._transport.pause_reading()
        self._owner.tick()

    # -- what came

    def _frame(self, command: int, status: int, sequence: int, body: bytes) -> None:
        if command == c.SUBMIT_SM_RESP:
            self._answer(sequence, status, decode_submit_resp(status, body).decode("latin-1"))
        elif command in (c.DELIVER_SM, c.DATA_SM):
            self._message_at = self.heard_at
            self._take(command, sequence, body)
        elif sequence in self._queries and command in (c.QUERY_SM_RESP, c.GENERIC_NACK):
            self._queries.pop(sequence).set_result(
                (status if command == c.QUERY_SM_RESP else status or _UNKNOWN_ERROR, body)
            )
        elif command == c.GENERIC_NACK:
            self._answer(sequence, status or _UNKNOWN_ERROR, "")
        elif command == c.ENQUIRE_LINK:
            self._write(pdu(c.ENQUIRE_LINK_RESP, 0, sequence))
        elif command == c.ENQUIRE_LINK_RESP:
            self._enquiry_sent_at = None
            self._check_link()
        elif command in _REPLIES:
            if self._reply is not None and not self._reply.done():
                self._reply.set_result(status)
        elif command == c.UNBIND:
            self.up = False
            self._write(pdu(c.UNBIND_RESP, 0, sequence))
            self._reason = "unbound by the carrier"
            if self._transport is not None:
                self._transport.close()
        elif not command & c.RESP and command not in c.UNANSWERED:
            self._write(pdu(c.GENERIC_NACK, Status.ESME_RINVCMDID, sequence))

    def _answer(self, sequence: int, status: int, ref: str) -> None:
        item = self.pending.pop(sequence, None)
        if item is None:
            self.late_answers += 1
            late = self._given_up.pop(sequence, None)
            if late is not None:
                self._owner.answered_late(late, status, ref)
            return
        self._bulk -= not item.otp
        self._owner.answered(self, item, status, ref)

    def _take(self, command: int, sequence: int, body: bytes) -> None:
        try:
            self._inbound.append(self._reader.read(command, sequence, body, self))
        except SmppDecodeError as error:
            self._write(acknowledgement(command, error.status, sequence))

    async def serve_inbound(self) -> None:
        """Commits what came, in order, and only then acknowledges it. Returns when the session is over."""
        while not self.closed.done():
            if not self._inbound:
                self._inbound_wake.clear()
                await self._inbound_wake.wait()
                continue
            batch = self._inbound[:INBOUND_BATCH]
            kept = await self._keep(batch)
            del self._inbound[: len(batch)]
            if self._transport is None:
                return
            told = list(zip(batch, kept, strict=True))
            out = [acknowledgement(t.command, 0 if good else _TRY_LATER, t.sequence) for t, good in told]
            self._write(b"".join(out))
            self._reader.acknowledged([t for t, good in told if good], kept=True)
            if not self._reading and len(self._inbound) < INBOUND_LOW:
                self._reading = True
                self._transport.resume_reading()

    async def _keep(self, batch: Sequence[Inbound]) -> list[bool]:
        """Which of them are kept: one that cannot be does not hold back the others, unless nothing can be kept now."""
        if await self._owner.deliver(batch):
            return [True] * len(batch)
        kept: list[bool] = []
        for thing in batch if len(batch) > 1 else ():
            if kept.count(False) >= KEEP_FAILURES:
                break
            kept.append(await self._owner.deliver([thing]))
        return kept + [False] * (len(batch) - len(kept))

    # -- timers

    def _check_answers(self) -> None:
        """Gives up on parts unanswered for `response_timeout_s`; a silent carrier is asked whether it lives."""
        now = self._monotonic()
        limit = now - self._config.response_timeout_s
        if not self._reading:  # answers may wait behind what we do not read
            self._arm("response", 0.1, self._check_answers)
            return
        late: list[Item] = []
        for sequence, item in list(self.pending.items()):
            if item.written_at > limit:
                break
            del self.pending[sequence]
            self._bulk -= not item.otp
            late.append(item)
            self._given_up[sequence] = item
        while len(self._given_up) > GIVEN_UP_MAX:
            del self._given_up[next(iter(self._given_up))]
        if self.pending:
            oldest = next(iter(self.pending.values()))
            self._arm("response", oldest.written_at - limit, self._check_answers)
        if late:
            self._owner.unanswered(late, "timeout")
            if self._enquiry_sent_at is None and self.heard_at <= limit:
                self._enquire(now)
            self._owner.tick()

    def _check_link(self) -> None:
        config, now = self._config, self._monotonic()
        if config.inactivity_s and now - self._message_at >= config.inactivity_s:
            self.abort("inactive")
            return
        if self._enquiry_sent_at is None:
            wait_s = self.heard_at + config.enquire_link_s - now
            if wait_s <= 0:
                self._enquire(now)
                return
        else:
            wait_s = self._enquiry_sent_at + config.response_timeout_s - now
            if wait_s <= 0 and not self._reading:  # the answer may wait behind what we do not read
                wait_s = 0.1
            elif wait_s <= 0:
                self.abort("enquire_link not answered")
                return
        if config.inactivity_s:
            wait_s = min(wait_s, self._message_at + config.inactivity_s - now)
        self._arm("enquire", wait_s, self._check_link)

    def _enquire(self, now: float) -> None:
        self._enquiry_sent_at = now
        self._write(pdu(c.ENQUIRE_LINK, 0, self.next_sequence()))
        self._arm("enquire", self._config.response_timeout_s, self._check_link)

    def _arm(self, name: str, delay_s: float, call: Callable[[], None]) -> None:
        old = self._timers.pop(name, None)
        if old is not None:
            old.cancel()

        def fire() -> None:
            self._timers.pop(name, None)
            call()

        self._timers[name] = self._loop.call_later(max(0.001, delay_s), fire)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


_TRY_LATER: Final = int(Status.ESME_RX_T_APPN)
_UNKNOWN_ERROR: Final = int(Status.ESME_RUNKNOWNERR)
_BIND: Final[dict[str, int]] = {
    "transceiver": c.BIND_TRANSCEIVER,
    "transmitter": c.BIND_TRANSMITTER,
    "receiver": c.BIND_RECEIVER,
}
_REPLIES: Final = frozenset({*(bind | c.RESP for bind in c.BINDS), c.UNBIND_RESP})
