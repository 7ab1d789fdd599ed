"""What messages with a code say."""

from __future__ import annotations

import pytest

from tidings.kit.limits import VERIFY_APP_HASH_BYTES, VERIFY_BRAND_CHARS, VERIFY_DIGITS_DEFAULT
from tidings.protocols.gsm import segments
from tidings.templates.render import render
from tidings.verify.wording import WORDS, for_telephone, locale_of, subject_of, text_of

CODE = "0123456789"[:VERIFY_DIGITS_DEFAULT]
APP_HASH = "FA+9qCX9VSu"  # of Google's own example


def said(text: str, brand: str | None = None) -> str:
    return render(text, {"code": CODE, "brand": brand, "minutes": 10})


@pytest.mark.parametrize("locale", WORDS)
def test_built_in_words(locale: str) -> None:
    """Each says the code once, and is one SMS even with the longest brand; the line for an app fits a shorter one."""
    brand = "B" * VERIFY_BRAND_CHARS
    whole = said(text_of(None, locale), brand)
    assert whole.startswith(f"{brand}: ")
    assert whole.count(CODE) == 1
    assert len(segments.plan(whole).parts) == 1
    assert said(subject_of(locale)).count(CODE) == 1
    assert not said(text_of(None, locale)).startswith((":", " "))
    for_app = said(for_telephone(text_of(None, locale), APP_HASH, None), "ACME")
    assert len(for_app.encode()) <= VERIFY_APP_HASH_BYTES
    assert len(segments.plan(for_app).parts) == 1


def test_the_locales_that_were_asked_for_are_there() -> None:
    assert set(WORDS) >= {"en", "pt-BR", "es", "fr", "de", "tr", "it", "nl", "pl", "ja", "ar"}
    assert len({words.whole for words in WORDS.values()}) == len(WORDS)


@pytest.mark.parametrize(
    ("wanted", "locale"),
    [
        (None, "en"), ("en", "en"), ("en-GB", "en"), ("pt-BR", "pt-BR"), ("pt_br", "pt-BR"), ("pt-PT", "pt"), ("pt", "pt"),
        ("de-AT", "de"), ("no", "nb"), ("nn-NO", "nb"), ("zh", "zh-Hans"), ("zh-CN", "zh-Hans"), ("zh-TW", "zh-Hant"),
        ("zh-Hant-HK", "zh-Hant"), ("zh_HK", "zh-Hant"), ("iw", "he"), ("tlh", "en"), ("xx-YY", "en"), ("", "en"),
        ("sr-Latn-RS", "en"), ("ES", "es"),
    ],
)  # fmt: skip
def test_locales(wanted: str | None, locale: str) -> None:
    assert locale_of(wanted) == locale


def test_the_last_line_is_for_the_telephone() -> None:
    assert said(for_telephone("{{ code }}", APP_HASH, None)).splitlines()[-1] == APP_HASH
    assert said(for_telephone("{{ code }}", None, "shop.example.com")).splitlines()[-1] == f"@shop.example.com #{CODE}"
    assert said(for_telephone("{{ code }}", None, None)) == CODE
