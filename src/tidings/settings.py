"""Settings: `tidings.toml`, then the environment, then the command line. Frozen; every unit is in its name."""

import ipaddress
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args

import msgspec

from tidings.channels.contract import ProviderSpec
from tidings.domain.errors import FieldError, SettingsError
from tidings.domain.verification import Worth, worth_problems
from tidings.kit.limits import (
    OWNER_TERM_S,
    UNKNOWN_WAIT_OTP_S,
    UNKNOWN_WAIT_S,
    VERIFY_KEEP_DAYS,
    VERIFY_KEEP_DEFAULT_DAYS,
)
from tidings.routing import pace
from tidings.routing.pace import Limit
from tidings.routing.route import Route, problems
from tidings.smppd.config import SmppServerSettings

Role = Literal["all", "api", "worker"]
_TERM_S = (0.5, 300.0)  # below, a pause of the process passes for its death; above, messages wait too long


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[webhooks]`: which addresses beside the public ones may be dialled."""

    allow_private: bool = False
    allow: tuple[str, ...] = ()


class DeliverySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[delivery]`: how long a submit without an answer waits for a receipt, and after how long a silent worker is dead."""

    unknown_wait_s: float = UNKNOWN_WAIT_S
    unknown_wait_otp_s: float = UNKNOWN_WAIT_OTP_S
    owner_term_s: float = OWNER_TERM_S


class VerifySettings(Worth, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[verify]`: what a code is worth where its request does not say, and how long an ended verification is kept."""

    keep_days: int = VERIFY_KEEP_DEFAULT_DAYS


class SandboxSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[sandbox]`: the carrier simulator of test keys. `receipt_delay_s` is how long its receipts take."""

    receipt_delay_s: float = 0.05


class MailServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[mail_server]`: where replies, bounces and complaints come in over SMTP; off unless `listen` names HOST:PORT.

    `hostname` is what it calls itself; with a certificate it offers STARTTLS.
    """

    listen: str = ""
    hostname: str = ""
    tls_cert: str | None = None
    tls_key: str | None = None


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    listen: str = "127.0.0.1:8300"
    data: str = "tidings-data"
    database_url: str | None = None
    bus_url: str | None = None
    providers: list[dict[str, Any]] = msgspec.field(default_factory=list[dict[str, Any]])
    webhooks: WebhookSettings = WebhookSettings()
    delivery: DeliverySettings = DeliverySettings()
    verify: VerifySettings = VerifySettings()
    sandbox: SandboxSettings = SandboxSettings()
    smpp_server: SmppServerSettings = SmppServerSettings()
    mail_server: MailServerSettings = MailServerSettings()
    routes: list[Route] = msgspec.field(default_factory=list[Route])
    limits: list[Limit] = msgspec.field(default_factory=list[Limit])


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an operator decides."""

    data: Path
    listen_host: str
    listen_port: int
    role: Role
    providers: tuple[ProviderSpec, ...]
    webhooks: WebhookSettings
    delivery: DeliverySettings
    sandbox: SandboxSettings
    verify: VerifySettings = VerifySettings()
    smpp_server: SmppServerSettings = SmppServerSettings()
    mail_server: MailServerSettings = MailServerSettings()
    routes: tuple[Route, ...] = ()
    limits: tuple[Limit, ...] = ()
    api_key: str | None = None
    database_url: str | None = None  # postgresql://…; None: SQLite in `data`
    bus_url: str | None = None  # nats://…; None: processes poll

    @property
    def database(self) -> Path:
        """SQLite's file."""
        return self.data / "tidings.db"


def load(
    config: Path | None = None, data: Path | None = None, listen: str | None = None, role: str | None = None
) -> Settings:
    """Reads and checks everything. Raises SettingsError, which names the key and what to do."""
    file = _read(config)
    host, port = _address(listen or os.environ.get("TIDINGS_LISTEN") or file.listen)
    chosen = role or os.environ.get("TIDINGS_ROLE") or "all"
    database_url = _database_url(os.environ.get("TIDINGS_DATABASE_URL") or file.database_url)
    bus_url = os.environ.get("TIDINGS_BUS_URL") or file.bus_url or None
    _check_role(chosen, database_url, bus_url)
    if not _TERM_S[0] <= file.delivery.owner_term_s <= _TERM_S[1]:
        raise SettingsError(f"delivery.owner_term_s must be from {_TERM_S[0]:g} to {_TERM_S[1]:g} seconds")
    for network in file.webhooks.allow:
        _network(network)
    api_key = os.environ.get("TIDINGS_API_KEY") or None
    if api_key is not None and (not api_key.startswith(("tk_live_", "tk_test_")) or len(api_key) < 32):
        raise SettingsError("TIDINGS_API_KEY must start with tk_live_ or tk_test_ and have at least 32 characters")
    return Settings(
        data=(data or Path(os.environ.get("TIDINGS_DATA") or file.data)).resolve(),
        listen_host=host,
        listen_port=port,
        role=cast(Role, chosen),
        providers=_providers(file.providers),
        webhooks=file.webhooks,
        delivery=file.delivery,
        sandbox=file.sandbox,
        verify=_verify(file.verify),
        smpp_server=_smpp_server(file.smpp_server),
        mail_server=_mail_server(file.mail_server),
        routes=_named("routes", file.routes, problems),
        limits=_named("limits", file.limits, pace.problems),
        api_key=api_key,
        database_url=database_url,
        bus_url=bus_url,
    )


