"""The HTTP/2 client: one connection to each host, many requests on it at once. The same guard and manners as `outbound`.

The name is looked up here and only addresses that the guard permits are handed to pyqwest, which dials nothing else; a host
that cannot be reached is looked up anew. What pyqwest may send again by itself is what RFC 9113 calls safe: requests above the
last stream of a graceful GOAWAY (§6.8) and refused streams (§8.7).
"""

import asyncio
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import urlsplit

from pyqwest import (
    ConnectTimeout,
    Headers,
    HTTPTransport,
    HTTPVersion,
    Proxy,
    ReadError,
    RemoteProtocolError,
    Request,
    Response,
    StreamError,
    StreamErrorCode,
    WriteError,
)

from tidings.kit.limits import DNS_THREADS
from tidings.kit.outbound import FORBIDDEN, Guard, NoReply, NotSent, Reply

#: Without a proxy of its own pyqwest follows the environment's; this one is for no host at all.
_NO_PROXY: Final = Proxy("http://127.0.0.1:9", no_proxy="*,0.0.0.0/0,::/0")
_CONNECT: Final = "client error (Connect): "


class Http2:
    """Connections behind the guard. No proxies, no cookies, no redirects; TLS is verified, by `ca_pem` alone if it is given."""

    def __init__(self, guard: Guard, *, ca_pem: bytes | None = None) -> None:
        self._guard, self._ca_pem = guard, ca_pem
        self._lines: dict[str, asyncio.Task[HTTPTransport]] = {}
        self._threads = ThreadPoolExecutor(DNS_THREADS, thread_name_prefix="dns")

    async def exchange(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None, *, connect_s: float, timeout_s: float,
        most_bytes: int,
    ) -> Reply | NotSent | NoReply:  # fmt: skip
        """One request with its whole answer. `url` is sent as it stands. Every failure is a value.

        `connect_s` bounds the look-up, and then the connection with TLS; `timeout_s` all of it. The one of the first
        request to a host is that of its connection.
        """
        origin = urlsplit(url).netloc
        line = self._line(origin, connect_s)
        try:
            async with asyncio.timeout(timeout_s):
                try:
                    transport = line.result() if line.done() else await asyncio.shield(line)
                except OSError as error:
                    self._forget(origin, line)
                    return NotSent(str(error)[:200])
                return await _exchange(transport, Request(method, url, Headers(headers.items()), body), most_bytes)
        except TimeoutError as error:  # ConnectTimeout is one, too
            if isinstance(error, ConnectTimeout):
                self._forget(origin, line)
                return NotSent("no connection in time")
            return NoReply("no answer in time", timed_out=True) if line.done() else NotSent("no connection in time")
        except ConnectionError as error:
            self._forget(origin, line)
            return NotSent(_connect_reason(error))
        except StreamError as error:
            refused = error.code == StreamErrorCode.REFUSED_STREAM
            return NotSent("the stream was refused") if refused else NoReply(f"stream error {error.code.name}")
        except (RemoteProtocolError, ReadError, WriteError, RuntimeError):
            return NoReply("the connection broke")

    async def close(self) -> None:
        """Closes every connection."""
        lines, self._lines = list(self._lines.values()), {}
        for line in lines:
            line.cancel()
        for made in await asyncio.gather(*lines, return_exceptions=True):
            if isinstance(made, HTTPTransport):
                await made.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _line(self, origin: str, connect_s: float) -> "asyncio.Task[HTTPTransport]":
        line = self._lines.get(origin)
        if line is None:
            line = self._lines[origin] = asyncio.get_running_loop().create_task(self._open(origin, connect_s))
            line.add_done_callback(_seen)
        return line

    def _forget(self, origin: str, line: "asyncio.Task[HTTPTransport]") -> None:
        """The next request looks the name up anew; requests that are under way on this line end undisturbed."""
        if self._lines.get(origin) is line:
            del self._lines[origin]

    async def _open(self, origin: str, connect_s: float) -> HTTPTransport:
        """A client for this host. Raises OSError with a reason that may be shown."""
        parts = urlsplit(f"//{origin}")
        host = parts.hostname or ""
        addresses = await self._addresses(host, parts.port or 443, connect_s)
        return HTTPTransport(
            http_version=HTTPVersion.HTTP2, tls_ca_cert=self._ca_pem, tls_include_system_certs=self._ca_pem is None,
            connect_timeout=connect_s, max_connections_per_address=1, follow_redirects=False, enable_gzip=False,
            enable_brotli=False, enable_zstd=False, enable_otel=False, proxy=_NO_PROXY,
            dns_overrides=None if _is_address(host) else {host: addresses},
        )  # fmt: skip

    async def _addresses(self, host: str, port: int, connect_s: float) -> list[str]:
        def look_up() -> list[Any]:
            return socket.getaddrinfo(host, port, socket.AF_UNSPEC, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)

        try:
            async with asyncio.timeout(connect_s):
                found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        except TimeoutError:
            raise OSError("the host name was not resolved in time") from None
        except OSError:
            raise OSError("the host name cannot be resolved") from None
        permitted = list(dict.fromkeys(str(one[4][0]) for one in found if self._guard.permits(str(one[4][0]))))
        if not permitted:
            raise OSError(FORBIDDEN)
        return permitted


def _seen(line: "asyncio.Task[HTTPTransport]") -> None:
    """Whoever waited has it; if nobody did, nobody need be told."""
    if not line.cancelled():
        line.exception()


async def _exchange(transport: HTTPTransport, request: Request, most_bytes: int) -> Reply:
    response = await transport.execute(request)
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status, headers, await _body(response, headers, most_bytes))


async def _body(response: Response, headers: dict[str, str], most_bytes: int) -> bytes:
    """At most `most_bytes` of it. What comes without a type is not looked at: an empty body costs as much as the request."""
    if "content-type" not in headers:
        return b""  # dropping the response ends its stream, if the answer's head has not
    pieces, size = list[bytes](), 0
    async for piece in response.content:
        pieces.append(bytes(piece))
        size += len(pieces[-1])
        if size > most_bytes:
            await response.aclose()
            break
    return b"".join(pieces)[:most_bytes]


def _connect_reason(error: ConnectionError) -> str:
    """A short text without the URL, which may name a device."""
    text = str(error)
    return text.partition(_CONNECT)[2][:200] if _CONNECT in text else "no connection"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
