"""What a customer asks for: the body of `POST /v1/messages`, and every check of it."""

import datetime as dt
from typing import Any, Literal

import msgspec

from tidings.domain.errors import FieldError
from tidings.domain.message import Fallback
from tidings.domain.phone import phone_problem as phone_problem
from tidings.domain.sms import sms_problems
from tidings.kit import limits


class Recipient(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A person, by address per channel, or by a contact's id (`con_…` or your own)."""

    phone: str | None = None
    email: str | None = None
    whatsapp: str | None = None
    push: list[str] | None = None
    contact: str | None = None


class SendRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/messages`. `text` is literal, unless `data` is present (even {}): then it is Liquid."""

    to: str | Recipient
    channel: str | None = None
    channels: list[str] | None = None
    sender: str | None = msgspec.field(name="from", default=None)
    text: str | None = None
    content: dict[str, Any] | None = None
    template: str | None = None
    locale: str | None = None
    data: dict[str, Any] | None = None
    lane: Literal["otp", "transactional", "marketing"] = msgspec.field(name="class", default="transactional")
    send_at: dt.datetime | None = None
    valid_for_s: int | None = None
    valid_until: dt.datetime | None = None
    sequence: str | None = None
    fallback: Fallback | None = None
    on_unknown: Literal["resend", "hold"] = "resend"
    reference: str | None = None
    tags: list[str] = msgspec.field(default_factory=list[str])
    metadata: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])


def address_of(request: SendRequest) -> str | None:
    """The SMS address of the recipient, or None."""
    if isinstance(request.to, str):
        return request.to
    return request.to.phone


def _too_long(pointer: str, value: str | None, most: int) -> list[FieldError]:
    if value is None or (0 < len(value) <= most and "\x00" not in value):
        return []
    return [FieldError(pointer=pointer, code="length", detail=f"must have 1 to {most} characters, none of them NUL")]


def _check_to(request: SendRequest) -> list[FieldError]:
    if isinstance(request.to, Recipient):
        if request.to.contact is not None:
            detail = "contacts are not available yet; give `phone`"
            return [FieldError(pointer="/to/contact", code="unsupported", detail=detail)]
        if request.to.phone is None:
            detail = "an SMS needs `phone`, a number in E.164 form"
            return [FieldError(pointer="/to/phone", code="required", detail=detail)]
        pointer, number = "/to/phone", request.to.phone
    else:
        pointer, number = "/to", request.to
    problem = phone_problem(number)
    return [FieldError(pointer=pointer, code="invalid_number", detail=problem)] if problem else []


def _check_channel(request: SendRequest) -> list[FieldError]:
    wanted = [("/channel", request.channel)] if request.channel is not None else []
    wanted += [(f"/channels/{n}", channel) for n, channel in enumerate(request.channels or [])]
    found = [
        FieldError(pointer=pointer, code="unsupported", detail=f'channel {name!r} is not available; use "sms"')
        for pointer, name in wanted
        if name != "sms"
    ]
    if request.channel is not None and request.channels is not None:
        found.append(FieldError(pointer="/channels", code="conflict", detail="give `channel` or `channels`, not both"))
    if request.channels is not None and not request.channels:
        found.append(FieldError(pointer="/channels", code="required", detail="must name at least one channel"))
    return found


def _check_content(request: SendRequest) -> list[FieldError]:
    found: list[FieldError] = []
    if request.template is not None:
        detail = "templates are not available yet; give `text`, with `data` for Liquid"
        found.append(FieldError(pointer="/template", code="unsupported", detail=detail))
    if request.content is not None:
        found += sms_problems(request.content, request.text)
    if request.text is None and not found and not (request.content and "data" in request.content):
        found.append(FieldError(pointer="/text", code="required", detail="an SMS needs `text`"))
    found += _too_long("/text", request.text, limits.TEXT_CHARS)
    if request.text is not None and not request.text.isascii() and any("\ud800" <= c <= "\udfff" for c in request.text):
        found.append(FieldError(pointer="/text", code="encoding", detail="has half of a surrogate pair"))
    return found


def _check_times(request: SendRequest, now_ms: int) -> list[FieldError]:
    found: list[FieldError] = []
    for pointer, value in (("/send_at", request.send_at), ("/valid_until", request.valid_until)):
        if value is not None and value.tzinfo is None:
            detail = "needs a time zone, for example 2026-11-24T10:00:00Z"
            return [FieldError(pointer=pointer, code="time_zone", detail=detail)]
    start = max(now_ms, millis(request.send_at) or 0)
    if start > now_ms + limits.SEND_AT_MAX_S * 1000:
        found.append(FieldError(pointer="/send_at", code="too_far", detail="must be within a year"))
    if request.valid_for_s is not None and not 1 <= request.valid_for_s <= limits.VALID_FOR_MAX_S:
        detail = f"must be 1 to {limits.VALID_FOR_MAX_S} seconds"
        found.append(FieldError(pointer="/valid_for_s", code="range", detail=detail))
    if request.valid_for_s is not None and request.valid_until is not None:
        found.append(
            FieldError(pointer="/valid_until", code="conflict", detail="give `valid_for_s` or `valid_until`, not both")
        )
    until = millis(request.valid_until)
    if until is not None and until <= start:
        found.append(FieldError(pointer="/valid_until", code="past", detail="must be after `send_at` and after now"))
    return found


def _good_sender(sender: str) -> bool:
    return sender.lstrip("+").isdigit() or (len(sender) <= 11 and sender.isascii() and sender.isprintable())


def _check_labels(request: SendRequest) -> list[FieldError]:
    found = _too_long("/reference", request.reference, limits.REFERENCE_CHARS)
    found += _too_long("/sequence", request.sequence, limits.SEQUENCE_CHARS)
    found += _too_long("/from", request.sender, 20)
    if request.sender is not None and not _good_sender(request.sender):
        detail = "must be a number, or at most 11 ASCII characters (alphanumeric sender)"
        found.append(FieldError(pointer="/from", code="invalid_sender", detail=detail))
    if len(request.tags) > limits.TAGS:
        found.append(FieldError(pointer="/tags", code="length", detail=f"at most {limits.TAGS} tags"))
    for n, tag in enumerate(request.tags[: limits.TAGS]):
        found += _too_long(f"/tags/{n}", tag, limits.TAG_CHARS)
    for pointer, value, most in (
        ("/metadata", request.metadata, limits.METADATA_BYTES),
        ("/data", request.data, limits.DATA_BYTES),
    ):
        if value and len(msgspec.json.encode(value)) > most:
            found.append(FieldError(pointer=pointer, code="length", detail=f"at most {most} bytes of JSON"))
    if request.fallback is not None and not 1 <= request.fallback.after_s <= limits.VALID_FOR_MAX_S:
        detail = f"must be 1 to {limits.VALID_FOR_MAX_S} seconds"
        found.append(FieldError(pointer="/fallback/after_s", code="range", detail=detail))
    return found


def check(request: SendRequest, now_ms: int) -> list[FieldError]:
    """Every bad field of the request; empty if it can be accepted."""
    return [
        *_check_to(request),
        *_check_channel(request),
        *_check_content(request),
        *_check_times(request, now_ms),
        *_check_labels(request),
    ]


def millis(time: dt.datetime | None) -> int | None:
    """Milliseconds since the Unix epoch; None stays None."""
    return None if time is None else int(time.timestamp() * 1000)
