"""What the push providers share: the part of a message that goes to one device, and what it says beside the notification."""

from typing import Final

from tidings.domain.attempt import PartRefused, Submission
from tidings.domain.message import MessageError
from tidings.domain.push import ACK_KEY, PushContent

NO_CONTENT: Final = PushContent()


def content_of(submission: Submission) -> PushContent:
    """What the message says."""
    return submission.content if isinstance(submission.content, PushContent) else NO_CONTENT


def data_of(submission: Submission, index: int) -> dict[str, str]:
    """The app's own fields. The acknowledgement's token is that of the message; here it gets the device's number."""
    data = content_of(submission).data
    return data | {ACK_KEY: f"{data[ACK_KEY]}.{index}"} if ACK_KEY in data else data


def refused(code: str, detail: str, suppress: str | None = None) -> PartRefused:
    """Not sent: it is wrong on this side of the wire already."""
    return PartRefused(MessageError(code=code, detail=detail), suppress)
