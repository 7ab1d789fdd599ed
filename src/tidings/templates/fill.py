"""Liquid in the typed content of a channel: every string of the fields that take it."""

from typing import Any, cast

from tidings.templates.render import render, render_html


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
