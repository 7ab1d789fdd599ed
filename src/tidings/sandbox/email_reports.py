"""What mail systems and people send back, written with the standard library: reports on a mail that the simulator took.

Source: RFC 3464 (delivery reports), RFC 5965 (complaints), RFC 8098 (read receipts)
"""

import datetime as dt
from email.message import EmailMessage, Message
from email.parser import BytesParser
from email.policy import SMTP, compat32
from email.utils import format_datetime, make_msgid
from typing import Final, Literal

from uuid_utils import uuid7

HOST: Final = "mx.sandbox.test"
DAEMON: Final = "MAILER-DAEMON@mx.sandbox.test"


class Taken:
    """A mail as the simulator took it. `notify`: what the sender wants to hear of (RFC 3461 §4.1)."""

    def __init__(self, sender: str, to: str, raw: bytes, envelope_id: str = "", notify: str = "") -> None:
        self.sender, self.to, self.raw, self.envelope_id, self.notify = sender, to, raw, envelope_id, notify
        self.mail: Message = BytesParser(policy=compat32).parsebytes(raw)

    def header(self, name: str) -> str:
        """The first field of this name; empty without it."""
        return " ".join(str(self.mail.get(name, "")).split())

    @property
    def text(self) -> str:
        """The first text."""
        for part in self.mail.walk():
            if part.get_content_type() == "text/plain":
                data = part.get_payload(decode=True)
                return data.decode("utf-8", "replace") if isinstance(data, bytes) else ""
        return ""


def delivery_report(
    taken: Taken, action: Literal["failed", "delivered"], status: str, said: str, now: dt.datetime
) -> bytes:
    """A DSN."""
    about = [f"Reporting-MTA: dns; {HOST}", f"Arrival-Date: {format_datetime(now)}"]
    if taken.envelope_id:
        about.append(f"Original-Envelope-Id: {taken.envelope_id}")
    person = [
        f"Original-Recipient: rfc822; {taken.to}", f"Final-Recipient: rfc822; {taken.to}", f"Action: {action}",
        f"Status: {status}", f"Diagnostic-Code: smtp; {said}",
    ]  # fmt: skip
    start = _start(DAEMON, taken.sender, "Delivery report", now)
    return _report(start, f"{action}: {said}", "delivery-status", [about, person], taken)


def complaint(taken: Taken, to: str, now: dt.datetime) -> bytes:
    """An ARF report."""
    fields = [
        "Feedback-Type: abuse", "User-Agent: Tidings-Sandbox/1", "Version: 1", f"Original-Mail-From: <{taken.sender}>",
        f"Original-Rcpt-To: <{taken.to}>", f"Arrival-Date: {format_datetime(now)}",
    ]  # fmt: skip
    start = _start("feedback@sandbox.test", to, "Complaint", now)
    return _report(start, "A person said that this mail is spam.", "feedback-report", [fields], taken)


def read_receipt(taken: Taken, to: str, now: dt.datetime) -> bytes:
    """An MDN: a person opened the mail."""
    fields = [
        f"Reporting-UA: {HOST}; Sandbox", f"Final-Recipient: rfc822; {taken.to}",
        f"Original-Message-ID: {taken.header('Message-ID')}",
        "Disposition: manual-action/MDN-sent-manually; displayed",
    ]  # fmt: skip
    start = _start(taken.to, to, "Read", now)
    return _report(start, "The mail was displayed.", "disposition-notification", [fields], taken)


def reply(taken: Taken, to: str, words: str, now: dt.datetime) -> bytes:
    """A person's answer above what it quotes."""
    mail = _start(taken.to, to, "Re: " + taken.header("Subject")[:200], now)
    mail["In-Reply-To"] = mail["References"] = taken.header("Message-ID")
    quoted = "".join(f"> {line}\n" for line in taken.text.splitlines())
    mail.set_content(f"{words}\n\nOn {format_datetime(now)}, {taken.header('From')} wrote:\n\n{quoted}")
    return mail.as_bytes()


def _start(sender: str, to: str, subject: str, now: dt.datetime) -> EmailMessage:
    mail = EmailMessage(policy=SMTP)
    mail["From"], mail["To"], mail["Subject"] = sender, to, subject
    mail["Date"], mail["Message-ID"] = format_datetime(now), make_msgid(domain=HOST)
    return mail


def _report(start: EmailMessage, words: str, kind: str, groups: list[list[str]], taken: Taken) -> bytes:
    """multipart/report: for people, for machines, and the headers of the mail itself. Source: RFC 6522 §3"""
    fence = f"=_{uuid7().hex}"
    start["MIME-Version"] = "1.0"
    start["Content-Type"] = f'multipart/report; report-type={kind}; boundary="{fence}"'
    machine = "\r\n".join("".join(f"{field}\r\n" for field in group) for group in groups)
    headers = taken.raw.partition(b"\r\n\r\n")[0].decode("ascii", "replace").replace("\ufffd", "?")
    parts = (("text/plain", words + "\r\n"), (f"message/{kind}", machine), ("text/rfc822-headers", headers + "\r\n"))
    body = "".join(f"--{fence}\r\nContent-Type: {media}\r\n\r\n{text}\r\n" for media, text in parts)
    return start.as_bytes().partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + f"{body}--{fence}--\r\n".encode()
