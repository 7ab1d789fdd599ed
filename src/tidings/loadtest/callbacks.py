"""What comes back from the server: signed webhook calls to a listener of our own, or the event stream.

The listener reads HTTP/1.1 with httptools, verifies each call (Standard Webhooks 1.0) and answers 204; as the client, it
must cost much less than the server that calls it.
"""

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, cast

import httptools
import msgspec

from tidings_client import AsyncTidings

#: (reference, word, seconds): an event of a message, at the moment it reached us.
Heard = Callable[[str, str, float], None]
TYPES: Final[tuple[str, ...]] = (
    "message.delivered", "message.partially_delivered", "message.undelivered", "message.failed", "message.expired",
    "message.canceled", "message.suppressed",
)  # fmt: skip
SENT: Final = "message.sent"
_TOLERANCE_S: Final = 300
_ANSWERS: Final = {
    204: b"HTTP/1.1 204 No Content\r\n\r\n",
    400: b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
}
_BODY_BYTES: Final = 1 << 20


class _Data(msgspec.Struct):
    reference: str | None = None


class _Call(msgspec.Struct):
    type: str
    data: _Data


_decode: Final = msgspec.json.Decoder(_Call).decode


class Listener:
    """A webhook endpoint on `host`. `refused` counts calls whose signature is wrong: they are not believed."""

    def __init__(self, heard: Heard, host: str = "127.0.0.1", port: int = 0) -> None:
        self._heard, self._host, self._port = heard, host, port
        self._key = b""
        self._server: asyncio.Server | None = None
        self._open: set[_HookProtocol] = set()
        self.refused = 0
        self.calls = 0

    async def start(self) -> int:
        """Listens; the port. Raises OSError."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _HookProtocol(self), self._host, self._port
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Closes it."""
        if self._server is not None:
            self._server.close()
        for one in list(self._open):
            one.close()

    def trust(self, secret: str) -> None:
        """The endpoint's secret, `whsec_…`."""
        self._key = base64.b64decode(secret.removeprefix("whsec_"))

    def opened(self, protocol: "_HookProtocol") -> None:
        """A connection came."""
        self._open.add(protocol)

    def closed(self, protocol: "_HookProtocol") -> None:
        """A connection went."""
        self._open.discard(protocol)

    def call(self, headers: dict[bytes, bytes], body: bytes) -> int:
        """One call; the status of its answer."""
        at_s = monotonic()
        self.calls += 1
        if not self._genuine(headers, body):
            self.refused += 1
            return 400
        try:
            event = _decode(body)
        except msgspec.MsgspecError:
            self.refused += 1
            return 400
        if event.data.reference is not None:
            self._heard(event.data.reference, event.type.removeprefix("message."), at_s)
        return 204

    def _genuine(self, headers: dict[bytes, bytes], body: bytes) -> bool:
        stamp = headers.get(b"webhook-timestamp", b"")
        if not self._key or not stamp.isdigit() or abs(time.time() - int(stamp[:15])) > _TOLERANCE_S:
            return False
        signed = b".".join((headers.get(b"webhook-id", b""), stamp, body))
        wanted = b"v1," + base64.b64encode(hmac.digest(self._key, signed, hashlib.sha256))
        given = headers.get(b"webhook-signature", b"").split()
        return any(hmac.compare_digest(wanted, one) for one in given)


class _HookProtocol(asyncio.Protocol):
    """One connection of the server's webhook pump."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._parser = httptools.HttpRequestParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._transport: asyncio.Transport | None = None

    def close(self) -> None:
        """Ends the connection."""
        if self._transport is not None:
            self._transport.close()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.Transport", transport)
        self._listener.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._transport = None
        self._listener.closed(self)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.close()

    # -- httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        self._headers[name.lower()] = value

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        self._size += len(data)
        if self._size > _BODY_BYTES:
            self.close()
        else:
            self._body.append(data)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        headers, body = self._headers, b"".join(self._body)
        self._headers, self._body, self._size = {}, [], 0
        status = self._listener.call(headers, body)
        if self._transport is not None:
            self._transport.write(_ANSWERS[status])


async def follow(client: AsyncTidings, heard: Heard, types: list[str], ready: "asyncio.Event") -> None:
    """The event stream instead of a webhook, until cancelled; `ready` is set before the first event can be missed.

    Raises TidingsError of the client library.
    """
    after = await _log_end(client)
    ready.set()
    async for event in client.stream(types=types, after=after):
        reference: Any = event.data.get("reference")
        if isinstance(reference, str):
            heard(reference, event.type.removeprefix("message."), monotonic())


async def _log_end(client: AsyncTidings) -> int | None:
    """Where the log ends now, so that the stream begins there: between its opening and its first event nothing is lost."""
    from tidings_client.core import call
    from tidings_client.models import Event, Page

    wanted = call("GET", "/v1/events", Page[Event], query={"limit": 1})
    page = await client._transport.do(wanted)  # pyright: ignore[reportPrivateUsage]
    return page.data[0].seq if page.data else 0
