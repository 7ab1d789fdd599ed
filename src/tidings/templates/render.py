"""Liquid, bounded in loops, output and time; parsed templates are cached. Values are never evaluated."""

import time
from functools import lru_cache
from typing import Any

from liquid import BoundTemplate, Environment, RenderContext
from liquid.exceptions import LiquidError, ResourceLimitError

from tidings.kit.limits import RENDER_BYTES, RENDER_LOOPS, RENDER_MS, TEMPLATE_CACHE


class TemplateError(Exception):
    """The template cannot be used with this data; the text says where and why. `code` is stable."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


class _Overtime(ResourceLimitError):
    pass


class _TimedContext(RenderContext):
    """Looks at the clock wherever the engine counts: at each loop, and each value that is written."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.end_ns = time.monotonic_ns() + RENDER_MS * 1_000_000

    def raise_for_loop_limit(self, length: int = 1) -> None:
        self._look()
        super().raise_for_loop_limit(length)

    def resolve(self, *args: Any, **kwargs: Any) -> Any:
        self._look()
        return super().resolve(*args, **kwargs)

    def get(self, *args: Any, **kwargs: Any) -> Any:
        self._look()
        return super().get(*args, **kwargs)

    def _look(self) -> None:
        if time.monotonic_ns() > self.end_ns:
            raise _Overtime("the template took too long", token=None)


class _Template(BoundTemplate):
    context_class = _TimedContext


class _Environment(Environment):
    loop_iteration_limit = RENDER_LOOPS
    output_stream_limit = RENDER_BYTES
    local_namespace_limit = RENDER_BYTES * 4
    context_depth_limit = 20
    template_class = _Template


_environment = _Environment()
_html_environment = _Environment(autoescape=True)


@lru_cache(maxsize=TEMPLATE_CACHE)
def parse(source: str) -> BoundTemplate:
    """The parsed template. Raises TemplateError (`template_syntax`) with the line."""
    return _parsed(_environment, source)


@lru_cache(maxsize=TEMPLATE_CACHE)
def parse_html(source: str) -> BoundTemplate:
    """The same for HTML: values are escaped where they are written, unless the template says `safe`."""
    return _parsed(_html_environment, source)


def _parsed(environment: Environment, source: str) -> BoundTemplate:
    try:
        return environment.from_string(source)
    except LiquidError as error:
        raise TemplateError(
            "template_syntax", f"the text is not valid Liquid: {_place(error)}{error.message}"
        ) from error
    except RecursionError as error:
        raise TemplateError("template_syntax", "the text is nested too deeply") from error


def _place(error: LiquidError) -> str:
    try:
        found = error.context()
    except ValueError:  # the end of the text, which the library takes for a place outside of it
        return "at the end: "
    return f"line {found[0]}, column {found[1] + 1}: " if found is not None else ""


def render(source: str, data: dict[str, Any]) -> str:
    """`source` with `data` merged in. Raises TemplateError (`template_syntax`, `template_limit`, `template_failed`)."""
    return _rendered(parse(source), data)


def render_html(source: str, data: dict[str, Any]) -> str:
    """`render` for HTML: no value can bring markup with it. Raises TemplateError."""
    return str(_rendered(parse_html(source), data))


def _rendered(template: BoundTemplate, data: dict[str, Any]) -> str:
    try:
        return template.render(**{"data": data, **data})
    except ResourceLimitError as error:
        raise TemplateError("template_limit", f"the template does too much: {error}") from error
    except (LiquidError, TypeError, ValueError, RecursionError, OverflowError) as error:
        raise TemplateError("template_failed", f"the template cannot be rendered: {error}") from error
