"""A submit_sm or data_sm read as a request for a message, or as one part of one; refused by name where we cannot do what it
asks for. Pure. Source: SMPP 3.4 §4.4.1, §4.7.1, §5.2
"""

import datetime as dt
from typing import Any, Final, Literal

import msgspec

from tidings.domain.request import SendRequest, check
from tidings.kit.limits import TEXT_CHARS
from tidings.protocols.smpp import times
from tidings.protocols.smpp.concat import Alphabet, UserData, compressed, decode_text, is_binary, read_user_data
from tidings.protocols.smpp.constants import Status, Tag
from tidings.protocols.smpp.pdu import Sm, SmppDecodeError
from tidings.protocols.smpp.times import SmppTimeError
from tidings.smppd import address
from tidings.smppd.config import PARTS_MOST
from tidings.smppd.errors import ESME_RINVDCS, status_of_field

Receipts = Literal["none", "all", "failures", "successes"]
#: registered_delivery, bits 1–0; 3 is reserved in 3.4 and means "successes" in 5.0. Source: §5.2.17
_RECEIPTS: Final[tuple[Receipts, ...]] = ("none", "all", "failures", "successes")
#: data_codings without an alphabet that we can read: pictograms, reserved numbers, extended Kanji. Source: §5.2.19
_NO_ALPHABET: Final = frozenset({9, 11, 12, 13, 15})
#: A data_coding that is read as the GSM alphabet, whatever 0 means, and names no class. Source: TS 23.038 §4 (group 1100)
_GSM: Final = 0xC0
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_COMMANDS: Final = frozenset({Tag.USSD_SERVICE_OP, Tag.ITS_SESSION_INFO, Tag.SET_DPF})


class SubmitError(ValueError):
    """`status` is what to answer with, the text why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = int(status)


class Concat(msgspec.Struct, frozen=True):
    """Part `part` of `total` of the message `ref`."""

    ref: int
    total: int
    part: int


class Origin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the receipt of a message needs to know; kept with the message as `metadata.smpp`.

    `ids`: those of its parts that asked for one, where it came in parts.
    """

    account: str
    receipts: Receipts = "none"
    ids: tuple[str, ...] = ()
    user_ref: int | None = None


