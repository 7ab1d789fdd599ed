"""What the push providers share: the part of a message that goes to one device, and what it says beside the notification."""

import base64
import hashlib
import uuid
from typing import Any, Final

from tidings.domain.attempt import PartRefused, PartSent, Submission
from tidings.domain.message import MessageError
from tidings.domain.push import ACK_KEY, PushContent

NO_CONTENT: Final = PushContent()
TOPIC_CHARS: Final = 32  # RFC 8030 §5.4


def content_of(submission: Submission) -> PushContent:
    """What the message says."""
    return submission.content if isinstance(submission.content, PushContent) else NO_CONTENT


def data_of(submission: Submission, index: int) -> dict[str, str]:
    """The app's own fields. The acknowledgement's token is that of the message; here it gets the device's number."""
    data = content_of(submission).data
    return data | {ACK_KEY: f"{data[ACK_KEY]}.{index}"} if ACK_KEY in data else data


def taken(ref: object, most_chars: int) -> PartSent:
    """A service took the part. Where it gives no id that can be used, it gets one here: acknowledgements find the part by it.

    Whatever else the answer says, it was taken: another try would be a second notification.
    """
    good = isinstance(ref, str) and 0 < len(ref) <= most_chars and ref.isprintable()
    return PartSent(str(ref) if good else f"push-{uuid.uuid4().hex}")


def refused(code: str, detail: str, suppress: str | None = None) -> PartRefused:
    """Not sent: it is wrong on this side of the wire already."""
    return PartRefused(MessageError(code=code, detail=detail), suppress)


def topic_of(collapse_key: str) -> str:
    """A Topic header: 32 characters of base64url, whatever the key is. Source: RFC 8030 §5.4"""
    hashed = hashlib.sha256(collapse_key.encode()).digest()
    return base64.urlsafe_b64encode(hashed)[:TOPIC_CHARS].decode()


def some(**fields: Any) -> dict[str, Any]:
    """The fields that are there."""
    return {name: value for name, value in fields.items() if value not in (None, {})}
