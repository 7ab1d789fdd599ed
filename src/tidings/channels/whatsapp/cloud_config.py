"""The keys of a provider of type `whatsapp.cloud_api`, checked once, with errors that name the key."""

import re
from typing import Any, Final, Literal
from urllib.parse import quote

import msgspec

from tidings.channels.http.call import Limits
from tidings.channels.http.keys import check_limits, check_url, plain
from tidings.domain.errors import SettingsError
from tidings.domain.phone import phone_problem

#: Messages a second that Meta takes of one number unless it has raised it. Source: "Throughput", WhatsApp Cloud API
THROUGHPUT_PER_S: Final = 80
_DIGITS: Final = re.compile(r"[0-9]{5,20}")
_VERSION: Final = re.compile(r"v[0-9]{1,2}\.[0-9]")
#: A token goes into a header as it is. Source: RFC 6750 §2.1
_TOKEN: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*")


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One number of a WhatsApp Business account. Times in seconds, the rate in messages a second."""

    phone_number_id: str  # Meta's id of the number
    phone_number: str  # the number itself
    access_token: str  # of a system user, with `whatsapp_business_messaging`
    business_account_id: str = ""  # of the account; without it templates are not synced
    app_secret: str = ""  # signs what Meta calls us with; without it nothing is taken
    verify_token: str = ""  # what Meta says when the callback is set up
    media: Literal["fetch", "name"] = "fetch"  # whether files that people send are fetched at once
    callback_data: bool = True  # hand on our own reference: it settles unknown outcomes
    window_open_for: tuple[str, ...] = ()  # people who count as having just written: the sandbox's
    templates_every_s: float = 300
    version: str = "v23.0"
    base_url: str = "https://graph.facebook.com"
    window: int = 40
    rate_per_s: float = THROUGHPUT_PER_S
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

    def url(self, *path: str) -> str:
        """An address below `/{version}`."""
        return "/".join([self.base_url.rstrip("/"), self.version, *(quote(part, safe="") for part in path)])


def read_config(name: str, raw: dict[str, Any]) -> Config:
    """The config of provider `name`. Raises `SettingsError` that names the key and what to do."""
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise SettingsError(f"provider {name}: {plain(str(error))}") from None
    for key in ("phone_number_id", "business_account_id"):
        value: str = getattr(config, key)
        if not _DIGITS.fullmatch(value) and (value or key == "phone_number_id"):
            raise SettingsError(f"provider {name}: `{key}` must be the digits that Meta shows as its id")
    problem = phone_problem(config.phone_number)
    if problem is not None:
        raise SettingsError(f"provider {name}: `phone_number` {problem}")
    if not _TOKEN.fullmatch(config.access_token):
        raise SettingsError(f"provider {name}: `access_token` must be a token of Meta's, without spaces")
    if config.verify_token and not config.app_secret:
        raise SettingsError(f"provider {name}: `verify_token` needs `app_secret`: Meta signs its calls with it")
    if not _VERSION.fullmatch(config.version):
        raise SettingsError(f"provider {name}: `version` must be one of the Graph API, such as v23.0")
    if not 10 <= config.templates_every_s <= 86_400:
        raise SettingsError(f"provider {name}: `templates_every_s` must be from 10 to 86400")
    check_url(name, "base_url", config.base_url, local=bool(config.allow_networks))
    check_limits(name, config.limits)
    return config
