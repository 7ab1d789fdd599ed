"""The channel email as `domain.channel` knows it: what its addresses, senders and contents must be."""

import base64
import binascii
import re
from functools import lru_cache
from typing import Any, Final

import msgspec
from email_validator import EmailNotValidError, validate_email

from tidings.domain.errors import FieldError
from tidings.kit import limits
from tidings.protocols.mail.headers import HeaderError, Mailbox, checked
from tidings.protocols.mail.mime import check_content_id, check_file, check_header, check_unsubscribe

LIQUID: Final = frozenset({"subject", "text", "html", "mjml"})
HTML: Final = frozenset({"html", "mjml"})
_NAMED: Final = re.compile(r'\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^<>"]*?))\s*<(?P<address>[^<>]+)>\s*')


class Attachment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A file; `data` is base64. With `content_id` it is an inline image: `<img src="cid:…">`."""

    name: str
    media_type: str
    data: str
    content_id: str | None = None

    @property
    def octets(self) -> bytes:
        """`data` decoded. Raises ValueError."""
        return base64.b64decode(self.data, validate=True)


class EmailContent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An email. `text` or `html` or `mjml`, or text beside one of the others.

    `list_unsubscribe`: an https address that ends the subscription by one POST (RFC 8058), or a mailto.
    """

    subject: str
    text: str | None = None
    html: str | None = None
    mjml: str | None = None
    attachments: tuple[Attachment, ...] = ()
    reply_to: str | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    list_unsubscribe: str | None = None


@lru_cache(maxsize=65_536)
def mailbox(text: str) -> Mailbox:
    """`address`, `Name <address>` or `"Name" <address>`; the domain in its ASCII form. Raises ValueError with the reason."""
    if len(text) > limits.EMAIL_ADDRESS_CHARS:
        raise ValueError(f"must have at most {limits.EMAIL_ADDRESS_CHARS} characters")
    found = _NAMED.fullmatch(text)
    quoted, address, name = None, text, ""
    if found is not None:
        quoted, address = found["quoted"], found["address"]
        name = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else found["plain"]
    try:
        checked("the name", name)
        good = validate_email(
            address, check_deliverability=False, strict=True, test_environment=address.lower().endswith(".test")
        )
    except HeaderError as error:
        raise ValueError(str(error)) from None
    except EmailNotValidError as error:
        raise ValueError(f"is not an email address: {error}") from None
    return Mailbox(good.local_part, good.ascii_domain, name.strip())


def address_problem(text: str) -> str | None:
    """What is wrong with an address; None if it is good."""
    if "<" in text:
        return "must be an address alone, without a name"
    return sender_problem(text)


def sender_problem(text: str) -> str | None:
    """What is wrong with `from`: an address, or a name and an address in angle brackets."""
    try:
        mailbox(text)
    except ValueError as error:
        return str(error)
    return None


def read(content: dict[str, Any] | None, text: str | None) -> EmailContent:
    """The typed content, with the request's text where it has none. Raises `msgspec.ValidationError`."""
    found = msgspec.convert(content or {}, EmailContent)
    return found if found.text is not None or text is None else msgspec.structs.replace(found, text=text)


def problems(content: dict[str, Any] | None, text: str | None) -> list[FieldError]:
    """Every bad field of a request's content; pointers below `/content` and `/text`."""
    try:
        found = read(content, text)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        pointer = "/content" + re.sub(r"\[(?:\.{3}|)(\d*)\]", r"/\1", where.rstrip("`")).replace(".", "/").rstrip("/")
        if "`subject`" in what:
            return [FieldError(pointer="/content/subject", code="required", detail="an email needs a subject")]
        return [FieldError(pointer=pointer, code="invalid", detail=what)]
    return [*_words(found), *_heads(found), *_files(found)]


def _words(found: EmailContent) -> list[FieldError]:
    bad: list[FieldError] = []
    if not (found.text or found.html or found.mjml):
        detail = "an email needs `text`, or content.html or content.mjml"
        bad.append(FieldError(pointer="/text", code="required", detail=detail))
    if found.html is not None and found.mjml is not None:
        bad.append(_bad("mjml", "conflict", "give `html` or `mjml`, not both"))
    if len(found.subject) > limits.EMAIL_SUBJECT_CHARS:
        bad.append(_bad("subject", "length", f"must have at most {limits.EMAIL_SUBJECT_CHARS} characters"))
    bad += _refused("subject", lambda: checked("subject", found.subject))
    for name in ("text", "html", "mjml"):
        value: str | None = getattr(found, name)
        if value is None:
            continue
        if len(value) > limits.RENDER_BYTES:
            bad.append(_bad(name, "length", f"must have at most {limits.RENDER_BYTES} characters"))
        if "\x00" in value or any("\ud800" <= char <= "\udfff" for char in value):
            bad.append(_bad(name, "encoding", "must have no NUL and no half of a surrogate pair"))
    return bad


def _heads(found: EmailContent) -> list[FieldError]:
    bad: list[FieldError] = []
    if found.reply_to is not None and (problem := sender_problem(found.reply_to)):
        bad.append(_bad("reply_to", "invalid_email", problem))
    if found.list_unsubscribe is not None:
        bad += _refused("list_unsubscribe", lambda: check_unsubscribe(found.list_unsubscribe or ""))
    if len(found.headers) > limits.EMAIL_HEADERS:
        bad.append(_bad("headers", "length", f"at most {limits.EMAIL_HEADERS} headers"))
    for name, value in list(found.headers.items())[: limits.EMAIL_HEADERS]:
        if len(value) > limits.EMAIL_HEADER_CHARS:
            detail = f"must have at most {limits.EMAIL_HEADER_CHARS} characters"
            bad.append(_bad(f"headers/{_escaped(name)}", "length", detail))
        bad += _refused(f"headers/{_escaped(name)}", lambda name=name, value=value: check_header(name, value))
    return bad


def _files(found: EmailContent) -> list[FieldError]:
    bad: list[FieldError] = []
    if len(found.attachments) > limits.EMAIL_FILES:
        return [_bad("attachments", "length", f"at most {limits.EMAIL_FILES} attachments")]
    size, ids = 0, set[str]()
    for n, item in enumerate(found.attachments):
        where = f"attachments/{n}"
        try:
            size += len(item.octets)
        except (ValueError, binascii.Error):
            bad.append(_bad(f"{where}/data", "encoding", "must be base64"))
        bad += _refused(where, lambda item=item: check_file(item.name, item.media_type))
        if item.content_id is None:
            continue
        bad += _refused(f"{where}/content_id", lambda item=item: check_content_id(item.content_id or ""))
        if item.content_id in ids:
            bad.append(_bad(f"{where}/content_id", "conflict", "is given twice"))
        if found.html is None and found.mjml is None:
            bad.append(_bad(f"{where}/content_id", "conflict", "an inline image needs content.html that shows it"))
        ids.add(item.content_id)
    if size > limits.EMAIL_FILE_BYTES:
        bad.append(_bad("attachments", "length", f"at most {limits.EMAIL_FILE_BYTES} octets together"))
    return bad


def _refused(name: str, check: Any) -> list[FieldError]:
    try:
        check()
    except HeaderError as error:
        return [_bad(name, "invalid", error.why)]
    return []


def _escaped(token: str) -> str:
    return token.replace("~", "~0").replace("/", "~1")


def _bad(name: str, code: str, detail: str) -> FieldError:
    return FieldError(pointer=f"/content/{name}", code=code, detail=detail)
