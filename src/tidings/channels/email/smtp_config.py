"""The keys of a provider of type `email.smtp`, checked once, with errors that name the key."""

import ssl
from typing import Any, Final, Literal

import msgspec

from tidings.channels.email.compose import Identity
from tidings.channels.email.identity import DkimConfig, check_host, converted, identity
from tidings.domain.errors import SettingsError

#: Only the operator (`tidings.toml`) may open private networks, or name files; over the API it is refused.
OPERATOR_KEYS: Final = frozenset({"allow_networks", "tls_ca"})
Tls = Literal["starttls", "implicit", "opportunistic", "none"]


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One mail server that takes our mails. Times in seconds; their defaults are those of RFC 5321 §4.5.3.2."""

    host: str
    port: int = 587
    tls: Tls = "starttls"
    tls_ca: str = ""  # a file with the certificates to trust; empty: the system's
    username: str = ""
    password: str = ""
    hello: str = ""  # how we name ourselves in EHLO
    sender: str = ""
    mail_secret: str = ""
    bounce_domain: str = ""
    reply_domain: str = ""
    dkim: tuple[DkimConfig, ...] = ()
    eight_bit: bool = False
    receipts: bool = False  # ask for delivery receipts where the server offers DSN
    read_receipts: bool = False
    connections: int = 4
    domain_concurrency: int = 2  # mails to one domain at once
    mails_per_connection: int = 500
    rate_per_s: float = 0
    retry_s: tuple[float, ...] = (60, 300, 900, 1_800, 3_600, 7_200, 14_400)  # after a 4xx, by try
    connect_timeout_s: float = 30
    greeting_timeout_s: float = 300
    command_timeout_s: float = 300
    data_timeout_s: float = 180
    end_timeout_s: float = 600
    idle_s: float = 10
    reconnect_min_s: float = 1
    reconnect_max_s: float = 300
    requeue_s: float = 30
    allow_networks: tuple[str, ...] = ()

    @property
    def window(self) -> int:
        """Mails taken and not answered: what the connections write within some fifty milliseconds."""
        return self.connections * 8


_RANGES: Final[tuple[tuple[str, float, float], ...]] = (
    ("port", 1, 65_535), ("connections", 1, 100), ("domain_concurrency", 1, 100), ("mails_per_connection", 1, 100_000),
    ("rate_per_s", 0, 100_000), ("connect_timeout_s", 0.05, 300), ("greeting_timeout_s", 0.05, 600),
    ("command_timeout_s", 0.05, 600), ("data_timeout_s", 0.05, 600), ("end_timeout_s", 0.05, 1_800), ("idle_s", 0, 300),
    ("reconnect_min_s", 0.01, 3_600), ("reconnect_max_s", 0.01, 3_600), ("requeue_s", 0, 600),
)  # fmt: skip


def read_config(name: str, raw: dict[str, Any]) -> tuple[Config, Identity]:
    """The config of provider `name`, and its mails' identity. Raises SettingsError that names the key and what to do."""
    config: Config = converted(name, raw, Config)
    if not config.host or any(char.isspace() for char in config.host):
        raise SettingsError(f"provider {name}: `host` must be a host name or an address")
    for key, least, greatest in _RANGES:
        value = getattr(config, key)
        if not least <= value <= greatest:
            raise SettingsError(f"provider {name}: `{key}` must be from {least:g} to {greatest:g}, not {value:g}")
    if not config.retry_s or not all(1 <= one <= 86_400 for one in config.retry_s) or len(config.retry_s) > 50:
        raise SettingsError(f"provider {name}: `retry_s` must have 1 to 50 times from 1 to 86400 seconds")
    if config.reconnect_max_s < config.reconnect_min_s:
        raise SettingsError(f"provider {name}: `reconnect_max_s` must not be less than `reconnect_min_s`")
    if bool(config.username) != bool(config.password):
        raise SettingsError(f"provider {name}: `username` and `password` go together")
    if config.username and config.tls in ("none", "opportunistic") and not config.allow_networks:
        raise SettingsError(
            f'provider {name}: `tls` must be "starttls" or "implicit" with a password, which would travel in the clear'
        )
    if "\x00" in config.username + config.password:
        raise SettingsError(f"provider {name}: `username` and `password` must have no NUL")
    if config.hello:
        check_host(name, "hello", config.hello)
    tls_context(name, config)
    return config, identity(
        name, sender=config.sender, mail_secret=config.mail_secret, bounce_domain=config.bounce_domain,
        reply_domain=config.reply_domain, dkim=config.dkim, read_receipts=config.read_receipts,
    )  # fmt: skip


def tls_context(name: str, config: Config) -> ssl.SSLContext | None:
    """Verifies the certificate, but where TLS is opportunistic: there it only keeps listeners out. Raises SettingsError."""
    if config.tls == "none":
        return None
    try:
        context = ssl.create_default_context(cafile=config.tls_ca or None)
    except (OSError, ssl.SSLError):
        raise SettingsError(f"provider {name}: `tls_ca` must be a readable file of PEM certificates") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if config.tls == "opportunistic":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
