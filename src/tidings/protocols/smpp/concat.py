"""Concatenation over SMPP, both ways, and user data as text. Source: SMPP 3.4 §5.3.2.22–24, 5.3.2.32; 3GPP TS 23.040 §9.2.3.24"""

from dataclasses import dataclass, replace
from typing import Final, Literal

from tidings.protocols.gsm import alphabet, national, udh
from tidings.protocols.gsm.udh import Concat, Header
from tidings.protocols.smpp.constants import Status, Tag
from tidings.protocols.smpp.pdu import Sm, SmppDecodeError

Method = Literal["udh8", "udh16", "sar", "payload"]
Alphabet = Literal["gsm", "latin1", "ascii", "ucs2"]
UDHI: Final = 0x40


@dataclass(frozen=True, slots=True)
class PartFields:
    """What one part puts into its submit_sm."""

    esm_class: int
    short_message: bytes
    tlvs: dict[int, bytes]


def parts_for(parts: tuple[bytes, ...], method: Method, ref: int, header: bytes = b"") -> list[PartFields]:
    """The submit_sm fields of each part. With `payload` the whole text goes in one message_payload TLV.

    `header`: header elements of every part beside the concatenation (national tables, ports).
    """
    total = len(parts)
    if method == "payload" and (total > 1 or len(parts[0]) > 254):
        whole = udh.whole(header) + b"".join(parts)
        return [PartFields(UDHI if header else 0, b"", {Tag.MESSAGE_PAYLOAD: whole})]
    if total == 1:
        return [PartFields(UDHI if header else 0, udh.whole(header) + parts[0], {})]
    return [_part(data, method, ref, total, n, header) for n, data in enumerate(parts, 1)]


def _part(data: bytes, method: Method, ref: int, total: int, n: int, header: bytes) -> PartFields:
    if method == "sar":
        tlvs = {
            int(Tag.SAR_MSG_REF_NUM): (ref & 0xFFFF).to_bytes(2, "big"),
            int(Tag.SAR_TOTAL_SEGMENTS): bytes((total,)),
            int(Tag.SAR_SEGMENT_SEQNUM): bytes((n,)),
        }
        return PartFields(UDHI if header else 0, udh.whole(header) + data, tlvs)
    head = udh.concat8(ref, total, n) if method == "udh8" else udh.concat16(ref, total, n)
    return PartFields(UDHI, (udh.whole(header, head) if header else head) + data, {})


@dataclass(frozen=True, slots=True, kw_only=True)
class UserData:
    """What one deliver_sm or submit_sm carries: `text`, or octets (`data`) where text is None.

    `data` never holds the header. `ports`: (destination, source). `flash`: class 0.
    """

    text: str | None
    data: bytes
    concat: Concat | None = None
    ports: tuple[int, int] | None = None
    flash: bool = False


def read_user_data(sm: Sm, default_alphabet: Alphabet = "gsm") -> UserData:
    """The user data of `sm`, with national tables where its header names them. Source: TS 23.038 §4, §6.2.1.2

    Raises SmppDecodeError (`data_coding`, ESME_RX_R_APPN) for compressed text, which TS 23.042 defines and nobody sends.
    """
    coding = sm.data_coding
    if compressed(coding):
        raise SmppDecodeError("data_coding", f"0x{coding:02X} is compressed text", Status.ESME_RX_R_APPN)
    header, data = _header_of(sm)
    text = None if is_binary(coding) else _text(data, coding, default_alphabet, header)
    return UserData(text=text, data=data, concat=header.concat, ports=header.ports, flash=is_flash(coding))


def compressed(data_coding: int) -> bool:
    """Whether the text is compressed. Source: TS 23.038 §4 (groups 00xx and 01xx, bit 5)"""
    return data_coding < 0x80 and bool(data_coding & 0x20)


def is_binary(data_coding: int) -> bool:
    """Whether the user data are octets, no text. Source: SMPP 3.4 §5.2.19, TS 23.038 §4"""
    if data_coding < 0x10:
        return data_coding in (2, 4)
    return (data_coding < 0x80 and data_coding >> 2 & 3 == 1) or data_coding & 0xF4 == 0xF4


def is_flash(data_coding: int) -> bool:
    """Whether the message is of class 0: shown at once, not kept. Source: TS 23.038 §4"""
    classed = (data_coding < 0x80 and bool(data_coding & 0x10)) or data_coding >= 0xF0
    return classed and data_coding & 3 == 0


def concat_of(sm: Sm) -> tuple[Concat | None, bytes]:
    """(which part this is, or None; the user data without its header). A broken header is left in the data."""
    header, data = _header_of(sm)
    return header.concat, data


def _header_of(sm: Sm) -> tuple[Header, bytes]:
    """A broken header is left in the data. A header of another kind (ports, say) may stand beside SAR TLVs."""
    header, data = Header(), sm.tlvs.get(Tag.MESSAGE_PAYLOAD, b"") or sm.short_message
    if sm.esm_class & UDHI:
        try:
            header, data = udh.read(data)
        except udh.UdhError:
            return header, data
    if header.concat is not None:
        return header, data
    ref, total, n = (
        sm.tlvs.get(tag, b"") for tag in (Tag.SAR_MSG_REF_NUM, Tag.SAR_TOTAL_SEGMENTS, Tag.SAR_SEGMENT_SEQNUM)
    )
    if len(ref) == 2 and len(total) == 1 and len(n) == 1 and 1 <= n[0] <= total[0]:
        header = replace(header, concat=Concat(int.from_bytes(ref, "big"), total[0], n[0], 16))
    return header, data


def decode_text(data: bytes, data_coding: int, default_alphabet: Alphabet = "gsm") -> str:
    """User data as text. Undecodable octets become U+FFFD. Source: SMPP 3.4 §5.2.19, TS 23.038 §4"""
    return _text(data, data_coding, default_alphabet, Header())


def _text(data: bytes, data_coding: int, default: Alphabet, header: Header) -> str:
    """A header that names national tables says that the data are GSM 7-bit, whatever the account's default is; npm `smpp`
    sends them with data_coding 1 (ASCII).
    """
    shifted = header.single or header.locking
    kind = "gsm" if shifted and data_coding <= 1 else _alphabet_of(data_coding, default)
    if kind == "gsm":
        if shifted:
            return national.tables(header.locking, header.single).decode(data)
        return alphabet.decode(data)
    if kind == "ucs2":
        return data.decode("utf-16-be", "replace")
    if kind == "ascii":
        return data.decode("ascii", "replace")
    return data.decode(kind, "replace")


_CODECS: Final = {
    1: "ascii",
    3: "latin-1",
    5: "shift_jis",
    6: "iso8859_5",
    7: "iso8859_8",
    10: "iso2022_jp",
    14: "euc_kr",
}


def _alphabet_of(data_coding: int, default: Alphabet) -> str:
    if data_coding == 0:
        return "latin-1" if default == "latin1" else default
    if data_coding == 8:
        return "ucs2"
    if data_coding in (2, 4):
        return "latin-1"  # octets: kept as they are
    if data_coding in _CODECS:
        return _CODECS[data_coding]
    group = data_coding >> 4
    if group <= 0x7:  # general data coding (TS 23.038 §4): bits 3..2 name the alphabet
        return ("gsm", "latin-1", "ucs2", "gsm")[data_coding >> 2 & 3]
    if group == 0xE:
        return "ucs2"
    if group == 0xF:
        return "latin-1" if data_coding & 4 else "gsm"
    return "gsm"
