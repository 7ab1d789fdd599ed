"""The carrier's side of one SMPP session: bind check, session states, the deliver window. Source: SMPP 3.4 §2.2, §4"""

import asyncio
from collections.abc import Callable
from typing import Final, Literal, Protocol, cast

from tidings.protocols.smpp import constants as c
from tidings.protocols.smpp.constants import Status, Tag
from tidings.protocols.smpp.pdu import (
    Bind,
    Framer,
    Sm,
    SmppDecodeError,
    SmppFrameError,
    c_octets,
    decode_bind,
    decode_data_sm,
    decode_sm,
    encode_tlvs,
    pdu,
)

#: A peer that connects and does not bind is closed after this.
BIND_WAIT_S: Final = 10.0
DELIVER_WINDOW: Final = 100
#: A deliver_sm unanswered for so long ends the link; it is sent again over the next one.
DELIVER_TIMEOUT_S: Final = 30.0
WRITE_HIGH_BYTES: Final = 262_144
_KINDS: Final[dict[int, Literal["receiver", "transmitter", "transceiver"]]] = {
    c.BIND_RECEIVER: "receiver",
    c.BIND_TRANSMITTER: "transmitter",
    c.BIND_TRANSCEIVER: "transceiver",
}
_VERSION: Final = encode_tlvs({Tag.SC_INTERFACE_VERSION: b"\x34"})


class Delivery:
    """One deliver_sm until the ESME has acknowledged it; `then` is called after that."""

    __slots__ = ("body", "sent_at", "then")

    def __init__(self, body: bytes, then: Callable[[], None] | None = None) -> None:
        self.body = body
        self.then = then
        self.sent_at = 0.0


class Smsc(Protocol):
    """What a session asks of the simulator."""

    def authenticate(self, bind: Bind) -> int:
        """The command_status of a bind."""
        ...

    def submitted(self, sm: Sm) -> tuple[int, str] | None:
        """(command_status, message id) of a submit; None: never answered."""
        ...

    def joined(self, session: "SmscSession") -> None:
        """A session is bound."""
        ...

    def left(self, session: "SmscSession", unacknowledged: list[Delivery]) -> None:
        """A session is over; what it did not acknowledge is sent again."""
        ...

    def acknowledged(self, delivery: Delivery, status: int) -> None:
        """The ESME answered a deliver_sm."""
        ...

    def feed(self) -> None:
        """There is room to deliver more."""
        ...


