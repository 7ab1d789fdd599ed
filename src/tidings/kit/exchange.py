"""Requests with their whole answer: the half of `outbound` that carriers are asked by. The guard is in `outbound`."""

import socket
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from tidings.kit.limits import DNS_CACHE_S
from tidings.kit.outbound import NoReply, NotSent, Reply, Resolver, reason
from tidings.kit.posting import AGENT


class _Names(AbstractResolver):
    """The resolver, as aiohttp asks one; it stays its owner's to close."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """All addresses of a name."""
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=port, family=kind, proto=proto,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, proto, _, address in await self._resolver.addresses(host, port, family)
        ]  # fmt: skip

    async def close(self) -> None:
        """Nothing is held here."""


class Exchanger:
    """A pool of connections. Made on the running event loop. No proxies, no cookies, TLS is verified."""

    def __init__(self, resolver: Resolver, sockets: Callable[[Any], socket.socket]) -> None:
        """`sockets` makes the socket for an address, if it may be dialled; else it raises OSError."""
        connector = aiohttp.TCPConnector(
            limit=0, limit_per_host=0, ttl_dns_cache=DNS_CACHE_S, resolver=_Names(resolver), socket_factory=sockets
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("Accept", "Accept-Encoding"),
            headers={"User-Agent": AGENT},
        )

    async def close(self) -> None:
        """Closes every connection."""
        await self._session.close()

    async def exchange(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None, *, connect_s: float, timeout_s: float,
        most_bytes: int,
    ) -> Reply | NotSent | NoReply:  # fmt: skip
        """One request with its whole answer. `url` is sent as it stands. Every failure is a value.

        `connect_s` bounds the look-up, the connection and TLS; `timeout_s` all of it.
        """
        timeout = aiohttp.ClientTimeout(total=timeout_s, connect=min(connect_s, timeout_s * 0.9))
        try:
            async with self._session.request(
                method, URL(url, encoded=True), data=body, headers=headers, allow_redirects=False, timeout=timeout
            ) as response:
                found = await _read_up_to(response.content, most_bytes)
                if len(found) > most_bytes:
                    response.close()
                names = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status, names, found[:most_bytes])
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
            return NotSent("no connection in time" if isinstance(error, TimeoutError) else reason(error))
        except TimeoutError:
            return NoReply("no answer in time", timed_out=True)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return NoReply(reason(error))


async def _read_up_to(content: aiohttp.StreamReader, most: int) -> bytes:
    """The body, or somewhat more than `most` bytes of it."""
    pieces, size = list[bytes](), 0
    while size <= most and not content.at_eof():
        pieces.append(await content.readany())
        size += len(pieces[-1])
    return b"".join(pieces)
