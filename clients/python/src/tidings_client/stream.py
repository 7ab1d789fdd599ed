"""Following the live events without I/O: reading the wire, and where to go on after a break."""

import random
import re
from collections.abc import Callable
from typing import Any

import msgspec

from tidings_client.core import Call, Policy, call, headers_of, pause_s
from tidings_client.errors import ConnectionFailed, UnexpectedAnswer, api_error
from tidings_client.models import Event

CONNECT_S = 10.0
SILENCE_S = 45.0  # the server says something every 15 s: three times nothing is a dead connection
_LINE_END = re.compile(rb"\r\n|\r|\n")
_ABSENT = frozenset({429, 500, 502, 503, 504})


class SseParser:
    """Server-sent events out of bytes, cut anywhere. Source: WHATWG HTML §9.2.6

    `last_id` moves only when an event is whole: one that a break cut off is asked for again.
    """

    def __init__(self, last_id: str = "") -> None:
        self.last_id = last_id
        self._rest, self._after_cr = b"", False
        self._data: list[bytes] = []
        self._id: bytes | None = None

    def feed(self, chunk: bytes) -> list[tuple[str, bytes]]:
        """(id, data) of every event that is whole now."""
        if self._after_cr and chunk:
            chunk, self._after_cr = chunk.removeprefix(b"\n"), False
        self._after_cr = self._after_cr or chunk.endswith(b"\r")
        *lines, self._rest = _LINE_END.split(self._rest + chunk)
        found: list[tuple[str, bytes]] = []
        for line in lines:
            if not line:
                if self._id is not None:
                    self.last_id = self._id.decode("utf-8", "replace")
                if self._data:
                    found.append((self.last_id, b"\n".join(self._data)))
                self._data, self._id = [], None
                continue
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if name == b"data":
                self._data.append(value)
            elif name == b"id" and b"\0" not in value:
                self._id = value
        return found


class Follower:
    """One `stream()`: what to ask for, what came, how long to wait.

    Before the first connection it gives up after the policy's retries (a wrong URL must not hang); after it, it comes
    back for ever. An answer that will not change (401, 403, 404, 422) is raised at once.
    """

    def __init__(
        self, key: str, policy: Policy, types: list[str] | None, after: int | None,
        draw: Callable[[], float] = random.random,
    ) -> None:  # fmt: skip
        self.call: Call[Any] = call("GET", "/v1/stream", query={"types": types or None, "after": after})
        self._key, self._policy, self._draw = key, policy, draw
        self._parser = SseParser()
        self._failures = 0
        self._connected_once = False

    def headers(self) -> dict[str, str]:
        """The headers of the next connection."""
        headers = headers_of(self._key, self.call) | {"Accept": "text/event-stream"}
        if self._parser.last_id:
            headers["Last-Event-ID"] = self._parser.last_id
        return headers

    def opened(self, content_type: str | None) -> None:
        """A connection stands. What was cut off on the one before is forgotten.

        Raises UnexpectedAnswer if it is no stream of events. Source: WHATWG HTML §9.2.2
        """
        if (content_type or "").partition(";")[0].strip().lower() != "text/event-stream":
            raise UnexpectedAnswer(
                f"/v1/stream answered {content_type}: look for a proxy in between, or a wrong base_url"
            )
        self._connected_once, self._failures = True, 0
        self._parser = SseParser(self._parser.last_id)

    def feed(self, chunk: bytes) -> list[Event]:
        """The events in what came. Raises UnexpectedAnswer."""
        events: list[Event] = []
        for number, data in self._parser.feed(chunk):
            try:
                event = msgspec.json.decode(data, type=Event)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise UnexpectedAnswer(f"the stream's event {number} is none of Tidings: {error}") from error
            seq = int(number) if number.isascii() and number.isdigit() and len(number) < 20 else None
            events.append(msgspec.structs.replace(event, id=event.id or event.data.get("event_id"), seq=seq))
        return events

    def refused(self, status: int, retry_after: str | None, body: bytes) -> float:
        """Seconds to wait after an answer other than 200. Raises ApiError where waiting does not help."""
        self._failures += 1
        if status not in _ABSENT or (not self._connected_once and self._failures > self._policy.retries):
            raise api_error(status, body)
        return pause_s(self._policy, self._failures, retry_after, self._draw)

    def broken(self, reason: str) -> float:
        """Seconds to wait after a connection broke or could not be made. Raises ConnectionFailed."""
        self._failures += 1
        if not self._connected_once and self._failures > self._policy.retries:
            raise ConnectionFailed(f"no answer: {reason}")
        return pause_s(self._policy, self._failures, None, self._draw)
