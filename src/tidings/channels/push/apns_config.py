"""The keys of a provider of type `push.apns`, checked once, with errors that name the key."""

import re
from typing import Any, Final, Literal

import msgspec
from cryptography.x509 import load_pem_x509_certificates

from tidings.channels.http.call import Limits
from tidings.channels.http.keys import check_limits, check_url, plain
from tidings.channels.push.apns_auth import private_key
from tidings.domain.errors import SettingsError

_ID: Final = re.compile(r"[A-Z0-9]{10}")
_TOPIC: Final = re.compile(r"[A-Za-z0-9.-]{1,255}")
_HOSTS: Final = {"production": "https://api.push.apple.com", "sandbox": "https://api.sandbox.push.apple.com"}


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One app of one team. Times in seconds, the rate in messages a second."""

    team_id: str
    key_id: str
    private_key: str  # the .p8 file's text
    topic: str  # the bundle id
    environment: Literal["production", "sandbox"] = "production"
    base_url: str = ""  # in place of Apple's
    ca_pem: str = ""  # certificates that the server is verified with, in place of the system's
    window: int = 500  # requests at once on the one connection; APNs allows 1,000 streams
    rate_per_s: float = 0
    response_timeout_s: float = 10
    connect_timeout_s: float = 5
    reconnect_min_s: float = 0.2
    reconnect_max_s: float = 30
    requeue_s: float = 5
    allow_networks: tuple[str, ...] = ()

    @property
    def limits(self) -> Limits:
        """What the engine keeps."""
        return Limits(**{name: getattr(self, name) for name in Limits.__struct_fields__})

    @property
    def url(self) -> str:
        """Where APNs is."""
        return (self.base_url or _HOSTS[self.environment]).rstrip("/")


def read_config(name: str, raw: dict[str, Any]) -> Config:
    """The config of provider `name`. Raises `SettingsError` that names the key and what to do."""
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise SettingsError(f"provider {name}: {plain(str(error))}") from None
    for key in ("team_id", "key_id"):
        if not _ID.fullmatch(getattr(config, key)):
            raise SettingsError(f"provider {name}: `{key}` must be 10 capital letters and digits")
    if not _TOPIC.fullmatch(config.topic):
        raise SettingsError(f"provider {name}: `topic` must be the app's bundle id, for example com.example.app")
    try:
        private_key(config.private_key)
    except ValueError as error:
        raise SettingsError(f"provider {name}: `private_key` must be the text of the .p8 file: it {error}") from None
    check_url(name, "base_url", config.url, local=bool(config.allow_networks))
    if config.ca_pem:
        try:
            load_pem_x509_certificates(config.ca_pem.encode())
        except ValueError:
            raise SettingsError(f"provider {name}: `ca_pem` must be certificates in PEM form") from None
    check_limits(name, config.limits)
    return config
