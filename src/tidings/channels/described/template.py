"""`Hello {name}`: texts with placeholders from a fixed list. Nothing is evaluated; a value is never looked at again.

`{{` and `}}` stand for braces. How values are escaped is for the place where the text goes (`Escape`).
"""

import re
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote, quote_plus

_TOKEN: Final = re.compile(r"\{\{|\}\}|\{([a-z0-9_]+(?::[A-Za-z0-9_-]+)?)\}|[{}]")
_XML: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;"}
#: What XML 1.0 cannot hold. Source: XML 1.0 §2.2
_NO_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NO_HEADER: Final = re.compile(r"[^\x20-\x7e]")
Escape = Callable[[str], str]


class TemplateError(ValueError):
    """A template that is wrong, or a value that cannot stand where it is to go; says why."""


class Template:
    """A parsed text. `names` are its placeholders."""

    __slots__ = ("_pieces", "names")

    def __init__(self, text: str, known: frozenset[str]) -> None:
        """Raises `TemplateError` for a placeholder that is not in `known` (`header:*` allows any header's name)."""
        pieces: list[tuple[str, bool]] = []
        at = 0
        for found in _TOKEN.finditer(text):
            pieces.append((text[at : found.start()], False))
            at = found.end()
            name = found[1]
            if name is None and found[0] in ("{", "}"):
                raise TemplateError(f"has a lone {found[0]!r}; write {found[0] * 2!r} for a brace")
            if name is None:
                pieces.append((found[0][0], False))
            elif name in known or (":" in name and f"{name.split(':')[0]}:*" in known):
                pieces.append((name.lower() if ":" in name else name, True))
            else:
                there = ", ".join(sorted(known))
                raise TemplateError(f"names {{{name}}}, which there is not; there are: {there}")
        pieces.append((text[at:], False))
        self._pieces = tuple(piece for piece in pieces if piece[0])
        self.names = frozenset(name for name, is_name in self._pieces if is_name)

    @property
    def alone(self) -> str | None:
        """The name, if the text is one placeholder and nothing else."""
        return self._pieces[0][0] if len(self._pieces) == 1 and self._pieces[0][1] else None

    def render(self, values: Mapping[str, str | None], escape: Escape) -> str | None:
        """The text; None if one of its values is missing. Raises `TemplateError` where a value cannot be escaped."""
        out: list[str] = []
        for piece, is_name in self._pieces:
            if not is_name:
                out.append(piece)
                continue
            value = values.get(piece)
            if value is None:
                return None
            out.append(escape(value))
        return "".join(out)


def plain(value: str) -> str:
    """As it is: where the whole text is escaped later, or has no syntax."""
    return value


def in_path(value: str) -> str:
    """For a URL's path or query as written in `url`."""
    return quote(value, safe="")


def in_form(value: str) -> str:
    """For a form body or a query. Source: URL Standard, application/x-www-form-urlencoded"""
    return quote_plus(value)


def in_xml(value: str) -> str:
    """For text or an attribute of XML. Raises `TemplateError` for characters that XML cannot hold."""
    if _NO_XML.search(value):
        raise TemplateError("XML cannot hold one of the characters")
    return "".join(_XML.get(c, c) for c in value)


def in_header(value: str) -> str:
    """For a header's value: visible ASCII. Raises `TemplateError`. Source: RFC 9110 §5.5"""
    if _NO_HEADER.search(value):
        raise TemplateError("a header holds visible ASCII only")
    return value
