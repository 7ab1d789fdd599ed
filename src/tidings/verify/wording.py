"""What the message with a code says: built-in texts by locale, or the customer's own, and the lines that telephones read.

A text is Liquid over `code`, `brand` and `minutes`, so that what the API and webhooks show of the message is `{{ code }}`.
"""

from typing import Final

import msgspec

#: Liquid that stands for the code.
CODE: Final = "{{ code }}"
_BRAND: Final = "{% if brand %}{{ brand }}: {% endif %}"  # an empty string is true in Liquid: no brand is null


class Words(msgspec.Struct, frozen=True):
    """`said` has the code, `whole` also says to keep it: with six digits and a brand of VERIFY_BRAND_CHARS that is one SMS."""

    said: str
    whole: str


#: By language, or by language and script or region where that makes a difference.
WORDS: Final[dict[str, Words]] = {
    "ar": Words("{{ code }} هو رمز التحقق", "{{ code }} هو رمز التحقق. لا تشاركه."),
    "cs": Words("{{ code }} je váš ověřovací kód", "{{ code }} je váš ověřovací kód. Nesdílejte ho."),
    "da": Words("{{ code }} er din kode", "{{ code }} er din kode. Del den ikke."),
    "de": Words("{{ code }} ist Ihr Code", "{{ code }} ist Ihr Code. Geben Sie ihn nicht weiter."),
    "el": Words("{{ code }}: κωδικός επαλήθευσης", "{{ code }}: κωδικός επαλήθευσης. Μην τον δώσετε."),
    "en": Words("{{ code }} is your verification code", "{{ code }} is your verification code. Do not share it."),
    "es": Words("{{ code }} es su código", "{{ code }} es su código. No lo comparta."),
    "fi": Words("{{ code }} on vahvistuskoodisi", "{{ code }} on vahvistuskoodisi. Älä jaa sitä."),
    "fr": Words("{{ code }} est votre code", "{{ code }} est votre code. Ne le partagez pas."),
    "he": Words("{{ code }} הוא קוד האימות שלך", "{{ code }} הוא קוד האימות שלך. אין לשתף אותו."),
    "hi": Words("{{ code }} आपका कोड है", "{{ code }} आपका कोड है। इसे साझा न करें।"),
    "hu": Words("{{ code }} az ellenőrző kódja", "{{ code }} az ellenőrző kódja. Ne ossza meg."),
    "id": Words("{{ code }} adalah kode verifikasi Anda", "{{ code }} adalah kode verifikasi Anda. Jangan bagikan."),
    "it": Words("{{ code }} è il suo codice", "{{ code }} è il suo codice. Non lo condivida."),
    "ja": Words("認証コード: {{ code }}", "認証コード: {{ code }}。他人に教えないでください。"),
    "ko": Words("인증번호는 {{ code }}입니다", "인증번호는 {{ code }}입니다. 타인에게 알려주지 마세요."),
    "nb": Words("{{ code }} er koden din", "{{ code }} er koden din. Ikke del den."),
    "nl": Words("{{ code }} is uw code", "{{ code }} is uw code. Deel hem niet."),
    "pl": Words("{{ code }} to kod weryfikacyjny", "{{ code }} to kod weryfikacyjny. Nie podawaj go."),
    "pt": Words("{{ code }} é o seu código", "{{ code }} é o seu código. Não o partilhe."),
    "pt-BR": Words("{{ code }} é seu código", "{{ code }} é seu código. Não compartilhe."),
    "ro": Words("{{ code }} este codul dvs.", "{{ code }} este codul dvs. Nu îl divulgați."),
    "ru": Words("{{ code }} — ваш код", "{{ code }} — ваш код. Никому его не сообщайте."),
    "sv": Words("{{ code }} är din kod", "{{ code }} är din kod. Dela den inte."),
    "th": Words("{{ code }} คือรหัสยืนยันของคุณ", "{{ code }} คือรหัสยืนยันของคุณ ห้ามบอกผู้อื่น"),
    "tr": Words("{{ code }} doğrulama kodunuz", "{{ code }} doğrulama kodunuz. Paylaşmayın."),
    "uk": Words("{{ code }} — ваш код", "{{ code }} — ваш код. Нікому його не кажіть."),
    "vi": Words("{{ code }} là mã xác minh", "{{ code }} là mã xác minh. Không chia sẻ mã."),
    "zh-Hans": Words("验证码:{{ code }}", "验证码:{{ code }}。请勿告诉他人。"),
    "zh-Hant": Words("驗證碼:{{ code }}", "驗證碼:{{ code }}。請勿告訴他人。"),
}
#: What other names lead to.
_LIKE: Final = {"no": "nb", "nn": "nb", "iw": "he", "in": "id"}
_HANT: Final = frozenset({"tw", "hk", "mo", "hant"})
FALLBACK: Final = "en"


def locale_of(wanted: str | None) -> str:
    """The built-in locale for a BCP 47 tag (`pt-BR`, `zh_TW`, `de-AT`): the same, else its language, else English."""
    parts = (wanted or FALLBACK).replace("_", "-").split("-")
    language = parts[0].lower()
    if language == "zh":
        return "zh-Hant" if _HANT & {part.lower() for part in parts[1:]} else "zh-Hans"
    language = _LIKE.get(language, language)
    for part in parts[1:]:
        if f"{language}-{part.upper()}" in WORDS:
            return f"{language}-{part.upper()}"
    return language if language in WORDS else FALLBACK


def text_of(custom: str | None, locale: str | None) -> str:
    """The Liquid of the message, without the lines for telephones."""
    if custom is not None:
        return custom
    return _BRAND + WORDS[locale_of(locale)].whole


def subject_of(locale: str | None) -> str:
    """The Liquid of an email's subject."""
    return _BRAND + WORDS[locale_of(locale)].said


def for_telephone(text: str, app_hash: str | None, domain: str | None) -> str:
    """The text with its last line: for the Android app with this hash, or for this web site.

    Sources: SMS Retriever API, "Construct a verification message"; Origin-bound one-time codes delivered via SMS (WICG) §3.
    """
    if app_hash is not None:
        return f"{text}\n{app_hash}"
    return text if domain is None else f"{text}\n\n@{domain} #{CODE}"
