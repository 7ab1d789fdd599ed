"""Read receipts. Source: RFC 8098 §3.1 (form), §3.2.6 (disposition)"""

from email.message import Message

import msgspec

from tidings.protocols.mail import entity


class ReadReceipt(msgspec.Struct, frozen=True):
    """`displayed`: a person opened the mail; else it was deleted, or only processed. `about`: its message ids."""

    displayed: bool
    about: tuple[str, ...]


def parse(mail: Message) -> ReadReceipt | None:
    """The receipt that `mail` is, or None if it is none."""
    for part in entity.leaves(mail):
        if part.get_content_type() != "message/disposition-notification":
            continue
        inner = entity.children_of(part)
        fields = inner[0] if inner else entity.read(entity.octets(part).lstrip(b"\r\n"))
        kind = entity.header(fields, "Disposition").lower().partition(";")[2].strip()
        about = tuple(entity.message_ids(fields, "Original-Message-ID")[:10])
        return ReadReceipt(kind.partition("/")[0].strip() == "displayed", about)
    return None
