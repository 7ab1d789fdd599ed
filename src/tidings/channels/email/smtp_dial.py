"""Opens a connection to a mail server, behind the guard that keeps private networks out."""

import asyncio
import ipaddress
import socket
import ssl

from tidings.channels.email.smtp_config import Config
from tidings.channels.email.smtp_wire import Wire
from tidings.kit.outbound import Forbidden, Guard


async def dial(config: Config, context: ssl.SSLContext | None) -> Wire:
    """A connection, with TLS if that is implicit. Every address of the name is tried. Raises OSError, TimeoutError."""
    loop = asyncio.get_running_loop()
    guard = Guard(allow=config.allow_networks)
    async with asyncio.timeout(config.connect_timeout_s):
        found = await loop.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)
        addresses = [str(info[4][0]) for info in found]
        allowed = [address for address in addresses if guard.permits(address)]
        if not allowed:
            raise Forbidden("the mail server's address is private or reserved; `allow_networks` would open it")
        implicit = context if config.tls == "implicit" else None
        failure: OSError | None = None
        for address in allowed:
            try:
                _, wire = await loop.create_connection(
                    Wire, address, config.port, ssl=implicit, server_hostname=_host(config.host) if implicit else None
                )
                return wire
            except OSError as error:
                failure = error
        raise failure or OSError("no address")


def _host(name: str) -> str:
    """For SNI and the certificate: an address is compared as one."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.rstrip(".")
