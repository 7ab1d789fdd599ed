"""Concatenation over SMPP, both ways, and user data as text. Source: SMPP 3.4 §5.3.2.22–24, 5.3.2.32; 3GPP TS 23.040 §9.2.3.24"""

from dataclasses import dataclass
from typing import Final, Literal

from tidings.protocols.gsm import alphabet, udh
from tidings.protocols.gsm.udh import Concat
from tidings.protocols.smpp.constants import Tag
from tidings.protocols.smpp.pdu import Sm

Method = Literal["udh8", "udh16", "sar", "payload"]
Alphabet = Literal["gsm", "latin1", "ascii", "ucs2"]
UDHI: Final = 0x40


@dataclass(frozen=True, slots=True)
class PartFields:
    """What one part puts into its submit_sm."""

    esm_class: int
    short_message: bytes
    tlvs: dict[int, bytes]


def parts_for(parts: tuple[bytes, ...], method: Method, ref: int) -> list[PartFields]:
    """The submit_sm fields of each part. With `payload` the whole text goes in one message_payload TLV."""
    total = len(parts)
    if method == "payload" and (total > 1 or len(parts[0]) > 254):
        return [PartFields(0, b"", {Tag.MESSAGE_PAYLOAD: b"".join(parts)})]
    if total == 1:
        return [PartFields(0, parts[0], {})]
    return [_part(data, method, ref, total, n) for n, data in enumerate(parts, 1)]


def _part(data: bytes, method: Method, ref: int, total: int, n: int) -> PartFields:
    if method == "sar":
        tlvs = {
            int(Tag.SAR_MSG_REF_NUM): (ref & 0xFFFF).to_bytes(2, "big"),
            int(Tag.SAR_TOTAL_SEGMENTS): bytes((total,)),
            int(Tag.SAR_SEGMENT_SEQNUM): bytes((n,)),
        }
        return PartFields(0, data, tlvs)
    head = udh.concat8(ref, total, n) if method == "udh8" else udh.concat16(ref, total, n)
    return PartFields(UDHI, head + data, {})


def concat_of(sm: Sm) -> tuple[Concat | None, bytes]:
    """(which part this is, or None; the user data without its header). A broken header is left in the data."""
    data = sm.tlvs.get(Tag.MESSAGE_PAYLOAD, b"") or sm.short_message
    if sm.esm_class & UDHI:
        try:
            concat, data = udh.parse(data)
        except udh.UdhError:
            return None, data
        if concat is not None:
            return concat, data  # a header of another kind (ports, say) may stand beside SAR TLVs
    ref, total, n = (
        sm.tlvs.get(tag, b"") for tag in (Tag.SAR_MSG_REF_NUM, Tag.SAR_TOTAL_SEGMENTS, Tag.SAR_SEGMENT_SEQNUM)
    )
    if len(ref) == 2 and len(total) == 1 and len(n) == 1 and 1 <= n[0] <= total[0]:
        return Concat(int.from_bytes(ref, "big"), total[0], n[0], 16), data
    return None, data


def decode_text(data: bytes, data_coding: int, default_alphabet: Alphabet = "gsm") -> str:
    """User data as text. Undecodable octets become U+FFFD. Source: SMPP 3.4 §5.2.19, TS 23.038 §4"""
    kind = _alphabet_of(data_coding, default_alphabet)
    if kind == "gsm":
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
