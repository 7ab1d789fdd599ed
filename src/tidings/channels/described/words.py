"""The placeholders of a request: what a template may say of a message, by channel."""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from tidings.domain.attempt import Submission
from tidings.domain.email import EmailContent
from tidings.domain.push import PushContent
from tidings.domain.whatsapp_content import WhatsAppContent

#: Of every channel: who, when, and our own names for it.
COMMON: Final = frozenset(
    {
        *("to", "to_digits", "from", "from_digits", "text", "part", "parts", "message_id", "attempt_id", "ref", "lane"),
        *("valid_s", "valid_ms", "valid_min", "valid_until", "timestamp", "timestamp_ms", "callback_url"),
    }
)
#: The typed content of the API as JSON; the object itself where it stands alone in a JSON body.
CONTENT: Final = "content"


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """`names`: placeholders beside `COMMON`; `of` gives their values, and `text`, for a part."""

    names: frozenset[str]
    of: Callable[[Submission, int], Mapping[str, str | None]]


def _email(submission: Submission, index: int) -> Mapping[str, str | None]:
    content = submission.content
    assert isinstance(content, EmailContent)
    return {
        "subject": content.subject, "text": content.text, "html": content.html, "reply_to": content.reply_to,
        CONTENT: _json(content),
    }  # fmt: skip


def _push(submission: Submission, index: int) -> Mapping[str, str | None]:
    content = submission.content
    assert isinstance(content, PushContent)
    return {"title": content.title, "text": content.body, "image": content.image, CONTENT: _json(content)}


def _whatsapp(submission: Submission, index: int) -> Mapping[str, str | None]:
    content = submission.content
    assert isinstance(content, WhatsAppContent)
    return {"text": content.text, CONTENT: _json(content)}


def _json(content: msgspec.Struct) -> str:
    return msgspec.json.encode(content).decode()


OF: Final[dict[str, Words]] = {
    "email": Words(names=frozenset({"subject", "html", "reply_to", CONTENT}), of=_email),
    "push": Words(names=frozenset({"title", "image", CONTENT}), of=_push),
    "whatsapp": Words(names=frozenset({CONTENT}), of=_whatsapp),
}
