"""Delivery receipts: TLVs first, then a tolerant reading of the text. Source: SMPP 3.4 §5.2.28, Appendix B"""

import datetime as dt
import re
from functools import lru_cache
from typing import Final, Literal

import msgspec

from tidings.protocols.smpp.constants import Tag
from tidings.protocols.smpp.pdu import Sm

State = Literal[
    "enroute", "accepted", "delivered", "expired", "deleted", "undeliverable", "rejected", "unknown", "skipped"
]
_BY_NUMBER: Final[dict[int, State]] = {
    0: "enroute", 1: "enroute", 2: "delivered", 3: "expired", 4: "deleted", 5: "undeliverable", 6: "accepted", 7: "unknown",
    8: "rejected", 9: "skipped",
}  # fmt: skip
_BY_WORD: Final[dict[str, State]] = {
    "DELIVRD": "delivered", "DELIVERED": "delivered", "EXPIRED": "expired", "DELETED": "deleted", "UNDELIV": "undeliverable",
    "UNDELIVERABLE": "undeliverable", "UNDELIVERED": "undeliverable", "FAILED": "undeliverable", "ACCEPTD": "accepted",
    "ACCEPTED": "accepted", "UNKNOWN": "unknown", "REJECTD": "rejected", "REJECTED": "rejected", "ENROUTE": "enroute",
    "BUFFERED": "enroute", "SKIPPED": "skipped", "SCHEDULED": "enroute",
}  # fmt: skip
_WORDS: Final[dict[State, str]] = {
    "delivered": "DELIVRD", "expired": "EXPIRED", "deleted": "DELETED", "undeliverable": "UNDELIV", "accepted": "ACCEPTD",
    "unknown": "UNKNOWN", "rejected": "REJECTD", "enroute": "ENROUTE", "skipped": "SKIPPED",
}  # fmt: skip
#: Keys of the text, in any case, with or without the space, parted by blanks, commas or semicolons; a value may be missing.
_NAMES: Final = "id|sub|dlvrd|submit[ _]?date|done[ _]?date|stat|status|err"
_KEY: Final = re.compile(rf"(?:^|(?<=[\s,;]))({_NAMES})\s*:\s*((?!(?:{_NAMES})\s*:)[^\s,;]*)", re.IGNORECASE)
#: What stands behind it is the message's own text, not ours to read.
_TEXT: Final = re.compile(r"(?:^|[\s,;])text\s*:", re.IGNORECASE)
#: The text as Appendix B shows it, and most carriers write it. `_tolerant` reads the same out of it, at several times the
#: price: without a colon in it no value can be taken for a key.
_VALUE: Final = r"([^\s,;:]+)"
_PLAIN: Final = re.compile(
    rf"id:{_VALUE} sub:[^\s,;:]+ dlvrd:[^\s,;:]+ submit date:{_VALUE} done date:{_VALUE} stat:{_VALUE} err:{_VALUE}"
    r"(?:\Z| [Tt]ext:)"
)
#: The most digits of an id that are read as a number: 64 bits. Also keeps hostile ids away from int().
_MOST_DECIMALS: Final = 20
_MOST_HEX: Final = 16
_HEX: Final = re.compile(r"[0-9a-f]+")
#: Plain numbers: a look at a member of an enumeration is a function call, and a receipt needs six.
_PAYLOAD, _ID, _STATE = int(Tag.MESSAGE_PAYLOAD), int(Tag.RECEIPTED_MESSAGE_ID), int(Tag.MESSAGE_STATE)
_REFERENCE, _ERROR = int(Tag.USER_MESSAGE_REFERENCE), int(Tag.NETWORK_ERROR_CODE)


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What a carrier says of one part. Dates are naive, in the carrier's own zone (usually UTC)."""

    message_id: str
    state: State
    error: str | None = None
    submit_at: dt.datetime | None = None
    done_at: dt.datetime | None = None
    user_message_reference: int | None = None

    @property
    def final(self) -> bool:
        """Whether no other state may follow. ACCEPTD and ENROUTE are on the way."""
        return self.state not in ("enroute", "accepted")


def state_of(number: int) -> State:
    """The state of a message_state; "unknown" for a number that the specification does not name. Source: §5.2.28"""
    return _BY_NUMBER.get(number, "unknown")


