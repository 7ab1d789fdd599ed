"""Our nouns in Twilio's words: SIDs, statuses, error codes. Source: Twilio API 2010-04-01, "Message resource"."""

from typing import Any, Final

#: Status of a message resource, by our status.
STATUS: Final = {
    "accepted": "queued", "scheduled": "scheduled", "held": "queued", "queued": "queued", "sending": "sending",
    "sent": "sent", "partially_delivered": "sent", "delivered": "delivered", "undelivered": "undelivered",
    "failed": "failed", "expired": "failed", "canceled": "canceled", "suppressed": "failed",
}  # fmt: skip
#: The statuses that a callback tells of. `accepted` is Twilio's `queued`: it comes once for a message sent at once.
CALLBACK_STATUS: Final = {
    word: STATUS[word] for word in STATUS if word not in ("held", "queued", "partially_delivered")
}
_UNKNOWN_ERROR: Final = 30008
#: Twilio's error codes by ours, where one says the same.
_OF_CODE: Final = {
    "suppressed": 21610, "expired": 30036, "unreachable": 30003, "blocked": 30004, "unknown_number": 30005,
    "invalid_number": 30005, "filtered": 30007, "queue_full": 30001, "no_provider": 30008,
}  # fmt: skip
_TEXTS: Final = {
    21610: "Attempt to send to unsubscribed recipient", 30001: "Queue overflow", 30003: "Unreachable destination handset",
    30004: "Message blocked", 30005: "Unknown destination handset", 30007: "Message filtered", 30008: "Unknown error",
    30036: "Validity Period Expired",
}  # fmt: skip
ENDED_BADLY: Final = frozenset({"undelivered", "failed", "expired", "suppressed"})


def account_sid(project: str) -> str:
    """`AC` and the 32 hex digits of the project's id."""
    return "AC" + project.partition("_")[2]


def key_sid(key: str) -> str:
    """`SK` and the 32 hex digits of the key's id."""
    return "SK" + key.partition("_")[2]


def service_sid(project: str) -> str:
    """`MG` and the digits of the project's id: its one Messaging Service, which is the carrier's default sender."""
    return "MG" + project.partition("_")[2]


def message_sid(id: str) -> str:
    """`SM` and the 32 hex digits of a message's id, sent or received."""
    return "SM" + id.partition("_")[2]


def digits_of(sid: str, prefix: str) -> str | None:
    """The 32 hex digits behind the prefix; None for anything else."""
    rest = sid[len(prefix) :].lower()
    good = sid.startswith(prefix) and len(rest) == 32 and all(c in "0123456789abcdef" for c in rest)
    return rest if good else None


def error_code_of(status: str, error: dict[str, Any] | None) -> int | None:
    """Twilio's code for a message that ended badly, else None."""
    if status not in ENDED_BADLY:
        return None
    code = str((error or {}).get("code", status))
    return _OF_CODE.get(code, _OF_CODE.get(status, _UNKNOWN_ERROR))


def error_text(code: int | None, error: dict[str, Any] | None) -> str | None:
    """What went wrong, in our words where we have them."""
    if code is None:
        return None
    return str((error or {}).get("detail") or _TEXTS.get(code, "Unknown error"))
