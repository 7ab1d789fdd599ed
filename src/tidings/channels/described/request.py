"""The request that is made of a part: templates filled, escaped for where they stand, signed."""

import base64
import hmac
from collections.abc import Mapping
from typing import Any, Final, cast
from urllib.parse import quote, urlsplit

import msgspec

from tidings.channels.callback import PATH
from tidings.channels.described.compile import NUMBERS, SECRETS, SIGNED_OUT, Refuse, json_template
from tidings.channels.described.config import Config
from tidings.channels.described.number import digits_of
from tidings.channels.described.template import (
    Escape,
    Template,
    TemplateError,
    in_form,
    in_header,
    in_path,
    in_xml,
    plain,
)
from tidings.channels.described.words import CONTENT, Words
from tidings.channels.http.call import Call
from tidings.domain.attempt import PartRefused, Submission
from tidings.domain.message import MessageError
from tidings.kit.clock import rfc3339
from tidings.protocols.gsm import udh

Values = Mapping[str, str | None]
_MEDIA: Final = {"form": "application/x-www-form-urlencoded", "json": "application/json", "xml": "application/xml"}
_LEFT_OUT: Final = object()


class RequestWriter:
    """Compiled once; `write` is pure."""

    def __init__(self, name: str, config: Config, words: Words) -> None:
        """Raises `SettingsError` with the pointer of what cannot be used."""
        refuse, request = Refuse(name, words.names), config.request
        self._words = words
        self._config, self._method = config, request.method
        self._url = refuse.template("/request/url", request.url, refuse.names)
        self._query = refuse.templates("/request/query", request.query)
        self._headers = refuse.templates("/request/headers", request.headers)
        self._form = refuse.templates("/request/form", request.form or {})
        self._json = json_template(refuse, "/request/json", request.json)
        self._xml = refuse.template("/request/xml", request.xml or "", refuse.names)
        self._text = refuse.template("/request/text", request.text or "", refuse.names)
        self._auth = refuse.template("/auth/value", config.auth.value, SECRETS | {"signature"})
        self._signed = refuse.template("/auth/signed", config.auth.signed, SIGNED_OUT)
        self._fixed: dict[str, str | None] = {key: getattr(config, key) for key in SECRETS}
        url = config.public_url.rstrip("/") + PATH + quote(name, safe="") if config.public_url else None
        self._fixed["callback_url"] = url

    @property
    def names(self) -> frozenset[str]:
        """The placeholders that the request has."""
        tables = (self._query, self._headers, self._form)
        found = [t.names for table in tables for t in table.values()] + [
            self._url.names,
            self._xml.names,
            self._text.names,
        ]
        return frozenset[str]().union(*found, _names(self._json))

    def write(self, submission: Submission, index: int, now_ms: int) -> Call | PartRefused:
        """The request; a refusal where a value cannot stand where the template wants it."""
        try:
            return self._call(self._values(submission, index, now_ms))
        except (TemplateError, udh.UdhError) as error:
            detail = f"Not possible with this provider: {error}."
            return PartRefused(MessageError(code="not_encodable", detail=detail))

    def _values(self, submission: Submission, index: int, now_ms: int) -> dict[str, str | None]:
        to = submission.address(index)
        sender = submission.sender or self._config.sender or None
        until_ms = submission.valid_until_ms
        left_s = None if until_ms is None else self._left_s(until_ms - now_ms)
        return self._fixed | {
            "to": to,
            "to_digits": digits_of(to),
            "from": sender,
            "from_digits": None if sender is None else digits_of(sender),
            "part": str(index + 1),
            "parts": str(len(submission.parts)),
            "message_id": submission.message_id,
            "attempt_id": submission.attempt_id,
            "ref": None if submission.user_ref is None else str(submission.user_ref),
            "lane": submission.lane,
            "valid_s": None if left_s is None else str(left_s),
            "valid_ms": None if left_s is None else str(left_s * 1_000),
            "valid_min": None if left_s is None else str(max(1, left_s // 60)),
            "valid_until": None if until_ms is None else rfc3339(until_ms),
            "timestamp": str(now_ms // 1_000),
            "timestamp_ms": str(now_ms),
            **self._words.of(submission, index),
        }

    def _left_s(self, left_ms: int) -> int:
        """The time that remains, as the carrier takes it."""
        request = self._config.request
        return max(request.valid_least_s, min(request.valid_most_s, left_ms // 1_000))

    def _call(self, values: Values) -> Call:
        config, request = self._config, self._config.request
        url = self._url.render(values, in_path)
        if url is None:
            raise TemplateError("a value of the URL is missing")
        body, media = self._body(values)
        headers = {} if media is None else {"Content-Type": media}
        headers |= _filled(self._headers, values, in_header)
        query = _filled(self._query, values, in_form)
        auth = config.auth
        if auth.kind == "basic":
            login = f"{config.username}:{config.password}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(login).decode()}"
        elif auth.kind == "bearer":
            headers["Authorization"] = f"Bearer {config.token}"
        elif auth.kind == "header":
            headers[auth.name] = self._auth.render(values, in_header) or ""
        elif auth.kind == "query":
            query[auth.name] = self._auth.render(values, in_form) or ""
        if query:
            url += ("&" if "?" in url else "?") + "&".join(f"{in_form(name)}={value}" for name, value in query.items())
        if auth.kind == "hmac":
            headers[auth.name] = self._signature(values, url, body or b"")
        return Call(method=request.method, url=url, headers=headers, body=body)

    def _body(self, values: Values) -> tuple[bytes | None, str | None]:
        request = self._config.request
        if request.form is not None:
            fields = _filled(self._form, values, in_form)
            return "&".join(f"{in_form(name)}={value}" for name, value in fields.items()).encode(), _MEDIA["form"]
        if request.json is not None:
            return msgspec.json.encode(_json(self._json, values)), _MEDIA["json"]
        if request.xml is not None:
            return _whole(self._xml, values, in_xml), f"{_MEDIA['xml']}; charset=utf-8"
        if request.text is not None:
            return _whole(self._text, values, plain), request.text_type
        return None, None

    def _signature(self, values: Values, url: str, body: bytes) -> str:
        auth = self._config.auth
        signed = dict(values) | {"method": self._method, "url": url, "path": urlsplit(url).path, "body": body.decode()}
        text = self._signed.render(signed, plain) or ""
        digest = hmac.digest(self._config.secret.encode(), text.encode(), auth.algorithm)
        shown = digest.hex() if auth.digest == "hex" else base64.b64encode(digest).decode()
        return self._auth.render({**values, "signature": shown}, in_header) or shown


def _names(value: object) -> frozenset[str]:
    """The placeholders within a JSON value."""
    if isinstance(value, Template):
        return value.names
    inner = cast("dict[str, object]", value).values() if isinstance(value, dict) else value
    if not isinstance(value, (dict, list)):
        return frozenset()
    return frozenset[str]().union(*(_names(one) for one in cast("list[object]", inner)))


def _lacks(value: object, values: Values) -> bool:
    """Whether a template within needs a value that there is not."""
    if isinstance(value, Template):
        return any(values.get(name) is None for name in value.names)
    if isinstance(value, dict):
        return any(_lacks(inner, values) for inner in cast("dict[str, object]", value).values())
    return isinstance(value, list) and any(_lacks(inner, values) for inner in cast("list[object]", value))


def _whole(template: Template, values: Values, escape: Escape) -> bytes:
    """A text that is nothing without one of its values has the empty text there."""
    return (template.render({name: values.get(name) or "" for name in template.names}, escape) or "").encode()


def _filled(templates: Mapping[str, Template], values: Values, escape: Escape) -> dict[str, str]:
    """Those whose values there are."""
    filled = {name: template.render(values, escape) for name, template in templates.items()}
    return {name: value for name, value in filled.items() if value is not None}


def _json(value: object, values: Values) -> Any:
    """The value with its templates filled. A member whose value is missing is left out.

    One whose key ends in `?` is left out as a whole where anything within it is missing.
    """
    if isinstance(value, Template):
        shown = value.render(values, plain)
        if shown is None:
            return _LEFT_OUT
        if value.alone == CONTENT:
            return msgspec.json.decode(shown)
        return int(shown) if value.alone in NUMBERS else shown
    if isinstance(value, dict):
        filled: dict[str, Any] = {}
        for key, inner in cast("dict[str, object]", value).items():
            if key.endswith("?") and _lacks(inner, values):
                continue
            shown = _json(inner, values)
            if shown is not _LEFT_OUT:
                filled[key.removesuffix("?")] = shown
        return filled
    if isinstance(value, list):
        filled_items = [_json(inner, values) for inner in cast("list[object]", value)]
        return [inner for inner in filled_items if inner is not _LEFT_OUT]
    return value
