"""Both ends of an SMPP session on a transport that goes nowhere, and the loop that their timers are set on.

Time does not pass while bytes are fed: a timer fires only in `turn`, which moves the clock over it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, cast

from simulation.clockwork import VirtualLoop
from tidings.channels.contract import Link, ProviderSpec
from tidings.channels.sms.smpp import SmppProvider
from tidings.channels.sms.smpp_inbound import InboundReader
from tidings.channels.sms.smpp_session import INBOUND_HIGH, SmppSession
from tidings.domain.attempt import CarrierReceipt, InboundPart, Outcome, Submission
from tidings.protocols.smpp import constants as c
from tidings.protocols.smpp.pdu import (
    Bind,
    SmppDecodeError,
    decode_bind,
    decode_data_sm,
    decode_query_sm,
    decode_sm,
    encode_bind,
    pdu,
)
from tidings.sandbox.sms import SandboxSmsc
from tidings.sandbox.smsc_session import SmscSession
from tidings.smppd.account import Account
from tidings.smppd.config import SmppServerSettings
from tidings.smppd.deliver import Delivery
from tidings.smppd.intake import Answer, Request
from tidings.smppd.operations import decode_cancel_sm
from tidings.smppd.session import Kind, Session
from tidings.smppd.submit import Origin, Piece, Reader, SubmitError, request_of
from tidings.store.accounts import StoredKey

CONFIG = {"host": "127.0.0.1", "system_id": "sandbox", "password": "sandbox", "window": 8}
BIND = pdu(c.BIND_TRANSCEIVER, 0, 1, encode_bind(Bind(system_id="sandbox", password="sandbox")))
SUBMITS = 6
_KEY = StoredKey(
    id="key_1", project="prj_1", name="fuzz", mode="live", scopes=["*"], hash="", hint="", created_ms=0,
)  # fmt: skip
#: A peer that sends what we answer must not fill the memory: what is written for one input stays below this.
WRITTEN_BYTES = 1_000_000


class Wire:
    """A transport that goes nowhere, and counts."""

    def __init__(self) -> None:
        self.closed = False
        self.written = 0

    def write(self, data: bytes) -> None:
        self.written += len(data)
        assert data
        assert self.written < WRITTEN_BYTES

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def set_write_buffer_limits(self, high: int) -> None:
        assert high > 0

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("127.0.0.1", 40_000) if name == "peername" else default


class Sink:
    """Takes everything, holds every submission to one outcome (and late ones), keeps nothing."""

    def __init__(self) -> None:
        self.done: set[str] = set()

    def outcomes(self, provider: str, batch: Sequence[Outcome]) -> None:
        for outcome in batch:
            assert outcome.late or outcome.attempt_id not in self.done, "two outcomes for one submission"
            self.done.add(outcome.attempt_id)

    async def received(self, provider: str, receipts: Sequence[CarrierReceipt], inbound: Sequence[InboundPart]) -> None:
        for part in inbound:
            assert 1 <= part.part <= part.total
            part.text.encode()  # a lone surrogate would break the store's JSON

    def ready(self, provider: str) -> None: ...

    def holds(self, provider: str) -> bool:
        return True

    def link_changed(self, provider: str, link: Link) -> None: ...


class End(Protocol):
    """One end of a session, ready for bytes."""

    wire: Wire

    def feed(self, data: bytes) -> None:
        """Bytes from the peer."""
        ...

    def close(self) -> None:
        """The connection is lost; what must hold then is asserted."""
        ...


class ClientEnd:
    """Our client, bound, with submits on the wire (sequence numbers 1 to SUBMITS)."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.wire, self.sink = Wire(), Sink()
        spec = ProviderSpec(name="acme", type="sms.smpp", config=CONFIG)
        self._provider = SmppProvider(spec, self.sink, clock=lambda: 0, monotonic=loop.time)
        reader = InboundReader("acme", "gsm", lambda: 0, loop.time)
        self._session = SmppSession(self._provider, "transceiver", self._provider.config, reader, loop.time)
        self._session.connection_made(cast("asyncio.Transport", self.wire))
        self._session.up = True
        self._provider.link_up(self._session)
        parts = (b"one", b"two")
        self._provider.submit(
            [
                Submission(
                    attempt_id=f"a{n}", message_id=f"m{n}", lane="otp", to="+491701234567", sender="ACME", data_coding=0,
                    parts=parts if n == 0 else parts[:1],
                )
                for n in range(SUBMITS - 1)
            ]
        )  # fmt: skip
        self._serving = loop.create_task(self._session.serve_inbound())

    def feed(self, data: bytes) -> None:
        self._session.data_received(data)
        assert len(self._session.pending) <= SUBMITS
        assert len(self._session._inbound) <= INBOUND_HIGH + len(data) // 16

    def close(self) -> None:
        self._session.connection_lost(None)
        self._provider.link_down(self._session)
        self._serving.cancel()


