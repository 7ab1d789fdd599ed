"""What a customer asks for: the body of `POST /v1/messages`, and every check of it."""

import datetime as dt
from typing import Any, Literal, cast

import msgspec

from tidings.domain.address import one_spelling
from tidings.domain.channel import CHANNELS, says_all
from tidings.domain.errors import FieldError
from tidings.domain.message import Fallback
from tidings.kit import limits


class Recipient(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A person, by address per channel, or by a contact's id (`con_…` or your own)."""

    phone: str | None = None
    email: str | None = None
    whatsapp: str | None = None
    push: list[str] | None = None
    other: str | None = None
    contact: str | None = None


class SendRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/messages`. `text` is literal, unless `data` is present (even {}): then it is Liquid, as `content` is.

    With `channels`, `content` and `from` are objects keyed by channel; `text` serves the channels without a content.
    """

    to: str | Recipient
    channel: str | None = None
    channels: list[str] | None = None
    sender: str | dict[str, str] | None = msgspec.field(name="from", default=None)
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


def channels_of(request: SendRequest) -> tuple[str, ...]:
    """The channels in the order in which they are tried: as asked for, else by what `to` is."""
    if request.channel is not None:
        return (request.channel,)
    if request.channels is not None:
        return tuple(request.channels)
    to = request.to
    if isinstance(to, str):
        return ("email",) if "@" in to else ("sms",)
    return (next((name for name, rules in CHANNELS.items() if getattr(to, rules.fields[0])), "sms"),)


def addresses(request: SendRequest, channel: str) -> tuple[str, ...]:
    """The person's addresses on the channel; empty if there is none."""
    if isinstance(request.to, str):
        return (request.to,)
    for field in CHANNELS[channel].fields:
        found: str | list[str] | None = getattr(request.to, field)
        if found:
            return (found,) if isinstance(found, str) else tuple(found)
    return ()


def content_for(request: SendRequest, channel: str) -> dict[str, Any] | None:
    """What is said on the channel beside `text`."""
    if request.channels is None or request.content is None:
        return request.content
    found: object = request.content.get(channel)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def sender_for(request: SendRequest, channel: str) -> str | None:
    """Who says it on the channel."""
    return request.sender.get(channel) if isinstance(request.sender, dict) else request.sender


def _too_long(pointer: str, value: str | None, most: int) -> list[FieldError]:
    if value is None or (0 < len(value) <= most and "\x00" not in value):
        return []
    return [FieldError(pointer=pointer, code="length", detail=f"must have 1 to {most} characters, none of them NUL")]


def _check_to(request: SendRequest, channel: str) -> list[FieldError]:
    rules, to = CHANNELS[channel], request.to
    if isinstance(to, str):
        problem = rules.address_problem(to)
        return [FieldError(pointer="/to", code=rules.code, detail=problem)] if problem else []
    if to.contact is not None:
        detail = f"contacts are not available yet; give {rules.needs}"
        return [FieldError(pointer="/to/contact", code="unsupported", detail=detail)]
    field = next((field for field in rules.fields if getattr(to, field)), rules.fields[0])
    pointer, found = f"/to/{field}", addresses(request, channel)
    if not found:
        return [FieldError(pointer=pointer, code="required", detail=f"channel {channel} needs {rules.needs}")]
    if len(found) > rules.several:
        return [FieldError(pointer=pointer, code="length", detail=f"at most {rules.several}")]
    if len(found) > 1 and len({one_spelling(one) for one in found}) < len(found):
        return [FieldError(pointer=pointer, code="conflict", detail="has the same address twice")]
    listed = isinstance(getattr(to, field), list)
    problems = [(f"{pointer}/{n}" if listed else pointer, rules.address_problem(one)) for n, one in enumerate(found)]
    return [FieldError(pointer=where, code=rules.code, detail=problem) for where, problem in problems if problem]


def _check_channel(request: SendRequest) -> list[FieldError]:
    named = [("/channel", request.channel)] if request.channel is not None else []
    named += [(f"/channels/{n}", name) for n, name in enumerate(request.channels or [])]
    found = [
        FieldError(pointer=pointer, code="unsupported", detail=f"channel {name!r} is not available; use {_NAMES}")
        for pointer, name in named
        if name not in CHANNELS
    ]
    if request.channel is not None and request.channels is not None:
        found.append(FieldError(pointer="/channels", code="conflict", detail="give `channel` or `channels`, not both"))
    return found + (_check_channels(request, request.channels) if request.channels is not None else [])


_NAMES = ", ".join(CHANNELS)


def _check_channels(request: SendRequest, channels: list[str]) -> list[FieldError]:
    found: list[FieldError] = []
    if not channels:
        found.append(FieldError(pointer="/channels", code="required", detail="must name at least one channel"))
    if len(set(channels)) < len(channels):
        found.append(FieldError(pointer="/channels", code="conflict", detail="names a channel twice"))
    if len(channels) > 1 and isinstance(request.to, str):
        detail = "must be an object with the address of every channel, such as {phone, push}"
        found.append(FieldError(pointer="/to", code="required", detail=detail))
    for name, content in (request.content or {}).items():
        if name not in channels:
            detail = "with `channels`, content is keyed by channel, and this is none of them"
            found.append(FieldError(pointer=f"/content/{name}", code="unsupported", detail=detail))
        elif not isinstance(content, dict):
            found.append(FieldError(pointer=f"/content/{name}", code="type", detail="must be an object"))
    return found


def _check_content(request: SendRequest, channel: str) -> list[FieldError]:
    """What is wrong on this channel. Pointers below /content name the channel where there are several."""
    content, rules = content_for(request, channel), CHANNELS[channel]
    if request.channels is None:
        return rules.problems(content, request.text)
    found = [] if says_all(channel, content) else rules.problems(content, request.text)
    return [
        msgspec.structs.replace(one, pointer=f"/content/{channel}{one.pointer[len('/content') :]}")
        if one.pointer.startswith("/content")
        else one
        for one in found
    ]


def _check_text(request: SendRequest) -> list[FieldError]:
    found: list[FieldError] = []
    if request.template is not None:
        detail = "templates are not available yet; give `text`, with `data` for Liquid"
        found.append(FieldError(pointer="/template", code="unsupported", detail=detail))
    found += _too_long("/text", request.text, limits.TEXT_CHARS)
    if request.text is not None and not request.text.isascii() and any("\ud800" <= c <= "\udfff" for c in request.text):
        found.append(FieldError(pointer="/text", code="encoding", detail="has half of a surrogate pair"))
    return found


def _check_senders(request: SendRequest, channels: tuple[str, ...]) -> list[FieldError]:
    if not isinstance(request.sender, dict):
        detail = "with several channels, give an object with the sender of each"
        return [FieldError(pointer="/from", code="type", detail=detail)]
    found: list[FieldError] = []
    for channel, sender in request.sender.items():
        if channel in channels:
            found += _check_sender(f"/from/{channel}", channel, sender)
        else:
            detail = "is none of this message's channels"
            found.append(FieldError(pointer=f"/from/{channel}", code="unsupported", detail=detail))
    return found


def _check_sender(pointer: str, channel: str, sender: str) -> list[FieldError]:
    found = _too_long(pointer, sender, limits.SENDER_CHARS)
    problem = CHANNELS[channel].sender_problem(sender)
    if problem:
        found.append(FieldError(pointer=pointer, code="invalid_sender", detail=problem))
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


def _check_labels(request: SendRequest) -> list[FieldError]:
    found = _too_long("/reference", request.reference, limits.REFERENCE_CHARS)
    found += _too_long("/sequence", request.sequence, limits.SEQUENCE_CHARS)
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
    named = request.channel is not None or request.channels is not None
    found = _check_channel(request) if named else []
    channels = channels_of(request)
    if found:
        channels = tuple(name for name in channels if name in CHANNELS)
    for channel in channels:
        found += _check_to(request, channel)
        found += _check_content(request, channel)
    if isinstance(request.sender, str) and len(channels) == 1:
        found += _check_sender("/from", channels[0], request.sender)
    elif request.sender is not None and channels:
        found += _check_senders(request, channels)
    return _once([*found, *_check_text(request), *_check_times(request, now_ms), *_check_labels(request)])


def _once(found: list[FieldError]) -> list[FieldError]:
    """Without repetitions: several channels may miss the same field."""
    return list({(one.pointer, one.code): one for one in found}.values()) if len(found) > 1 else found


def millis(time: dt.datetime | None) -> int | None:
    """Milliseconds since the Unix epoch; None stays None."""
    return None if time is None else int(time.timestamp() * 1000)
