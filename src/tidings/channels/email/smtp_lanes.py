"""What waits for a connection: three lanes, and within a lane the domains in turn. Pure."""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from tidings.channels.email.compose import Letter
from tidings.domain.attempt import PartOutcome, Submission
from tidings.domain.message import LANE_NUMBER, LANES, Lane


class Finished(NamedTuple):
    """A mail ready for the wire."""

    letter: Letter
    wire: bytes  # with its dots doubled and its end
    eight_bit: bool  # written for a server that takes 8 bits


Made = Finished | PartOutcome


class Waiting:
    """A submission that has no outcome yet. `made`: the mail, or what became of it, if that was found out ahead."""

    __slots__ = ("domain", "lane", "made", "ready", "submission", "tries")

    def __init__(self, submission: Submission) -> None:
        self.submission = submission
        self.lane = LANE_NUMBER[submission.lane]
        self.domain = submission.to.rpartition("@")[2].lower()
        self.tries = 0  # connections that broke under it
        self.made: Made | None = None
        self.ready = True  # False: it is being signed, and leaves when it is


class Lanes:
    """`per_domain`: how many of one domain may be out at once."""

    def __init__(self, per_domain: int) -> None:
        self._per_domain = per_domain
        self._lanes: tuple[dict[str, deque[Waiting]], ...] = tuple({} for _ in LANES)
        self._out: dict[str, int] = {}
        self._sizes = [0] * len(LANES)

    @property
    def queued(self) -> int:
        """How many wait."""
        return sum(self._sizes)

    def queued_before(self, lane: Lane) -> int:
        """How many leave before one that is added to `lane` now."""
        return sum(self._sizes[: LANE_NUMBER[lane] + 1])

    def add(self, item: Waiting, *, first: bool = False) -> None:
        """Queues it at the end of its domain's queue; `first`: at its beginning."""
        queue = self._lanes[item.lane].setdefault(item.domain, deque())
        (queue.appendleft if first else queue.append)(item)
        self._sizes[item.lane] += 1

    def take(self, only: Lane | None = None) -> Waiting | None:
        """The next one that is ready and whose domain has room, out from now on; `only` from one lane."""
        for number, lane in enumerate(self._lanes):
            if only is not None and number != LANE_NUMBER[only]:
                continue
            for domain, queue in lane.items():
                if not queue[0].ready or self._out.get(domain, 0) >= self._per_domain:
                    continue
                item = queue.popleft()
                del lane[domain]
                if queue:
                    lane[domain] = queue  # behind the others
                self._sizes[number] -= 1
                self._out[domain] = self._out.get(domain, 0) + 1
                return item
        return None

    def landed(self, item: Waiting) -> None:
        """It is out no more."""
        left = self._out.get(item.domain, 0) - 1
        if left > 0:
            self._out[item.domain] = left
        else:
            self._out.pop(item.domain, None)

    def put_back(self, items: Iterable[Waiting]) -> None:
        """They come first again."""
        for item in items:
            self.landed(item)
            self.add(item, first=True)

    def drain(self) -> list[Waiting]:
        """Takes all that waits."""
        found = [item for lane in self._lanes for queue in lane.values() for item in queue]
        for lane in self._lanes:
            lane.clear()
        self._sizes = [0] * len(LANES)
        return found
