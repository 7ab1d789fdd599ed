"""Delivery receipts: TLVs first, then a tolerant reading of the text. Source: SMPP 3.4 §5.2.28, Appendix B"""

import datetime as dt
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

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
#: The most digits of an id that are read as a number: 64 bits. Also keeps hostile ids away from int().
_MOST_DECIMALS: Final = 20
_MOST_HEX: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
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
    return bool(sm.esm_class & 0x24) or Tag.RECEIPTED_MESSAGE_ID in sm.tlvs


def parse_receipt(sm: Sm) -> Receipt | None:
    """The receipt in a deliver_sm or data_sm; None if it is a message, or names no message id."""
    if not is_receipt(sm):
        return None
    raw = sm.short_message or sm.tlvs.get(Tag.MESSAGE_PAYLOAD, b"")
    wide = raw[:1] == b"\0"  # some carriers write the whole receipt in UCS-2; others only copy data_coding 8
    fields = _fields(raw.decode("utf-16-be", "replace") if wide else raw.decode("latin-1"))
    tlv_id = sm.tlvs.get(Tag.RECEIPTED_MESSAGE_ID, b"").split(b"\0", 1)[0].decode("latin-1").strip()
    message_id = tlv_id or fields.get("id", "")
    if not message_id:
        return None
    tlv_state = sm.tlvs.get(Tag.MESSAGE_STATE, b"")
    state = _BY_NUMBER.get(tlv_state[0]) if len(tlv_state) == 1 else None
    if state is None:
        word = fields.get("stat") or fields.get("status") or ""
        state = _BY_WORD.get(word.upper().rstrip(".,;"), "unknown")
    reference = sm.tlvs.get(Tag.USER_MESSAGE_REFERENCE, b"")
    return Receipt(
        message_id=message_id,
        state=state,
        error=_network_error(sm) or fields.get("err") or None,
        submit_at=_date(fields.get("submitdate", "")[:15]),
        done_at=_date(fields.get("donedate", "")[:15]),
        user_message_reference=int.from_bytes(reference, "big") if len(reference) == 2 else None,
    )


def _fields(text: str) -> dict[str, str]:
    end = _TEXT.search(text)
    found: dict[str, str] = {}
    for key, value in _KEY.findall(text[: end.start()] if end else text):
        found.setdefault(key.lower().replace(" ", "").replace("_", ""), value)
    return found


def _network_error(sm: Sm) -> str | None:
    value = sm.tlvs.get(Tag.NETWORK_ERROR_CODE, b"")
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
    if len(own) <= _MOST_HEX and re.fullmatch(r"[0-9a-f]+", own):
        found.append(str(int(own, 16)))
    return tuple(dict.fromkeys(found))
