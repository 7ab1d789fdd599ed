"""A template message of WhatsApp: a form that Meta has approved, and what is filled in.

Source: WhatsApp Cloud API v23.0, schemas `TemplateObject`, `TemplateComponent`, `ParameterObject`; guide "Send message
templates" (named parameters, coupon codes)
"""

from typing import Literal

import msgspec


class _Noun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of a template."""


class File(_Noun, frozen=True, kw_only=True):
    """A file in the header: `link` or `id`; a `filename` only documents have."""

    link: str | None = None
    id: str | None = None
    filename: str | None = None


class Currency(_Noun, frozen=True, kw_only=True):
    """An amount in thousandths, `code` of ISO 4217. Meta shows `fallback_value` where it cannot write it locally."""

    fallback_value: str
    code: str
    amount_1000: int


class DateTime(_Noun, frozen=True, kw_only=True):
    """A moment, as it is to be shown."""

    fallback_value: str


class Text(_Noun, frozen=True, kw_only=True, tag="text"):
    """Words for a place in the template; `parameter_name` where its places have names, not numbers."""

    text: str
    parameter_name: str | None = None


class CurrencyParameter(_Noun, frozen=True, kw_only=True, tag="currency"):
    """An amount of money."""

    currency: Currency


class DateTimeParameter(_Noun, frozen=True, kw_only=True, tag="date_time"):
    """A moment."""

    date_time: DateTime


class Image(_Noun, frozen=True, kw_only=True, tag="image"):
    """The picture of a header."""

    image: File


class Video(_Noun, frozen=True, kw_only=True, tag="video"):
    """The film of a header."""

    video: File


class Document(_Noun, frozen=True, kw_only=True, tag="document"):
    """The PDF of a header."""

    document: File


class Payload(_Noun, frozen=True, kw_only=True, tag="payload"):
    """What comes back when a quick-reply button is pressed."""

    payload: str


class CouponCode(_Noun, frozen=True, kw_only=True, tag="coupon_code"):
    """What a copy-code button copies."""

    coupon_code: str


Parameter = (
    Text | CurrencyParameter | DateTimeParameter | Image | Video | Document | Payload | CouponCode
)  # the tag is `type`


class Component(_Noun, frozen=True, kw_only=True):
    """The header, the body, or one button (`index`, from 0, in the template's order)."""

    type: Literal["header", "body", "button"]
    parameters: tuple[Parameter, ...] = ()
    sub_type: Literal["quick_reply", "url", "copy_code"] | None = None
    index: int | None = None


class Template(_Noun, frozen=True, kw_only=True):
    """`language`: Meta's code, as the template was approved in (`en`, `en_US`, `pt_BR`)."""

    name: str
    language: str
    components: tuple[Component, ...] = ()
