"""Liquid in the typed content of a channel: every string of the fields that take it."""

from collections.abc import Iterator
from typing import Any, cast

from tidings.templates.render import TemplateError, parse, parse_html, render, render_html


def fill(content: dict[str, Any], data: dict[str, Any], liquid: frozenset[str], html: frozenset[str]) -> dict[str, Any]:
    """`content` with `data` merged into the fields `liquid`; what goes into those of `html` is escaped. Raises TemplateError."""
    return {key: _filled(value, data, key in html) if key in liquid else value for key, value in content.items()}


def _filled(value: Any, data: dict[str, Any], html: bool) -> Any:
    if isinstance(value, str):
        return (render_html if html else render)(value, data)
    if isinstance(value, list):
        return [_filled(item, data, html) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {key: _filled(item, data, html) for key, item in cast("dict[str, Any]", value).items()}
    return value


def unparsable(
    content: dict[str, Any], liquid: frozenset[str], html: frozenset[str], pointer: str
) -> Iterator[tuple[str, TemplateError]]:
    """What cannot be Liquid of what `fill` would fill: where it is (JSON pointers below `pointer`), and why.

    What is good is parsed once, as `fill` does it, and kept.
    """
    for key, value in content.items():
        if key in liquid:
            yield from _unparsable(value, key in html, f"{pointer}/{_escaped(key)}")


def _unparsable(value: Any, html: bool, pointer: str) -> Iterator[tuple[str, TemplateError]]:
    if isinstance(value, str):
        if "{{" in value or "{%" in value:
            try:
                (parse_html if html else parse)(value)
            except TemplateError as error:
                yield pointer, error
    elif isinstance(value, list):
        for n, item in enumerate(cast("list[Any]", value)):
            yield from _unparsable(item, html, f"{pointer}/{n}")
    elif isinstance(value, dict):
        for key, item in cast("dict[str, Any]", value).items():
            yield from _unparsable(item, html, f"{pointer}/{_escaped(key)}")


def _escaped(key: str) -> str:
    """Source: RFC 6901 §3"""
    return key.replace("~", "~0").replace("/", "~1")
