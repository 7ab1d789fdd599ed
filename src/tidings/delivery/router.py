"""Who carries what, as this process knows it now: the routes, the providers, and the health of their carriers."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tidings.delivery.job import Job
from tidings.domain.message import Message, Mode
from tidings.routing.choose import Candidate, Choice, Table, candidates
from tidings.routing.match import Placed
from tidings.routing.pace import Bucket, Limit, buckets


class Terms(NamedTuple):
    """What a route says of an attempt that was sent."""

    cost_per_part: float | None = None
    no_receipt_s: float = 0.0  # until another carrier tries; 0: nobody waits for a receipt


NO_TERMS = Terms()


class Router:
    """Holds the compiled table. `rivals`: providers that share their messages with another one; only they are watched
    message by message."""

    def __init__(self) -> None:
        self._table = Table()
        self._known: tuple[list[Candidate], list[Placed]] = ([], [])
        self._shares: dict[str, float] = {}
        self._routed = False
        self._limits: tuple[Limit, ...] = ()
        self.rivals: frozenset[str] = frozenset()

    def know(self, fleet: Sequence[Candidate], routes: Sequence[Placed]) -> bool:
        """These are all providers and routes that there are; whether anything is new."""
        known = (list(fleet), list(routes))
        if known == self._known:
            return False
        self._known, self._table, self._routed = known, Table(fleet, routes), bool(routes)
        groups: dict[tuple[str, bool], list[str]] = {}
        for one in fleet:
            groups.setdefault((one.channel, one.sandbox), []).append(one.name)
        self.rivals = frozenset(name for names in groups.values() if len(names) > 1 for name in names)
        return True

    def know_limits(self, limits: Sequence[Limit]) -> None:
        """These hold."""
        self._limits = tuple(limits)

    @property
    def limited(self) -> bool:
        """Whether any rate is limited beside the providers' own."""
        return bool(self._limits)

    def buckets(self, job: Job, now_ms: int) -> tuple[Bucket, ...]:
        """What the job takes one of before it leaves."""
        return buckets(self._limits, job.message, now_ms)

    def know_shares(self, shares: Mapping[str, float]) -> None:
        """Of the providers that are not well: the part of their messages that they get."""
        self._shares = {name: share for name, share in shares.items() if share < 1}

    def shares(self) -> Mapping[str, float]:
        """See `know_shares`."""
        return self._shares

    def choice(self, message: Message, tried: Sequence[str] = ()) -> Choice | None:
        """Who carries it; None if nobody may."""
        return self._table.choose(message, self._shares, tried=tried)

    def carrier(self, job: Job) -> str | None:
        """Who carries the job now; for one that is sent `again` only a fit provider that did not have it."""
        if job.kind == "again":
            return self._table.another(job.message, self._shares, job.tried)
        choice = self._table.choose(job.message, self._shares, tried=job.tried)
        return None if choice is None else choice.provider

    def some(self, project: str, mode: Mode, channel: str) -> str | None:
        """The only provider of a channel, '' if there are several; None if there is none. Routes may choose otherwise."""
        names = candidates(self._known[0], project, mode, channel)
        return (names[0] if len(names) == 1 else "") if names else None

    def another(self, job: Job, refused_by: str) -> str | None:
        """Who may have it at once, after this provider refused it for now too."""
        return self._table.another(job.message, self._shares, (*job.tried, refused_by))

    def terms(self, job: Job, provider: str) -> Terms:
        """What the job's route says of an attempt by this provider that was sent."""
        if not self._routed:
            return NO_TERMS
        choice = self._table.choose(job.message, self._shares)
        if choice is None or (provider != choice.provider and provider not in choice.others):
            return NO_TERMS
        return Terms(choice.costs.get(provider), choice.no_receipt_s)
