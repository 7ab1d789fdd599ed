"""The keys of a provider of type `sms.twilio`, checked once, with errors that name the key."""

import re
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from tidings.channels.http.call import Limits
from tidings.channels.http.keys import check_limits, check_url, plain
from tidings.domain.errors import SettingsError

_HEX: Final = "[0-9a-fA-F]{32}"
_OVERRIDES: Final = re.compile(r"(?:[a-z]{2,3}=[A-Za-z0-9,-]+)(?:&[a-z]{2,3}=[A-Za-z0-9,-]+)*")


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One Twilio account. Times in seconds, the rate in segments a second."""

    account_sid: str
    auth_token: str = ""  # signs the callbacks; sends too, unless there is an API key
    api_key_sid: str = ""
    api_key_secret: str = ""
    webhook_key_secret: str = ""  # where callbacks are signed with a shared key, not with the auth token
    messaging_service_sid: str = ""
    sender: str = ""  # for messages without `from`
    public_url: str = ""  # where carriers reach this server; without it there are no callbacks
    callback_overrides: str = ""  # connection overrides, for example rc=3&rp=5xx,ct,rt
    smart: bool = False
    validity: bool = True  # hand on the time that remains
    base_url: str = "https://api.twilio.com"
    window: int = 20
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
    def login(self) -> tuple[str, str]:
        """User and password of HTTP basic authentication."""
        return (self.api_key_sid, self.api_key_secret) if self.api_key_sid else (self.account_sid, self.auth_token)


_SIDS: Final = (("account_sid", "AC", False), ("api_key_sid", "SK", True), ("messaging_service_sid", "MG", True))


_Config = TypeVar("_Config", bound=Config)


def read_config(name: str, raw: dict[str, Any], kind: type[_Config] = Config) -> _Config:
    """The config of provider `name`, of a type of its own. Raises `SettingsError` that names the key and what to do."""
    try:
        config = msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise SettingsError(f"provider {name}: {plain(str(error))}") from None
    for key, prefix, optional in _SIDS:
        value: str = getattr(config, key)
        if not (optional and not value) and not re.fullmatch(prefix + _HEX, value):
            raise SettingsError(f"provider {name}: `{key}` must be {prefix} and 32 hexadecimal digits")
    if config.api_key_sid and not config.api_key_secret:
        raise SettingsError(f"provider {name}: `api_key_sid` needs its `api_key_secret`")
    if not config.login[1].strip():
        raise SettingsError(f"provider {name}: give `auth_token`, or `api_key_sid` with `api_key_secret`")
    if config.public_url and not (config.auth_token or config.webhook_key_secret):
        raise SettingsError(
            f"provider {name}: `public_url` needs `auth_token` too: Twilio signs its callbacks with it, not with an API key"
        )
    if config.callback_overrides and not _OVERRIDES.fullmatch(config.callback_overrides):
        raise SettingsError(f"provider {name}: `callback_overrides` must look like rc=3&rp=5xx,ct,rt")
    check_url(name, "base_url", config.base_url, local=bool(config.allow_networks))
    if config.public_url:
        check_url(name, "public_url", config.public_url, local=True)
        if "_" in (urlsplit(config.public_url).hostname or ""):
            raise SettingsError(f"provider {name}: Twilio calls no host with an underscore; change `public_url`")
    check_limits(name, config.limits)
    return config
