"""The SMPP 3.4 codec: frames, and the bodies of every operation we speak. Source: SMPP 3.4 §3, §4."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from tidings.protocols.smpp.constants import RESP, Status

HEADER: Final = struct.Struct(">IIII")
_header = HEADER.pack
_unpack_header = HEADER.unpack_from
_TLV: Final = struct.Struct(">HH")
_unpack_tlv = _TLV.unpack_from
_empty_id = struct.Struct(">IIIIx").pack
HEADER_BYTES: Final = 16
MAX_PDU_BYTES: Final = 70_000  # message_payload may hold 64 kB
_NO_TLVS: Final[Mapping[int, bytes]] = {}

Frame = tuple[int, int, int, bytes]  # command_id, command_status, sequence_number, body


class SmppError(ValueError):
    """Root of the codec's errors."""


class SmppFrameError(SmppError):
    """The stream cannot be cut into PDUs any more: close the link."""


class SmppDecodeError(SmppError):
    """A body that cannot be read. `status` is what to answer with."""

    def __init__(self, field_name: str, reason: str, status: int = Status.ESME_RINVCMDLEN) -> None:
        super().__init__(f"{field_name}: {reason}")
        self.field, self.reason, self.status = field_name, reason, int(status)


class SmppEncodeError(SmppError):
    """A field that does not fit the specification; names the field."""

    def __init__(self, field_name: str, reason: str) -> None:
        super().__init__(f"{field_name}: {reason}")
        self.field, self.reason = field_name, reason


class Framer:
    """Cuts a byte stream into PDUs. Never keeps more than one PDU's worth of bytes beyond what it was fed."""

    __slots__ = ("_buffer", "_most")

    def __init__(self, most: int = MAX_PDU_BYTES) -> None:
        self._buffer = b""
        self._most = most

    @property
    def buffered(self) -> int:
        """Bytes of an unfinished PDU."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """The PDUs that are whole now. Raises SmppFrameError for a length under 16 or over the limit.

        Whole PDUs before a wrong length are handed over first; the next call (feed(b"") will do) raises.
        """
        buffer = self._buffer + data if self._buffer else data
        frames: list[Frame] = []
        at, size = 0, len(buffer)
        while size - at >= HEADER_BYTES:
            length, command, status, sequence = _unpack_header(buffer, at)
            if length < HEADER_BYTES or length > self._most:
                if frames:
                    break
                raise SmppFrameError(f"command_length {length} (16 to {self._most} is possible)")
            if size - at < length:
                break
            frames.append((command, status, sequence, buffer[at + HEADER_BYTES : at + length]))
            at += length
        self._buffer = buffer[at:] if at else buffer
        return frames


def pdu(command: int, status: int, sequence: int, body: bytes = b"") -> bytes:
    """A whole PDU."""
    return _header(HEADER_BYTES + len(body), command, status, sequence) + body


def acknowledgement(command: int, status: int, sequence: int) -> bytes:
    """The whole answer to a deliver_sm or data_sm: its message_id is empty. Source: §4.6.2, §4.7.2"""
    return _empty_id(HEADER_BYTES + 1, command | RESP, status, sequence)


@dataclass(slots=True, kw_only=True)
class Bind:
    """bind_transmitter, bind_receiver, bind_transceiver. Source: §4.1"""

    system_id: str
    password: str = ""
    system_type: str = ""
    interface_version: int = 0x34
    addr_ton: int = 0
    addr_npi: int = 0
    address_range: str = ""


class Sm(msgspec.Struct, frozen=True):
    """submit_sm, deliver_sm (§4.4.1, §4.6.1), and data_sm (§4.7.1), whose missing fields keep their defaults.

    The fields stand in the order of the wire. A struct, and made by position where it is decoded: by name took longer than
    all the rest of the decoding.
    """

    service_type: bytes = b""
    source_addr_ton: int = 0
    source_addr_npi: int = 0
    source_addr: bytes = b""
    dest_addr_ton: int = 0
    dest_addr_npi: int = 0
    destination_addr: bytes = b""
    esm_class: int = 0
    protocol_id: int = 0
    priority_flag: int = 0
    schedule_delivery_time: bytes = b""
    validity_period: bytes = b""
    registered_delivery: int = 0
    replace_if_present: int = 0
    data_coding: int = 0
    sm_default_msg_id: int = 0
    short_message: bytes = b""
    tlvs: Mapping[int, bytes] = msgspec.field(default_factory=dict[int, bytes])


def c_octets(name: str, value: str | bytes, most: int) -> bytes:
    """A C-octet string of at most `most` octets with its NUL. Raises SmppEncodeError."""
    try:
        raw = value.encode("latin-1") if isinstance(value, str) else value
    except UnicodeEncodeError as error:
        raise SmppEncodeError(name, "has characters beyond Latin-1") from error
    if len(raw) >= most:
        raise SmppEncodeError(name, f"has {len(raw)} octets, at most {most - 1} fit")
    if b"\0" in raw:
        raise SmppEncodeError(name, "holds a NUL")
    return raw + b"\0"


def _octets(name: str, *values: int) -> bytes:
    try:
        return bytes(values)
    except ValueError as error:
        raise SmppEncodeError(name, f"{values} do not fit one octet each") from error


def encode_bind(bind: Bind) -> bytes:
    """Body of a bind. Raises SmppEncodeError."""
    return b"".join(
        (
            c_octets("system_id", bind.system_id, 16),
            c_octets("password", bind.password, 9),
            c_octets("system_type", bind.system_type, 13),
            _octets("addr_ton", bind.interface_version, bind.addr_ton, bind.addr_npi),
            c_octets("address_range", bind.address_range, 41),
        )
    )


def encode_tlvs(tlvs: Mapping[int, bytes]) -> bytes:
    """Optional parameters. Raises SmppEncodeError. Source: §3.2.4.1"""
    try:
        return b"".join([_TLV.pack(tag, len(value)) + value for tag, value in tlvs.items()])
    except struct.error as error:
        raise SmppEncodeError("tlv", "a tag or a length does not fit two octets") from error


def encode_sm(sm: Sm) -> bytes:
    """Body of submit_sm or deliver_sm. Raises SmppEncodeError."""
    size = len(sm.short_message)
    if size > 254:
        raise SmppEncodeError("short_message", f"has {size} octets, at most 254 fit; use message_payload")
    try:
        body = b"%b%c%c%b%c%c%b%c%c%c%b%b%c%c%c%c%c%b" % (
            c_octets("service_type", sm.service_type, 6),
            sm.source_addr_ton,
            sm.source_addr_npi,
            c_octets("source_addr", sm.source_addr, 21),
            sm.dest_addr_ton,
            sm.dest_addr_npi,
            c_octets("destination_addr", sm.destination_addr, 21),
            sm.esm_class,
            sm.protocol_id,
            sm.priority_flag,
            c_octets("schedule_delivery_time", sm.schedule_delivery_time, 17),
            c_octets("validity_period", sm.validity_period, 17),
            sm.registered_delivery,
            sm.replace_if_present,
            sm.data_coding,
            sm.sm_default_msg_id,
            size,
            sm.short_message,
        )
    except OverflowError as error:
        raise SmppEncodeError("integer", "an integer field does not fit one octet") from error
    return body + encode_tlvs(sm.tlvs) if sm.tlvs else body


def _string(body: bytes, at: int, name: str, most: int) -> tuple[bytes, int]:
    end = body.find(b"\0", at, at + most)
    if end < 0:
        raise SmppDecodeError(name, f"no NUL within {most} octets")
    return body[at:end], end + 1


def decode_bind(body: bytes) -> Bind:
    """Raises SmppDecodeError."""
    system_id, at = _string(body, 0, "system_id", 64)
    password, at = _string(body, at, "password", 64)
    system_type, at = _string(body, at, "system_type", 64)
    if len(body) < at + 3:
        raise SmppDecodeError("interface_version", "is missing")
    address_range = body[at + 3 :].split(b"\0", 1)[0]
    return Bind(
        system_id=system_id.decode("latin-1"),
        password=password.decode("latin-1"),
        system_type=system_type.decode("latin-1"),
        interface_version=body[at],
        addr_ton=body[at + 1],
        addr_npi=body[at + 2],
        address_range=address_range.decode("latin-1"),
    )


def encode_bind_resp(system_id: str, tlvs: Mapping[int, bytes] = _NO_TLVS) -> bytes:
    """Body of a bind's answer. Raises SmppEncodeError. Source: §4.1.2"""
    return c_octets("system_id", system_id, 16) + encode_tlvs(tlvs)


