"""Mails that we write, read by the standard library's parser. No value of any field may begin a header of its own."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.protocols.mail.headers import HeaderError, Mailbox
from tidings.protocols.mail.mime import Attachment, Mail, build, internationalised, octets

ANN = Mailbox("ann", "example.com", "Ann Example")
PNG = bytes.fromhex("89504e470d0a1a0a") + bytes(range(256)) * 3


def mail(**more: Any) -> Mail:
    fields: dict[str, Any] = {
        "sender": ANN, "to": (Mailbox("bob", "example.net"),), "subject": "Hello", "text": "Hi Bob",
        "message_id": "m-1@example.com", "date_ms": 1_764_000_000_000,
    }  # fmt: skip
    return Mail(**(fields | more))


def parsed(written: Mail, *, eight_bit: bool = False) -> EmailMessage:
    raw = octets(build(written, eight_bit=eight_bit))
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    assert b"\r" not in raw.replace(b"\r\n", b"")
    assert b"\n" not in raw.replace(b"\r\n", b"")
    found = cast("EmailMessage", message_from_bytes(raw, policy=policy.default))
    for part in found.walk():
        assert not part.defects
        assert not [header.defects for header in part.values() if getattr(header, "defects", ())]
    return found


TEXTS = [
    "plain", "two\nlines\n", "Grüße aus Köln", "日本語のテキスト" * 40, "x" * 5_000, "trailing space \nand tab\t\n", "",
    "From me\n.\n..two\n. dot\n", "--=_boundary\n--\n", "a\r\nb\rc", "=3D =\n", "tab\tin", "😀" * 100, "\x0b", "e" + "\u0301",
]  # fmt: skip


@pytest.mark.parametrize("eight_bit", [False, True])
@pytest.mark.parametrize("text", TEXTS)
def test_text_comes_back(text: str, eight_bit: bool) -> None:
    found = parsed(mail(text=text), eight_bit=eight_bit)
    wanted = text.replace("\r\n", "\n").replace("\r", "\n")
    assert found.get_content().replace("\r\n", "\n") == wanted + ("\n" if wanted and not wanted.endswith("\n") else "")


def test_seven_bits_unless_asked() -> None:
    written = mail(text="Grüße " + "a" * 80, html="<p>Grüße " + "a" * 80)
    assert octets(build(written)).isascii()
    assert "Grüße".encode() in octets(build(written, eight_bit=True))


def test_no_line_is_one_that_relays_rewrite() -> None:
    body = build(mail(text="From me\n.\nFrom you ü\n.ü\n" + "From " + "x" * 80 + "\n")).body
    assert not [line for line in body.split(b"\r\n") if line.startswith((b"From ", b".")) or len(line) > 76]


def test_structure() -> None:
    files = (
        Attachment(name="Rechnung für März.pdf", media="application/pdf", data=b"%PDF"),
        Attachment(name="logo.png", media="image/png", data=PNG, content_id="logo"),
    )
    found = parsed(mail(html='<p>Hi <img src="cid:logo">', attachments=files))
    assert [part.get_content_type() for part in found.walk()] == [
        "multipart/mixed", "multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png",
        "application/pdf",
    ]  # fmt: skip
    (pdf,) = found.iter_attachments()
    assert pdf.get_filename() == "Rechnung für März.pdf"
    assert pdf.get_content() == b"%PDF"
    image = next(part for part in found.walk() if part.get_content_type() == "image/png")
    assert (image["Content-ID"], image.get_content_disposition()) == ("<logo>", "inline")
    assert cast("Any", image).get_content() == PNG
    assert found.get_body(("html",)) is not None


@pytest.mark.parametrize(
    ("more", "kinds"),
    [
        ({}, ["text/plain"]),
        ({"text": None, "html": "<p>x"}, ["text/html"]),
        ({"html": "<p>x"}, ["multipart/alternative", "text/plain", "text/html"]),
        ({"attachments": (Attachment(name="a", media="text/csv", data=b"a,b"),)}, ["multipart/mixed", "text/plain", "text/csv"]),
    ],
)  # fmt: skip
def test_no_layer_too_many(more: dict[str, Any], kinds: list[str]) -> None:
    assert [part.get_content_type() for part in parsed(mail(**more)).walk()] == kinds


def test_the_same_mail_is_the_same_octets() -> None:
    written = mail(html="<p>x", attachments=(Attachment(name="a", media="text/csv", data=b"a"),))
    assert octets(build(written)) == octets(build(written))
    other = mail(html="<p>x", attachments=written.attachments, message_id="m-2@example.com")
    assert build(written).fields[-1] != build(other).fields[-1]


NAMES = [
    "report.pdf", 'quo"ted.pdf', "ü" * 100 + ".pdf", "日本語の長いファイル名" * 8 + ".xlsx", "a b.txt", "x" * 200, "😀.png",
    "semi;colon=.txt", "per%cent.txt", "uni'quote''.txt",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_file_names(name: str) -> None:
    (item,) = parsed(mail(attachments=(Attachment(name=name, media="text/csv", data=b"a"),))).iter_attachments()
    assert item.get_filename() == name


SHOWN = [
    "Ann", "Ann B. Example", 'Ann "the" Man', "Änn Exämple", "=?utf-8?q?x?=", "日本 太郎", "a, b <c@d.e>", "x" * 100, "\\",
    "ü" * 60,
]  # fmt: skip


@pytest.mark.parametrize("name", SHOWN)
def test_display_names(name: str) -> None:
    found = parsed(mail(sender=Mailbox("ann", "example.com", name), to=(Mailbox("bob", "example.net", name), ANN)))
    (sender,) = found["From"].addresses
    # The structured parser puts a space between the encoded-words of one name (python/cpython#92081).
    shown = sender.display_name if len(name) < 40 else sender.display_name.replace(" ", "")
    assert (shown, sender.addr_spec) == (name, "ann@example.com")
    assert [a.addr_spec for a in found["To"].addresses] == ["bob@example.net", "ann@example.com"]


def test_internationalised_addresses() -> None:
    written = mail(to=(Mailbox("jörg", "xn--mnchen-3ya.de"),))
    assert internationalised(written)
    assert not internationalised(mail())
    assert "To: jörg@xn--mnchen-3ya.de\r\n".encode() in octets(build(written))


def test_one_click_unsubscribe() -> None:
    found = parsed(
        mail(unsubscribe_url="https://example.com/u?t=" + "a" * 300, unsubscribe_mailto="mailto:u@example.com")
    )
    assert found["List-Unsubscribe"].startswith("<https://example.com/u?t=aaa")
    assert found["List-Unsubscribe"].endswith("<mailto:u@example.com>")
    assert found["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert parsed(mail(unsubscribe_mailto="mailto:u@example.com"))["List-Unsubscribe-Post"] is None


def test_threading() -> None:
    found = parsed(mail(in_reply_to="a@x.test", references=tuple(f"{n}@x.test" for n in range(40))))
    assert found["In-Reply-To"] == "<a@x.test>"
    assert len(found["References"].split()) == 40


BAD: list[dict[str, Any]] = [
    {"subject": "x\r\nBcc: eve@example.com"}, {"subject": "x\nBcc: e"}, {"subject": "x\rBcc: e"}, {"subject": "x\x00"},
    {"subject": "x\u2028y"}, {"subject": "x\x85y"}, {"subject": "\ud800"},
    {"sender": Mailbox("ann", "example.com", "A\r\nBcc: e")}, {"sender": Mailbox("a\r\nBcc: e", "example.com")},
    {"sender": Mailbox("ann", "example.com>\r\nBcc: e")}, {"to": (Mailbox("a> b", "example.com"),)}, {"to": ()},
    {"to": (Mailbox("a", "münchen.de"),)}, {"to": (Mailbox("a,b", "example.com"),)}, {"to": (Mailbox("a b", "example.com"),)},
    {"reply_to": (Mailbox("a\n", "example.com"),)}, {"cc": (Mailbox("a", "example.com", "\n"),)},
    {"message_id": "a@b\r\nX: y"}, {"message_id": "no-at"}, {"message_id": "a b@c"}, {"in_reply_to": "<x@y>\n"},
    {"references": ("a@b", "c@d\r\n")}, {"headers": (("X-A", "b\r\nBcc: e"),)}, {"headers": (("X-A\r\nBcc", "e"),)},
    {"headers": (("X A", "e"),)}, {"headers": (("Bcc", "eve@example.com"),)}, {"headers": (("content-TYPE", "x"),)},
    {"headers": (("DKIM-Signature", "x"),)}, {"headers": (("ARC-Seal", "x"),)}, {"headers": (("X-Ünï", "x"),)},
    {"unsubscribe_url": "https://x.test/>, <javascript:x"}, {"unsubscribe_url": "https://x.test/\r\nBcc: e"},
    {"unsubscribe_url": "javascript:x"}, {"text": None, "html": None},
    {"attachments": (Attachment(name="a\r\nb", media="text/csv", data=b""),)},
    {"attachments": (Attachment(name="a", media="text/csv\r\nX: y", data=b""),)},
    {"attachments": (Attachment(name="a", media="multipart/mixed", data=b""),)},
    {"attachments": (Attachment(name="../a", media="text/csv", data=b""),)},
    {"attachments": (Attachment(name="a", media="image/png", data=b"", content_id="x>\r\nY: z"),), "html": "x"},
    {"attachments": (Attachment(name="a", media="image/png", data=b"", content_id="x"),)},
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(HeaderError):
        build(mail(**bad))


ANY = st.text(max_size=120)
NASTY = st.text(alphabet='a:\r\n\t <>@,;"\\=?_ü😀\x00\x85\u2028B', max_size=60)


@given(
    subject=ANY | NASTY, shown=ANY | NASTY, local=NASTY, domain=NASTY, name=NASTY, value=ANY | NASTY, file=NASTY,
    text=ANY, eight_bit=st.booleans(), bad=st.sets(st.sampled_from(["local", "domain", "name", "file"])),
)  # fmt: skip
def test_nothing_is_injected(
    subject: str, shown: str, local: str, domain: str, name: str, value: str, file: str, text: str, eight_bit: bool,
    bad: set[str],
) -> None:  # fmt: skip
    """Whatever the fields hold: refused, or a mail with exactly the headers that were asked for, saying what was asked."""
    header = name if "name" in bad else "X-Kind"
    written = mail(
        subject=subject,
        to=(Mailbox(local if "local" in bad else "bob", domain if "domain" in bad else "example.net", shown),),
        headers=((header, value),),
        text=text,
        attachments=(Attachment(name=file if "file" in bad else "a.csv", media="text/csv", data=b"a"),),
    )
    try:
        raw = octets(build(written, eight_bit=eight_bit))
    except (HeaderError, UnicodeEncodeError):
        return
    found = message_from_bytes(raw, policy=policy.default)
    names = ["Date", "From", "To", "Message-ID", "Subject", header, "MIME-Version", "Content-Type"]
    assert found.keys() == names
    assert len(found["To"].addresses) == 1
    assert found["Subject"].split() == subject.split()
    assert [part.get_content_type() for part in found.walk()] == ["multipart/mixed", "text/plain", "text/csv"]
    assert [part.keys() for part in found.walk()][1:] == [
        ["Content-Type", "Content-Transfer-Encoding"],
        ["Content-Type", "Content-Transfer-Encoding", "Content-Disposition"],
    ]
