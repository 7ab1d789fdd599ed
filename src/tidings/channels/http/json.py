"""JSON that a carrier sent."""

import msgspec


def json_of(body: bytes) -> object:
    """The JSON value of a body; None if it is none."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
