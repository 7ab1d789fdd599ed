"""What a mail that came to us means: a bounce, a complaint, a read receipt, or words of a person. Pure.

A mail belongs to an attempt by the signed id in the address it came to; where that says nothing (complaints go to one
address), by the signed ids in the Return-Path and the Message-ID of the mail that it speaks of.
Source: RFC 3464, RFC 5965, RFC 8098; RFC 3834 §2 (what is an automatic answer)
"""

import base64
from email.message import Message
from hashlib import sha256
from typing import Final, Literal

import msgspec

from tidings.channels.email.smtp_answers import without_addresses
from tidings.domain.attempt import CarrierReceipt, InboundPart, ReceiptState
from tidings.domain.inbound import InboundContent, InboundFile
from tidings.domain.message import MessageError
from tidings.kit.limits import EMAIL_FILE_BYTES, MAIL_IN_FILES
from tidings.protocols.mail import arf, dsn, entity, mdn, token
from tidings.protocols.mail.reply import stripped, text_of_html
from tidings.protocols.smtp.status import SPEC, dead, meaning

#: Mailboxes that every domain with mail has, and the usual one of feedback loops. Source: RFC 2142 §2, §4
ROLES: Final = frozenset({"postmaster", "abuse", "fbl", "mailer-daemon"})
_TEXT_CHARS: Final = 100_000
_STATES: Final[dict[dsn.Action, ReceiptState]] = {
    "failed": "undelivered", "delivered": "delivered", "delayed": "pending", "relayed": "pending", "expanded": "pending",
}  # fmt: skip


class MailAccount(msgspec.Struct, frozen=True, kw_only=True):
    """A provider whose mails come back to us. Domains in lower case; empty where it has none."""

    provider: str
    key: bytes
    bounce_domain: str = ""
    reply_domain: str = ""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a mail is for. `attempt` is empty where the address does not say."""

    account: MailAccount
    address: str
    purpose: Literal["bounce", "reply", "role"]
    attempt: str = ""


class Incoming(msgspec.Struct, frozen=True):
    """What is to be kept of a mail. Both may be empty: an automatic answer to a bounce address says nothing."""

    receipts: tuple[CarrierReceipt, ...] = ()
    inbound: tuple[InboundPart, ...] = ()


def target(accounts: tuple[MailAccount, ...], address: str) -> Target | None:
    """Whom the address belongs to; None: nobody."""
    local, _, domain = address.rpartition("@")
    domain = domain.lower().rstrip(".")
    for account in accounts:
        if domain not in (account.bounce_domain, account.reply_domain) or not domain:
            continue
        found = token.opened(local, account.key)
        if found is not None and found[0] in ("b", "r"):
            kind: Literal["bounce", "reply"] = "bounce" if found[0] == "b" else "reply"
            return Target(account=account, address=address, purpose=kind, attempt=f"att_{found[1]}")
    for account in accounts:
        if local.lower() in ROLES and domain and domain in (account.bounce_domain, account.reply_domain):
            return Target(account=account, address=address, purpose="role")
        if domain and domain == account.reply_domain:
            return Target(account=account, address=address, purpose="reply")
    return None


def read(accounts: tuple[MailAccount, ...], to: Target, sender: str, raw: bytes, now_ms: int) -> Incoming:
    """What the mail means. `sender` is the envelope's."""
    mail = entity.read(raw)
    complaint = arf.parse(mail)
    if complaint is not None:
        return _complaint(accounts, to, complaint, now_ms)
    seen = mdn.parse(mail)
    if seen is not None:
        owner = _owner(accounts, to, seen.about, ())
        return (
            Incoming((_receipt(owner, "delivered", "read", now_ms, engagement="read"),))
            if owner and seen.displayed
            else Incoming()
        )
    reports = (
        to.purpose != "reply"
        or not sender
        or entity.header(mail, "Content-Type").lower().startswith("multipart/report")
    )
    notice = dsn.parse(mail) if reports else None
    if notice is not None:
        owner = _owner(accounts, to, notice.about, ())
        return Incoming(tuple(_fate(owner, fate, now_ms) for fate in notice.fates[:1])) if owner else Incoming()
    if to.purpose == "reply" and sender:
        return Incoming((), (_words(accounts, to, sender, mail, raw, now_ms),))
    return Incoming()


def _owner(
    accounts: tuple[MailAccount, ...], to: Target, about: tuple[str, ...], paths: tuple[str, ...]
) -> tuple[str, str] | None:
    """(provider, attempt): by the address, else by the ids in the mail that is spoken of."""
    if to.attempt:
        return to.account.provider, to.attempt
    for address in (*paths, *about):
        local, _, domain = address.rpartition("@")
        for account in accounts:
            found = token.opened(local, account.key)
            if found is not None and domain:
                return account.provider, f"att_{found[1]}"
    return None


def _complaint(accounts: tuple[MailAccount, ...], to: Target, complaint: arf.Complaint, now_ms: int) -> Incoming:
    owner = _owner(accounts, to, complaint.about, complaint.paths)
    if owner is None or not complaint.counts:
        return Incoming()
    provider, attempt = owner
    unsubscribed = complaint.kind == "opt-out"
    return Incoming(
        (
            CarrierReceipt(
                provider=provider, refs=(attempt,), to=None, sender=None, state="pending", carrier_state=complaint.kind,
                user_ref=_user_ref(attempt), received_ms=now_ms,
                engagement="unsubscribed" if unsubscribed else "complained",
                suppress="unsubscribed" if unsubscribed else "complained",
            ),
        )
    )  # fmt: skip


