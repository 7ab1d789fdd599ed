"""The client without I/O: what to send, when to try again, what an answer means. Sync and async share it."""

import datetime as dt
import random
import time
import uuid
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from tidings_client.errors import UnexpectedAnswer, api_error

T = TypeVar("T")
VERSION = "0.1.0"
_RETRYABLE = frozenset({429, 500, 502, 503, 504})
_NOT_ACCEPTED = frozenset({429, 503})  # api.md, "Manners": these always mean "not accepted, safe to retry"
_RETRY_AFTER_MAX_S = 60.0


class Call(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One request. `answer` is the type of its answer, None for none.

    `repeatable`: doing it twice is the same as once, by its nature or by its idempotency key.
    """

    method: str
    path: str
    answer: Any = None
    body: bytes | None = None
    query: str = ""
    idempotency_key: str | None = None
    repeatable: bool = True


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how long to try. Times in seconds."""

    retries: int = 4
    first_s: float = 0.2
    last_s: float = 10.0
    timeout_s: float = 30.0


def call(
    method: str, path: str, answer: Any = None, *, body: Any = None, query: dict[str, Any] | None = None,
    idempotency_key: str | None = None, repeatable: bool = True,
) -> Call[Any]:  # fmt: skip
    """A call; every POST gets an idempotency key, so that a retry never does it twice.

    `repeatable=False` is for the few POSTs whose key the server does not keep.
    """
    if method == "POST" and idempotency_key is None:
        idempotency_key = str(uuid.uuid4())
    if idempotency_key is not None and not _is_visible(idempotency_key):
        raise ValueError(f"idempotency_key must be visible ASCII characters, not {idempotency_key!r}")
    given = {name: _text(value) for name, value in (query or {}).items() if value is not None}
    return Call(
        method=method, path=path, answer=answer, body=None if body is None else msgspec.json.encode(body),
        query=urlencode(given), idempotency_key=idempotency_key, repeatable=repeatable,
    )  # fmt: skip


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(value)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, dt.datetime) else str(value)


def base_of(url: str) -> str:
    """The base URL without its last slash. Raises ValueError where it is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port, (parts.hostname or "").encode("idna")  # both raise ValueError
        good = parts.scheme in ("http", "https") and parts.hostname and not parts.query and not parts.fragment
    except ValueError:
        good = False
    if not good:
        raise ValueError(f"base_url must be like http://127.0.0.1:8300, not {url!r}")
    return url.rstrip("/")


def key_of(key: str) -> str:
    """The key, if it can be a header. Raises ValueError, which never shows it: errors end up in logs."""
    if not _is_visible(key):
        raise ValueError("api_key must be tk_live_… or tk_test_…, without spaces or a line end around it")
    return key


def _is_visible(text: str) -> bool:
    return bool(text) and all("!" <= char <= "~" for char in text)


def part(text: str) -> str:
    """`text` as one part of a path."""
    return quote(text, safe="")


def headers_of(key: str, wanted: Call[Any]) -> dict[str, str]:
    """The headers of a call."""
    headers = {
        "Authorization": f"Bearer {key}",
        "Accept": "application/json",
        "User-Agent": f"tidings-python/{VERSION}",
    }
    if wanted.body is not None:
        headers["Content-Type"] = "application/json"
    if wanted.idempotency_key is not None:
        headers["Idempotency-Key"] = wanted.idempotency_key
    return headers


def url_of(base: str, wanted: Call[Any]) -> str:
    """The URL of a call."""
    return base + wanted.path + (f"?{wanted.query}" if wanted.query else "")


def wait_s(
    policy: Policy, wanted: Call[Any], tries: int, status: int | None, retry_after: str | None = None,
    body: bytes = b"", draw: Callable[[], float] = random.random,
) -> float | None:  # fmt: skip
    """Seconds until the next try; None if this answer (status None: no answer) is final. `draw` gives 0 to 1."""
    again = (
        status is None or status in _RETRYABLE or (status == 409 and api_error(status, body).code.endswith("in_flight"))
    )
    if not wanted.repeatable:
        again = status in _NOT_ACCEPTED
    if not again or tries > policy.retries or _asked_s(retry_after) > _RETRY_AFTER_MAX_S:
        return None  # also where the server asks for so long a pause that the caller has to know of it
    return pause_s(policy, tries, retry_after, draw)


def pause_s(policy: Policy, tries: int, retry_after: str | None, draw: Callable[[], float] = random.random) -> float:
    """Exponential back-off with jitter, and never less than the server asks for (at most a minute)."""
    longest_s, drawn = min(policy.last_s, policy.first_s * 2 ** min(tries - 1, 30)), draw()
    own_s, asked_s = longest_s * (0.5 + drawn / 2), _asked_s(retry_after)
    if asked_s <= 0:
        return own_s
    # jitter on top: all that were told the same time must not come back in the same instant
    return max(own_s, min(asked_s + longest_s * drawn, _RETRY_AFTER_MAX_S))


def _asked_s(retry_after: str | None) -> float:
    """Source: RFC 9110 §10.2.3: seconds, or a date."""
    if retry_after is None:
        return 0.0
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def result_of(wanted: Call[T], status: int, body: bytes) -> T:
    """The typed answer. Raises ApiError, UnexpectedAnswer."""
    if not 200 <= status < 300:
        raise api_error(status, body)
    if wanted.answer is None:
        return cast("T", None)
    try:
        return msgspec.json.decode(body, type=wanted.answer)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnexpectedAnswer(
            f"{wanted.method} {wanted.path} answered {status} with something else: {error}"
        ) from error


def words(request: dict[str, Any]) -> dict[str, Any]:
    """`sender` and `lane` stand for `from` and `class`, which are keywords of Python."""
    names = {"sender": "from", "lane": "class", "class_": "class", "from_": "from"}
    return {names.get(name, name): value for name, value in request.items()}