class ServerEnd:
    """The sandbox's carrier, bound: the server side."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.wire, self._smsc = Wire(), SandboxSmsc(receipt_delay_s=0.0, clock=lambda: 0)
        self._session = SmscSession(self._smsc)
        self._session.connection_made(cast("asyncio.Transport", self.wire))
        self._session.data_received(BIND)

    def feed(self, data: bytes) -> None:
        self._session.data_received(data)

    def close(self) -> None:
        self._session.connection_lost(None)


class Office:
    """What a customer's session asks of the server, without a store: every PDU is read as the real one reads it."""

    settings = SmppServerSettings(window=8)

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop, self._tasks = loop, set[asyncio.Task[None]]()
        self._reader = Reader("gsm", "ascii")
        self._account = Account(_KEY, 10_000)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._loop.call_exception_handler({"exception": error})

    def connected(self, session: Session) -> None: ...

    def closed(self, session: Session, deliveries: list[Delivery]) -> None:
        assert len(deliveries) <= self.settings.window

    async def bind(self, session: Session, kind: Kind, body: bytes) -> Answer:
        try:
            asked = decode_bind(body)
        except SmppDecodeError as error:
            return error.status, b""
        session.bound(self._account, kind, asked.interface_version)
        return 0, b"tidings\0"

    async def answer(self, account: Account, batch: list[Request]) -> list[Answer]:
        assert account is self._account
        return [self._one(command, body) for command, _, body in batch]

    def _one(self, command: int, body: bytes) -> Answer:
        try:
            if command == c.QUERY_SM:
                decode_query_sm(body)
            elif command == c.CANCEL_SM:
                decode_cancel_sm(body)
            else:
                self._read(decode_sm(body) if command == c.SUBMIT_SM else decode_data_sm(body))
        except (SubmitError, SmppDecodeError) as error:
            return error.status, b""
        return 0, b"1\0"

    def _read(self, sm: Any) -> None:
        piece: Piece = self._reader.read(sm, 1_795_000_000_000)
        request_of(piece, Origin(account="key_1"))
        if piece.concat is not None:
            request_of(self._reader.join([piece, piece]), Origin(account="key_1"))

    def acknowledged(self, session: Session, delivery: Delivery, status: int) -> None: ...

    def feed(self, account: Account) -> None: ...


class CustomerEnd:
    """The SMPP server for customers: a session that is bound and has deliver_sm on the wire."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.wire, self._office = Wire(), Office(loop)
        self._session = Session(self._office)
        self._session.connection_made(cast("asyncio.Transport", self.wire))
        self._session.data_received(BIND)
        loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        for n in range(min(3, self._session.room)):
            self._session.deliver(Delivery(n, b"\0" * 17))
        self._session.flush()

    def feed(self, data: bytes) -> None:
        self._session.data_received(data)
        assert self._session.waiting <= self._office.settings.window

    def close(self) -> None:
        self._session.connection_lost(None)


MAKERS: tuple[Callable[[VirtualLoop], Any], ...] = (ClientEnd, ServerEnd, CustomerEnd)


class Table:
    """The loop, and the ends that are made on it."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.failures: list[BaseException] = []
        self.loop.set_exception_handler(self._failed)

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if isinstance(context.get("exception"), BaseException):
            self.failures.append(context["exception"])

    def run(self, pieces: list[bytes], make: Callable[[VirtualLoop], End]) -> None:
        """Feeds the pieces to a new end. Raises what it raised, also from a task or a timer."""
        self.loop.call_soon(self._session, pieces, make)
        self.loop.call_later(3600.0, self.loop.stop)  # every timer in between fires: time-outs are part of a session
        self.loop.run_forever()
        left, self.failures = self.failures, []
        if left:
            raise left[0]

    def _session(self, pieces: list[bytes], make: Callable[[VirtualLoop], End]) -> None:
        end = make(self.loop)
        self.loop.call_soon(self._feed, end, pieces)

    def _feed(self, end: End, pieces: list[bytes]) -> None:
        """A piece a turn, so that tasks run in between; then the line breaks."""
        if not pieces or end.wire.closed:
            end.close()
            return
        end.feed(pieces[0])
        self.loop.call_soon(self._feed, end, pieces[1:])