def is_receipt(sm: Sm) -> bool:
    """By esm_class: a receipt (0x04) or an intermediate notification (0x20). Source: §5.2.12"""
    return bool(sm.esm_class & 0x24) or _ID in sm.tlvs


def parse_receipt(sm: Sm) -> Receipt | None:
    """The receipt in a deliver_sm or data_sm; None if it is a message, or names no message id."""
    if not is_receipt(sm):
        return None
    tlv = sm.tlvs.get
    raw = sm.short_message or tlv(_PAYLOAD, b"")
    wide = raw[:1] == b"\0"  # some carriers write the whole receipt in UCS-2; others only copy data_coding 8
    text = raw.decode("utf-16-be", "replace") if wide else raw.decode("latin-1")
    own_id, submit_date, done_date, word, error = _words(text)
    message_id = tlv(_ID, b"").split(b"\0", 1)[0].decode("latin-1").strip() or own_id
    if not message_id:
        return None
    number = tlv(_STATE, b"")
    state = _BY_NUMBER.get(number[0]) if len(number) == 1 else None
    if state is None:
        state = _BY_WORD.get(word.upper().rstrip(".,;"), "unknown")
    reference = tlv(_REFERENCE, b"")
    return Receipt(
        message_id=message_id,
        state=state,
        error=_network_error(tlv(_ERROR, b"")) or error or None,
        submit_at=_date(submit_date[:15]),
        done_at=_date(done_date[:15]),
        user_message_reference=int.from_bytes(reference, "big") if len(reference) == 2 else None,
    )


def _words(text: str) -> tuple[str, ...]:
    """id, submit date, done date, state, error; "" where the text says nothing of it."""
    plain = _PLAIN.match(text)
    return plain.groups() if plain is not None else _tolerant(text)


def _tolerant(text: str) -> tuple[str, ...]:
    said = _fields(text).get
    state = said("stat") or said("status") or ""
    return said("id", ""), said("submitdate", ""), said("donedate", ""), state, said("err", "")


def _fields(text: str) -> dict[str, str]:
    end = _TEXT.search(text)
    found: dict[str, str] = {}
    for key, value in _KEY.findall(text[: end.start()] if end else text):
        found.setdefault(key.lower().replace(" ", "").replace("_", ""), value)
    return found


def _network_error(value: bytes) -> str | None:
    return f"{value[0]}:{int.from_bytes(value[1:3], 'big')}" if len(value) == 3 else None


@lru_cache(maxsize=1024)  # strptime was the dearest part of a receipt, and dates repeat
def _date(text: str) -> dt.datetime | None:
    """`YYMMDDhhmm`, `YYMMDDhhmmss`, or 14 digits with the century."""
    form = {10: "%y%m%d%H%M", 12: "%y%m%d%H%M%S", 14: "%Y%m%d%H%M%S"}.get(len(text))
    if form is None or not text.isdigit():
        return None
    try:
        return dt.datetime.strptime(text, form)  # noqa: DTZ007 - the specification names no zone
    except ValueError:
        return None


def format_receipt(
    message_id: str, state: State, submit_at: dt.datetime, done_at: dt.datetime, *, error: str = "000", text: str = ""
) -> bytes:
    """The text of a receipt as Appendix B shows it, at most 254 octets."""
    delivered = "001" if state == "delivered" else "000"
    line = (
        f"id:{message_id} sub:001 dlvrd:{delivered} submit date:{submit_at:%y%m%d%H%M} done date:{done_at:%y%m%d%H%M}"
        f" stat:{_WORDS[state]} err:{error} text:{text[:20]}"
    )
    return line.encode("latin-1", "replace")[:254]


def canonical_id(message_id: str) -> str:
    """Lower case, without leading zeros: how ids are kept."""
    return message_id.strip().lower().lstrip("0") or "0"


def id_candidates(message_id: str) -> tuple[str, ...]:
    """The keys under which the id of a receipt may have been kept: as it is, read as decimal, read as hexadecimal.

    Some carriers answer a submit with a hexadecimal id and send the receipt with a decimal one, or the other way.
    """
    own = canonical_id(message_id)
    found = [own]
    if len(own) <= _MOST_DECIMALS and own.isascii() and own.isdigit():
        found.append(f"{int(own):x}")
    if len(own) <= _MOST_HEX and _HEX.fullmatch(own):
        found.append(str(int(own, 16)))
    return tuple(dict.fromkeys(found))
