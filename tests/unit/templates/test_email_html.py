"""MJML and CSS of emails, and what would bring their readers down."""

from __future__ import annotations

import time

import pytest

from tidings.domain.email import EmailContent
from tidings.templates.email_html import finish
from tidings.templates.render import TemplateError

MJML = (
    "<mjml><mj-head><mj-style>.x {{ color: red }}</mj-style></mj-head><mj-body><mj-section><mj-column>"
    '<mj-text css-class="x">{}</mj-text><mj-button href="https://example.com/?a=1&amp;b=2">Go</mj-button>'
    "</mj-column></mj-section></mj-body></mjml>"
)


def html(text: str) -> str:
    return finish(EmailContent(subject="x", html=text)).html or ""


def mjml(text: str) -> str:
    found = finish(EmailContent(subject="x", mjml=text))
    assert found.mjml is None
    return found.html or ""


def test_mjml() -> None:
    found = mjml(MJML.format("Grüße"))
    assert "Grüße" in found
    assert "color: red" in found.split("<body")[1]
    assert 'href="https://example.com/?a=1&amp;b=2"' in found
    assert "@media only screen" in found
    assert "googleapis" not in found  # no reader calls anybody


def test_css_moves_into_elements() -> None:
    found = html("<style>p { color: red } @media (max-width: 9px) { p { color: blue } }</style><p>Hi")
    assert '<p style="color: red;">' in found
    assert "@media" in found


def test_without_styles_html_stays_as_it_is() -> None:
    content = EmailContent(subject="x", html="<P class=a>Hi <svg><b", text="Hi")
    assert finish(content) is content


@pytest.mark.parametrize(
    "source",
    ["<link rel=stylesheet href=file:///etc/passwd><p>x", "<link rel=stylesheet href=http://127.0.0.1:1/x.css><p>x"],
)
def test_nothing_is_fetched(source: str) -> None:
    found = html(f"<style>p{{color:red}}</style>{source}")
    assert "root:" not in found
    assert "color: red" in found


@pytest.mark.parametrize("path", ["/etc/passwd", "file:///etc/passwd", "https://example.com/a.mjml"])
def test_nothing_is_included(path: str) -> None:
    with pytest.raises(TemplateError, match="include"):
        mjml(f'<mjml><mj-body><mj-include path="{path}"/></mj-body></mjml>')


GOOD = [
    "<!doctype html><p>a < b, 1 <2", "<!--[if mso]><table><![endif]--><p>x", "<!--[if !mso]><!--><p>x<!--<![endif]-->",
    "<![if !mso]><p>x<![endif]>", "<p title='a>b' data-x=1 hidden>x<br/></P >", "<title>a <b> c</title><p>x", "<o:p>x</o:p>",
    "<!--><p>x", "<!---><p>x", "<!-- a --!><p>x", "<p>" + "<b>x</b>" * 500, "<a href=https://example.com/?a=1>x</a>",
]  # fmt: skip


@pytest.mark.parametrize("source", GOOD)
def test_taken(source: str) -> None:
    assert "color: red" in html(f"<style>p,b,a{{color:red}}</style>{source}") or "<p" not in source


STYLE = "<style>p{c:d}</style>"
BOMBS = [
    STYLE + "<div>" * 13_000, STYLE + "<p>" + "".join(f"<b a{n}>" for n in range(500)) + "<p>x" * 1_000,
    STYLE + "".join(f"<b a{n}><!--</b>-->" for n in range(400)) + "<p>x" * 1_000,
    STYLE + "".join(f"<b a{n} title='</b>'>" for n in range(400)) + "<p>x" * 1_000,
    STYLE + "".join(f"<b a{n}><title></b></title>" for n in range(400)) + "<p>x" * 1_000,
    STYLE + "".join(f"<b a{n}><style></b></style>" for n in range(400)) + "<p>x" * 1_000,
    STYLE + "".join(f"<b a{n}><textarea></b></textarea>" for n in range(400)) + "<p>x" * 1_000,
    STYLE + "".join(f"<b a{n} x'></b>" for n in range(400)) + "<p>x" * 1_000,
    STYLE + "".join(f"<b a{n}></b x\">" for n in range(400)) + "<p>x" * 1_000,
    STYLE + "<script><!--<script>" + "</script></b>" * 9 + "--></script>" + "<b>" * 9, STYLE + "<svg><![CDATA[ </b> ]]>",
    STYLE + "<p title=\"" + "a" * 60_000, STYLE + "<p " + "a=b " * 15_000, STYLE + "<!--" + "-" * 60_000,
    STYLE + "<p a=" + "'" * 60_000,
]  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS, ids=range(len(BOMBS)))
def test_bombs_are_refused_before_they_are_read(bomb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An untamed reader would take the process down, so it is not there; only the two that are merely long may reach it."""
    reached: list[int] = []

    class Reader:
        def inline(self, source: str) -> str:
            reached.append(len(source))
            return source

    monkeypatch.setattr("tidings.templates.email_html._INLINER", Reader())
    start = time.thread_time()
    refused = ""
    try:
        html(bomb)
    except TemplateError as error:
        refused = error.code
    assert refused in ("too_large", "too_deep", "invalid_html") or (reached and bomb.count("<") < 10)
    assert time.thread_time() - start < 2  # CPU of this thread, 100 times what it takes


@pytest.mark.parametrize(
    "source",
    [
        "<mjml><mj-body>" + "<mj-wrapper>" * 700 + "</mj-wrapper>" * 700 + "</mj-body></mjml>",
        MJML.format("<div>" * 6_000 + "</div>" * 6_000), "<mjml", "<p>x</p>", "", MJML.format("x" * 70_000),
        MJML.format("<svg></svg>"), MJML.format("".join(f"<font a{n}='1'>" for n in range(30)) + "</font>" * 30),
    ],
    ids=range(8),
)  # fmt: skip
def test_mjml_that_is_refused(source: str) -> None:
    with pytest.raises(TemplateError):
        mjml(source)
