"""Delivery status notifications: what a mail system says became of a mail, and of the odd ones that say it their own way.

Source: RFC 3464 §2.1 (form), §2.2 (per message), §2.3 (per recipient); RFC 3462 (multipart/report); RFC 6533 (the same,
internationalised); RFC 3463 (status codes)
"""

import re
from email.message import Message
from typing import Final, Literal

import msgspec
from flufl.bounce import all_failures  # pyright: ignore[reportUnknownVariableType]

from tidings.protocols.mail import entity

Action = Literal["failed", "delayed", "delivered", "relayed", "expanded"]
_ACTIONS: Final[dict[str, Action]] = {
    "failed": "failed", "delayed": "delayed", "delivered": "delivered", "relayed": "relayed", "expanded": "expanded",
}  # fmt: skip
_STATUS: Final = re.compile(r"\b([245])\.(\d{1,3})\.(\d{1,3})\b")
_RECIPIENTS: Final = 100
_TEXT: Final = 2_000


class Fate(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the mail for one recipient. `status` is an enhanced status code, empty where none was given."""

    recipient: str
    action: Action
    status: str = ""
    diagnostic: str = ""
    remote: str = ""  # the mail system that said so
    original: bool = False  # `recipient` is as the sender wrote it, before any forwarding

    @property
    def permanent(self) -> bool:
        """Whether it failed for good. A failure with a status of class 4 was given up after trying, not refused."""
        return self.action == "failed" and not self.status.startswith("4")


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """A whole notification. `about`: message ids of the mail it speaks of."""

    fates: tuple[Fate, ...]
    envelope_id: str = ""
    about: tuple[str, ...] = ()
    standard: bool = True  # as RFC 3464 says; else read by flufl.bounce


def parse(mail: Message) -> Notification | None:
    """The notification that `mail` is, or None if it is none."""
    blocks = _status_blocks(mail)
    if blocks:
        fates = tuple(fate for block in blocks[1:] if (fate := _fate(block)) is not None)
        if fates:
            envelope = entity.header(blocks[0], "Original-Envelope-Id")[:200]
            return Notification(fates=fates[:_RECIPIENTS], envelope_id=envelope, about=_about(mail))
    return _odd(mail)


def _status_blocks(mail: Message) -> list[Message]:
    """The groups of fields of the first message/delivery-status part. Source: RFC 3464 §2.1"""
    for part in entity.leaves(mail):
        if part.get_content_type() in ("message/delivery-status", "message/global-delivery-status"):
            blocks = entity.children_of(part)
            if len(blocks) == 1:  # a part in base64 is not split by the parser
                text = entity.octets(part).decode("utf-8", "replace").replace("\r\n", "\n")
                blocks = [entity.read(piece.encode()) for piece in re.split(r"\n{2,}", text.strip())]
            return blocks[: _RECIPIENTS + 1]
    return []


def _fate(block: Message) -> Fate | None:
    action = _ACTIONS.get(entity.header(block, "Action").lower().split(" ")[0])
    original = _typed(entity.header(block, "Original-Recipient"))
    recipient = original or _typed(entity.header(block, "Final-Recipient"))
    if action is None:
        return None
    diagnostic = _typed(entity.header(block, "Diagnostic-Code"))[:_TEXT]
    return Fate(
        recipient=recipient[:320],
        action=action,
        status=_status(entity.header(block, "Status")) or _status(diagnostic),
        diagnostic=diagnostic,
        remote=_typed(entity.header(block, "Remote-MTA"))[:255],
        original=bool(original),
    )


def _typed(value: str) -> str:
    """`rfc822; a@b` without its type."""
    kind, semicolon, rest = value.partition(";")
    return (rest if semicolon else kind).strip().strip("<>")


def _status(text: str) -> str:
    found = _STATUS.search(text)
    return found[0] if found else ""


def _about(mail: Message) -> tuple[str, ...]:
    """Message ids of the mail that came back, as a whole or as its headers."""
    for part in entity.leaves(mail):
        kind = part.get_content_type()
        if kind in ("message/rfc822", "message/global"):
            return tuple(id for inner in entity.children_of(part) for id in entity.message_ids(inner, "Message-ID"))
        if kind in ("text/rfc822-headers", "message/rfc822-headers", "message/global-headers"):
            return tuple(entity.message_ids(entity.read(entity.octets(part)), "Message-ID"))
    return ()


def _odd(mail: Message) -> Notification | None:
    """What flufl.bounce finds in bounces of mail systems that do not speak RFC 3464."""
    try:
        found = all_failures(mail)
    except Exception:  # a library of forty readers of strange mails: none of them may stop the next mail
        return None
    text = _first_text(mail)
    status = _status(text)
    told: list[tuple[Action, bytes]] = []
    told.extend(("delayed", one) for one in sorted(found[0]))
    told.extend(("failed", one) for one in sorted(found[1]))
    fates = [
        Fate(recipient=address.decode("utf-8", "replace"), action=action, status=status, diagnostic=text[:_TEXT])
        for action, address in told
    ]
    return Notification(fates=tuple(fates[:_RECIPIENTS]), about=_about(mail), standard=False) if fates else None


def _first_text(mail: Message) -> str:
    for part in entity.leaves(mail):
        if part.get_content_type() == "text/plain":
            return entity.words(part)
    return ""
