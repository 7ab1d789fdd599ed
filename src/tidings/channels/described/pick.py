"""Taking one value out of what a carrier says: `json:/a/0/b`, `xml:a/b/@c`, `regex:id=(\\d+)`, `field:id`, `header:X-Id`.

A regular expression comes from a configuration and runs on what a carrier sends, so it is kept small: no group is
repeated, no look-around, two repetitions at most, and 256 characters to look at.
"""

import re
from functools import cached_property
from typing import Any, Final, cast
from xml.etree import ElementTree

import msgspec

from tidings.channels.http.json import json_of

KINDS: Final = ("json", "xml", "regex", "field", "query", "header")
_REGEX_CHARS: Final = 256
_MOST_VALUE: Final = 16_384
_ESCAPED: Final = re.compile(r"\\.")
_CLASS: Final = re.compile(r"\[\^?\]?[^\]]*\]")
_COSTLY: Final = re.compile(r"\)[*+{]|\(\?(?!P<|:)")
_STEP: Final = re.compile(r"@?[A-Za-z_][\w.-]*")


class PickError(ValueError):
    """A pick that cannot be used; says why and what to do."""


class Said:
    """A request or an answer of a carrier, read as far as somebody asks. `item`: one of several in the JSON body."""

    def __init__(self, body: bytes, headers: dict[str, str], fields: dict[str, str], query: dict[str, str]) -> None:
        self._body, self.headers, self.fields, self.query = body, headers, fields, query

    @cached_property
    def json(self) -> object:
        """The JSON body; None if it is none."""
        return json_of(self._body)

    @cached_property
    def text(self) -> str:
        """The body as text."""
        return self._body.decode("utf-8", "replace")

    @cached_property
    def xml(self) -> ElementTree.Element | None:
        """The root of an XML body; None if it is none, or brings declarations (entities could grow without end)."""
        if b"<!" in self._body.replace(b"<![CDATA[", b"").replace(b"<!--", b""):
            return None
        try:
            return ElementTree.fromstring(self._body)
        except (ElementTree.ParseError, ValueError, LookupError):
            return None

    def item(self, value: object) -> "Said":
        """The same, with `value` in place of the JSON body."""
        other = Said(self._body, self.headers, self.fields, self.query)
        other.__dict__["json"] = value
        return other


class Pick(msgspec.Struct, frozen=True):
    """Where a value stands."""

    kind: str
    where: str
    regex: re.Pattern[str] | None = None

    def of(self, said: Said) -> str | None:
        """The value as text; None if there is none."""
        found = self._found(said)
        return None if found is None or len(found) > _MOST_VALUE else found

    def _found(self, said: Said) -> str | None:
        match self.kind:
            case "json":
                return text_of(at(said.json, self.where))
            case "xml":
                return _xml(said.xml, self.where)
            case "regex":
                match = self.regex.search(said.text[:_REGEX_CHARS]) if self.regex is not None else None
                return match[1] if match is not None else None
            case "field":
                return said.fields.get(self.where)
            case "query":
                return said.query.get(self.where)
            case _:
                return said.headers.get(self.where)


def parse(text: str) -> Pick:
    """Raises `PickError`."""
    kind, colon, where = text.partition(":")
    if not colon or kind not in KINDS:
        raise PickError(f"must begin with one of {', '.join(f'{kind}:' for kind in KINDS)}")
    if kind == "regex":
        return Pick(kind, where, _regex(where))
    if kind == "json":
        if where and not where.startswith("/"):
            raise PickError("must be a JSON pointer (RFC 6901), for example json:/messages/0/id")
    elif kind == "xml":
        if not all(_STEP.fullmatch(step) for step in where.split("/")):
            raise PickError("must be names with slashes between, for example xml:response/message/@id")
    elif not where:
        raise PickError("needs a name after the colon")
    return Pick(kind, where.lower() if kind == "header" else where)


def at(value: object, pointer: str) -> object:
    """What a JSON pointer leads to; None if it leads nowhere. Source: RFC 6901 §4"""
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = cast("dict[str, object]", value).get(name)
        elif isinstance(value, list) and name.isascii() and name.isdigit() and len(name) < 6:
            items = cast("list[object]", value)
            value = items[int(name)] if int(name) < len(items) else None
        else:
            return None
    return value


def text_of(value: object) -> str | None:
    """A JSON scalar as text; None for null, objects and arrays."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    return str(value) if isinstance(value, (str, int)) else None


def _xml(root: ElementTree.Element | None, path: str) -> str | None:
    if root is None:
        return None
    steps = path.split("/")
    attribute = steps.pop()[1:] if steps[-1].startswith("@") else None
    if steps and steps[0] == root.tag.rpartition("}")[2]:
        steps = steps[1:]
    found: Any = root.find("/".join(f"{{*}}{step}" for step in steps)) if steps else root
    if found is None:
        return None
    return found.get(attribute) if attribute is not None else (found.text or "").strip()


def _regex(text: str) -> re.Pattern[str]:
    try:
        made = re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise PickError(f"is no regular expression: {error}") from None
    if made.groups != 1:
        raise PickError("must have one group (in parentheses), which is the value")
    bare = _CLASS.sub("c", _ESCAPED.sub("e", text))
    repetitions = sum(bare.count(sign) for sign in "*+{")
    if len(text) > 200 or repetitions > 2 or _COSTLY.search(bare) or re.search(r"\\[1-9]", text):
        raise PickError("is too costly: at most two repetitions, none of a group, no look-around, no back reference")
    return made
