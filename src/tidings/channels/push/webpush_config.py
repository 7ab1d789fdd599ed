"""The keys of a provider of type `push.webpush`, checked once, with errors that name the key."""

import re
from typing import Any, Final

import msgspec

from tidings.channels.http.call import Limits
from tidings.channels.http.keys import check_limits, plain
from tidings.domain.errors import SettingsError
from tidings.domain.push import TTL_MOST_S
from tidings.protocols.webpush import vapid

_SUBJECT: Final = re.compile(r"mailto:[^\s@]+@[^\s@]+|https://[^\s]+")


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One application server. Times in seconds, the rate in messages a second."""

    vapid_private_key: str  # 32 octets in base64url; the web app subscribes with the public one
    subject: str  # mailto: or https:, for push services that want to complain
    ttl_s: int = TTL_MOST_S  # of messages that say nothing; services keep them no longer than they like
    window: int = 100
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


def read_config(name: str, raw: dict[str, Any]) -> Config:
    """The config of provider `name`. Raises `SettingsError` that names the key and what to do."""
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise SettingsError(f"provider {name}: {plain(str(error))}") from None
    try:
        vapid.private_key(config.vapid_private_key)
    except ValueError:
        raise SettingsError(
            f"provider {name}: `vapid_private_key` must be 32 octets in base64url, as `npx web-push generate-vapid-keys` gives it"
        ) from None
    if not _SUBJECT.fullmatch(config.subject):
        raise SettingsError(f"provider {name}: `subject` must be mailto:ops@example.com or an https URL")
    if not 0 <= config.ttl_s <= TTL_MOST_S:
        raise SettingsError(f"provider {name}: `ttl_s` must be from 0 to {TTL_MOST_S}, not {config.ttl_s}")
    check_limits(name, config.limits)
    return config
