"""Complaints: what a mailbox provider sends when a person says that a mail is spam.

Source: RFC 5965 §2 (form), §3.1–3.2 (fields), §3.4 (types); RFC 6449 (how feedback loops are run)
"""

import re
from email.message import Message
from typing import Final

import msgspec

from tidings.protocols.mail import entity

_TYPE: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
#: Not complaints of a person: the mail system reports on signatures. Source: RFC 6591 §3.1
_NO_COMPLAINTS: Final = frozenset({"auth-failure", "not-spam", "opt-out-list"})


class Complaint(msgspec.Struct, frozen=True, kw_only=True):
    """A feedback report. `about`: message ids of the mail; `paths`: its return path, where the report says."""

    kind: str  # abuse, fraud, other, virus, opt-out
    about: tuple[str, ...]
    paths: tuple[str, ...]
    recipients: tuple[str, ...]

    @property
    def counts(self) -> bool:
        """Whether a person complained."""
        return self.kind not in _NO_COMPLAINTS


def parse(mail: Message) -> Complaint | None:
    """The feedback report that `mail` is, or None if it is none."""
    parts = entity.leaves(mail)
    report = next((part for part in parts if part.get_content_type() == "message/feedback-report"), None)
    if report is None:
        return None
    fields = _fields(report)
    kind = entity.header(fields, "Feedback-Type").lower()
    original = _original(parts)
    paths = [address for _, address in entity.mailboxes(fields, "Original-Mail-From")]
    recipients = [address for _, address in entity.mailboxes(fields, "Original-Rcpt-To")]
    about: list[str] = []
    if original is not None:
        paths += [address for _, address in entity.mailboxes(original, "Return-Path")]
        about = entity.message_ids(original, "Message-ID")
    return Complaint(
        kind=kind if _TYPE.fullmatch(kind) else "other",
        about=tuple(about[:10]),
        paths=tuple(paths[:10]),
        recipients=tuple(recipients[:100]),
    )


def _fields(report: Message) -> Message:
    """The report's fields: the standard library reads message/* as a mail within the mail."""
    inner = entity.children_of(report)
    return inner[0] if inner else entity.read(entity.octets(report).lstrip(b"\r\n"))


def _original(parts: list[Message]) -> Message | None:
    """The mail that was complained about. Source: RFC 5965 §2 (d)"""
    for part in parts:
        kind = part.get_content_type()
        if kind in ("message/rfc822", "message/global"):
            inner = entity.children_of(part)
            return inner[0] if inner else None
        if kind in ("text/rfc822-headers", "message/rfc822-headers"):
            return entity.read(entity.octets(part))
    return None
