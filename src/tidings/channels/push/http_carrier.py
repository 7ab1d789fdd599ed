"""Provider `push.http`: a push service that is described by configuration alone. See docs/providers/http.md."""

from typing import Any, Final

from tidings.channels.contract import ProviderSpec, Sink
from tidings.channels.described import provider
from tidings.channels.described.config import Config as Config
from tidings.channels.http.keys import OPERATOR_KEYS as OPERATOR_KEYS

CAPABILITIES: Final = provider.capabilities("push")


def check(name: str, config: dict[str, Any]) -> None:
    """Raises `SettingsError`, naming the field by its JSON pointer, if `config` cannot be used."""
    provider.check(name, config, "push")


def create(spec: ProviderSpec, sink: Sink) -> provider.DescribedProvider:
    """The provider `spec` declares, not yet started. Raises `SettingsError` as `check` does."""
    return provider.DescribedProvider(spec, sink, "push")
