"""The SMS carrier simulator: a real SMPP 3.4 server on loopback that plays the sandbox recipients.

"Read" does not exist in SMS. For recipient `0006` the simulator sends a second receipt after the first, with the TLV
0x1501 `read`; the provider `sms.smpp` reports it as carrier state `read`.
"""

import asyncio
import datetime as dt
import hashlib
import heapq
import ssl
from collections import OrderedDict, deque
from collections.abc import Callable
from hmac import compare_digest
from typing import Final

import msgspec

from tidings.channels.sms.smpp_inbound import TAG_ENGAGEMENT
from tidings.kit.clock import Clock, wall_ms
from tidings.protocols.gsm import segments
from tidings.protocols.smpp.concat import concat_of, decode_text, parts_for
from tidings.protocols.smpp.constants import MessageState, Npi, Status, Tag, Ton
from tidings.protocols.smpp.pdu import Bind, Sm, encode_sm
from tidings.protocols.smpp.receipt import State, format_receipt
from tidings.sandbox.recipients import TEMPORARY, Behaviour, behaviour_of
from tidings.sandbox.smsc_session import Delivery, SmscSession

#: What is remembered; the oldest is forgotten first.
MESSAGES: Final = 10_000
FAILED_ONCE: Final = 10_000
OPEN_CONCATS: Final = 10_000
#: Receipts and messages that wait for their time or for a bind. More are dropped and counted: it is a simulator.
WAITING: Final = 200_000
SESSIONS: Final = 64
RETRY_DELIVERY_S: Final = 1.0
#: data_sm allows longer addresses; the deliver_sm of its receipt could not name them. Source: SMPP 3.4 §5.2.8, §5.2.9
ADDRESS_OCTETS: Final = 20
_STATES: Final[dict[State, MessageState]] = {
    "delivered": MessageState.DELIVERED,
    "undeliverable": MessageState.UNDELIVERABLE,
}


class SandboxMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One submit that the simulator took (or answered with an error)."""

    at_ms: int
    id: str
    status: int
    sender: str
    to: str
    text: str
    part: int = 1
    total: int = 1
    data_coding: int = 0
    registered_delivery: int = 0
    validity_period: str = ""


class SandboxSmsc:
    """Start it, bind to `port` with `system_id` and `password`; `messages` shows what came."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        system_id: str = "sandbox",
        password: str = "sandbox",
        receipt_delay_s: float = 0.05,
        clock: Clock = wall_ms,
    ) -> None:
        self.host = host
        self.port = port
        self.messages: deque[SandboxMessage] = deque(maxlen=MESSAGES)
        self.submits = 0
        self.whole_messages = 0
        self.acknowledged_deliveries = 0
        self.dropped = 0
        self._login = (system_id, password)
        self._receipt_delay_s = receipt_delay_s
        self._clock = clock
        self._server: asyncio.Server | None = None
        self._sessions: list[SmscSession] = []
        self._connections: set[SmscSession] = set()
        self._ready: deque[Delivery] = deque()
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._count = 0
        self._first_id = clock() << 16  # ids of two runs never meet
        self._failed_once: OrderedDict[bytes, None] = OrderedDict()
        self._concats: OrderedDict[tuple[bytes, bytes, int, int], set[int]] = OrderedDict()
        self._answers: deque[int] = deque()

    async def start(self, *, tls: ssl.SSLContext | None = None) -> None:
        """Listens; `port` then is the real one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connected, self.host, self.port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]
        if self._later:
            self._arm(loop)

    async def stop(self) -> None:
        """Closes every connection and the listener. What was held stays held for the next start."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._server is not None:
            self._server.close()
            self.drop_links()
            await asyncio.sleep(0)
            self._server = None

    # -- for tests and demonstrations

    def inject(self, from_: str, to: str, text: str) -> int:
        """A person writes to one of our numbers; the number of parts it took. Raises `gsm.segments.SegmentError`."""
        plan = segments.plan(text)
        self._count += 1
        for part in parts_for(plan.parts, "udh8", self._count & 0xFF):
            sm = Sm(
                source_addr=from_.lstrip("+").encode(),
                source_addr_ton=Ton.INTERNATIONAL,
                source_addr_npi=Npi.ISDN,
                destination_addr=to.lstrip("+").encode("latin-1"),
                esm_class=part.esm_class,
                data_coding=plan.data_coding,
                short_message=part.short_message,
                tlvs=part.tlvs,
            )
            self._hold(Delivery(encode_sm(sm)))
        self.feed()
        return len(plan.parts)

    def answer_next(self, *statuses: int) -> None:
        """The next submits are answered with these command_status values, in order; 0 takes as usual."""
        self._answers.extend(statuses)

    def drop_links(self) -> None:
        """Breaks every connection at once."""
        for session in list(self._connections):
            session.abort()

    @property
    def held(self) -> int:
        """Receipts and messages that wait for their time, for a bind or for room."""
        return len(self._ready) + len(self._later)

    # -- what sessions ask

    def authenticate(self, bind: Bind) -> int:
        """Checks name and password. Source: SMPP 3.4 §5.1.3"""
        system_id, password = self._login
        if not compare_digest(bind.system_id.encode(), system_id.encode()):
            return Status.ESME_RINVSYSID
        if not compare_digest(bind.password.encode(), password.encode()):
            return Status.ESME_RINVPASWD
        return Status.ESME_RBINDFAIL if len(self._sessions) >= SESSIONS else Status.ESME_ROK

    def submitted(self, sm: Sm) -> tuple[int, str] | None:
        """Takes a submit and plays its recipient."""
        self.submits += 1
        to = sm.destination_addr.decode("latin-1")
        behaviour = behaviour_of(to)
        concat, data = concat_of(sm)
        part, total = (concat.part, concat.total) if concat else (1, 1)
        status = self._status(sm, behaviour, data, part)
        message_id = f"{self._first_id + self.submits:x}"
        self.messages.append(
            SandboxMessage(
                at_ms=self._clock(),
                id=message_id,
                status=status,
                sender=sm.source_addr.decode("latin-1"),
                to=to,
                text=decode_text(data, sm.data_coding),
                part=part,
                total=total,
                data_coding=sm.data_coding,
                registered_delivery=sm.registered_delivery,
                validity_period=sm.validity_period.decode("latin-1"),
            )
        )
        if status:
            return status, ""
        if behaviour.answer == "never":
            return None
        whole = concat is None or self._is_whole(sm, concat.ref, part, total)
        self.whole_messages += whole
        self._play(sm, behaviour, message_id, whole=whole)
        return 0, message_id

    def joined(self, session: SmscSession) -> None:
        """Held receipts and messages go to it."""
        self._sessions.append(session)
        asyncio.get_running_loop().call_soon(self.feed)

    def left(self, session: SmscSession, unacknowledged: list[Delivery]) -> None:
        """What it did not acknowledge goes first over the next session."""
        self._connections.discard(session)
        if session in self._sessions:
            self._sessions.remove(session)
        self._ready.extendleft(reversed(unacknowledged))
        self.feed()

    def acknowledged(self, delivery: Delivery, status: int) -> None:
        """Done, or tried again a second later if the ESME could not keep it."""
        if status == Status.ESME_RX_T_APPN:
            self._after(RETRY_DELIVERY_S, lambda: self._hold(delivery))
            return
        self.acknowledged_deliveries += 1
        if delivery.then is not None and status == 0:
            delivery.then()

    def feed(self) -> None:
        """Sends what is ready to the sessions that have room."""
        touched: list[SmscSession] = []
        for session in self._sessions:
            room = session.room
            if room and self._ready:
                touched.append(session)
                for _ in range(min(room, len(self._ready))):
                    session.deliver(self._ready.popleft())
        for session in touched:
            session.flush()

    # -- inside

    def _connected(self) -> SmscSession:
        session = SmscSession(self)
        self._connections.add(session)
        return session

    def _status(self, sm: Sm, behaviour: Behaviour, data: bytes, part: int) -> int:
        if not 0 < len(sm.destination_addr) <= ADDRESS_OCTETS:
            return Status.ESME_RINVDSTADR
        if len(sm.source_addr) > ADDRESS_OCTETS:
            return Status.ESME_RINVSRCADR
        if self._answers:
            status = self._answers.popleft()
            if status:
                return status
        if behaviour.answer != "first_fails":
            return Status.ESME_ROK
        key = hashlib.blake2b(b"\0".join((sm.destination_addr, bytes((part,)), data)), digest_size=16).digest()
        if key in self._failed_once:
            del self._failed_once[key]
            return Status.ESME_ROK
        self._failed_once[key] = None
        if len(self._failed_once) > FAILED_ONCE:
            self._failed_once.popitem(last=False)
        return TEMPORARY

    def _is_whole(self, sm: Sm, ref: int, part: int, total: int) -> bool:
        key = (sm.source_addr, sm.destination_addr, ref, total)
        parts = self._concats.setdefault(key, set())
        parts.add(part)
        if len(parts) == total:
            del self._concats[key]
            return True
        if len(self._concats) > OPEN_CONCATS:
            self._concats.popitem(last=False)
        return False

    def _play(self, sm: Sm, behaviour: Behaviour, message_id: str, *, whole: bool) -> None:
        delay_s = self._receipt_delay_s if behaviour.delay_s is None else behaviour.delay_s
        person, ours = sm.destination_addr, sm.source_addr

        def react() -> None:
            if behaviour.read:
                self._after(delay_s, lambda: self._receipt(sm, message_id, "delivered", behaviour, read=True))
            if behaviour.reply is not None and whole:
                text = behaviour.reply
                self._after(delay_s, lambda: self._reply(person, ours, text))

        state = behaviour.receipt
        if state is not None and sm.registered_delivery & 3:
            if sm.registered_delivery & 3 == 2 and state == "delivered":  # only failures were asked for
                return
            self._after(delay_s, lambda: self._receipt(sm, message_id, state, behaviour, then=react))
        elif behaviour.reply is not None:
            react()

    def _receipt(
        self,
        sm: Sm,
        message_id: str,
        state: State,
        behaviour: Behaviour,
        *,
        read: bool = False,
        then: Callable[[], None] | None = None,
    ) -> None:
        now = dt.datetime.fromtimestamp(self._clock() / 1000, dt.UTC)
        tlvs = {
            int(Tag.RECEIPTED_MESSAGE_ID): message_id.encode() + b"\0",
            int(Tag.MESSAGE_STATE): bytes((_STATES[state],)),
        }
        reference = sm.tlvs.get(Tag.USER_MESSAGE_REFERENCE)
        if reference is not None:
            tlvs[Tag.USER_MESSAGE_REFERENCE] = reference
        if read:
            tlvs[TAG_ENGAGEMENT] = b"read"
        receipt = Sm(
            source_addr=sm.destination_addr,
            source_addr_ton=sm.dest_addr_ton,
            source_addr_npi=sm.dest_addr_npi,
            destination_addr=sm.source_addr,
            dest_addr_ton=sm.source_addr_ton,
            dest_addr_npi=sm.source_addr_npi,
            esm_class=0x04,
            short_message=format_receipt(message_id, state, now, now, error=behaviour.error),
            tlvs=tlvs,
        )
        self._hold(Delivery(encode_sm(receipt), then))

    def _reply(self, person: bytes, ours: bytes, text: str) -> None:
        self.inject(person.decode("latin-1"), ours.decode("latin-1"), text)

    def _hold(self, delivery: Delivery) -> None:
        if len(self._ready) >= WAITING:
            self._ready.popleft()
            self.dropped += 1
        self._ready.append(delivery)

    def _after(self, delay_s: float, call: Callable[[], None]) -> None:
        """One timer for everything that is due later."""
        loop = asyncio.get_running_loop()
        if len(self._later) >= WAITING:
            self.dropped += 1
            return
        self._count += 1
        heapq.heappush(self._later, (loop.time() + delay_s, self._count, call))
        if self._timer is None or self._later[0][1] == self._count:
            self._arm(loop)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._later[0][0], self._due) if self._later else None

    def _due(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        now = loop.time() + 0.001
        while self._later and self._later[0][0] <= now:
            heapq.heappop(self._later)[2]()
        self.feed()
        if self._later:
            self._arm(loop)
