"""What each SMPP error code means for the message: refused, try again, slow down, or the link itself is wrong.

Source: SMPP 3.4 §5.1.3 (table 5-2). Codes of a vendor's own (0x400–0x4FF) and unknown ones are tried again: a carrier
that means "never" says so with a code of the standard, and tries are counted.
"""

from typing import Final, Literal

import msgspec

from tidings.domain.attempt import PartRefused, PartRetry
from tidings.domain.message import MessageError

Meaning = Literal["permanent", "retry", "throttle", "link", "auth"]
SPEC: Final = "SMPP 3.4 §5.1.3"


class Status(msgspec.Struct, frozen=True):
    """One row: the spec's name, what it means for the message, our stable code and what a person should know."""

    name: str
    meaning: Meaning
    code: str
    detail: str


def _row(name: str, meaning: Meaning, code: str, detail: str) -> Status:
    return Status(name, meaning, code, detail)


TABLE: Final[dict[int, Status]] = {
    0x01: _row("ESME_RINVMSGLEN", "permanent", "message_too_long", "The carrier says the message length is wrong."),
    0x02: _row("ESME_RINVCMDLEN", "permanent", "malformed", "The carrier could not read the PDU's length."),
    0x03: _row("ESME_RINVCMDID", "permanent", "not_supported", "The carrier does not know this operation."),
    0x04: _row("ESME_RINVBNDSTS", "link", "not_bound", "The link is not bound for sending; it is opened again."),
    0x05: _row("ESME_RALYBND", "link", "already_bound", "The carrier says the link is bound already."),
    0x06: _row("ESME_RINVPRTFLG", "permanent", "invalid_priority", "The carrier refuses the priority flag."),
    0x07: _row("ESME_RINVREGDLVFLG", "permanent", "receipts_refused", "The carrier refuses to give receipts."),
    0x08: _row("ESME_RSYSERR", "retry", "carrier_error", "The carrier had an error of its own."),
    0x0A: _row("ESME_RINVSRCADR", "permanent", "invalid_sender", "The carrier refuses the sender."),
    0x0B: _row("ESME_RINVDSTADR", "permanent", "invalid_recipient", "The carrier says the number is not valid."),
    0x0C: _row("ESME_RINVMSGID", "permanent", "invalid_message_id", "The carrier does not know the message id."),
    0x0D: _row("ESME_RBINDFAIL", "auth", "bind_failed", "The carrier refused the bind."),
    0x0E: _row("ESME_RINVPASWD", "auth", "bad_password", "The carrier refused the password."),
    0x0F: _row("ESME_RINVSYSID", "auth", "bad_system_id", "The carrier does not know the system id."),
    0x11: _row("ESME_RCANCELFAIL", "permanent", "cancel_failed", "The carrier could not cancel."),
    0x13: _row("ESME_RREPLACEFAIL", "permanent", "replace_failed", "The carrier could not replace."),
    0x14: _row("ESME_RMSGQFUL", "throttle", "queue_full", "The carrier's queue is full."),
    0x15: _row("ESME_RINVSERTYP", "permanent", "invalid_service_type", "The carrier refuses the service type."),
    0x33: _row("ESME_RINVNUMDESTS", "permanent", "invalid_recipient", "The carrier refuses the number of recipients."),
    0x34: _row("ESME_RINVDLNAME", "permanent", "invalid_recipient", "The carrier does not know the list."),
    0x40: _row("ESME_RINVDESTFLAG", "permanent", "invalid_recipient", "The carrier refuses the destination flag."),
    0x42: _row("ESME_RINVSUBREP", "permanent", "not_supported", "The carrier refuses replace-if-present."),
    0x43: _row("ESME_RINVESMCLASS", "permanent", "not_supported", "The carrier refuses the esm_class (the UDH)."),
    0x44: _row("ESME_RCNTSUBDL", "permanent", "not_supported", "The carrier cannot submit to a list."),
    0x45: _row("ESME_RSUBMITFAIL", "retry", "submit_failed", "The carrier could not take the message."),
    0x48: _row("ESME_RINVSRCTON", "permanent", "invalid_sender", "The carrier refuses the sender's type of number."),
    0x49: _row("ESME_RINVSRCNPI", "permanent", "invalid_sender", "The carrier refuses the sender's numbering plan."),
    0x50: _row("ESME_RINVDSTTON", "permanent", "invalid_recipient", "The carrier refuses the number's type."),
    0x51: _row("ESME_RINVDSTNPI", "permanent", "invalid_recipient", "The carrier refuses the number's plan."),
    0x53: _row("ESME_RINVSYSTYP", "auth", "bad_system_type", "The carrier refuses the system type."),
    0x54: _row("ESME_RINVREPFLAG", "permanent", "not_supported", "The carrier refuses the replace flag."),
    0x55: _row("ESME_RINVNUMMSGS", "permanent", "not_supported", "The carrier refuses the number of messages."),
    0x58: _row("ESME_RTHROTTLED", "throttle", "throttled", "The carrier says we send too fast."),
    0x61: _row("ESME_RINVSCHED", "permanent", "invalid_schedule", "The carrier refuses the delivery time."),
    0x62: _row("ESME_RINVEXPIRY", "permanent", "invalid_validity", "The carrier refuses the validity period."),
    0x63: _row("ESME_RINVDFTMSGID", "permanent", "not_supported", "The carrier does not know the canned message."),
    0x64: _row("ESME_RX_T_APPN", "retry", "carrier_busy", "The carrier cannot take the message now."),
    0x65: _row("ESME_RX_P_APPN", "permanent", "refused", "The carrier's application refuses the message."),
    0x66: _row("ESME_RX_R_APPN", "permanent", "refused", "The carrier's application rejects the message."),
    0x67: _row("ESME_RQUERYFAIL", "permanent", "query_failed", "The carrier could not answer the query."),
    0xC0: _row("ESME_RINVOPTPARSTREAM", "permanent", "malformed", "The carrier could not read the optional fields."),
    0xC1: _row("ESME_ROPTPARNOTALLWD", "permanent", "not_supported", "The carrier allows no such optional field."),
    0xC2: _row("ESME_RINVPARLEN", "permanent", "malformed", "The carrier says a field has the wrong length."),
    0xC3: _row("ESME_RMISSINGOPTPARAM", "permanent", "malformed", "The carrier misses an optional field."),
    0xC4: _row("ESME_RINVOPTPARAMVAL", "permanent", "malformed", "The carrier refuses an optional field's value."),
    0xFE: _row("ESME_RDELIVERYFAILURE", "retry", "delivery_failure", "The carrier could not deliver now."),
    0xFF: _row("ESME_RUNKNOWNERR", "retry", "unknown_error", "The carrier had an unknown error."),
}


def status_of(code: int) -> Status:
    """The row of `code`; codes outside the table mean "try again"."""
    row = TABLE.get(code)
    if row is not None:
        return row
    vendor = 0x400 <= code <= 0x4FF
    detail = f"The carrier answered with {'its own' if vendor else 'an unknown'} code 0x{code:08X}."
    return Status(f"0x{code:08X}", "retry", "vendor_error" if vendor else "unknown_error", detail)


def error_of(code: int) -> MessageError:
    """`code` as the error of a message."""
    row = status_of(code)
    final = row.meaning == "permanent"
    return MessageError(
        code=row.code,
        detail=row.detail,
        permanent=final,
        retryable=not final,
        provider_code=f"0x{code:08X} {row.name}" if row.name[0] == "E" else row.name,
        spec=SPEC,
    )


def refusal_of(code: int) -> PartRefused | PartRetry:
    """`code` as the outcome of a part (throttling is dealt with before it comes to an outcome)."""
    error = error_of(code)
    return PartRefused(error) if error.permanent else PartRetry(error)