def decode_bind_resp(body: bytes) -> tuple[str, Mapping[int, bytes]]:
    """(system_id of the SMSC, TLVs). An error answer may have no body."""
    head, _, rest = body.partition(b"\0")
    return head.decode("latin-1"), decode_tlvs(rest, 0) if rest else _NO_TLVS


def decode_tlvs(body: bytes, at: int) -> Mapping[int, bytes]:
    """Optional parameters from `at` on. Raises SmppDecodeError (ESME_RINVOPTPARSTREAM)."""
    tlvs: dict[int, bytes] = {}
    size = len(body)
    while at < size:
        if size - at < 4:
            raise SmppDecodeError("tlv", "is cut off", Status.ESME_RINVOPTPARSTREAM)
        tag, length = _unpack_tlv(body, at)
        at += 4
        if size - at < length:
            raise SmppDecodeError("tlv", f"0x{tag:04X} announces {length} octets", Status.ESME_RINVOPTPARSTREAM)
        tlvs[tag] = body[at : at + length]
        at += length
    return tlvs


def decode_sm(body: bytes) -> Sm:
    """submit_sm or deliver_sm. Longer strings than the specification allows are read all the same. Raises SmppDecodeError."""
    try:
        find = body.index
        a = find(0)
        b = find(0, a + 3)
        c = find(0, b + 3)
        d = find(0, c + 4)
        e = find(0, d + 1)
        length = body[e + 5]
        end = e + 6 + length
        if end > len(body):
            raise SmppDecodeError("short_message", f"sm_length is {length}", Status.ESME_RINVMSGLEN)
        return Sm(
            body[:a],
            body[a + 1], body[a + 2], body[a + 3 : b],  # source
            body[b + 1], body[b + 2], body[b + 3 : c],  # destination
            body[c + 1], body[c + 2], body[c + 3],  # esm_class, protocol_id, priority_flag
            body[c + 4 : d], body[d + 1 : e],  # schedule_delivery_time, validity_period
            body[e + 1], body[e + 2], body[e + 3], body[e + 4],  # registered_delivery to sm_default_msg_id
            body[e + 6 : end],
            decode_tlvs(body, end) if end < len(body) else _NO_TLVS,
        )  # fmt: skip
    except (IndexError, ValueError) as error:
        if isinstance(error, SmppDecodeError):
            raise
        raise SmppDecodeError("body", "is cut off") from error


