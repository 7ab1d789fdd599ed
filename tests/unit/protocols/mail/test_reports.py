"""Bounces, complaints and read receipts as mail systems write them, and whatever else may come."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.channels.email.compose import key_of
from tidings.channels.email.incoming import MailAccount, Target, read
from tidings.protocols.mail import arf, dsn, entity, mdn, token

KEY = key_of("a secret of our own")
ID = "0123456789abcdef" * 2


def report(
    kind: str, machine: str, original: str = "Message-ID: <m-1@example.com>\n", media: str = "text/rfc822-headers"
) -> bytes:
    return (
        f"From: MAILER-DAEMON@mx.test\nTo: b@bounce.test\nSubject: x\n"
        f'Content-Type: multipart/report; report-type={kind}; boundary="b"\n\n'
        f"--b\nContent-Type: text/plain\n\nSorry.\n\n--b\nContent-Type: message/{kind}\n\n{machine}\n\n"
        f"--b\nContent-Type: {media}\n\n{original}\n--b--\n"
    ).encode()


HEAD = "Reporting-MTA: dns; mx.test\nOriginal-Envelope-Id: att_1\n\n"
GMAIL = (
    HEAD + "Final-Recipient: rfc822; bob@example.net\nAction: failed\nStatus: 5.1.1\n"
    "Remote-MTA: dns; gmail-smtp-in.l.google.com. (192.0.2.1, the server for the domain.)\n"
    "Diagnostic-Code: smtp; 550-5.1.1 The email account that you tried to reach does not exist.\n"
    " 550 5.1.1 Please try\nLast-Attempt-Date: Mon, 01 Jan 2024 00:00:00 -0800 (PST)"
)
EXCHANGE = (
    HEAD + "Final-recipient: RFC822;bob@example.net\nAction: Failed\nStatus: 5.1.10\n"
    "Diagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound; not found\nX-Display-Name: bob"
)
DELAYED = (
    HEAD + "Final-Recipient: rfc822; bob@example.net\nAction: delayed\nStatus: 4.4.1\n"
    "Will-Retry-Until: Tue, 2 Jan 2024 00:00:00 +0000"
)
GIVEN_UP = (
    HEAD + "Final-Recipient: rfc822; bob@example.net\nAction: failed\nStatus: 4.4.7\nDiagnostic-Code: smtp; timed out"
)
DELIVERED = (
    HEAD + "Original-Recipient: rfc822;bob@example.net\nFinal-Recipient: rfc822; b@other.test\n"
    "Action: delivered (to mailbox)\nStatus: 2.1.5"
)
NO_STATUS = HEAD + "Final-Recipient: rfc822; bob@example.net\nAction: failed\nDiagnostic-Code: smtp; 550 5.2.1 closed"

NOTICES: list[tuple[str, str, str, bool, str, bool]] = [
    (GMAIL, "failed", "5.1.1", True, "bob@example.net", False), (EXCHANGE, "failed", "5.1.10", True, "bob@example.net", False),
    (DELAYED, "delayed", "4.4.1", False, "bob@example.net", False), (GIVEN_UP, "failed", "4.4.7", False, "bob@example.net", False),
    (DELIVERED, "delivered", "2.1.5", False, "bob@example.net", True), (NO_STATUS, "failed", "5.2.1", True,
     "bob@example.net", False),
]  # fmt: skip


@pytest.mark.parametrize(("machine", "action", "status", "permanent", "recipient", "original"), NOTICES)
def test_notifications(machine: str, action: str, status: str, permanent: bool, recipient: str, original: bool) -> None:
    for raw in (report("delivery-status", machine), report("delivery-status", machine).replace(b"\n", b"\r\n")):
        found = dsn.parse(entity.read(raw))
        assert found is not None
        assert found.standard
        (fate,) = found.fates
        assert (fate.action, fate.status, fate.permanent) == (action, status, permanent)
        assert (fate.recipient, fate.original) == (recipient, original)
        assert found.envelope_id == "att_1"
        assert found.about == ("m-1@example.com",)


def test_the_mail_that_came_back_whole() -> None:
    found = dsn.parse(
        entity.read(report("delivery-status", GMAIL, "From: x\nMessage-ID: <m-2@x.test>\n\nbody", "message/rfc822"))
    )
    assert found is not None
    assert found.about == ("m-2@x.test",)


def test_several_recipients() -> None:
    found = dsn.parse(
        entity.read(
            report("delivery-status", GMAIL + "\n\nFinal-Recipient: rfc822; a@b.test\nAction: relayed\nStatus: 2.0.0")
        )
    )
    assert found is not None
    assert [fate.action for fate in found.fates] == ["failed", "relayed"]


QMAIL = b"""From: MAILER-DAEMON@mx.test
Subject: failure notice

