"""What the carrier sends us, as our nouns: receipts, and messages with a key that tells a resend from a second message.

Deduplication. A carrier sends a deliver_sm again if the link broke before our answer reached it. The same person may
also send the same words twice, which is two messages. So the key of a message is a hash of its addresses and user
data, plus the minute and its number in that minute; only where a resend is possible (the first copy was not
acknowledged, or its link broke within seconds of that) the second copy gets the key of the first. Across a restart of
ours in the same minute the key is the same again; later than that, a resend of what was committed but not yet
acknowledged when we were killed comes through twice.
"""

import datetime as dt
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, Protocol

from tidings.domain.attempt import CarrierReceipt, InboundPart, ReceiptState
from tidings.kit.clock import Clock
from tidings.protocols.smpp.concat import Alphabet, UserData, read_user_data
from tidings.protocols.smpp.constants import DELIVER_SM, Tag, Ton
from tidings.protocols.smpp.pdu import Sm, decode_data_sm, decode_sm
from tidings.protocols.smpp.receipt import Receipt, State, id_candidates, is_receipt, parse_receipt

#: A vendor's TLV, used by our sandbox: the handset showed the message ("read"). Vendors' range: SMPP 3.4 §5.3.2.
TAG_ENGAGEMENT: Final = 0x1501
#: An acknowledgement written so short before the link broke may not have arrived.
ACK_FLIGHT_S: Final = 5.0
#: Not acknowledged for so long: the same words again on the same link are a resend.
SLOW_ACK_S: Final = 2.0
REMEMBERED: Final = 10_000
_ALPHANUMERIC: Final = int(Ton.ALPHANUMERIC)
_STATES: Final[dict[State, ReceiptState]] = {"delivered": "delivered", "enroute": "pending", "accepted": "pending"}


class Session(Protocol):
    """What deduplication needs to know of a link."""

    @property
    def ended_at(self) -> float | None:
        """When it was lost (monotonic seconds); None while it lives."""
        ...


class Inbound:
    """One deliver_sm or data_sm on its way to the sink. `content` None: nothing of use, only to be acknowledged."""

    __slots__ = ("command", "content", "seen", "sequence")

    def __init__(self, command: int, sequence: int, content: CarrierReceipt | InboundPart | None) -> None:
        self.command = command
        self.sequence = sequence
        self.content = content
        self.seen: _Seen | None = None


class _Seen:
    __slots__ = ("acked_at", "at", "key", "minute", "session")

    def __init__(self, key: str, minute: int, session: Session, at: float) -> None:
        self.key, self.minute, self.session, self.at = key, minute, session, at
        self.acked_at: float | None = None