class Piece(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one PDU asks for. `text` is None where it carries octets; `data` never holds the header."""

    to: str
    sender: str | None
    urgent: bool
    send_at_ms: int | None
    valid_until_ms: int | None
    receipts: Receipts
    user_ref: int | None
    coding: int
    data: bytes
    text: str | None
    flash: bool = False
    ports: tuple[int, int] | None = None
    concat: Concat | None = None


class Reader:
    """Reads submits of clients whose data_coding 0 means `default`."""

    def __init__(self, default: Alphabet, coding_1: Literal["ascii", "gsm"]) -> None:
        self._default: Alphabet = default
        self._gsm_for_1 = coding_1 == "gsm"

    def read(self, sm: Sm, now_ms: int) -> Piece:
        """Raises SubmitError for anything that would not be done as asked."""
        _check_flags(sm)
        coding = self._coding(sm.data_coding)
        found = self._content(sm, coding)
        now = dt.datetime.fromtimestamp(now_ms / 1000, dt.UTC)
        reference = sm.tlvs.get(Tag.USER_MESSAGE_REFERENCE, b"")
        try:
            to = address.recipient(sm.dest_addr_ton, sm.dest_addr_npi, sm.destination_addr)
            sender = address.sender(sm.source_addr_ton, sm.source_addr_npi, sm.source_addr)
        except address.AddressError as error:
            raise SubmitError(error.status, "address") from error
        piece = Piece(
            to=to, sender=sender, urgent=sm.priority_flag >= 2,
            send_at_ms=_time(sm.schedule_delivery_time, now, Status.ESME_RINVSCHED), valid_until_ms=_validity(sm, now),
            receipts=_RECEIPTS[sm.registered_delivery & 3],
            user_ref=int.from_bytes(reference, "big") if len(reference) == 2 else None,
            coding=coding, data=found.data, text=found.text, flash=found.flash, ports=found.ports, concat=_concat(found),
        )  # fmt: skip
        return _sane(piece, now_ms)

    def _coding(self, coding: int) -> int:
        if coding == 1 and self._gsm_for_1:
            return _GSM
        return coding

    def _content(self, sm: Sm, coding: int) -> UserData:
        if compressed(coding) or coding in _NO_ALPHABET:
            raise SubmitError(ESME_RINVDCS, f"data_coding 0x{coding:02X}")
        if sm.short_message and sm.tlvs.get(Tag.MESSAGE_PAYLOAD):
            raise SubmitError(Status.ESME_ROPTPARNOTALLWD, "message_payload beside short_message")
        try:
            found = read_user_data(sm if coding == sm.data_coding else _recoded(sm, coding), self._default)
        except SmppDecodeError as error:
            raise SubmitError(ESME_RINVDCS, str(error)) from error
        if found.text is not None and found.concat is None and _garbled(found.text, sm, coding):
            raise SubmitError(ESME_RINVDCS, "the octets are no text of this data_coding")
        return found

    def join(self, pieces: list[Piece]) -> Piece:
        """The whole of its parts, in order. A character that was cut in two is put together again."""
        first = pieces[0]
        data = b"".join(piece.data for piece in pieces)
        text = None
        if first.text is not None:
            text = "".join(piece.text or "" for piece in pieces)
            alike = all(piece.coding == first.coding and piece.text == self._decoded(piece) for piece in pieces)
            if alike:  # no national tables, which each part names for itself
                text = decode_text(data, first.coding, self._default)
        ends = [piece.valid_until_ms for piece in pieces if piece.valid_until_ms is not None]
        return msgspec.structs.replace(
            first, data=data, text=text, concat=None, urgent=any(piece.urgent for piece in pieces),
            valid_until_ms=max(ends) if ends else None, receipts=_widest(pieces),
        )  # fmt: skip

    def _decoded(self, piece: Piece) -> str:
        return decode_text(piece.data, piece.coding, self._default)


def request_of(piece: Piece, origin: Origin) -> SendRequest:
    """The request as `POST /v1/messages` would have it."""
    content: dict[str, Any] | None = None
    if piece.text is None:
        content = {"data": piece.data.hex()}
        if piece.ports is not None:
            content |= {"destination_port": piece.ports[0], "source_port": piece.ports[1]}
    elif piece.flash:
        content = {"flash": True}
    return SendRequest(
        to=piece.to,
        sender=piece.sender,
        text=piece.text,
        content=content,
        lane="otp" if piece.urgent else "transactional",
        send_at=_moment(piece.send_at_ms),
        valid_until=_moment(piece.valid_until_ms),
        metadata={"smpp": msgspec.to_builtins(origin)},
    )


def origin_of(metadata: dict[str, Any]) -> Origin | None:
    """What `request_of` kept; None for a message that came another way."""
    try:
        return msgspec.convert(metadata["smpp"], Origin)
    except (KeyError, msgspec.ValidationError):
        return None


def _check_flags(sm: Sm) -> None:
    """Everything that is one bit or one number, and that we do not do. Source: §5.2.12–§5.2.21"""
    if sm.esm_class & 0x03 in (1, 2) or sm.esm_class & 0xBC:  # datagram, transaction; acknowledgements, reply path
        raise SubmitError(Status.ESME_RINVESMCLASS, f"esm_class 0x{sm.esm_class:02X}")
    if sm.priority_flag > 3:
        raise SubmitError(Status.ESME_RINVPRTFLG, f"priority_flag {sm.priority_flag}")
    if sm.registered_delivery & 0xE0:
        raise SubmitError(Status.ESME_RINVREGDLVFLG, f"registered_delivery 0x{sm.registered_delivery:02X}")
    if sm.replace_if_present:
        raise SubmitError(Status.ESME_RINVREPFLAG, "replace_if_present is not offered")
    if sm.sm_default_msg_id:
        raise SubmitError(Status.ESME_RINVDFTMSGID, "there are no canned messages")
    if sm.protocol_id:
        raise SubmitError(Status.ESME_RSUBMITFAIL, f"protocol_id 0x{sm.protocol_id:02X}")
    if any(tag in sm.tlvs for tag in _COMMANDS):
        raise SubmitError(Status.ESME_ROPTPARNOTALLWD, "USSD and delivery pending flags are not offered")


def _recoded(sm: Sm, coding: int) -> Sm:
    return Sm(esm_class=sm.esm_class, data_coding=coding, short_message=sm.short_message, tlvs=sm.tlvs)


def _garbled(text: str, sm: Sm, coding: int) -> bool:
    """UCS-2 may hold U+FFFD by itself; then its octets do too."""
    if _REPLACEMENT not in text:
        return False
    raw = sm.short_message or sm.tlvs.get(Tag.MESSAGE_PAYLOAD, b"")
    return len(raw) % 2 == 1 or b"\xff\xfd" not in raw or is_binary(coding)


def _time(text: bytes, now: dt.datetime, status: Status) -> int | None:
    if not text:
        return None
    try:
        return int(times.parse(text.decode("latin-1"), now).timestamp() * 1000)
    except (SmppTimeError, OverflowError) as error:
        raise SubmitError(status, str(error)) from error


def _validity(sm: Sm, now: dt.datetime) -> int | None:
    """validity_period; for data_sm the TLV qos_time_to_live (seconds). Source: §5.2.16, §5.3.2.9"""
    until = _time(sm.validity_period, now, Status.ESME_RINVEXPIRY)
    seconds = sm.tlvs.get(Tag.QOS_TIME_TO_LIVE, b"")
    if until is None and len(seconds) == 4:
        until = int(now.timestamp() * 1000) + int.from_bytes(seconds, "big") * 1000
    return until


def _concat(found: UserData) -> Concat | None:
    if found.concat is None or found.concat.total < 2:
        return None
    if found.concat.total > PARTS_MOST or len(found.text or "") > TEXT_CHARS // found.concat.total:
        raise SubmitError(Status.ESME_RINVMSGLEN, f"{found.concat.total} parts of {len(found.text or '')} characters")
    return Concat(found.concat.ref << 5 | found.concat.bits, found.concat.total, found.concat.part)


def _widest(pieces: list[Piece]) -> Receipts:
    wanted: list[Receipts] = [piece.receipts for piece in pieces if piece.receipts != "none"]
    if not wanted:
        return "none"
    return wanted[0] if all(one == wanted[0] for one in wanted) else "all"


def _moment(ms: int | None) -> dt.datetime | None:
    return None if ms is None else dt.datetime.fromtimestamp(ms / 1000, dt.UTC)


def _sane(piece: Piece, now_ms: int) -> Piece:
    """What the API would refuse is refused here, part by part, before anything is kept."""
    try:
        found = check(request_of(piece, Origin(account="")), now_ms)
    except (OverflowError, ValueError) as error:
        raise SubmitError(Status.ESME_RINVSCHED, str(error)) from error
    if found:
        raise SubmitError(status_of_field(found[0]), found[0].detail)
    return piece
