"""How a submission becomes submit_sm PDUs: alphabet, addresses, concatenation, validity. Source: SMPP 3.4 §4.4.1"""

import datetime as dt
import struct
from functools import lru_cache
from typing import Final

import msgspec

from tidings.channels.sms.smpp_config import Config
from tidings.domain.attempt import PartRefused, Submission
from tidings.domain.message import MessageError
from tidings.protocols.gsm import segments, udh
from tidings.protocols.gsm.national import in_order
from tidings.protocols.gsm.segments import Segments
from tidings.protocols.smpp import times
from tidings.protocols.smpp.concat import UDHI, parts_for
from tidings.protocols.smpp.constants import SUBMIT_SM, Npi, Tag, Ton
from tidings.protocols.smpp.pdu import SmppEncodeError, c_octets, encode_tlvs

_HEADER: Final = struct.Struct(">IIII").pack
_SHORT_CODE_DIGITS: Final = 6
_E164_LENGTH: Final = 16  # with the plus
#: Plain numbers: a look at a member of an enumeration is a function call, and every message needs two.
_UNKNOWN, _INTERNATIONAL = int(Ton.UNKNOWN), int(Ton.INTERNATIONAL)
_NETWORK_SPECIFIC, _ALPHANUMERIC = int(Ton.NETWORK_SPECIFIC), int(Ton.ALPHANUMERIC)
_NO_PLAN, _ISDN = int(Npi.UNKNOWN), int(Npi.ISDN)
_SEPTETS: Final = frozenset({0, 0x10})  # data_codings whose parts are septets (or characters); octets else