class InboundReader:
    """Reads what a provider's links receive. One for all links, since a resend may come over another one."""

    def __init__(
        self,
        provider: str,
        alphabet: Alphabet,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
        zone: dt.tzinfo = dt.UTC,
    ) -> None:
        self._provider = provider
        self._zone = zone
        self._alphabet: Alphabet = alphabet
        self._clock = clock
        self._monotonic = monotonic
        self._seen: OrderedDict[str, list[_Seen]] = OrderedDict()
        self.unreadable_receipts = 0

    def read(self, command: int, sequence: int, body: bytes, session: Session) -> Inbound:
        """Raises `SmppDecodeError` (unreadable, or compressed text), whose `status` is what to answer with."""
        sm = decode_sm(body) if command == DELIVER_SM else decode_data_sm(body)
        receipt = parse_receipt(sm)
        if receipt is not None:
            return Inbound(command, sequence, self._receipt(sm, receipt))
        if is_receipt(sm):  # asking for it again would bring the same
            self.unreadable_receipts += 1
            return Inbound(command, sequence, None)
        found = read_user_data(sm, self._alphabet)
        inbound = Inbound(command, sequence, None)
        inbound.seen = self._remember(_digest(sm), session)
        inbound.content = self._message(sm, found, inbound.seen.key)
        return inbound

    def acknowledged(self, batch: Sequence[Inbound], *, kept: bool) -> None:
        """The answers to `batch` were written."""
        now = self._monotonic()
        for inbound in batch:
            if inbound.seen is not None and kept:
                inbound.seen.acked_at = now

    def _receipt(self, sm: Sm, receipt: Receipt) -> CarrierReceipt:
        state = _STATES.get(receipt.state, "undelivered")
        read = state == "delivered" and sm.tlvs.get(TAG_ENGAGEMENT, b"").rstrip(b"\0") == b"read"
        return CarrierReceipt(
            provider=self._provider,
            refs=id_candidates(receipt.message_id),
            to=_number(sm.source_addr, sm.source_addr_ton),
            sender=_number(sm.destination_addr, sm.dest_addr_ton),
            state=state,
            carrier_state="read" if read else receipt.state,
            error_code=receipt.error,
            user_ref=receipt.user_message_reference,
            submit_at_ms=_ms(receipt.submit_at, self._zone),
            done_at_ms=_ms(receipt.done_at, self._zone),
            received_ms=self._clock(),
        )

    def _message(self, sm: Sm, found: UserData, key: str) -> InboundPart:
        concat = found.concat
        return InboundPart(
            provider=self._provider,
            sender=_number(sm.source_addr, sm.source_addr_ton) or "",
            to=_number(sm.destination_addr, sm.dest_addr_ton) or "",
            text=found.text or "",
            data=found.data if found.text is None else None,
            ports=found.ports,
            concat_ref=concat.ref if concat else None,
            total=concat.total if concat else 1,
            part=concat.part if concat else 1,
            dedup=key,
            received_ms=self._clock(),
        )

    def _remember(self, digest: str, session: Session) -> _Seen:
        now = self._monotonic()
        copies = self._seen.setdefault(digest, [])
        self._seen.move_to_end(digest)
        for seen in copies:
            if _may_be_resent(seen, session, now):
                seen.session, seen.at, seen.acked_at = session, now, None
                return seen
        minute = self._clock() // 60_000
        number = sum(seen.minute == minute for seen in copies)
        fresh = _Seen(f"{digest}:{minute}:{number}", minute, session, now)
        copies.append(fresh)
        del copies[:-16]
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return fresh


def _may_be_resent(seen: _Seen, session: Session, now: float) -> bool:
    if seen.session is session:
        return seen.acked_at is None and now - seen.at > SLOW_ACK_S
    ended = seen.session.ended_at
    if ended is None:  # that link lives: it resends over itself
        return False
    return seen.acked_at is None or ended - seen.acked_at < ACK_FLIGHT_S


def _digest(sm: Sm) -> str:
    concat = (sm.tlvs.get(tag, b"") for tag in (Tag.SAR_MSG_REF_NUM, Tag.SAR_TOTAL_SEGMENTS, Tag.SAR_SEGMENT_SEQNUM))
    data = sm.short_message or sm.tlvs.get(Tag.MESSAGE_PAYLOAD, b"")
    fields = (sm.source_addr, sm.destination_addr, bytes((sm.esm_class & 0x40, sm.data_coding)), *concat, data)
    return hashlib.blake2b(b"\0".join(fields), digest_size=12).hexdigest()


def _number(address: bytes, ton: int) -> str | None:
    """E.164 with the plus where the address is a number of international form; else as it came."""
    text = address.decode("latin-1").strip()
    digits = text.lstrip("+")
    if not (digits.isascii() and digits.isdigit()) or ton == _ALPHANUMERIC:
        return text or None
    if digits.startswith("00") and len(digits) >= 10:
        return "+" + digits[2:]
    if len(digits) >= 8 or ton == Ton.INTERNATIONAL or text.startswith("+"):
        return "+" + digits
    return digits


@lru_cache(maxsize=1024)  # most carriers write minutes, so that dates repeat
def _ms(when: dt.datetime | None, zone: dt.tzinfo) -> int | None:
    """The carrier's naive time, in the zone that its account names."""
    return None if when is None else int(when.replace(tzinfo=zone).timestamp() * 1000)
