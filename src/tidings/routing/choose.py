"""Choosing a carrier: from the routes, the providers that there are, and their health. Pure.

The same message, rules and health always give the same choice, in every process. Each provider has a draw of its own for
every message, so that taking one away, or giving it a tenth of its share, moves no message between the others.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

from tidings.domain.message import Message
from tidings.routing.match import NO_ROUTE, Book, Placed
from tidings.routing.route import Route, Target

_TOP: Final = float(1 << 64)
_FULL: Final[Mapping[str, float]] = {}


class Candidate(msgspec.Struct, frozen=True):
    """A running provider, as far as the choice needs it."""

    name: str
    channel: str
    project: str  # empty: for every project
    sandbox: bool
    usable: bool  # not paused
    capabilities: frozenset[str] = frozenset()  # of receipts, reads, media, inbound


class Choice(msgspec.Struct, frozen=True):
    """Who carries it now, and after whom. `route`: its name, '' where none fits. `cost_per_part`: by provider."""

    provider: str
    others: tuple[str, ...] = ()  # best first
    route: str = ""
    costs: Mapping[str, float] = msgspec.field(default_factory=dict[str, float])
    no_receipt_s: float = 0.0


class _Way(NamedTuple):
    """A route, or none, as it is for one project, mode and channel: its targets in their standing order."""

    targets: tuple[Target, ...]
    usable: frozenset[str]
    prefer: str
    route: str
    costs: Mapping[str, float]
    no_receipt_s: float
    alone: bool  # there is but one
    standing: Choice | None  # of the healthy: what every message gets; None where each has its own order


def candidates(fleet: Iterable[Candidate], project: str, mode: str, channel: str) -> list[str]:
    """The providers that may carry it, best first: usable ones, a project's own before the shared ones.

    A test key only ever reaches the sandbox, a live key never.
    """
    fitting = [
        (not c.usable, not c.project, c.name)
        for c in fleet
        if c.channel == channel and c.sandbox == (mode == "test") and c.project in ("", project)
    ]
    return [name for _, _, name in sorted(fitting)]


class Table:
    """Routes and providers compiled: a choice costs a look-up where one provider can carry it, microseconds otherwise."""

    def __init__(self, fleet: Sequence[Candidate] = (), routes: Sequence[Placed] = ()) -> None:
        """`routes`: with the project of each, '' for all."""
        self._fleet = {c.name: c for c in fleet}
        self._book = Book(routes)
        self._ways: dict[tuple[str, str, str, int], _Way | None] = {}

    def choose(
        self, message: Message, shares: Mapping[str, float] = _FULL, *, tried: Sequence[str] = ()
    ) -> Choice | None:
        """Who carries it; None if nobody is there. `shares`: of those that are not healthy, 0 to 1 of their traffic.

        `tried` are passed over unless all were. A provider that is paused, or whose share is 0, is the last resort.
        """
        way = self._way(message)
        if way is None:
            return None
        if way.standing is not None and (way.alone or not (shares or tried)):
            return way.standing
        ranked = self._ranked(way, message.id, shares, tried)
        return Choice(ranked[0], tuple(ranked[1:]), way.route, way.costs, way.no_receipt_s)

    def another(self, message: Message, shares: Mapping[str, float], tried: Sequence[str]) -> str | None:
        """Who may carry it at once after these refused it for now; None: nobody who is fit and was not asked."""
        way = self._way(message)
        if way is None or way.alone:
            return None
        fresh = [
            target
            for target in _ordered(way, message.id)
            if target.provider not in tried and target.provider in way.usable and _fit(target, message.id, shares)
        ]
        return fresh[0].provider if fresh else None

    def rivals(self, message: Message) -> bool:
        """Whether more than one provider could carry it."""
        way = self._way(message)
        return way is not None and not way.alone

    def _way(self, message: Message) -> _Way | None:
        if not self._book:
            return self._made(message, NO_ROUTE)
        for place in self._book.fitting(message):
            way = self._made(message, place)
            if way is not None or (message.mode == "live" and place != NO_ROUTE):
                return way
        return None

    def _made(self, message: Message, place: int) -> _Way | None:
        """The route at this place (NO_ROUTE: none) for the message's project, mode and channel. None: it has no target here."""
        key = (message.project, message.mode, message.channel, place)
        try:
            return self._ways[key]
        except KeyError:
            names = candidates(self._fleet.values(), message.project, message.mode, message.channel)
            way = self._ways[key] = _way(self._book.route(place), names, self._fleet)
            return way

    def _ranked(self, way: _Way, id: str, shares: Mapping[str, float], tried: Sequence[str]) -> list[str]:
        first = _ordered(way, id)
        if not shares and not tried and len(way.usable) == len(first):
            return [target.provider for target in first]

        def rank(target: Target) -> tuple[bool, bool, bool, float]:
            name, fit = target.provider, _fit(target, id, shares)
            return name not in way.usable, name in tried, not fit, 0.0 if fit else -shares.get(name, 1.0)

        return [target.provider for target in sorted(first, key=rank)]