def decode_data_sm(body: bytes) -> Sm:
    """data_sm. Raises SmppDecodeError."""
    try:
        find = body.index
        a = find(0)
        b = find(0, a + 3)
        c = find(0, b + 3)
        return Sm(
            service_type=body[:a],
            source_addr_ton=body[a + 1],
            source_addr_npi=body[a + 2],
            source_addr=body[a + 3 : b],
            dest_addr_ton=body[b + 1],
            dest_addr_npi=body[b + 2],
            destination_addr=body[b + 3 : c],
            esm_class=body[c + 1],
            registered_delivery=body[c + 2],
            data_coding=body[c + 3],
            tlvs=decode_tlvs(body, c + 4),
        )
    except (IndexError, ValueError) as error:
        if isinstance(error, SmppDecodeError):
            raise
        raise SmppDecodeError("body", "is cut off") from error


def encode_data_sm(sm: Sm) -> bytes:
    """Body of data_sm: the text is in the message_payload TLV. Raises SmppEncodeError. Source: §4.7.1"""
    if sm.short_message:
        raise SmppEncodeError("short_message", "data_sm has none; use message_payload")
    return b"".join(
        (
            c_octets("service_type", sm.service_type, 6),
            _octets("source_addr_ton", sm.source_addr_ton, sm.source_addr_npi),
            c_octets("source_addr", sm.source_addr, 65),
            _octets("dest_addr_ton", sm.dest_addr_ton, sm.dest_addr_npi),
            c_octets("destination_addr", sm.destination_addr, 65),
            _octets("esm_class", sm.esm_class, sm.registered_delivery, sm.data_coding),
            encode_tlvs(sm.tlvs),
        )
    )


def decode_message_id(body: bytes) -> bytes:
    """message_id of submit_sm_resp, deliver_sm_resp, data_sm_resp; b"" where the body is absent."""
    end = body.find(b"\0")
    return body if end < 0 else body[:end]


def decode_submit_resp(status: int, body: bytes) -> bytes:
    """message_id of a submit_sm_resp; an error answer has none, whatever its body holds."""
    return decode_message_id(body) if status == 0 else b""


def encode_message_id(message_id: str) -> bytes:
    """Body of submit_sm_resp. Raises SmppEncodeError."""
    return c_octets("message_id", message_id, 65)


class Query(NamedTuple):
    """query_sm: what became of `message_id`, submitted with this source address. Source: §4.8.1"""

    message_id: str
    source_addr_ton: int
    source_addr_npi: int
    source_addr: str


class QueryAnswer(NamedTuple):
    """query_sm_resp: `final_date` is "" while the message has no final state. Source: §4.8.2"""

    message_id: str
    final_date: str
    message_state: int
    error_code: int


def encode_query_sm(message_id: str, source_ton: int, source_npi: int, source: str) -> bytes:
    """Body of query_sm. Raises SmppEncodeError. Source: §4.8.1"""
    numbering = _octets("source_addr_ton", source_ton, source_npi)
    return c_octets("message_id", message_id, 65) + numbering + c_octets("source_addr", source, 21)


def decode_query_sm(body: bytes) -> Query:
    """Raises SmppDecodeError."""
    message_id, at = _string(body, 0, "message_id", 66)
    if len(body) < at + 2:
        raise SmppDecodeError("source_addr_ton", "is missing")
    source, _ = _string(body, at + 2, "source_addr", 65)
    return Query(message_id.decode("latin-1"), body[at], body[at + 1], source.decode("latin-1"))


def encode_query_resp(answer: QueryAnswer) -> bytes:
    """Body of query_sm_resp. Raises SmppEncodeError. Source: §4.8.2"""
    state = _octets("message_state", answer.message_state, answer.error_code)
    return c_octets("message_id", answer.message_id, 65) + c_octets("final_date", answer.final_date, 17) + state


def decode_query_resp(body: bytes) -> QueryAnswer:
    """Raises SmppDecodeError."""
    message_id, at = _string(body, 0, "message_id", 66)
    final_date, at = _string(body, at, "final_date", 18)
    if len(body) < at + 2:
        raise SmppDecodeError("message_state", "is missing")
    return QueryAnswer(message_id.decode("latin-1"), final_date.decode("latin-1"), body[at], body[at + 1])
