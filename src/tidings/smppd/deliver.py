"""Events as deliver_sm: receipts of what the key sent, and what people wrote to the project. Pure.

Source: SMPP 3.4 §4.6.1, §5.2.12, §5.3.2.12, §5.3.2.35, Appendix B
"""

import datetime as dt
import re
from typing import Any, Final

from tidings.domain.event import Event
from tidings.domain.sms import read_sms
from tidings.domain.view import StoredMessage
from tidings.protocols.gsm import segments
from tidings.protocols.gsm.segments import SegmentError
from tidings.protocols.smpp.concat import Alphabet, parts_for
from tidings.protocols.smpp.constants import Tag
from tidings.protocols.smpp.pdu import Sm, encode_sm, encode_tlvs
from tidings.protocols.smpp.receipt import format_receipt
from tidings.smppd import ids
from tidings.smppd.account import Account
from tidings.smppd.address import written
from tidings.smppd.operations import NUMBERS, STATES
from tidings.smppd.submit import Origin, origin_of
from tidings.store.lists import StoredInbound, Subjects

RECEIVED: Final = "message.received"
#: The events that a session hears of.
TYPES: Final = [*(f"message.{status}" for status in STATES), RECEIVED]
_RECEIPT: Final = 0x04
_SANDBOX: Final = "sandbox"
#: Characters that are the same octets in ASCII and in the GSM alphabet: how clients read a receipt is their choice.
_NOT_PLAIN: Final = re.compile(r"[^A-Za-z0-9 .,;:!?'\"()/*+<=>%&-]")
_DIGITS: Final = re.compile(r"\d+")


class Delivery:
    """One deliver_sm until it is acknowledged. `tlvs` are left out for a client of version 3.3. `era`: the pump's own mark."""

    __slots__ = ("body", "due_s", "era", "first_s", "sent_s", "seq", "tlvs", "tries")

    def __init__(self, seq: int, body: bytes, tlvs: bytes = b"") -> None:
        self.seq, self.body, self.tlvs = seq, body, tlvs
        self.era: object = None
        self.tries, self.due_s, self.first_s, self.sent_s = 0, 0.0, 0.0, 0.0


def deliveries(account: Account, event: Event, subjects: Subjects, alphabet: Alphabet) -> list[Delivery]:
    """What the key's receivers are told of this event; nothing for most."""
    if event.message is None:
        return []
    if event.type == RECEIVED:
        item = subjects.inbound.get(event.message)
        if item is None or (item.provider == _SANDBOX) != (account.mode == "test"):
            return []
        return _inbound(event.seq, item, alphabet)
    found = subjects.messages.get(event.message)
    origin = origin_of(found.message.personal.metadata) if found is not None else None
    if found is None or origin is None or origin.account != account.id:
        return []
    return _receipts(event, found, origin)


def _receipts(event: Event, found: StoredMessage, origin: Origin) -> list[Delivery]:
    """One for each id that the submit was answered with."""
    state = STATES[event.type.removeprefix("message.")]
    delivered = state == "delivered"
    if origin.receipts == "none" or origin.receipts == ("failures" if delivered else "successes"):
        return []
    message = found.message
    source, destination = written(message.personal.to), written(message.personal.sender)
    told: list[Delivery] = []
    for id in origin.ids or (message.id,):
        text = format_receipt(
            ids.shown(id), state, _utc(message.created_ms), _utc(event.at_ms),
            error="000" if delivered else _error(found.error), text=_NOT_PLAIN.sub("", message.personal.text or ""),
        )  # fmt: skip
        tlvs = {
            int(Tag.RECEIPTED_MESSAGE_ID): ids.shown(id).encode() + b"\0",
            int(Tag.MESSAGE_STATE): bytes((NUMBERS[state],)),
        }
        if origin.user_ref is not None:
            tlvs[int(Tag.USER_MESSAGE_REFERENCE)] = origin.user_ref.to_bytes(2, "big")
        sm = Sm(esm_class=_RECEIPT, short_message=text, **_addresses(source, destination))
        told.append(Delivery(event.seq, encode_sm(sm), encode_tlvs(tlvs)))
    return told


def _inbound(seq: int, item: StoredInbound, alphabet: Alphabet) -> list[Delivery]:
    plan = _plan(item, alphabet)
    who = _addresses(written(item.sender), written(item.to))
    return [
        Delivery(
            seq, encode_sm(Sm(esm_class=part.esm_class, data_coding=plan.data_coding, short_message=part.short_message, **who)),
            encode_tlvs(part.tlvs) if part.tlvs else b"",
        )
        for part in parts_for(plan.parts, "udh8", seq & 0xFF, plan.header)
    ]  # fmt: skip


def _plan(item: StoredInbound, alphabet: Alphabet) -> segments.Segments:
    if item.content is not None:
        content = read_sms(item.content)
        return segments.plan_binary(content.octets, ports=content.ports)
    text = (item.text or "").replace("\0", "")
    try:
        return segments.plan(text, encoding=_encoding(text, alphabet))
    except SegmentError:  # half of a surrogate pair: somebody's phone wrote it
        return segments.plan(text.encode("utf-16", "replace").decode("utf-16"), encoding="ucs2")


def _encoding(text: str, alphabet: Alphabet) -> segments.Encoding:
    """A client whose data_coding 0 is no GSM alphabet gets what says by its number what it is."""
    if alphabet == "gsm":
        return "auto"
    return "latin1" if all(ord(char) < 256 for char in text) else "ucs2"


def _addresses(source: tuple[int, int, bytes], destination: tuple[int, int, bytes]) -> dict[str, Any]:
    return {
        "source_addr_ton": source[0], "source_addr_npi": source[1], "source_addr": source[2],
        "dest_addr_ton": destination[0], "dest_addr_npi": destination[1], "destination_addr": destination[2],
    }  # fmt: skip


def _error(error: dict[str, Any] | None) -> str:
    """Three digits: the end of the carrier's own code where it has digits, else 001. Source: Appendix B"""
    digits = _DIGITS.findall(str((error or {}).get("provider_code") or ""))
    return (digits[-1][-3:].zfill(3) if digits else "000").replace("000", "001")


def _utc(ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(ms / 1000, dt.UTC)
