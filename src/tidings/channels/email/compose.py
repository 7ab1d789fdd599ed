"""A submission as a mail: addresses, ids that lead back to the attempt, signature. Pure."""

import base64
import hmac
from hashlib import sha256
from typing import Final

import msgspec

from tidings.domain.attempt import Submission
from tidings.domain.email import EmailContent, mailbox
from tidings.domain.message import MessageError
from tidings.protocols.mail import mime, token
from tidings.protocols.mail.dkim import DkimKey, signed
from tidings.protocols.mail.headers import HeaderError, Mailbox, structured
from tidings.protocols.mail.mime import Attachment, Mail
from tidings.protocols.mail.reply import text_of_html

SPEC: Final = "RFC 5322"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """How a provider's mails name themselves. `key` signs what leads back; without it nothing does."""

    sender: str = ""  # for messages without `from`
    key: bytes = b""
    bounce_domain: str = ""
    reply_domain: str = ""
    dkim: tuple[DkimKey, ...] = ()
    read_receipts: bool = False


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A mail ready for the wire. `ref` is what the carrier's word on it will be matched with."""

    ref: str
    sender: str  # of the envelope
    recipient: str
    data: bytes
    internationalised: bool
    eight_bit: bool


class Unsendable(ValueError):
    """The mail cannot be written; `error` says why."""

    def __init__(self, error: MessageError) -> None:
        super().__init__(error.detail)
        self.error = error


def key_of(secret: str) -> bytes:
    """The octets that sign, from an operator's secret of any form."""
    return hmac.digest(b"tidings mail key", secret.encode(), sha256) if secret else b""


def mail_of(submission: Submission, identity: Identity, now_ms: int) -> Mail:
    """What the mail says. Raises Unsendable."""
    content = submission.content
    if not isinstance(content, EmailContent):
        raise Unsendable(MessageError(code="unsupported", detail="This provider sends emails only."))
    sender = _box("from", submission.sender or identity.sender)
    extra: list[tuple[str, str]] = list(content.headers.items())
    unsubscribe = content.list_unsubscribe or ""
    mailto = unsubscribe.lower().startswith("mailto:")
    return Mail(
        sender=sender,
        to=(_box("to", submission.to),),
        subject=content.subject,
        message_id=message_id(submission.attempt_id, identity, sender),
        date_ms=now_ms,
        text=content.text if content.text is not None or content.html is None else text_of_html(content.html),
        html=content.html,
        reply_to=_reply_to(submission, content, identity, sender),
        attachments=tuple(
            Attachment(
                name=item.name, media=item.media_type, data=base64.b64decode(item.data), content_id=item.content_id or ""
            )
            for item in content.attachments
        ),
        headers=tuple(extra),
        unsubscribe_url="" if mailto else unsubscribe,
        unsubscribe_mailto=unsubscribe if mailto else "",
    )  # fmt: skip


def letter(submission: Submission, identity: Identity, now_ms: int, *, eight_bit: bool = False) -> Letter:
    """The submission for the wire, signed. Raises Unsendable."""
    mail = mail_of(submission, identity, now_ms)
    try:
        part = mime.build(mail, eight_bit=eight_bit)
        path = return_path(submission.attempt_id, identity, mail.sender)
        if identity.read_receipts and identity.bounce_domain:  # RFC 8098 §2.1
            asked = structured("Disposition-Notification-To", f"<{path}>")
            part = mime.Part((*part.fields, asked), part.body)
        keys = [key for key in identity.dkim if aligned(key.domain, mail.sender.domain)]
        data = mime.octets(signed(part, keys, now_ms // 1000))
    except HeaderError as error:
        raise Unsendable(_unwritable(str(error))) from None
    return Letter(
        ref=submission.attempt_id,
        sender=path,
        recipient=mail.to[0].address,
        data=data,
        internationalised=mime.internationalised(mail) or not path.isascii(),
        eight_bit=not data.isascii(),
    )


def aligned(signer: str, domain: str) -> bool:
    """Whether a key of `signer` may sign for `domain`: the same, or a part of it. Source: RFC 7489 §3.1.1 (relaxed)"""
    lower = domain.lower()
    return lower == signer or lower.endswith(f".{signer}")


def message_id(attempt: str, identity: Identity, sender: Mailbox) -> str:
    """The Message-ID, without brackets: signed where there is a key, so that a reply to it finds its attempt."""
    hexes = attempt.removeprefix("att_")
    local = token.token("m", hexes, identity.key) if identity.key and _is_id(hexes) else f"m-{hexes}"
    return f"{local}@{identity.reply_domain or identity.bounce_domain or sender.domain}"


def return_path(attempt: str, identity: Identity, sender: Mailbox) -> str:
    """The sender of the envelope: where bounces go to."""
    hexes = attempt.removeprefix("att_")
    if identity.bounce_domain and identity.key and _is_id(hexes):
        return f"{token.token('b', hexes, identity.key)}@{identity.bounce_domain}"
    return sender.address


def _reply_to(
    submission: Submission, content: EmailContent, identity: Identity, sender: Mailbox
) -> tuple[Mailbox, ...]:
    if content.reply_to:
        return (_box("reply_to", content.reply_to),)
    hexes = submission.attempt_id.removeprefix("att_")
    if identity.reply_domain and identity.key and _is_id(hexes):
        return (Mailbox(token.token("r", hexes, identity.key), identity.reply_domain, sender.name),)
    return ()


def _is_id(hexes: str) -> bool:
    return len(hexes) == 32 and all(char in "0123456789abcdef" for char in hexes)


def _box(field: str, text: str) -> Mailbox:
    if not text:
        detail = "The message has no `from`, and the provider no `sender`."
        raise Unsendable(MessageError(code="invalid_sender", detail=detail))
    try:
        return mailbox(text)
    except ValueError as error:
        code = "invalid_recipient" if field == "to" else "invalid_sender"
        raise Unsendable(MessageError(code=code, detail=f"`{field}` {error}", spec=SPEC)) from None


def _unwritable(detail: str) -> MessageError:
    return MessageError(code="invalid_content", detail=detail, spec=SPEC)