class SmscSession(asyncio.Protocol):
    """One ESME's connection."""

    def __init__(self, smsc: Smsc) -> None:
        self._smsc = smsc
        self._loop = asyncio.get_running_loop()
        self._framer = Framer()
        self._transport: asyncio.Transport | None = None
        self._sequence = 0
        self._pending: dict[int, Delivery] = {}
        self._out: list[bytes] = []
        self._writable = True
        self._timer: asyncio.TimerHandle | None = None
        self.kind: Literal["receiver", "transmitter", "transceiver"] | None = None

    @property
    def room(self) -> int:
        """How many deliver_sm may be sent now."""
        able = self.kind in ("receiver", "transceiver") and self._writable and self._transport is not None
        return DELIVER_WINDOW - len(self._pending) if able else 0

    def deliver(self, delivery: Delivery) -> None:
        """Puts a deliver_sm into the window; `flush` writes it."""
        self._sequence = self._sequence + 1 if self._sequence < 0x7FFFFFFF else 1
        delivery.sent_at = self._loop.time()
        self._pending[self._sequence] = delivery
        self._out.append(pdu(c.DELIVER_SM, 0, self._sequence, delivery.body))

    def flush(self) -> None:
        """Writes what has been put, in one call."""
        if self._out and self._transport is not None:
            out, self._out = self._out, []
            self._transport.write(b"".join(out))

    def abort(self) -> None:
        """Drops the connection, as a broken line would."""
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        self._timer = self._loop.call_later(BIND_WAIT_S, self.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._transport = None
        self.kind = None
        if self._timer is not None:
            self._timer.cancel()
        pending = list(self._pending.values())
        self._pending.clear()
        self._smsc.left(self, pending)

    def pause_writing(self) -> None:
        """An ESME that does not read is not read from either: nothing piles up here."""
        self._writable = False
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """There is room again."""
        self._writable = True
        if self._transport is not None:
            self._transport.resume_reading()
        self._smsc.feed()

    def data_received(self, data: bytes) -> None:
        """Called by the loop: everything that came is answered with one write."""
        try:
            for command, status, sequence, body in self._framer.feed(data):
                self._frame(command, status, sequence, body)
            self._framer.feed(b"")  # a bad length behind good PDUs is told at once, not with the next bytes
        except SmppFrameError:
            self._out.append(pdu(c.GENERIC_NACK, Status.ESME_RINVCMDLEN, 0))
            self._close()
        self.flush()
        self._smsc.feed()

    # -- what came

    def _frame(self, command: int, status: int, sequence: int, body: bytes) -> None:
        if command in (c.SUBMIT_SM, c.DATA_SM):
            self._submit(command, sequence, body)
        elif command in (c.DELIVER_SM_RESP, c.DATA_SM_RESP):
            self._acknowledged(sequence, status)
        elif command == c.ENQUIRE_LINK:
            self._answer(command, 0, sequence)
        elif command in _KINDS:
            self._bind(command, sequence, body)
        elif command == c.UNBIND:
            self._answer(command, 0 if self.kind else Status.ESME_RINVBNDSTS, sequence)
            self._close()
        elif command == c.GENERIC_NACK:
            self._acknowledged(sequence, status or Status.ESME_RUNKNOWNERR)
        elif not command & c.RESP:
            self._out.append(pdu(c.GENERIC_NACK, Status.ESME_RINVCMDID, sequence))

    def _bind(self, command: int, sequence: int, body: bytes) -> None:
        if self.kind is not None:
            self._answer(command, Status.ESME_RALYBND, sequence)
            return
        try:
            status = self._smsc.authenticate(decode_bind(body))
        except SmppDecodeError as error:
            status = error.status
        if status:
            self._answer(command, status, sequence)
            self._close()
            return
        self._answer(command, 0, sequence, b"tidings-sandbox\0" + _VERSION)
        self.kind = _KINDS[command]
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(DELIVER_TIMEOUT_S, self._check)
        self._smsc.joined(self)

    def _submit(self, command: int, sequence: int, body: bytes) -> None:
        if self.kind not in ("transmitter", "transceiver"):
            self._answer(command, Status.ESME_RINVBNDSTS, sequence)
            return
        try:
            sm = decode_sm(body) if command == c.SUBMIT_SM else decode_data_sm(body)
        except SmppDecodeError as error:
            self._answer(command, error.status, sequence)
            return
        answer = self._smsc.submitted(sm)
        if answer is not None:
            status, message_id = answer
            self._answer(command, status, sequence, b"" if status else c_octets("message_id", message_id, 65))

    def _acknowledged(self, sequence: int, status: int) -> None:
        delivery = self._pending.pop(sequence, None)
        if delivery is not None:
            self._smsc.acknowledged(delivery, status)

    def _check(self) -> None:
        oldest = next(iter(self._pending.values()), None)
        if oldest is not None and oldest.sent_at + DELIVER_TIMEOUT_S <= self._loop.time():
            self.abort()
            return
        self._timer = self._loop.call_later(DELIVER_TIMEOUT_S / 2, self._check)

    def _answer(self, command: int, status: int, sequence: int, body: bytes = b"") -> None:
        self._out.append(pdu(command | c.RESP, status, sequence, body))

    def _close(self) -> None:
        self.flush()
        self.kind = None
        if self._transport is not None:
            self._transport.close()