def _fate(owner: tuple[str, str], fate: dsn.Fate, now_ms: int) -> CarrierReceipt:
    provider, attempt = owner
    error = None
    if fate.action == "failed":
        means = meaning(550 if fate.permanent else 450, fate.status, "RCPT")
        said = without_addresses(fate.diagnostic)[:300]
        error = MessageError(
            code=means.code, detail=f"{means.detail} It says: {said}" if said else means.detail, permanent=fate.permanent,
            retryable=not fate.permanent, provider_code=fate.status or None, spec=SPEC if fate.status else None,
        )  # fmt: skip
    return CarrierReceipt(
        provider=provider, refs=(attempt,), to=fate.recipient if fate.original else None, sender=None,
        state=_STATES[fate.action], carrier_state=fate.action, error_code=fate.status or None, user_ref=_user_ref(attempt),
        submit_at_ms=_begun_ms(attempt), received_ms=now_ms, ended_at=fate.recipient or None,
        suppress="bounced" if fate.permanent and dead(fate.status) else None, error=error,
    )  # fmt: skip


def _receipt(
    owner: tuple[str, str], state: ReceiptState, word: str, now_ms: int, *, engagement: Literal["read"]
) -> CarrierReceipt:
    provider, attempt = owner
    return CarrierReceipt(
        provider=provider, refs=(attempt,), to=None, sender=None, state=state, carrier_state=word,
        user_ref=_user_ref(attempt), received_ms=now_ms, engagement=engagement,
    )  # fmt: skip


def _user_ref(attempt: str) -> int | None:
    """The 16 bits that `delivery.pipeline` takes from an attempt's id."""
    try:
        return int(attempt[-4:], 16)
    except ValueError:
        return None


def _begun_ms(attempt: str) -> int | None:
    """When it was begun: its id says so (UUIDv7)."""
    try:
        return int(attempt.partition("_")[2][:12], 16)
    except ValueError:
        return None


def _words(
    accounts: tuple[MailAccount, ...], to: Target, sender: str, mail: Message, raw: bytes, now_ms: int
) -> InboundPart:
    said = entity.said(mail)
    whole = said.text if said.text is not None and said.text.strip() else text_of_html(said.html or "")
    text = stripped(whole)[:_TEXT_CHARS]
    boxes = entity.mailboxes(mail, "From")
    name = boxes[0][0] if boxes else ""
    answers = [to.attempt] if to.attempt else []
    for id in entity.message_ids(mail, "In-Reply-To", "References"):
        local = id.rpartition("@")[0]
        answers += [
            f"att_{found[1]}" for account in accounts if (found := token.opened(local, account.key)) is not None
        ]
    ids = entity.message_ids(mail, "Message-ID")
    mark = "|".join((ids[0], entity.header(mail, "Date"), sender)).encode() if ids else raw
    return InboundPart(
        provider=to.account.provider,
        channel="email",
        sender=(boxes[0][1] if boxes else sender)[:320],
        to=to.address,
        text=text or entity.header(mail, "Subject")[:998],
        dedup=f"{sha256(mark).hexdigest()}|{to.address.lower()}",
        received_ms=now_ms,
        answers=tuple(dict.fromkeys(answers))[:20],
        content=InboundContent(
            subject=entity.header(mail, "Subject")[:998] or None,
            html=said.html[: _TEXT_CHARS * 5] if said.html is not None else None,
            full_text=whole[: _TEXT_CHARS * 2] if whole.strip() != text else None,
            attachments=_files(said.files),
            profile_name=name[:200] or None,
            headers=_automatic(mail) or None,
        ),
    )


def _files(files: tuple[entity.File, ...]) -> tuple[InboundFile, ...]:
    """As many as are kept; of one that is too much, what is known of it without its octets."""
    found: list[InboundFile] = []
    left = EMAIL_FILE_BYTES
    for item in files[:MAIL_IN_FILES]:
        kept = len(item.data) <= left
        left -= len(item.data) if kept else 0
        found.append(
            InboundFile(
                media_type=item.media, name=item.name or None, size=len(item.data), content_id=item.content_id or None,
                data=base64.b64encode(item.data).decode() if kept else None,
            )
        )  # fmt: skip
    return tuple(found)


def _automatic(mail: Message) -> dict[str, str]:
    """What marks an answer that no person wrote, so that nobody answers it. Source: RFC 3834 §5"""
    found: dict[str, str] = {}
    auto = entity.header(mail, "Auto-Submitted").lower()
    if auto and auto.partition(";")[0].strip() != "no":
        found["auto-submitted"] = auto[:200]
    elif entity.header(mail, "X-Autoreply") or entity.header(mail, "X-Autorespond"):
        found["auto-submitted"] = "auto-replied"
    elif entity.header(mail, "Precedence").lower() in ("bulk", "junk", "auto_reply", "list"):
        found["precedence"] = entity.header(mail, "Precedence").lower()
    return found
