"""Errors that came from this side of the wire: nothing reached the carrier."""

from tidings.domain.message import MessageError


def local_error(code: str, detail: str) -> MessageError:
    """One that may be tried again."""
    return MessageError(code=code, detail=detail, permanent=False, retryable=True)
