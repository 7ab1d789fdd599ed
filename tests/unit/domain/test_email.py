"""What an email must be, by pointer and code."""

from __future__ import annotations

from typing import Any

import pytest

from tidings.domain import email

PDF = {"name": "a.pdf", "media_type": "application/pdf", "data": "JVBERg=="}
PNG = {"name": "a.png", "media_type": "image/png", "data": "iVBORw==", "content_id": "logo"}


@pytest.mark.parametrize("text", ["ann@example.com", "delivered@sandbox.test", "jörg@münchen.de", "a+b@EXAMPLE.com"])
def test_good_addresses(text: str) -> None:
    assert email.address_problem(text) is None


@pytest.mark.parametrize(
    "text",
    ["", "ann", "ann@", "@example.com", "a@b", "a b@example.com", "ann@example.com\r\nX: y", "Ann <ann@example.com>",
     "a" * 65 + "@example.com", "ann@" + "a" * 300 + ".com", "a@-b.com", '"a b"@example.com', "a@[127.0.0.1]", "a@x.invalid"],
)  # fmt: skip
def test_bad_addresses(text: str) -> None:
    assert email.address_problem(text)


@pytest.mark.parametrize(
    ("text", "local", "domain", "name"),
    [
        ("ann@example.com", "ann", "example.com", ""), ("Ann <ann@example.com>", "ann", "example.com", "Ann"),
        ('"Ann, B." <ann@example.com>', "ann", "example.com", "Ann, B."), ("Änn <a@münchen.de>", "a", "xn--mnchen-3ya.de", "Änn"),
        ('"A \\"x\\" B" <ann@EXAMPLE.com>', "ann", "example.com", 'A "x" B'), ("<ann@example.com>", "ann", "example.com", ""),
    ],
)  # fmt: skip
def test_senders(text: str, local: str, domain: str, name: str) -> None:
    box = email.mailbox(text)
    assert (box.local, box.domain, box.name) == (local, domain, name)
    assert email.sender_problem(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "Ann",
        "Ann <ann>",
        "A\r\nBcc: x <ann@example.com>",
        "Ann <ann@example.com> x",
        "a <b> <c@example.com>",
        "x" * 400,
    ],
)
def test_bad_senders(text: str) -> None:
    assert email.sender_problem(text)


GOOD: list[dict[str, Any]] = [
    {"subject": "Hi", "text": "x"}, {"subject": "", "html": "<p>x"}, {"subject": "Hi", "mjml": "<mjml>"},
    {"subject": "Hi", "text": "x", "html": "x", "attachments": [PDF, PNG], "headers": {"X-Kind": "a"}},
    {"subject": "Hi", "text": "x", "list_unsubscribe": "https://example.com/u", "reply_to": "Ann <ann@example.com>"},
]  # fmt: skip


@pytest.mark.parametrize("content", GOOD)
def test_good(content: dict[str, Any]) -> None:
    assert email.problems(content, None) == []


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"text": "x"}, "/content/subject", "required"), ({"subject": "x"}, "/text", "required"),
    ({"subject": "x\r\nBcc: y", "text": "x"}, "/content/subject", "invalid"),
    ({"subject": "x" * 999, "text": "x"}, "/content/subject", "length"),
    ({"subject": "x", "html": "a", "mjml": "b"}, "/content/mjml", "conflict"),
    ({"subject": "x", "text": "a\x00"}, "/content/text", "encoding"),
    ({"subject": "x", "text": "a" * 70_000}, "/content/text", "length"),
    ({"subject": "x", "text": "a", "reply_to": "no"}, "/content/reply_to", "invalid_email"),
    ({"subject": "x", "text": "a", "headers": {"Bcc": "x"}}, "/content/headers/Bcc", "invalid"),
    ({"subject": "x", "text": "a", "headers": {"X/~": "a\nb"}}, "/content/headers/X~1~0", "invalid"),
    ({"subject": "x", "text": "a", "headers": {"X-A": "a" * 999}}, "/content/headers/X-A", "length"),
    ({"subject": "x", "text": "a", "headers": {f"X-{n}": "a" for n in range(21)}}, "/content/headers", "length"),
    ({"subject": "x", "text": "a", "list_unsubscribe": "javascript:1"}, "/content/list_unsubscribe", "invalid"),
    ({"subject": "x", "text": "a", "attachments": [PDF | {"data": "?"}]}, "/content/attachments/0/data", "encoding"),
    ({"subject": "x", "text": "a", "attachments": [PDF | {"name": "a/b"}]}, "/content/attachments/0", "invalid"),
    ({"subject": "x", "text": "a", "attachments": [PDF | {"media_type": "x"}]}, "/content/attachments/0", "invalid"),
    ({"subject": "x", "text": "a", "attachments": [PDF] * 21}, "/content/attachments", "length"),
    ({"subject": "x", "text": "a", "attachments": [PNG]}, "/content/attachments/0/content_id", "conflict"),
    ({"subject": "x", "html": "a", "attachments": [PNG, PNG]}, "/content/attachments/1/content_id", "conflict"),
    ({"subject": "x", "html": "a", "attachments": [PNG | {"content_id": "a>"}]}, "/content/attachments/0/content_id", "invalid"),
    ({"subject": "x", "text": "a", "attachments": [PDF, PDF | {"x": 1}]}, "/content/attachments/1", "invalid"),
    ({"subject": 7, "text": "a"}, "/content/subject", "invalid"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "pointer", "code"), BAD)
def test_bad(content: dict[str, Any], pointer: str, code: str) -> None:
    assert [(error.pointer, error.code) for error in email.problems(content, None)] == [(pointer, code)]


def test_files_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidings.kit.limits.EMAIL_FILE_BYTES", 7)
    (bad,) = email.problems({"subject": "x", "text": "a", "attachments": [PDF, PDF]}, None)
    assert (bad.pointer, bad.code) == ("/content/attachments", "length")


def test_the_request_s_text_is_the_text() -> None:
    assert email.read({"subject": "x"}, "a").text == "a"
    assert email.read({"subject": "x", "text": "b"}, "a").text == "b"
    assert email.problems({"subject": "x"}, "a") == []
    assert [error.pointer for error in email.problems(None, "a")] == ["/content/subject"]
