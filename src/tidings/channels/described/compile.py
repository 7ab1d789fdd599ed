"""From the keys of a described carrier to parts that work; what cannot work is refused with its JSON pointer and what to do."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, cast
from urllib.parse import urlsplit

import msgspec

from tidings.channels.described import pick as picks
from tidings.channels.described.config import Config
from tidings.channels.described.pick import Pick, PickError
from tidings.channels.described.template import Template, TemplateError
from tidings.channels.described.words import COMMON
from tidings.channels.http.keys import check_limits, check_url
from tidings.domain.errors import SettingsError

SECRETS: Final = frozenset({"username", "password", "token", "secret", "callback_secret"})
#: Placeholders of a request. Those of `NUMBERS` become JSON numbers where they stand alone.
NAMES: Final = SECRETS | COMMON
NUMBERS: Final = frozenset({"part", "parts", "valid_s", "valid_ms", "valid_min", "timestamp", "timestamp_ms"})
SIGNED_OUT: Final = frozenset({"method", "url", "path", "body", "timestamp", "timestamp_ms", "attempt_id", "username"})
SIGNED_IN: Final = frozenset({"method", "url", "url_base", "query", "body", "timestamp", "header:*"})
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HUSH: Final = re.compile(r"passw|secret|token|api[-_]?key|authori[sz]ation|signature", re.I)
_HUSH_TEXT: Final = re.compile(r"(?:passw\w*|secret|token|api[-_]?key)\"?'?\s*[=:>]\s*\"?'?(?!\s*[{<\"'])\w", re.I)
#: A header that we or HTTP itself write.
_TAKEN: Final = frozenset({"host", "content-length", "transfer-encoding", "connection", "te", "upgrade", "expect"})
_PATH: Final = re.compile(r" - at `(?:key in )?\$([^`]*)`")
_STEP: Final = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")


class Refuse:
    """Says where something is wrong."""

    def __init__(self, provider: str, names: frozenset[str] = frozenset()) -> None:
        """`names`: the channel's own placeholders."""
        self._provider, self.names = provider, NAMES | names

    def error(self, pointer: str, detail: str) -> SettingsError:
        """The error to be raised."""
        return SettingsError(f"provider {self._provider}: {pointer}: {detail}")

    def pick(self, pointer: str, text: str, kinds: tuple[str, ...] = picks.KINDS) -> Pick | None:
        """The pick that `text` is; None if it is empty."""
        if not text:
            return None
        try:
            found = picks.parse(text)
        except PickError as error:
            raise self.error(pointer, str(error)) from None
        if found.kind not in kinds:
            raise self.error(pointer, f"{found.kind}: cannot be used here; {', '.join(kinds)} can")
        return found

    def template(self, pointer: str, text: str, known: frozenset[str]) -> Template:
        """The template that `text` is."""
        try:
            return Template(text, known)
        except TemplateError as error:
            raise self.error(pointer, str(error)) from None

    def templates(self, pointer: str, texts: Mapping[str, str]) -> dict[str, Template]:
        """The templates of a table. A secret must not stand in it in the clear: tables are shown over the API."""
        made: dict[str, Template] = {}
        for name, text in texts.items():
            here = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
            made[name] = self.template(here, text, self.names)
            if _HUSH.search(name) and text and not made[name].names:
                raise self.error(
                    here, "holds a secret in the clear; put it in `token` or `secret` and write {token} here"
                )
        return made

    def header(self, pointer: str, name: str) -> None:
        """Refuses a name that no header may have."""
        if not _TOKEN.fullmatch(name) or name.lower() in _TAKEN:
            raise self.error(pointer, f"{name!r} is no header that can be set")


def read_config(name: str, raw: dict[str, Any]) -> Config:
    """The config of provider `name`, each value of the right kind. Raises `SettingsError`."""
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise SettingsError(f"provider {name}: {_pointed(str(error))}") from None
    refuse = Refuse(name)
    _check_request(refuse, config)
    _check_auth(refuse, config)
    if config.public_url:
        check_url(name, "public_url", config.public_url, local=True)
    check_limits(name, config.limits)
    if not 1 <= config.encoding.most_chars <= 10_000:
        raise refuse.error("/encoding/most_chars", "must be from 1 to 10000")
    return config


