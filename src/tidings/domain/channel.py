"""The channels: what an address, a sender and a content must be on each. Adding a channel is one entry of the table."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from tidings.domain import email, other, push, sms, whatsapp
from tidings.domain.content import Content
from tidings.domain.errors import FieldError

Problem = Callable[[str], str | None]


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """One channel. The functions are those of its module in `domain/`."""

    fields: tuple[str, ...]  # of `domain.request.Recipient`; the first that is given is the address
    needs: str  # that field in words
    code: str  # of a bad address
    address_problem: Problem
    sender_problem: Problem
    problems: Callable[[dict[str, Any] | None, str | None], list[FieldError]]
    read: Callable[[dict[str, Any] | None, str | None], Content] | None = None  # None: parts that the provider plans
    liquid: frozenset[str] = frozenset()
    html: frozenset[str] = frozenset()
    several: int = 1  # addresses of one message
    any_part: bool = False  # sent where one part was taken, delivered where one arrived
    window: bool = False  # when the person last wrote decides what may be sent
    suppressible: bool = True


CHANNELS: Final[dict[str, Rules]] = {
    "sms": Rules(
        fields=("phone",), needs="`phone`, a number in E.164 form", code="invalid_number",
        address_problem=sms.address_problem, sender_problem=sms.sender_problem, problems=sms.problems,
    ),
    "email": Rules(
        fields=("email",), needs="`email`, an email address", code="invalid_email",
        address_problem=email.address_problem, sender_problem=email.sender_problem, problems=email.problems,
        read=email.read, liquid=email.LIQUID, html=email.HTML,
    ),
    "whatsapp": Rules(
        fields=("whatsapp", "phone"), needs="`whatsapp` or `phone`, a number in E.164 form", code="invalid_number",
        address_problem=whatsapp.address_problem, sender_problem=whatsapp.sender_problem, problems=whatsapp.problems,
        read=whatsapp.read, liquid=whatsapp.LIQUID, html=whatsapp.HTML, window=True,
    ),
    "push": Rules(
        fields=("push",), needs="`push`, a list of device tokens", code="invalid_token",
        address_problem=push.address_problem, sender_problem=push.sender_problem, problems=push.problems,
        read=push.read, liquid=push.LIQUID, html=push.HTML, several=20, any_part=True,
    ),
    "other": Rules(
        fields=("other",), needs="`other`, the name of a target", code="invalid_target",
        address_problem=other.address_problem, sender_problem=other.sender_problem, problems=other.problems,
        read=other.read, liquid=other.LIQUID, html=other.HTML,
    ),
}  # fmt: skip


def says_all(channel: str, content: dict[str, Any] | None) -> bool:
    """Whether this content needs no text: then one that several channels share is not meant for it."""
    return content is not None and not CHANNELS[channel].problems(content, None)
