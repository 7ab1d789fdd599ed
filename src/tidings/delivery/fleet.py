"""The running providers: declared in the settings, over the API, or the sandbox; each added and removed while running."""

import asyncio
from collections.abc import Iterable

import msgspec

from tidings.channels import registry
from tidings.channels.callback import CallbackTaker
from tidings.channels.contract import Provider, ProviderSpec, Sink
from tidings.routing.choose import Candidate


class Member(msgspec.Struct, frozen=True):
    """A provider and what it was made from."""

    spec: ProviderSpec
    provider: Provider

    @property
    def sandbox(self) -> bool:
        """Whether it only ever carries the messages of test keys."""
        return self.spec.origin == "sandbox"


class Fleet:
    """Providers by name."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._members: dict[str, Member] = {}
        self._paused: dict[str, ProviderSpec] = {}
        self._leaving: dict[str, Member] = {}  # drained: what they sent is still being reported
        self._resting: dict[str, Member] = {}  # made of paused ones, to read callbacks; never started
        self._candidates: list[Candidate] = []

    def member(self, name: str) -> Member | None:
        """The running provider of this name."""
        return self._members.get(name)

    def members(self) -> list[Member]:
        """All running providers."""
        return list(self._members.values())

    def paused(self) -> list[ProviderSpec]:
        """Those that an operator has paused."""
        return list(self._paused.values())

    def project(self, name: str) -> str:
        """The project that a provider belongs to; empty for all of them, and for one that is gone."""
        member = self._members.get(name) or self._leaving.get(name)
        spec = member.spec if member is not None else self._paused.get(name)
        return spec.project if spec is not None else ""

    def taker(self, name: str) -> CallbackTaker | None:
        """The provider of this name if its carrier may call us; a paused one too: it pauses sending, not receipts."""
        member = self._members.get(name) or self._leaving.get(name)
        if member is None and name in self._paused:
            spec, member = self._paused[name], self._resting.get(name)
            if member is None or member.spec is not spec:
                member = self._resting[name] = Member(spec, registry.create(spec, self._sink))
        return member.provider if member is not None and isinstance(member.provider, CallbackTaker) else None

    def candidates(self) -> Iterable[Candidate]:
        """What routing may choose from."""
        return self._candidates

    async def add(self, spec: ProviderSpec) -> Member | None:
        """Makes and starts it; a paused one is only noted. Raises SettingsError for a bad configuration."""
        if spec.paused:
            self._paused[spec.name] = spec
            self._refresh()
            return None
        provider = registry.create(spec, self._sink)
        member = Member(spec, provider)
        self._members[spec.name] = member
        self._paused.pop(spec.name, None)
        await provider.start()
        self._refresh()
        return member

    async def remove(self, name: str, drain_s: float) -> ProviderSpec | None:
        """Drains and stops it."""
        member = self._members.pop(name, None)
        self._resting.pop(name, None)
        self._refresh()
        if member is None:
            spec = self._paused.pop(name, None)
            self._refresh()
            return spec
        self._leaving[name] = member
        try:
            await member.provider.stop(drain_s)
        finally:
            del self._leaving[name]
        return member.spec

    async def stop(self, drain_s: float) -> None:
        """Stops all of them, side by side."""
        await asyncio.gather(*(member.provider.stop(drain_s) for member in self._members.values()))

    def _refresh(self) -> None:
        running = [_candidate(member.spec, True) for member in self._members.values()]
        self._candidates = running + [_candidate(spec, False) for spec in self._paused.values()]


def _candidate(spec: ProviderSpec, usable: bool) -> Candidate:
    return Candidate(spec.name, spec.type.split(".", 1)[0], spec.project, spec.origin == "sandbox", usable)
