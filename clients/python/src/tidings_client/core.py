"""The client without I/O: what to send, when to try again, what an answer means. Sync and async share it."""

import random
import uuid
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from tidings_client.errors import api_error

T = TypeVar("T")
VERSION = "0.1.0"
_RETRYABLE = frozenset({429, 500, 502, 503, 504})


class Call(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One request. `answer` is the type of its answer, None for none."""

    method: str
    path: str
    answer: Any = None
    body: bytes | None = None
    query: str = ""
    idempotency_key: str | None = None


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how long to try. Times in seconds."""

    retries: int = 4
    first_s: float = 0.2
    last_s: float = 10.0
    timeout_s: float = 30.0


def call(
    method: str, path: str, answer: Any = None, *, body: Any = None, query: dict[str, Any] | None = None,
    idempotency_key: str | None = None,
) -> Call[Any]:  # fmt: skip
    """A call; every POST gets an idempotency key, so that a retry never does it twice."""
    if method == "POST" and idempotency_key is None:
        idempotency_key = str(uuid.uuid4())
    given = {name: _text(value) for name, value in (query or {}).items() if value is not None}
    return Call(
        method=method, path=path, answer=answer, body=None if body is None else msgspec.json.encode(body),
        query=urlencode(given), idempotency_key=idempotency_key,
    )  # fmt: skip


def _text(value: Any) -> str:
    return ",".join(value) if isinstance(value, (list, tuple)) else str(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


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
    return base.rstrip("/") + wanted.path + (f"?{wanted.query}" if wanted.query else "")


def wait_s(policy: Policy, tries: int, status: int | None, retry_after: str | None, body: bytes = b"") -> float | None:
    """How long to wait before the next try; None if this answer (None: no answer) is final."""
    again = status is None or status in _RETRYABLE or (status == 409 and b"in_flight" in body)
    if not again or tries > policy.retries:
        return None
    pause = min(policy.last_s, policy.first_s * 2 ** (tries - 1)) * (0.5 + random.random() / 2)
    if retry_after is not None and retry_after.isdigit():
        pause = max(pause, min(float(retry_after), 60.0))
    return pause


def result_of(wanted: Call[Any], status: int, body: bytes) -> Any:
    """The typed answer. Raises ApiError."""
    if not 200 <= status < 300:
        raise api_error(status, body)
    return None if wanted.answer is None else msgspec.json.decode(body, type=wanted.answer)


def words(request: dict[str, Any]) -> dict[str, Any]:
    """`sender` and `lane` stand for `from` and `class`, which are keywords of Python."""
    names = {"sender": "from", "lane": "class", "class_": "class", "from_": "from"}
    return {names.get(name, name): value for name, value in request.items()}


class SseParser:
    """Server-sent events out of lines. Source: WHATWG HTML §9.2.6"""

    def __init__(self) -> None:
        self.last_id = ""
        self._data: list[str] = []

    def feed(self, line: str) -> str | None:
        """The data of an event at its closing empty line, else None."""
        if line == "":
            data, self._data = "\n".join(self._data), []
            return data or None
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "id":
            self.last_id = value
        return None
