"""What is asked for: the body of `POST /v1/verifications`, its checks, and the message that it makes."""

import ipaddress
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import msgspec
import phonenumbers

from tidings.domain import request as sending
from tidings.domain.errors import FieldError
from tidings.domain.message import Fallback
from tidings.domain.phone import one_person, written
from tidings.domain.request import Recipient, SendRequest
from tidings.domain.verification import Worth, worth_problems
from tidings.kit import limits
from tidings.policy.velocity import Mark
from tidings.templates.render import TemplateError, parse, render
from tidings.verify.wording import for_telephone, subject_of, text_of

#: Channels that reach a person who can read a code to us.
CHANNELS: Final = ("sms", "whatsapp", "email")
#: Channels whose address is a telephone number: sending there can be made to pay.
_TOLL: Final = frozenset({"sms", "whatsapp"})
_SANDBOX: Final = "+1500555"  # costs nobody anything, so it is not counted by its neighbours
_APP_HASH: Final = re.compile(r"[A-Za-z0-9+/]{11}")
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*", re.IGNORECASE)
_TRIAL: Final = "0123456789"
_LOCALE: Final = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8}){0,3}")


class Ask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/verifications`. Whom, by which channels, with which words, and what a code is worth.

    `text` is Liquid over `code` (required), `brand` and `minutes`; without it the words are built in, by `locale`.
    `app_hash`: of the Android app that reads the code itself. `domain`: of the web site that browsers fill it in for.
    `ip`: of the person at the other end of the customer's own form, to be counted by.
    `code_length`, `valid_for_s`, `max_attempts`: null for what the server is set to.
    """

    to: str | Recipient
    channel: str | None = None
    channels: list[str] | None = None
    fallback: Fallback | None = None
    sender: str | dict[str, str] | None = msgspec.field(name="from", default=None)
    locale: str | None = None
    brand: str | None = None
    text: str | None = None
    template: str | None = None
    whatsapp_template: str | None = None
    code_length: int | None = None
    valid_for_s: int | None = None
    max_attempts: int | None = None
    app_hash: str | None = None
    domain: str | None = None
    ip: str | None = None
    reference: str | None = None


class Terms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a message is made of, again and again: kept sealed. `to` names the address of every channel."""

    to: str | dict[str, Any]
    salt: str
    channels: list[str]
    after_s: int
    on: list[Any]
    sender: str | dict[str, str] | None = None
    locale: str | None = None
    brand: str | None = None
    text: str | None = None
    whatsapp_template: str | None = None
    app_hash: str | None = None
    domain: str | None = None
    minutes: int = 0


def channels_of(ask: Ask) -> tuple[str, ...]:
    """The channels in the order in which they are tried."""
    return sending.channels_of(SendRequest(to=ask.to, channel=ask.channel, channels=ask.channels))


def worth_of(ask: Ask, default: Worth) -> Worth:
    """As asked for, else as the server is set."""
    given = {name: getattr(ask, name) for name in Worth.__struct_fields__}
    return msgspec.structs.replace(default, **{name: value for name, value in given.items() if value is not None})


def terms_of(ask: Ask, salt: str, worth: Worth) -> Terms:
    """What is kept of it."""
    # who reads a code that failed to come waits at a form: the next channel is tried soon, and without being asked to
    fallback = ask.fallback or Fallback(after_s=limits.VERIFY_FALLBACK_S, on=["failed", "not_delivered"])
    to = ask.to if isinstance(ask.to, str) else {k: v for k, v in msgspec.structs.asdict(ask.to).items() if v}
    return Terms(
        to=to, salt=salt, channels=list(channels_of(ask)), after_s=fallback.after_s, on=list(fallback.on),
        sender=ask.sender, locale=ask.locale, brand=ask.brand, text=ask.text, whatsapp_template=ask.whatsapp_template,
        app_hash=ask.app_hash, domain=ask.domain, minutes=max(1, worth.valid_for_s // 60),
    )  # fmt: skip


def message_of(
    terms: Terms, code: str, valid_for_s: int, reference: str | None, channels: list[str] | None = None
) -> SendRequest:
    """The message with the code. `channels`: those that are tried now; all of them, if not given."""
    named = channels or terms.channels
    several = len(named) > 1
    content = {name: made for name in named if (made := _content(terms, name)) is not None}
    text: str | None = for_telephone(text_of(terms.text, terms.locale), terms.app_hash, terms.domain)
    if named == ["whatsapp"] and content:  # its template has no place for a text
        text = None
    return SendRequest(
        to=terms.to if isinstance(terms.to, str) else Recipient(**terms.to),
        channel=None if several else named[0],
        channels=named if several else None,
        fallback=Fallback(after_s=terms.after_s, on=terms.on) if several else None,
        sender=terms.sender if channels is None else _sender(terms, named),
        text=text,
        content=(content if several else content.get(named[0])) or None,
        data={"code": code, "brand": terms.brand, "minutes": terms.minutes},
        locale=terms.locale,
        lane="otp",
        valid_for_s=max(1, valid_for_s),
        reference=reference,
    )


def _sender(terms: Terms, named: list[str]) -> str | dict[str, str] | None:
    """That of some of the channels."""
    if not isinstance(terms.sender, dict):
        return terms.sender
    chosen = {name: sender for name, sender in terms.sender.items() if name in named}
    return chosen if len(named) > 1 else chosen.get(named[0])


def _content(terms: Terms, channel: str) -> dict[str, Any] | None:
    if channel == "email":
        return {"subject": subject_of(terms.locale), "text": text_of(terms.text, terms.locale)}
    if channel == "whatsapp" and terms.whatsapp_template is not None:
        # an authentication template: the code in the body, and again behind the button that copies it
        code = [{"type": "text", "text": "{{ code }}"}]
        button = {"type": "button", "sub_type": "url", "index": 0, "parameters": code}
        language = (terms.locale or "en-US").replace("-", "_")
        components = [{"type": "body", "parameters": code}, button]
        return {"template": {"name": terms.whatsapp_template, "language": language, "components": components}}
    return None


def check(ask: Ask, now_ms: int, default: Worth) -> list[FieldError]:
    """Every bad field; empty if it can begin."""
    worth = worth_of(ask, default)
    found = [*_check_channels(ask), *worth_problems(worth), *_check_words(ask), *_check_telephone(ask, worth)]
    bad = {error.pointer for error in found}
    if any(pointer.startswith("/channel") for pointer in bad):
        return found  # there is no message to be looked at
    spared = msgspec.structs.replace(ask, text=None) if "/text" in bad else ask
    made = message_of(terms_of(spared, "", worth), _TRIAL, 60, ask.reference)
    known = {(error.pointer, error.code) for error in found}
    return found + [error for error in sending.check(made, now_ms) if (error.pointer, error.code) not in known]


def _check_channels(ask: Ask) -> list[FieldError]:
    named = [("/channel", ask.channel)] if ask.channel is not None else []
    named += [(f"/channels/{n}", name) for n, name in enumerate(ask.channels or [])]
    found = [
        _bad(where, "unsupported", f"a code goes by {', '.join(CHANNELS)}, not {name!r}")
        for where, name in named
        if name not in CHANNELS
    ]
    if ask.channel is not None and ask.channels is not None:
        found.append(_bad("/channels", "conflict", "give `channel` or `channels`, not both"))
    if ask.channels is not None and not ask.channels:
        found.append(_bad("/channels", "required", "must name at least one channel"))
    if not found and not set(channels_of(ask)) <= set(CHANNELS):
        found.append(_bad("/channel", "required", f"give the channel: {', '.join(CHANNELS)}"))
    return found


def _check_words(ask: Ask) -> list[FieldError]:
    found: list[FieldError] = []
    if ask.template is not None:
        detail = (
            "stored templates are not available yet; give `text` with {{ code }}, or nothing for the built-in words"
        )
        found.append(_bad("/template", "unsupported", detail))
    if ask.locale is not None and not _LOCALE.fullmatch(ask.locale):
        found.append(_bad("/locale", "format", "must be a language tag, for example pt-BR"))
    if ask.brand is not None and not (0 < len(ask.brand) <= limits.VERIFY_BRAND_CHARS and ask.brand.isprintable()):
        detail = f"must have 1 to {limits.VERIFY_BRAND_CHARS} printable characters"
        found.append(_bad("/brand", "length", detail))
    if ask.text is not None:
        found += _check_text(ask.text)
    return found


def _check_text(text: str) -> list[FieldError]:
    if not 0 < len(text) <= limits.TEXT_CHARS:
        return [_bad("/text", "length", f"must have 1 to {limits.TEXT_CHARS} characters")]
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        return []  # told by the checks of every message
    try:
        parse(text)
        said = [render(text, {"code": code, "brand": None, "minutes": 1}) for code in (_TRIAL, _TRIAL[::-1])]
    except TemplateError as error:
        return [_bad("/text", error.code, error.detail)]
    if _TRIAL not in said[0] or _TRIAL[::-1] not in said[1]:
        return [_bad("/text", "required", "must say the code: put {{ code }} into it")]
    return []


def _check_telephone(ask: Ask, worth: Worth) -> list[FieldError]:
    found: list[FieldError] = []
    if ask.app_hash is not None and not _APP_HASH.fullmatch(ask.app_hash):
        found.append(_bad("/app_hash", "format", "must be the 11 characters that the SMS Retriever gives your app"))
    if ask.domain is not None and not _DOMAIN.fullmatch(ask.domain):
        found.append(_bad("/domain", "format", "must be a host name, for example shop.example.com"))
    if ask.app_hash is not None and ask.domain is not None:
        found.append(_bad("/domain", "conflict", "a message has one last line: give `app_hash` or `domain`"))
    if ask.ip is not None and _address(ask.ip) is None:
        found.append(_bad("/ip", "format", "must be an IP address, for example 203.0.113.7"))
    if ask.app_hash is not None and not found:
        found += _check_length(ask, worth.code_length)
    return found


def _check_length(ask: Ask, digits: int) -> list[FieldError]:
    """Whether Android would look at the message."""
    data = {"code": _TRIAL[:digits], "brand": ask.brand, "minutes": 60}
    try:
        said = render(for_telephone(text_of(ask.text, ask.locale), ask.app_hash, None), data)
    except TemplateError:
        return []  # told at /text
    octets = len(said.encode(errors="replace"))
    if octets <= limits.VERIFY_APP_HASH_BYTES:
        return []
    detail = (
        f"with `app_hash` the message may have {limits.VERIFY_APP_HASH_BYTES} bytes of UTF-8, this one has {octets}"
    )
    return [_bad("/text" if ask.text is not None else "/brand", "length", detail)]


def _bad(pointer: str, code: str, detail: str) -> FieldError:
    return FieldError(pointer=pointer, code=code, detail=detail)


def _address(text: str) -> str | None:
    """The network that stands for one end user: an IPv4 address, or the /64 of an IPv6 one."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address):
        mapped = found.ipv4_mapped
        return str(mapped) if mapped else str(ipaddress.ip_network((found.packed[:8] + bytes(8), 64)))
    return str(found)


def addresses_of(ask: Ask) -> list[tuple[str, str]]:
    """(channel, address) of every channel, in order."""
    request = SendRequest(to=ask.to)
    return [(channel, sending.addresses(request, channel)[0]) for channel in channels_of(ask)]


def marks_of(ask: Ask, hashed: Callable[[str], str]) -> tuple[Mark, ...]:
    """What this verification is counted by, each once. `hashed`: the keyed hash of an address."""
    marks: dict[Mark, None] = {}
    for channel, address in addresses_of(ask):
        one = one_person(address) if channel in _TOLL else address
        marks["to", hashed(one)] = None
        if channel in _TOLL and not one.startswith(_SANDBOX):
            marks["block", one[:-4]] = None
            marks["range", one[:-6]] = None
    network = _address(ask.ip) if ask.ip is not None else None
    if network is not None:
        marks["ip", hashed(network)] = None
    return tuple(marks)


def prefixes_of(ask: Ask) -> tuple[str, ...]:
    """Every beginning that all its numbers share, for the look at the allowed ones."""
    numbers = [written(address) for channel, address in addresses_of(ask) if channel in _TOLL]
    begins = [{number[:n] for n in range(2, len(number) + 1)} for number in numbers]
    return tuple(set[str].intersection(*begins)) if begins else ()


def country_of(ask: Ask) -> str | None:
    """The country of the first telephone number (ISO 3166-1 alpha-2), or None."""
    numbers = [address for channel, address in addresses_of(ask) if channel in _TOLL]
    return _country(numbers[0]) if numbers else None


@lru_cache(maxsize=65_536)
def _country(number: str) -> str | None:
    try:
        return phonenumbers.region_code_for_number(phonenumbers.parse(number))
    except phonenumbers.NumberParseException:
        return None
