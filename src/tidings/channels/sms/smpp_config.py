"""The keys of a provider of type `sms.smpp`, checked once, with errors that name the key."""

import datetime as dt
import re
import ssl
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from tidings.domain.errors import SettingsError
from tidings.protocols.gsm.national import Language

BindKind = Literal["transceiver", "transmitter", "receiver"]
_TRANSMITTING = ("transceiver", "transmitter")


class Tls(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """TLS to the carrier. `ca` is a PEM file; without it the system's roots are used."""

    ca: str | None = None
    verify: bool = True
    server_name: str | None = None


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One SMPP 3.4 account. Times in seconds, rates in segments a second over all binds."""

    host: str
    port: int = 2775
    system_id: str
    password: str = ""
    system_type: str = ""
    binds: dict[BindKind, int] = msgspec.field(default_factory=lambda: {"transceiver": 1})
    tls: bool | Tls = False
    window: int = 50
    rate_per_s: float = 0
    slots: int = 1  # how many workers may bind at once: each opens all `binds`, with its part of `rate_per_s`
    enquire_link_s: float = 30
    response_timeout_s: float = 10
    bind_timeout_s: float = 10
    inactivity_s: float = 0  # reconnect after so long without a message; 0: never
    reconnect_min_s: float = 0.2
    reconnect_max_s: float = 30
    requeue_s: float = 5  # how long unwritten parts wait for a link before they are given back
    receive_timeout_s: float = 30  # how long a commit of receipts may take before the carrier is told to try later
    source_ton: int | None = None
    source_npi: int | None = None
    dest_ton: int | None = None
    dest_npi: int | None = None
    dest_plus: bool = False
    default_alphabet: Literal["gsm", "latin1", "ascii", "ucs2"] = "gsm"
    concat: Literal["udh8", "udh16", "sar", "payload"] = "udh8"
    smart: bool = False
    validity: Literal["none", "relative", "absolute"] = "none"
    service_type: str = ""
    user_message_reference: bool = False
    national_tables: tuple[Language, ...] = ()
    query_sm: bool = False
    receipt_timezone: str = "UTC"  # an IANA name, or an offset: +03:00

    @property
    def zone(self) -> dt.tzinfo:
        """The zone of the dates in the carrier's receipts. Raises `ValueError`, `KeyError`, `OSError`."""
        return _zone(self.receipt_timezone)

    @property
    def transmitting_binds(self) -> int:
        """How many binds can send."""
        return sum(self.binds.get(kind, 0) for kind in _TRANSMITTING)

    def ssl_context(self) -> ssl.SSLContext | None:
        """What `create_connection` needs for `tls`; None without it."""
        if self.tls is False:
            return None
        tls = self.tls if isinstance(self.tls, Tls) else Tls()
        context = ssl.create_default_context(cafile=tls.ca)
        if not tls.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    @property
    def server_name(self) -> str | None:
        """The name in the carrier's certificate."""
        if self.tls is False:
            return None
        return (self.tls.server_name if isinstance(self.tls, Tls) else None) or self.host


#: Key, least, greatest. The greatest of `window` keeps what one dropped link can leave unknown small.
_RANGES: tuple[tuple[str, float, float], ...] = (
    ("port", 1, 65535),
    ("window", 1, 10_000),
    ("rate_per_s", 0, 100_000),
    ("slots", 1, 64),
    ("enquire_link_s", 0.05, 3600),
    ("response_timeout_s", 0.05, 600),
    ("bind_timeout_s", 0.05, 600),
    ("inactivity_s", 0, 86_400),
    ("reconnect_min_s", 0.01, 3600),
    ("reconnect_max_s", 0.01, 3600),
    ("requeue_s", 0, 600),
    ("receive_timeout_s", 0.05, 600),
    ("source_ton", 0, 6),
    ("source_npi", 0, 18),
    ("dest_ton", 0, 6),
    ("dest_npi", 0, 18),
)
#: Octets without the final NUL. Source: SMPP 3.4 §5.2.1, §5.2.2, §5.2.3, §5.2.11.
_LENGTHS: tuple[tuple[str, int, int], ...] = (
    ("host", 1, 253),
    ("system_id", 1, 15),
    ("password", 0, 8),
    ("system_type", 0, 12),
    ("service_type", 0, 5),
)


def read_config(name: str, raw: dict[str, Any]) -> Config:
    """The config of provider `name`. Raises `SettingsError` that names the key and what to do."""
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise SettingsError(f"provider {name}: {_plain(str(error))}") from None
    for key, least, greatest in _RANGES:
        value = getattr(config, key)
        if value is not None and not least <= value <= greatest:
            raise SettingsError(f"provider {name}: `{key}` must be from {least:g} to {greatest:g}, not {value:g}")
    for key, least, greatest in _LENGTHS:
        text: str = getattr(config, key)
        if not least <= len(text) <= greatest or not text.isascii():
            raise SettingsError(f"provider {name}: `{key}` must be {least} to {greatest} ASCII characters")
    if config.reconnect_max_s < config.reconnect_min_s:
        raise SettingsError(f"provider {name}: `reconnect_max_s` must not be less than `reconnect_min_s`")
    if any(not 0 <= count <= 32 for count in config.binds.values()) or config.transmitting_binds == 0:
        raise SettingsError(f"provider {name}: `binds` needs a transceiver or a transmitter, and 32 of a kind at most")
    _check_texts(name, config)
    return config


def _check_texts(name: str, config: Config) -> None:
    """What concerns the alphabet and the dates."""
    if config.national_tables and (config.default_alphabet != "gsm" or config.concat == "payload"):
        raise SettingsError(
            f"provider {name}: `national_tables` needs `default_alphabet` gsm, and a `concat` other than payload"
        )
    try:
        _ = config.zone
    except (ValueError, KeyError, OSError):  # KeyError: no such zone; OSError: a folder of the zone database
        raise SettingsError(
            f"provider {name}: `receipt_timezone` must be an IANA name or an offset like +03:00, "
            f"not {config.receipt_timezone!r}"
        ) from None


def _zone(text: str) -> dt.tzinfo:
    offset = re.fullmatch(r"([+-])(\d\d):?([0-5]\d)", text)
    if offset is None:
        return ZoneInfo(text)
    ahead = dt.timedelta(hours=int(offset[2]), minutes=int(offset[3]))
    return dt.timezone(ahead if offset[1] == "+" else -ahead)


def _plain(text: str) -> str:
    """msgspec's words, with `key` in place of `$.key`."""
    return text.replace("`$.", "`").replace(" - at `$`", "")