class SubmitWriter:
    """Writes the PDUs of one provider; what does not change from message to message is kept."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._languages = in_order(config.national_tables)
        self._source = lru_cache(4096)(self._source_field)
        self._abroad = self._dest_numbering(_INTERNATIONAL, _ISDN) + (b"+" if config.dest_plus else b"")

    def segments_of(self, submission: Submission, index: int) -> int:
        """How many segments one part is on the air: more than one only where the carrier cuts (`payload`)."""
        if self._config.concat != "payload":
            return 1
        size, header = len(submission.parts[index]), len(submission.header)
        alone, more = (_room(submission.data_coding, header, bits) for bits in (0, 8))
        return 1 if size <= alone else -(-size // more)

    def pdu(self, submission: Submission, index: int, sequence: int, now_ms: int) -> bytes:
        """One part as a submit_sm. Raises `SmppEncodeError`, naming the field that does not fit."""
        config = self._config
        if len(submission.parts) == 1:
            esm_class, data, tlvs = self._single(submission)
        else:
            part = parts_for(submission.parts, config.concat, submission.concat_ref, submission.header)[index]
            esm_class, data, tlvs = part.esm_class, part.short_message, encode_tlvs(part.tlvs)
        if config.user_message_reference and submission.user_ref is not None:
            tlvs += encode_tlvs({Tag.USER_MESSAGE_REFERENCE: (submission.user_ref & 0xFFFF).to_bytes(2, "big")})
        if len(data) > 254:
            raise SmppEncodeError("short_message", f"has {len(data)} octets, at most 254 fit")
        body = b"%b%b%c\0\0\0%b\1\0%c\0%c%b%b" % (
            self._source(submission.sender),
            self._dest_field(submission.to),
            esm_class,
            self._validity(submission, now_ms),
            submission.data_coding,
            len(data),
            data,
            tlvs,
        )
        return _HEADER(16 + len(body), SUBMIT_SM, 0, sequence) + body

    def _single(self, submission: Submission) -> tuple[int, bytes, bytes]:
        data, header = submission.parts[0], submission.header
        esm_class = 0
        if header:
            esm_class, data = UDHI, udh.whole(header) + data
        if self._config.concat == "payload" and len(submission.parts[0]) > _room(
            submission.data_coding, len(header), 0
        ):
            return esm_class, b"", encode_tlvs({Tag.MESSAGE_PAYLOAD: data})
        return esm_class, data, b""

    def plan(self, text: str) -> Segments:
        """How `text` is encoded and cut. With `payload` there is one part: the carrier cuts it."""
        config = self._config
        bits = 16 if config.concat == "udh16" else 8
        default = config.default_alphabet
        if default == "latin1":
            latin = all(ord(c) < 256 for c in text)
            plan = segments.plan(text, encoding="latin1" if latin else "ucs2", ref_bits=bits)
        elif default == "ucs2":
            plan = segments.plan(text, encoding="ucs2", ref_bits=bits)
        else:
            plan = segments.plan(text, smart=config.smart, ref_bits=bits, languages=self._languages)
            if default == "ascii" and plan.encoding == "gsm":
                plan = _as_ascii(plan, bits)
        return self._for_payload(plan)

    def plan_flash(self, text: str) -> Segments:
        """`text` as a message of class 0. Its data_coding names the alphabet, whatever the account's default is."""
        config = self._config
        bits = 16 if config.concat == "udh16" else 8
        encoding = "ucs2" if config.default_alphabet == "ucs2" else "auto"
        plan = segments.plan(text, encoding=encoding, smart=config.smart, ref_bits=bits, flash=True)
        return self._for_payload(plan)

    def plan_binary(self, data: bytes, ports: tuple[int, int] | None) -> Segments:
        """Octets (data_coding 4), for the application behind `ports` (destination, source)."""
        plan = segments.plan_binary(data, ref_bits=16 if self._config.concat == "udh16" else 8, ports=ports)
        return self._for_payload(plan)

    def _for_payload(self, plan: Segments) -> Segments:
        if self._config.concat == "payload" and len(plan.parts) > 1:
            return msgspec.structs.replace(plan, parts=(b"".join(plan.parts),))
        return plan

    def source_of(self, sender: str | None) -> tuple[int, int, str]:
        """(TON, NPI, address) of a sender, as this carrier wants them."""
        config = self._config
        ton, npi, address = _address(sender or "", plus=False)
        ton = config.source_ton if config.source_ton is not None else ton
        npi = config.source_npi if config.source_npi is not None else npi
        return ton, npi, address

    def _source_field(self, sender: str | None) -> bytes:
        """service_type, source_addr_ton, source_addr_npi, source_addr."""
        config = self._config
        ton, npi, address = self.source_of(sender)
        service = c_octets("service_type", config.service_type, 6)
        return service + bytes((ton, npi)) + c_octets("source_addr", address, 21)

    def _dest_field(self, to: str) -> bytes:
        """dest_addr_ton, dest_addr_npi, destination_addr."""
        digits = to[1:]
        if to[:1] == "+" and len(to) <= _E164_LENGTH and digits.isascii() and digits.isdigit():
            return self._abroad + digits.encode() + b"\0"
        return self._any_dest_field(to)

    def _any_dest_field(self, to: str) -> bytes:
        ton, npi, address = _address(to, plus=self._config.dest_plus)
        return self._dest_numbering(ton, npi) + c_octets("destination_addr", address, 21)

    def _dest_numbering(self, ton: int, npi: int) -> bytes:
        config = self._config
        ton = config.dest_ton if config.dest_ton is not None else ton
        npi = config.dest_npi if config.dest_npi is not None else npi
        return bytes((ton, npi))

    def _validity(self, submission: Submission, now_ms: int) -> bytes:
        """validity_period with the time that remains; over 30 days always absolute. Source: SMPP 3.4 §7.1.1"""
        mode, until_ms = self._config.validity, submission.valid_until_ms
        if mode == "none" or until_ms is None:
            return b"\0"
        left_s = max(1, (until_ms - now_ms) // 1000)
        if mode == "relative" and left_s <= times.RELATIVE_MAX_S:
            return times.relative(left_s).encode() + b"\0"
        return times.absolute(dt.datetime.fromtimestamp(until_ms / 1000, dt.UTC)).encode() + b"\0"


def encode_refusal(error: SmppEncodeError) -> PartRefused:
    """A part that cannot be written at all: the sender or the recipient is at fault."""
    code = {"source_addr": "invalid_sender", "destination_addr": "invalid_recipient"}.get(error.field, "not_encodable")
    return PartRefused(MessageError(code=code, detail=f"Not possible over SMPP: {error}.", spec="SMPP 3.4 §4.4.1"))


def _address(address: str, *, plus: bool) -> tuple[int, int, str]:
    """(TON, NPI, address): alphanumeric, short code, or international. Source: SMPP 3.4 §5.2.5, §5.2.6"""
    digits = address[1:] if address.startswith("+") else address
    if not digits:
        return _UNKNOWN, _NO_PLAN, ""
    if not (digits.isascii() and digits.isdigit()):
        return _ALPHANUMERIC, _NO_PLAN, address
    if len(digits) <= _SHORT_CODE_DIGITS and digits == address:
        return _NETWORK_SPECIFIC, _NO_PLAN, digits
    return _INTERNATIONAL, _ISDN, "+" + digits if plus else digits


def _room(data_coding: int, header_octets: int, ref_bits: int) -> int:
    """What one segment holds: septets or octets."""
    return segments.capacity("gsm" if data_coding in _SEPTETS else "binary", header_octets, ref_bits)


def _as_ascii(plan: Segments, bits: int) -> Segments:
    """The same cuts in ASCII, for carriers whose data_coding 0 is that; beyond ASCII it becomes UCS-2."""
    if not plan.text.isascii():
        return segments.plan(plan.text, encoding="ucs2", ref_bits=16 if bits == 16 else 8)
    parts, at = list[bytes](), 0
    raw = plan.text.encode()
    for part in plan.parts:
        size = len(part) - part.count(0x1B)  # an extension character is two septets, and one ASCII character
        parts.append(raw[at : at + size])
        at += size
    return msgspec.structs.replace(plan, encoding="ascii", parts=tuple(parts))