def _read(config: Path | None) -> _File:
    path = config or Path(os.environ.get("TIDINGS_CONFIG") or "tidings.toml")
    if not path.exists():
        if config is not None:
            raise SettingsError(f"{path}: no such file")
        return _File()
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), _File)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from error


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise SettingsError(f"listen address {text!r} must be HOST:PORT, for example 127.0.0.1:8300")
    return host.strip("[]"), int(port)


def _verify(given: VerifySettings) -> VerifySettings:
    for problem in worth_problems(given):
        raise SettingsError(f"verify.{problem.pointer[1:]} {problem.detail}")
    least, most = VERIFY_KEEP_DAYS
    if not least <= given.keep_days <= most:
        raise SettingsError(f"verify.keep_days must be {least} to {most}")
    return given


def _smpp_server(given: SmppServerSettings) -> SmppServerSettings:
    """With TIDINGS_SMPP_LISTEN, TIDINGS_SMPP_TLS_CERT and TIDINGS_SMPP_TLS_KEY in place of what the file says."""
    names = {"listen": "TIDINGS_SMPP_LISTEN", "tls_cert": "TIDINGS_SMPP_TLS_CERT", "tls_key": "TIDINGS_SMPP_TLS_KEY"}
    told = {field: os.environ[name] for field, name in names.items() if os.environ.get(name)}
    chosen = msgspec.structs.replace(given, **told)
    if chosen.listen:
        _address(chosen.listen)
    if chosen.tls_key is not None and chosen.tls_cert is None:
        raise SettingsError("smpp_server.tls_key is set without tls_cert: the listener would speak without TLS")
    numbers = ("max_connections", "window", "rate_per_s", "bind_timeout_s", "enquire_link_s", "response_timeout_s")
    for name in numbers:
        if getattr(chosen, name) <= 0:
            raise SettingsError(f"smpp_server.{name} must be more than 0")
    return chosen


def _mail_server(given: MailServerSettings) -> MailServerSettings:
    """With TIDINGS_MAIL_LISTEN in place of `listen`."""
    chosen = msgspec.structs.replace(given, listen=os.environ.get("TIDINGS_MAIL_LISTEN") or given.listen)
    if chosen.listen:
        _address(chosen.listen)
    if (chosen.tls_cert is None) != (chosen.tls_key is None):
        raise SettingsError("mail_server.tls_cert and mail_server.tls_key go together")
    return chosen


def mail_address(settings: MailServerSettings) -> tuple[str, int]:
    """Host and port of `listen`."""
    return _address(settings.listen)


def _database_url(text: str | None) -> str | None:
    if text is not None and not text.startswith(("postgresql://", "postgres://")):
        raise SettingsError("TIDINGS_DATABASE_URL must start with postgresql://; without it SQLite is used")
    return text or None


def _check_role(role: str, database_url: str | None, bus_url: str | None) -> None:
    if role not in get_args(Role):
        raise SettingsError(f"--role {role}: there is no such role; use {', '.join(get_args(Role))}")
    if database_url is None and role != "all":
        raise SettingsError(
            f"--role {role}: SQLite belongs to one process; set TIDINGS_DATABASE_URL (PostgreSQL), or use --role all"
        )
    if bus_url is not None and database_url is None:
        raise SettingsError(
            "TIDINGS_BUS_URL rings between processes, and SQLite belongs to one; unset it, or set TIDINGS_DATABASE_URL"
        )
    if bus_url is not None and not bus_url.startswith(("nats://", "tls://")):
        raise SettingsError("TIDINGS_BUS_URL must start with nats:// or tls://; without it processes poll the database")


def _network(text: str) -> None:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise SettingsError(f"webhooks.allow: {text!r} is not a network such as 10.0.0.0/8") from error


def _providers(tables: list[dict[str, Any]]) -> tuple[ProviderSpec, ...]:
    specs: list[ProviderSpec] = []
    for n, table in enumerate(tables):
        where = f"providers[{n}]"
        rest = dict(table)
        name, kind = rest.pop("name", None), rest.pop("type", None)
        if not isinstance(name, str) or not name or not isinstance(kind, str) or "." not in kind:
            raise SettingsError(f'{where}: needs `name` and `type`, for example type = "sms.smpp"')
        if name.partition("-")[0] == "sandbox" or any(spec.name == name for spec in specs):
            raise SettingsError(f"{where}: the name {name!r} is taken; choose another")
        specs.append(ProviderSpec(name=name, type=kind, config={k: _secret(where, k, v) for k, v in rest.items()}))
    return tuple(specs)


_Named = TypeVar("_Named", Route, Limit)


def _named(
    what: str, declared: list[_Named], problems_of: Callable[[_Named], list[FieldError]]
) -> tuple[_Named, ...]:  # fmt: skip
    seen: set[str] = set()
    for n, one in enumerate(declared):
        where = f"{what}[{n}] ({one.name})"
        found = problems_of(one)
        if found:
            raise SettingsError(f"{where}{found[0].pointer.replace('/', '.')}: {found[0].detail}")
        if one.name in seen:
            raise SettingsError(f"{where}: the name is taken; choose another")
        seen.add(one.name)
    return tuple(declared)


def _secret(where: str, key: str, value: Any) -> Any:
    """`env:NAME` stands for the environment variable of that name."""
    if not isinstance(value, str) or not value.startswith("env:"):
        return value
    found = os.environ.get(value[4:])
    if found is None:
        raise SettingsError(f"{where}.{key}: the environment variable {value[4:]} is not set")
    return found
