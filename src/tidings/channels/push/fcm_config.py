"""The keys of a provider of type `push.fcm`, checked once, with errors that name the key."""

import re
from typing import Any, Final

import msgspec

from tidings.channels.http.call import Limits
from tidings.channels.http.keys import check_limits, check_url, plain
from tidings.channels.push.google_auth import ServiceAccount, private_key, read_account
from tidings.domain.errors import SettingsError

_PROJECT: Final = re.compile(r"[a-z0-9][a-z0-9.:-]{0,62}")


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One Firebase project. Times in seconds, the rate in messages a second."""

    service_account_key: str | dict[str, Any]  # the JSON key, as text or as a table
    project_id: str = ""  # where it is not that of the service account
    base_url: str = "https://fcm.googleapis.com"
    window: int = 200
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
    def account(self) -> ServiceAccount:
        """The service account. Raises ValueError."""
        return read_account(self.service_account_key)


def read_config(name: str, raw: dict[str, Any]) -> Config:
    """The config of provider `name`. Raises `SettingsError` that names the key and what to do."""
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise SettingsError(f"provider {name}: {plain(str(error))}") from None
    try:
        account = config.account
        private_key(account)
    except ValueError as error:
        raise SettingsError(
            f"provider {name}: `service_account_key` must be the JSON key of a service account: {error}"
        ) from None
    if not _PROJECT.fullmatch(config.project_id or account.project_id):
        raise SettingsError(
            f"provider {name}: `project_id` must be the id of a Firebase project, for example acme-1a2b3"
        )
    local = bool(config.allow_networks)
    check_url(name, "base_url", config.base_url, local=local)
    check_url(name, "service_account_key.token_uri", account.token_uri, local=local)
    check_limits(name, config.limits)
    return config