Hi. This is the qmail-send program at mx.test.
I'm afraid I wasn't able to deliver your message to the following addresses.
This is a permanent error; I've given up. Sorry it didn't work out.

<bob@example.net>:
192.0.2.1 does not like recipient.
Remote host said: 550 5.1.1 no such user

--- Below this line is a copy of the message.

Return-Path: <b@bounce.test>
"""
EXIM = b"""From: Mail Delivery System <Mailer-Daemon@mx.test>
X-Failed-Recipients: bob@example.net
Auto-Submitted: auto-replied
Subject: Mail delivery failed: returning message to sender

This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of its
recipients. This is a permanent error. The following address(es) failed:

  bob@example.net
    unrouteable mail domain "example.net"
"""


@pytest.mark.parametrize(("raw", "status"), [(QMAIL, "5.1.1"), (EXIM, "")])
def test_the_odd_ones(raw: bytes, status: str) -> None:
    found = dsn.parse(entity.read(raw))
    assert found is not None
    assert not found.standard
    (fate,) = found.fates
    assert (fate.recipient, fate.action, fate.status, fate.permanent) == ("bob@example.net", "failed", status, True)


def test_words_of_a_person_are_no_notification() -> None:
    raw = (
        b"From: bob@example.net\nSubject: Re: failure notice\n\nMy server said: mail failed 5.1.1 for ann@example.com\n"
    )
    assert dsn.parse(entity.read(raw)) is None
    assert arf.parse(entity.read(raw)) is None
    assert mdn.parse(entity.read(raw)) is None


FIELDS = "Feedback-Type: abuse\nVersion: 1\nOriginal-Mail-From: <b-1@bounce.test>\nOriginal-Rcpt-To: <bob@example.net>"


@pytest.mark.parametrize(
    ("media", "kind", "counts"),
    [
        ("message/rfc822", "abuse", True),
        ("text/rfc822-headers", "fraud", True),
        ("message/rfc822", "not-spam", False),
        ("message/rfc822", "auth-failure", False),
        ("message/rfc822", "opt-out", True),
        ("message/rfc822", "?!", True),
    ],
)
def test_complaints(media: str, kind: str, counts: bool) -> None:
    original = "Return-Path: <b-2@bounce.test>\nMessage-ID: <m-1@example.com>\n\nx"
    found = arf.parse(entity.read(report("feedback-report", FIELDS.replace("abuse", kind), original, media)))
    assert found is not None
    assert (found.kind, found.counts) == ("other" if kind == "?!" else kind, counts)
    assert found.paths == ("b-1@bounce.test", "b-2@bounce.test")
    assert found.about == ("m-1@example.com",)
    assert found.recipients == ("bob@example.net",)


@pytest.mark.parametrize(
    ("disposition", "displayed"),
    [
        ("manual-action/MDN-sent-manually; displayed", True),
        ("automatic-action/MDN-sent-automatically; displayed/error", True),
        ("automatic-action/MDN-sent-automatically; deleted", False),
        ("x", False),
        ("", False),
    ],
)
def test_read_receipts(disposition: str, displayed: bool) -> None:
    machine = f"Reporting-UA: x\nOriginal-Message-ID: <m-1@example.com>\nDisposition: {disposition}"
    found = mdn.parse(entity.read(report("disposition-notification", machine)))
    assert found == mdn.ReadReceipt(displayed, ("m-1@example.com",))


def test_tokens() -> None:
    made = token.token("b", ID, KEY)
    assert len(made) <= 64
    assert token.opened(made, KEY) == ("b", ID)
    assert token.opened(made.upper(), KEY) == ("b", ID)
    assert token.opened(made, key_of("another secret")) is None
    for n, char in enumerate(made):
        for other in "a7" if char not in "a7" else "b6":
            assert token.opened(made[:n] + other + made[n + 1 :], KEY) is None, n
    assert token.opened("r" + made[1:], KEY) is None
    for bad in ("", "x", made + "a", made[:-1], "b-.", f" {made}"):
        assert token.opened(bad, KEY) is None
    for wrong in ("x", "00", ID + "00"):
        with pytest.raises(ValueError, match=r"hex"):
            token.token("b", wrong, KEY)


SEEDS = [
    report("delivery-status", GMAIL),
    report("feedback-report", FIELDS),
    report("disposition-notification", "Disposition: x;displayed"),
    QMAIL,
    EXIM,
]
ACCOUNT = MailAccount(provider="acme", key=KEY, bounce_domain="bounce.test", reply_domain="reply.test")
TARGETS = [
    Target(account=ACCOUNT, address="b@bounce.test", purpose="bounce", attempt=f"att_{ID}"),
    Target(account=ACCOUNT, address="x@reply.test", purpose="reply"),
    Target(account=ACCOUNT, address="abuse@bounce.test", purpose="role"),
]
NASTY = st.sampled_from(
    [
        b"",
        b"\n",
        b"\n\n",
        b"--b",
        b"=?x?q?y?=",
        b"\xff",
        b"\x00",
        b"Content-Type: text/plain; charset=nonsense\n",
        b"Content-Transfer-Encoding: base64\n",
        b"<",
        b";",
        b"multipart/",
        b"message/rfc822",
        b"filename*=x''%ff",
        b"boundary=",
    ]
)


@given(
    seed=st.sampled_from(SEEDS),
    cuts=st.lists(st.tuples(st.integers(0, 900), st.integers(0, 40), NASTY), max_size=6),
    to=st.sampled_from(TARGETS),
    sender=st.sampled_from(["", "bob@example.net"]),
)
def test_no_mail_breaks_the_readers(seed: bytes, cuts: list[tuple[int, int, bytes]], to: Target, sender: str) -> None:
    raw = seed
    for at, size, put in cuts:
        raw = raw[:at] + put + raw[at + size :]
    found = read((ACCOUNT,), to, sender, raw, 0)
    assert len(found.receipts) + len(found.inbound) <= 1


@pytest.mark.parametrize(
    ("machine", "to"), [(GMAIL, None), (DELIVERED, "bob@example.net")], ids=["final alone", "original"]
)
def test_a_bounce_names_its_attempt_where_it_ended_and_when_it_began(machine: str, to: str | None) -> None:
    """By these an attempt without an answer is found: its id has its time, and the end of what was echoed."""
    (receipt,) = read((ACCOUNT,), TARGETS[0], "", report("delivery-status", machine), 7).receipts
    assert (receipt.refs, receipt.to, receipt.ended_at) == ((f"att_{ID}",), to, "bob@example.net")
    assert (receipt.user_ref, receipt.submit_at_ms) == (int(ID[-4:], 16), int(ID[:12], 16))


@pytest.mark.parametrize(
    "raw",
    [
        b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\nContent-Type: multipart/mixed; boundary=b\n\n" * 3_000,
        b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 20_000,
        b"Content-Type: message/rfc822\n\n" * 3_000, b"Subject: " + b"=?utf-8?q?a?= " * 50_000, b"From: " + b"(" * 100_000,
        b"To: x\n\n" + b"On 1, a wrote:, \n" * 30_000, b"To: x\n\n" + b"> " * 300_000, b"X: y\n" * 100_000,
        b"Content-Type: text/html\n\n" + b"<div>" * 100_000, b"References: " + b"<a@b> " * 100_000,
    ],
    ids=range(10),
)  # fmt: skip
def test_bombs_take_no_longer_than_their_size(raw: bytes) -> None:
    start = time.thread_time()
    read((ACCOUNT,), TARGETS[1], "bob@example.net", raw, 0)
    assert time.thread_time() - start < 10  # CPU of this thread; a second at most on an idle machine


def test_types() -> None:
    anything: Any = entity.read(b"")
    assert entity.said(anything).files == ()
