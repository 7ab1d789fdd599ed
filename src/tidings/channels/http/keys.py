"""Checks of the keys that every provider over HTTP has."""

import ipaddress
from typing import Final
from urllib.parse import urlsplit

from tidings.channels.http.call import Limits
from tidings.domain.errors import SettingsError

#: Only the operator (`tidings.toml`) may open private networks; over the API it is refused.
OPERATOR_KEYS: Final = frozenset({"allow_networks"})
_RANGES: Final[tuple[tuple[str, float, float], ...]] = (
    ("window", 1, 1_000),
    ("rate_per_s", 0, 100_000),
    ("response_timeout_s", 0.05, 25),  # below the lease, see kit/limits.LEASE_S
    ("connect_timeout_s", 0.05, 25),
    ("reconnect_min_s", 0.01, 3_600),
    ("reconnect_max_s", 0.01, 3_600),
    ("requeue_s", 0, 600),
)


def check_limits(name: str, limits: Limits) -> None:
    """Raises `SettingsError` that names the key and its range."""
    for key, least, greatest in _RANGES:
        value = getattr(limits, key)
        if not least <= value <= greatest:
            raise SettingsError(f"provider {name}: `{key}` must be from {least:g} to {greatest:g}, not {value:g}")
    if limits.reconnect_max_s < limits.reconnect_min_s:
        raise SettingsError(f"provider {name}: `reconnect_max_s` must not be less than `reconnect_min_s`")
    for network in limits.allow_networks:
        check_network(name, "allow_networks", network)


def check_network(name: str, key: str, text: str) -> None:
    """Raises `SettingsError` unless `text` is a network."""
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise SettingsError(f"provider {name}: `{key}`: {text!r} is not a network such as 10.0.0.0/8") from None


def check_url(name: str, key: str, url: str, *, local: bool) -> None:
    """Raises `SettingsError` unless it is https (`local`: or http), with a host and no user, query or fragment."""
    if not url.isascii() or any(ord(c) <= 32 for c in url):
        raise SettingsError(f"provider {name}: `{key}` must be ASCII without spaces")
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good, parts = False, urlsplit("")
    if not good or parts.scheme not in ("https", "http"):
        raise SettingsError(f"provider {name}: `{key}` must be a URL like https://sms.example.com")
    if parts.scheme == "http" and not local:
        raise SettingsError(f"provider {name}: `{key}` must begin with https://; credentials would travel in the clear")
    if parts.username is not None or parts.fragment or parts.query:
        raise SettingsError(f"provider {name}: `{key}` must have no user, no query and no fragment")


def plain(text: str) -> str:
    """msgspec's words, with `key` in place of `$.key`."""
    return text.replace("`$.", "`").replace(" - at `$`", "")
