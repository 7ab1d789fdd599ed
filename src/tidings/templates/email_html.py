"""The HTML of an email, after Liquid: MJML becomes HTML, and CSS moves into the elements. Nothing is fetched.

Both libraries go down an element within an element on the stack of their thread: about ten thousand levels end the
process. And a reader of HTML opens every formatting element (`<b>`, `<font>`) that was not closed anew in each paragraph:
64 kB can become gigabytes. So tags are counted first, by a tokenizer that takes no HTML of which it is not sure.
"""

import re
from collections import Counter
from typing import Final

import msgspec
from css_inline import CSSInliner, InlineError
from mrml import ParserOptions, RenderOptions, noop_loader, to_html

from tidings.domain.email import EmailContent
from tidings.kit.limits import EMAIL_FORMATTING, EMAIL_MJ_TAGS, EMAIL_OUT_BYTES, EMAIL_TAGS, RENDER_BYTES
from tidings.templates.render import TemplateError

_STYLED: Final = re.compile(r"<style", re.IGNORECASE)
#: As a browser reads it. Source: WHATWG HTML §13.2.5 (comments end at `-->` and `--!>`, `<!-->` is one)
_TOKEN: Final = re.compile(
    r"""[^<]+
      | <!--(?:-?>|.*?--!?>)
      | <![^-][^>]*>
      | <(?P<raw>style|title)(?=[\s/>])[^<>"']*(?:(?:"[^"]*"|'[^']*')[^<>"']*)*>.*?</(?P=raw)\s*>
      | <(?P<end>/?)(?P<name>[a-z][a-z0-9:-]*)
        (?:\s+[^\s"'<>/=]+(?:\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'<>`]+))?)*\s*/?>
      | <(?=[\s\d])""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
#: What never runs in a mail, and what browsers read by rules of its own.
_FOREIGN: Final = frozenset(
    {"script", "svg", "math", "textarea", "xmp", "iframe", "noembed", "noframes", "plaintext", "frameset", "template"}
)
_FORMATTING: Final = frozenset(
    {"a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u"}
)
_INLINER: Final = CSSInliner(load_remote_stylesheets=False, keep_at_rules=True)
_READ: Final = ParserOptions(include_loader=noop_loader())
_WRITE: Final = RenderOptions(fonts={})  # its own table of fonts would make every reader call Google


def finish(content: EmailContent) -> EmailContent:
    """As it will be sent: no MJML any more, HTML with its styles in the elements. Pure. Raises TemplateError."""
    if content.mjml is not None:
        return msgspec.structs.replace(content, html=_inlined("mjml", _from_mjml(content.mjml)), mjml=None)
    if content.html is not None and _STYLED.search(content.html):
        return msgspec.structs.replace(content, html=_inlined("html", content.html))
    return content


def _from_mjml(source: str) -> str:
    _check_size("mjml", source, RENDER_BYTES)
    if source.count("<") > EMAIL_TAGS or source.count("<mj") > EMAIL_MJ_TAGS:
        raise TemplateError(
            "too_large", f"content.mjml has too many tags: at most {EMAIL_MJ_TAGS} of MJML, {EMAIL_TAGS} in all"
        )
    try:
        return to_html(source, parser_options=_READ, render_options=_WRITE).content
    except OSError as error:  # all that mrml raises; an include is one, as none may be loaded
        raise TemplateError("invalid_mjml", f"content.mjml: {error}") from None


def _inlined(name: str, html: str) -> str:
    _check_size(name, html, EMAIL_OUT_BYTES)
    _check_tags(name, html)
    try:
        found = _INLINER.inline(html)
    except (InlineError, ValueError) as error:
        raise TemplateError("invalid_css", f"content.{name}: {error}") from None
    _check_size(name, found, EMAIL_OUT_BYTES)
    return found


def _check_size(name: str, text: str, most: int) -> None:
    if len(text) > most:
        raise TemplateError("too_large", f"content.{name} has {len(text)} characters; at most {most}")


def _check_tags(name: str, html: str) -> None:
    """Raises TemplateError for HTML with too many tags, or in which a browser might see other tags than we do."""
    if html.count("<") > EMAIL_TAGS:
        raise TemplateError("too_large", f"content.{name} has more than {EMAIL_TAGS} tags")
    at, formatting = 0, Counter[str]()
    while at < len(html):
        found = _TOKEN.match(html, at)
        tag = (found["name"] or "").lower() if found is not None else ""
        if found is None or tag in _FOREIGN:
            line = html.count("\n", 0, at) + 1
            what = (
                f"<{tag}> cannot be in an email with styles"
                if tag
                else f"the tag at {html[at : at + 40]!r} is malformed"
            )
            raise TemplateError("invalid_html", f"content.{name}, line {line}: {what}")
        if tag in _FORMATTING:
            formatting[tag] = max(0, formatting[tag] + (-1 if found["end"] else 1))
            if formatting.total() > EMAIL_FORMATTING:
                raise TemplateError(
                    "too_deep", f"content.{name} has more than {EMAIL_FORMATTING} open <b>, <a>, <font> …"
                )
        at = found.end()
