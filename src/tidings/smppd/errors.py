"""Our refusals as command_status. Source: SMPP 3.4 §5.1.3"""

from typing import Final

from tidings.domain.errors import FieldError, InvalidRequest, Overloaded, RequestError, StoreError, StoreFull
from tidings.protocols.smpp.constants import Status

#: The text does not fit its data_coding, or the coding is none of ours. Version 3.4 has no code of its own for it.
#: Source: SMPP 5.0 §4.7.6
ESME_RINVDCS: Final = 0x104
_FIELDS: Final[tuple[tuple[str, int], ...]] = (
    ("/to", Status.ESME_RINVDSTADR),
    ("/from", Status.ESME_RINVSRCADR),
    ("/send_at", Status.ESME_RINVSCHED),
    ("/valid_", Status.ESME_RINVEXPIRY),
    ("/content", ESME_RINVDCS),
    ("/text", Status.ESME_RINVMSGLEN),
)


def status_of_field(field: FieldError) -> int:
    """The command_status of one bad field."""
    if field.pointer == "/text" and field.code == "encoding":
        return ESME_RINVDCS
    for pointer, status in _FIELDS:
        if field.pointer.startswith(pointer):
            return int(status)
    return int(Status.ESME_RSUBMITFAIL)


def status_of(error: RequestError | StoreError) -> int:
    """The command_status of a refusal. ESME_RTHROTTLED and ESME_RMSGQFUL say: nothing was taken, try again."""
    if isinstance(error, Overloaded):
        return int(Status.ESME_RTHROTTLED if error.status == 429 else Status.ESME_RMSGQFUL)
    if isinstance(error, StoreFull):
        return int(Status.ESME_RMSGQFUL)
    if isinstance(error, StoreError):
        return int(Status.ESME_RSYSERR)
    if isinstance(error, InvalidRequest) and error.errors:
        return status_of_field(error.errors[0])
    return int(Status.ESME_RSUBMITFAIL)
