"""The only HTTP client. Looks at the address that is dialled, follows no redirect, waits for no one without end.

What may not be dialled unless the operator allows it: private, loopback, link-local (cloud metadata among them),
shared (CGNAT), multicast, reserved and unspecified ranges, also inside IPv4-mapped, 6to4, Teredo and NAT64 addresses.
Source: RFC 6890 (special-purpose registries), RFC 6052 §2.1 (NAT64)
"""

import ipaddress
import socket
from typing import Any, Final

import aiohttp
import msgspec

from tidings.kit.limits import WEBHOOK_RESPONSE_BYTES, WEBHOOK_TIMEOUT_S

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


class Forbidden(OSError):
    """The address may not be dialled."""


class Answer(msgspec.Struct, frozen=True):
    """What came back: a status, or why there is none. `retry_after_s` is what the other side asked for."""

    status: int | None
    error: str | None = None

    @property
    def ok(self) -> bool:
        """A 2xx."""
        return self.status is not None and 200 <= self.status < 300


class Guard:
    """Which addresses may be dialled."""

    def __init__(self, *, allow_private: bool = False, allow: tuple[str, ...] = ()) -> None:
        self._allow_private = allow_private
        self._allow: tuple[_Network, ...] = tuple(ipaddress.ip_network(text) for text in allow)

    def permits(self, text: str) -> bool:
        """Whether this IP address may be dialled."""
        address: _Address = ipaddress.ip_address(text.split("%", 1)[0])
        inner = [address, *_inside(address)]
        if self._allow_private or any(one in net for one in inner for net in self._allow if net.version == one.version):
            return True
        return all(one.is_global and not one.is_multicast for one in inner)

    def refusal(self, host: str) -> str | None:
        """Why a URL's host that is an IP address (or `localhost`) is refused at once; None if it may be tried."""
        name = host.strip("[]").rstrip(".").lower()
        try:
            good = self.permits(name)
        except ValueError:
            good = self._allow_private or not (name == "localhost" or name.endswith(".localhost"))
        return None if good else f"{host} is a private or reserved address; the operator must allow it ([webhooks] allow)"


def _inside(address: _Address) -> list[_Address]:
    """IPv4 addresses that an IPv6 address carries."""
    if not isinstance(address, ipaddress.IPv6Address):
        return []
    found: list[_Address | None] = [address.ipv4_mapped, address.sixtofour]
    if address.teredo is not None:
        found += list(address.teredo)
    if address in _NAT64:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in found if one is not None]


class Outbound:
    """A pool of connections behind the guard. Made on the running event loop."""

    def __init__(self, guard: Guard, *, timeout_s: float = WEBHOOK_TIMEOUT_S) -> None:
        self.guard = guard
        connector = aiohttp.TCPConnector(limit=0, limit_per_host=0, ttl_dns_cache=30, socket_factory=self._socket)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("Accept", "Accept-Encoding"),
            headers={"User-Agent": "Tidings/0.1"},
        )

    async def close(self) -> None:
        """Closes every connection."""
        await self._session.close()

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> Answer:
        """One POST. Every failure is a value."""
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                await response.content.read(WEBHOOK_RESPONSE_BYTES)
                if not response.content.at_eof():
                    response.close()  # an endless body: the status is all we wanted
                return Answer(response.status)
        except TimeoutError:
            return Answer(None, "no answer in time")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(None, _reason(error))

    def _socket(self, info: Any) -> socket.socket:
        family, kind, proto, _, address = info
        if not self.guard.permits(str(address[0])):
            raise Forbidden(f"{address[0]} is a private or reserved address")
        made = socket.socket(family, kind, proto)
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made


def _reason(error: Exception) -> str:
    cause = error.__cause__
    if isinstance(error, Forbidden) or isinstance(cause, Forbidden):
        return "the address is private or reserved"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "the certificate cannot be verified"
    return f"{type(error).__name__}: {error}"[:300]