def round_of(attempted: Sequence[str]) -> tuple[str, ...]:
    """Who was tried in the running round, from the providers of all attempts in order: a round ends where one comes again."""
    found: list[str] = []
    for name in attempted:
        if name in found:
            found.clear()
        found.append(name)
    return tuple(found)


def _way(route: Route | None, names: Sequence[str], fleet: Mapping[str, Candidate]) -> _Way | None:
    if route is None:  # the first one carries everything, the others stand by
        targets = tuple(Target(provider=name) for name in names)
        prefer, needs = "order", frozenset[str]()
    else:
        targets = tuple(target for target in route.targets if target.provider in names)
        prefer, needs = route.prefer, frozenset[str](route.needs)
    targets = tuple(target for target in targets if needs <= fleet[target.provider].capabilities)
    if not targets:
        return None
    costs = {t.provider: t.cost_per_part for t in targets if t.cost_per_part is not None}
    name, wait_s = (route.name, route.no_receipt_s) if route is not None else ("", 0.0)
    if prefer == "cost":
        targets = tuple(sorted(targets, key=_cost))
    if prefer != "weight":  # what is paused is the last resort
        targets = tuple(sorted(targets, key=lambda target: not fleet[target.provider].usable))
    order, alone = [target.provider for target in targets], len(targets) == 1
    usable = frozenset(name for name in order if fleet[name].usable)
    whole = Choice(order[0], tuple(order[1:]), name, costs, 0.0 if alone else wait_s)
    return _Way(targets, usable, prefer, name, costs, wait_s, alone, whole if alone or prefer != "weight" else None)


def _cost(target: Target) -> float:
    return math.inf if target.cost_per_part is None else target.cost_per_part


def _ordered(way: _Way, id: str) -> Sequence[Target]:
    """The targets by this message's draws: of 10,000 messages each is the first of its share (weighted rendezvous)."""
    if way.prefer != "weight":
        return way.targets
    return sorted(way.targets, key=lambda target: _distance(target, id))


def _distance(target: Target, id: str) -> float:
    if target.weight == 0:
        return math.inf
    return -math.log(_draw(id, target.provider)) / target.weight


def _fit(target: Target, id: str, shares: Mapping[str, float]) -> bool:
    """Whether this message is among those that an ill provider still gets."""
    share = shares.get(target.provider, 1.0)
    return share >= 1.0 or (share > 0.0 and _draw(id, target.provider, b"health") <= share)


def _draw(id: str, name: str, what: bytes = b"weight") -> float:
    """Above 0, at most 1, evenly; another for each message, provider and question."""
    drawn = int.from_bytes(blake2b(id.encode(), digest_size=8, key=name.encode(), person=what).digest(), "big")
    return (drawn + 1) / _TOP
