"""Finds providers by entry point: group `tidings.providers`, name `channel.file`, value a module.

A provider's module has `CAPABILITIES: Capabilities`, `Config` (the msgspec struct of its keys), `check(name, config)`
that raises `SettingsError`, and `create(spec, sink) -> Provider`. `OPERATOR_KEYS`, if it has it, names keys that only
`tidings.toml` may hold (`check` refuses them in a provider declared over the API). `slots(config)`, if it has it, says how
many workers may hold binds at once, each with that share of the rate. Adding a provider edits nothing here.
"""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, cast

from tidings.channels.contract import Capabilities, Provider, ProviderSpec, Sink
from tidings.domain.errors import SettingsError

GROUP = "tidings.providers"


class ProviderModule(Protocol):
    """What a provider's module offers."""

    CAPABILITIES: Capabilities

    def check(self, name: str, config: dict[str, Any]) -> None:
        """Raises `SettingsError`, naming the key, if `config` cannot be used."""
        ...

    def create(self, spec: ProviderSpec, sink: Sink) -> Provider:
        """A provider, not yet started. Raises `SettingsError`."""
        ...


@cache
def _entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def types() -> tuple[str, ...]:
    """The names of every provider type that is installed, sorted."""
    return tuple(sorted(_entries()))


@cache
def find(type_name: str) -> ProviderModule:
    """The module of a provider type. Raises `SettingsError` for an unknown one, with the names there are."""
    entry = _entries().get(type_name)
    if entry is None:
        raise SettingsError(f"unknown provider type `{type_name}`; there are: {', '.join(types()) or 'none'}")
    return cast("ProviderModule", entry.load())


def create(spec: ProviderSpec, sink: Sink) -> Provider:
    """The provider `spec` declares, not yet started. Raises `SettingsError` that names the bad key."""
    return find(spec.type).create(spec, sink)


def slots(spec: ProviderSpec) -> int:
    """How many workers may hold binds of it at once: 1, unless its type can share and its configuration says so."""
    counted = getattr(find(spec.type), "slots", None)
    return int(counted(spec.config)) if counted is not None else 1


def check(spec: ProviderSpec) -> None:
    """Raises `SettingsError` if `spec` cannot be used; opens nothing."""
    module = find(spec.type)
    for key in sorted(set(getattr(module, "OPERATOR_KEYS", ())) & set(spec.config)):
        if spec.origin == "api":
            raise SettingsError(f"provider {spec.name}: `{key}` can only be set by the operator, in tidings.toml")
    module.check(spec.name, spec.config)
