"""The providers: all that are known, and those whose links are open in this process; each comes and goes while running."""

from typing import Final

import msgspec

from tidings.channels import registry
from tidings.channels.callback import CallbackTaker
from tidings.channels.contract import Provider, ProviderSpec, Sink
from tidings.domain.errors import SettingsError
from tidings.routing.choose import Candidate


class Member(msgspec.Struct, frozen=True):
    """A provider and what it was made from. `slot`: which share of its binds."""

    spec: ProviderSpec
    provider: Provider
    slot: int = 0

    @property
    def sandbox(self) -> bool:
        """Whether it only ever carries the messages of test keys."""
        return self.spec.origin == "sandbox"


_CAPABLE: Final = ("receipts", "reads", "media", "inbound")


def _capabilities(kind: str) -> frozenset[str]:
    """What a route may need and this type of provider can do."""
    try:
        declared = registry.find(kind).CAPABILITIES
    except SettingsError:  # told where it is started
        return frozenset()
    return frozenset(name for name in _CAPABLE if getattr(declared, name))


class Fleet:
    """Providers by name."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._specs: dict[str, ProviderSpec] = {}
        self._members: dict[str, Member] = {}
        self._leaving: dict[str, Member] = {}  # drained: what they sent is still being reported
        self._resting: dict[str, Member] = {}  # made of those that do not run here, to plan and to read callbacks
        self._candidates: list[Candidate] = []

    def know(self, specs: list[ProviderSpec]) -> None:
        """These are all that there are, paused ones too."""
        self._specs = {spec.name: spec for spec in specs}
        self._candidates = [
            Candidate(
                s.name, s.type.split(".", 1)[0], s.project, s.origin == "sandbox", not s.paused, _capabilities(s.type)
            )
            for s in specs
        ]  # fmt: skip
        for name in [name for name, member in self._resting.items() if self._specs.get(name) != member.spec]:
            del self._resting[name]

    def specs(self) -> list[ProviderSpec]:
        """All that there are."""
        return list(self._specs.values())

    def spec(self, name: str) -> ProviderSpec | None:
        """What is known of this name."""
        return self._specs.get(name)

    def member(self, name: str) -> Member | None:
        """The running provider of this name."""
        return self._members.get(name)

    def members(self) -> list[Member]:
        """All running providers."""
        return list(self._members.values())

    def project(self, name: str) -> str:
        """The project that a provider belongs to; empty for all of them, and for one that is gone."""
        member = self._members.get(name) or self._leaving.get(name)
        spec = member.spec if member is not None else self._specs.get(name)
        return spec.project if spec is not None else ""

    def planner(self, name: str) -> Provider | None:
        """The provider of this name, whether it runs here or not: good for what is pure. Raises SettingsError."""
        member = self._members.get(name) or self._leaving.get(name)
        if member is not None:
            return member.provider
        spec = self._specs.get(name)
        if spec is None:
            return None
        if name not in self._resting:
            self._resting[name] = Member(spec, registry.create(spec, self._sink))
        return self._resting[name].provider

    def taker(self, name: str) -> CallbackTaker | None:
        """The provider of this name if its carrier may call us; also one that is paused, or runs in another process."""
        provider = self.planner(name)
        return provider if isinstance(provider, CallbackTaker) else None

    def candidates(self) -> list[Candidate]:
        """What routing may choose from."""
        return self._candidates

    async def start(self, name: str, slot: int = 0) -> Member | None:
        """Makes and starts it as it is known now; None if it is gone or paused. Raises SettingsError."""
        spec = self._specs.get(name)
        if spec is None or spec.paused:
            return None
        member = self._members[name] = Member(spec, registry.create(spec, self._sink), slot)
        self._resting.pop(name, None)
        await member.provider.start()
        return member

    async def stop(self, name: str, drain_s: float) -> None:
        """Drains and stops it, if it runs; one that drains already is given no more time than that."""
        member = self._members.pop(name, None)
        if member is None:
            member = self._leaving.get(name)
            if member is not None:
                await member.provider.stop(drain_s)
            return
        self._leaving[name] = member
        try:
            await member.provider.stop(drain_s)
        finally:
            del self._leaving[name]