def json_template(refuse: Refuse, pointer: str, value: object) -> object:
    """A JSON value with templates in place of its strings."""
    if isinstance(value, str):
        return refuse.template(pointer, value, refuse.names)
    if isinstance(value, dict):
        table = cast("dict[str, object]", value)
        refuse.templates(pointer, {key: inner for key, inner in table.items() if isinstance(inner, str)})
        return {key: json_template(refuse, f"{pointer}/{key}", inner) for key, inner in table.items()}
    if isinstance(value, list):
        items = cast("list[object]", value)
        return [json_template(refuse, f"{pointer}/{n}", inner) for n, inner in enumerate(items)]
    return value


def _check_request(refuse: Refuse, config: Config) -> None:
    request = config.request
    origin = re.match(r"(https?)://([^/?#]+)", request.url)
    if origin is None or "{" in origin[2] or "@" in origin[2] or not request.url.isascii() or " " in request.url:
        raise refuse.error(
            "/request/url", "must be https://host/path; placeholders may stand in the path and query only"
        )
    if origin[1] == "http" and not (config.insecure_http or config.allow_networks):
        raise refuse.error(
            "/request/url", "must begin with https://, or set `insecure_http = true`: it travels in the clear"
        )
    try:
        _ = urlsplit(origin[0]).port
    except ValueError:
        raise refuse.error("/request/url", "has no port that could be") from None
    if "#" in request.url:
        raise refuse.error("/request/url", "must have no fragment")
    query = request.url.partition("?")[2]
    if _HUSH_TEXT.search(query):
        raise refuse.error("/request/url", "holds a secret in the clear; put it in `token` and write {token} here")
    bodies = [key for key in ("form", "json", "xml", "text") if getattr(request, key) is not None]
    if len(bodies) > 1:
        raise refuse.error(f"/request/{bodies[1]}", f"one body is enough; {bodies[0]} is there already")
    if request.method == "GET" and bodies:
        raise refuse.error(f"/request/{bodies[0]}", "a GET has no body; use `query`")
    if not 1 <= request.valid_least_s <= request.valid_most_s:
        raise refuse.error("/request/valid_least_s", "must be at least 1, and not more than `valid_most_s`")
    for name in request.headers:
        refuse.header(f"/request/headers/{name}", name)
    if not request.text_type.isascii() or not request.text_type.isprintable():
        raise refuse.error("/request/text_type", "must be a media type, for example text/plain")
    for key in ("xml", "text"):
        if _HUSH_TEXT.search(getattr(request, key) or ""):
            raise refuse.error(
                f"/request/{key}", "holds a secret in the clear; put it in `token` and write {token} here"
            )


def _check_auth(refuse: Refuse, config: Config) -> None:
    auth = config.auth
    needs: dict[str, Callable[[], bool]] = {
        "basic": lambda: bool(config.username), "bearer": lambda: bool(config.token),
        "header": lambda: bool(auth.name and auth.value), "query": lambda: bool(auth.name and auth.value),
        "hmac": lambda: bool(auth.name and auth.signed and config.secret),
    }  # fmt: skip
    says = {
        "basic": "needs `username` (and `password`)", "bearer": "needs `token`", "header": "needs `name` and `value`",
        "query": "needs `name` and `value`", "hmac": "needs `name`, `signed`, and `secret` beside the table",
    }  # fmt: skip
    if auth.kind != "none" and not needs[auth.kind]():
        raise refuse.error("/auth", f"{auth.kind} {says[auth.kind]}")
    if auth.kind in ("header", "hmac"):
        refuse.header("/auth/name", auth.name)
    if auth.kind in ("header", "query") and not refuse.template("/auth/value", auth.value, SECRETS).names:
        raise refuse.error("/auth/value", "holds a secret in the clear; put it in `token` and write {token} here")


def _pointed(text: str) -> str:
    """msgspec's words with a JSON pointer before them."""
    found = _PATH.search(text)
    pointer = "".join(f"/{step[0] or step[1]}" for step in _STEP.findall(found[1])) if found else ""
    return f"{pointer or '/'}: {_PATH.sub('', text)}"
