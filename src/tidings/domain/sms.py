"""What an SMS can be besides plain text: the `content` of a request whose channel is `sms`."""

from typing import Any, Final

import msgspec

from tidings.domain.errors import FieldError
from tidings.domain.phone import phone_problem

#: Fields of `content` whose strings are Liquid, and those of them that are HTML: an SMS has only its `text`.
LIQUID: Final = frozenset[str]()
HTML: Final = frozenset[str]()

#: 255 parts with ports and an 8-bit reference: what fits is for the provider to say, this only bounds the work.
DATA_OCTETS = 255 * 128


class SmsContent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`flash`: the text is shown at once and not kept. `data`: octets in hex, in place of a text.

    Ports name the application on the phone that the octets are for.
    """

    flash: bool = False
    data: str | None = None
    destination_port: int | None = None
    source_port: int | None = None

    @property
    def ports(self) -> tuple[int, int] | None:
        """(destination, source); None without a destination port."""
        return None if self.destination_port is None else (self.destination_port, self.source_port or 0)

    @property
    def octets(self) -> bytes:
        """`data` decoded; empty without it."""
        return bytes.fromhex(self.data or "")


def address_problem(text: str) -> str | None:
    """What is wrong with a person's number; None if it is good."""
    return phone_problem(text)


def sender_problem(text: str) -> str | None:
    """What is wrong with `from`; None if it is good."""
    number = len(text) <= 20 and text.lstrip("+").isdigit()
    if number or (len(text) <= 11 and text.isascii() and text.isprintable()):
        return None
    return "must be a number, or at most 11 ASCII characters (alphanumeric sender)"


def problems(content: dict[str, Any] | None, text: str | None) -> list[FieldError]:
    """Everything that is wrong with what an SMS shall say."""
    found = sms_problems(content, text) if content is not None else []
    if text is None and not found and not (content and "data" in content):
        found.append(FieldError(pointer="/text", code="required", detail="an SMS needs `text`"))
    return found


def read_sms(raw: dict[str, Any]) -> SmsContent:
    """The typed content. Raises `msgspec.ValidationError`."""
    return msgspec.convert(raw, SmsContent)


def sms_problems(raw: dict[str, Any], text: str | None) -> list[FieldError]:
    """Everything that is wrong with the content of an SMS beside its `text`."""
    try:
        content = read_sms(raw)
    except msgspec.ValidationError as error:
        detail = f"{str(error).partition(' - at ')[0]}; an SMS takes flash, data (hex), destination_port, source_port"
        return [FieldError(pointer="/content", code="unsupported", detail=detail)]
    found: list[FieldError] = []
    if content.data is None:
        if content.ports is not None or content.source_port is not None:
            found.append(_bad("destination_port", "conflict", "ports go with `data`"))
    else:
        found += _data_problems(content, text)
    for name, port in (("destination_port", content.destination_port), ("source_port", content.source_port)):
        if port is not None and not 0 <= port <= 0xFFFF:
            found.append(_bad(name, "range", "must be 0 to 65535"))
    return found


def _data_problems(content: SmsContent, text: str | None) -> list[FieldError]:
    found: list[FieldError] = []
    if text is not None:
        found.append(_bad("data", "conflict", "give `text` or `data`, not both"))
    if content.flash:
        found.append(_bad("flash", "conflict", "only a text can be a flash message"))
    if content.source_port is not None and content.destination_port is None:
        found.append(_bad("destination_port", "required", "a source port needs a destination port"))
    try:
        size = len(content.octets)
    except ValueError:
        return [*found, _bad("data", "encoding", "must be hexadecimal digits, two for each octet")]
    if not 1 <= size <= DATA_OCTETS:
        found.append(_bad("data", "length", f"must have 1 to {DATA_OCTETS} octets"))
    return found


def _bad(name: str, code: str, detail: str) -> FieldError:
    return FieldError(pointer=f"/content/{name}", code=code, detail=detail)
