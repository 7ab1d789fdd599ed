"""The only HTTP client. Looks at the address that is dialled, follows no redirect, waits for no one without end.

Refused unless the operator allows it: private, loopback, link-local (cloud metadata among them), shared (CGNAT),
multicast, reserved, documentation and unspecified ranges, also inside IPv4-mapped and NAT64 addresses, and everything
of 6to4, Teredo and the deprecated IPv6 forms. The check is made on the socket's own address, after DNS, for every
connection: a name that changes its answer between two look-ups gains nothing.
Source: RFC 6890 (special-purpose registries), RFC 4291 §2.5.5, RFC 6052 §2.1 (NAT64), RFC 7526 (6to4 is obsolete)
"""

import asyncio
import ipaddress
import socket
import ssl
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tidings.kit.limits import DNS_CACHE_NAMES, DNS_CACHE_S, DNS_THREADS, WEBHOOK_TIMEOUT_S
from tidings.kit.posting import Broken, Poster, connected

if TYPE_CHECKING:
    from tidings.kit.exchange import Exchanger

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(*texts: str) -> tuple[_Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


#: What `allow_private` opens: the operator's own networks. Metadata services stay shut; only `allow` opens them.
_PRIVATE: Final = _networks(
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "100.64.0.0/10", "::1/128", "fc00::/7"
)  # fmt: skip
_METADATA: Final = _networks(
    "169.254.0.0/16", "fd00:ec2::254/128", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.0/24"
)
#: Special ranges that `ipaddress` of some Python versions calls global.
_SPECIAL: Final = _networks("192.88.99.0/24", "2001::/23", "2002::/16", "3fff::/20")
_UNICAST6: Final = ipaddress.IPv6Network("2000::/3")  # all that is assigned to the public; RFC 4291 §2.4
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


#: `NotSent.reason` where the guard refused the address.
FORBIDDEN: Final = "the address is private or reserved"


class Forbidden(OSError):
    """The address may not be dialled."""


class Answer(msgspec.Struct, frozen=True):
    """What came back: a status, or why there is none."""

    status: int | None
    error: str | None = None

    @property
    def ok(self) -> bool:
        """A 2xx."""
        return self.status is not None and 200 <= self.status < 300


class Reply(msgspec.Struct, frozen=True):
    """A whole answer. Header names are in lower case; of a body that is too long, the beginning."""

    status: int
    headers: dict[str, str]
    body: bytes


class NotSent(msgspec.Struct, frozen=True):
    """No connection came about, so that nothing was written."""

    reason: str


class NoReply(msgspec.Struct, frozen=True):
    """The request was written, or may have been, and no answer came."""

    reason: str
    timed_out: bool = False


class Guard:
    """Which addresses may be dialled. `allow_private` opens private, loopback and shared ranges, `allow` any network."""

    def __init__(self, *, allow_private: bool = False, allow: tuple[str, ...] = ()) -> None:
        self._allow_private = allow_private
        self._allow = _networks(*allow)

    def permits(self, text: str) -> bool:
        """Whether this IP address may be dialled. Raises ValueError if it is none."""
        address: _Address = ipaddress.ip_address(text.split("%", 1)[0])
        target = _target(address)
        if _within(address, self._allow) or _within(target, self._allow):
            return True
        if _within(target, _METADATA):
            return False
        return _is_public(target) or (self._allow_private and _within(target, _PRIVATE))

    def refusal(self, host: str) -> str | None:
        """Why a URL's host that is an IP address (or `localhost`) is refused at once; None if it may be tried."""
        name = host.strip("[]").rstrip(".").lower()
        local = name == "localhost" or name.endswith(".localhost")
        try:
            good = self.permits("127.0.0.1" if local else name)
        except ValueError:
            return None
        return (
            None if good else f"{host} is a private or reserved address; the operator must allow it ([webhooks] allow)"
        )


def _within(address: _Address, networks: tuple[_Network, ...]) -> bool:
    return any(address in network for network in networks if network.version == address.version)


def _target(address: _Address) -> _Address:
    """The IPv4 address that a mapped or NAT64 address leads to; else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address


def _is_public(address: _Address) -> bool:
    if not address.is_global or address.is_multicast or address.is_reserved or _within(address, _SPECIAL):
        return False
    return isinstance(address, ipaddress.IPv4Address) or address in _UNICAST6


class Resolver:
    """Names are looked up in threads of its own: one that hangs holds up nothing else of the process."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(DNS_THREADS, thread_name_prefix="dns")
        self._known: OrderedDict[tuple[str, int], tuple[float, list[Any]]] = OrderedDict()

    async def addresses(self, host: str, port: int, family: int = socket.AF_UNSPEC) -> list[Any]:
        """All addresses of a name, as `socket.getaddrinfo` gives them. Raises socket.gaierror."""

        def look_up() -> list[Any]:
            return socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)

        return await asyncio.get_running_loop().run_in_executor(self._threads, look_up)

    async def cached(self, host: str, port: int) -> list[Any]:
        """The same, looked up every DNS_CACHE_S only. Raises socket.gaierror."""
        now_s = time.monotonic()
        known = self._known.get((host, port))
        if known is not None and now_s - known[0] < DNS_CACHE_S:
            return known[1]
        found = await self.addresses(host, port)
        self._known[host, port] = (now_s, found)
        if len(self._known) > DNS_CACHE_NAMES:
            self._known.popitem(last=False)
        return found

    async def close(self) -> None:
        """Waits for no name that still hangs."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class Outbound:
    """A pool of connections behind the guard. Made on the running event loop. No proxies, no cookies, TLS is verified."""

    def __init__(self, guard: Guard, *, timeout_s: float = WEBHOOK_TIMEOUT_S) -> None:
        self.guard, self._timeout_s = guard, timeout_s
        self._resolver = Resolver()
        self._poster = Poster(self._dial)
        self._exchanger: Exchanger | None = None

    async def close(self) -> None:
        """Closes every connection."""
        self._poster.close()
        if self._exchanger is not None:
            await self._exchanger.close()
        await asyncio.sleep(0)  # a socket closes in the loop's next turn, and there may be none after this
        await self._resolver.close()

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> Answer:
        """One POST over kept connections (`posting`). Every failure is a value."""
        try:
            return Answer(await self._poster.post(url, headers, body, self._timeout_s))
        except TimeoutError:
            return Answer(None, "no answer in time")
        except (OSError, ValueError) as error:
            return Answer(None, reason(error))

    async def exchange(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None, *, connect_s: float, timeout_s: float,
        most_bytes: int,
    ) -> Reply | NotSent | NoReply:  # fmt: skip
        """One request with its whole answer. `url` is sent as it stands. Every failure is a value.

        `connect_s` bounds the look-up, the connection and TLS; `timeout_s` all of it.
        """
        if self._exchanger is None:
            from tidings.kit.exchange import Exchanger  # aiohttp: 10 MB that a process which only posts does without

            self._exchanger = Exchanger(self._resolver, self._socket)
        return await self._exchanger.exchange(
            method, url, headers, body, connect_s=connect_s, timeout_s=timeout_s, most_bytes=most_bytes
        )

    async def _dial(self, host: str, port: int) -> socket.socket:
        return await connected(await self._resolver.cached(host, port), self._socket)

    def _socket(self, info: Any) -> socket.socket:
        family, kind, proto, _, address = info
        if not self.guard.permits(str(address[0])):
            raise Forbidden(f"{address[0]} is a private or reserved address")
        made = socket.socket(family, kind, proto)
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made


def reason(error: Exception) -> str:
    """A short text without the URL, which may hold a token."""
    chain: list[BaseException | None] = [error, error.__cause__, error.__context__]
    if any(isinstance(one, Forbidden) for one in chain):
        return FORBIDDEN
    if isinstance(error, Broken):
        return error.reason
    if isinstance(error, ssl.SSLCertVerificationError):
        return "the certificate cannot be verified"
    if any(isinstance(one, socket.gaierror) for one in chain):
        return "the host name cannot be resolved"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:200]
    return type(error).__name__
