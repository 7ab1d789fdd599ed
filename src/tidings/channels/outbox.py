"""What waits to be written, in three lanes, and what came of each part. Pure: no clock, no wire."""

from collections import deque
from collections.abc import Iterable
from typing import Final, cast

from tidings.domain.attempt import Outcome, PartOutcome, PartRefused, PartRetry, PartUnknown, Submission
from tidings.domain.message import LANE_NUMBER, LANES, Lane

OTP: Final = LANE_NUMBER["otp"]


class Open:
    """A submission that has no outcome yet."""

    __slots__ = ("lane", "left", "outcomes", "stopped", "submission", "written")

    def __init__(self, submission: Submission) -> None:
        self.submission = submission
        self.lane = LANE_NUMBER[submission.lane]
        self.left = len(submission.parts)
        self.outcomes: list[PartOutcome | None] = [None] * self.left
        self.written = 0  # parts that reached the wire
        self.stopped: PartOutcome | None = None  # a part failed: those not yet written share its fate


class Item:
    """One part of a submission: in a lane, or on the wire since `written_at` (monotonic seconds)."""

    __slots__ = ("index", "open", "order", "otp", "written_at")

    def __init__(self, opened: Open, index: int) -> None:
        self.open = opened
        self.index = index
        self.otp = opened.lane == OTP
        self.written_at = 0.0
        self.order = 0  # counts the writes of the provider; 0: never written


class Outbox:
    """Three lanes of parts; strict priority between them, first in first out within one."""

    def __init__(self) -> None:
        self._lanes: tuple[deque[Item], ...] = tuple(deque[Item]() for _ in LANES)
        self.otp = self._lanes[OTP]
        self.queued = 0
        self.open = 0
        self.done: list[Outcome] = []

    def queued_before(self, lane: Lane) -> int:
        """How many parts leave before one that is added to `lane` now."""
        return sum(map(len, self._lanes[: LANE_NUMBER[lane] + 1])) if self.queued else 0

    def add(self, submission: Submission) -> None:
        """Queues every part. A submission without parts has its (empty) outcome at once."""
        opened = Open(submission)
        self.open += 1
        if not opened.left:
            self._close(opened, 0)
            return
        lane = self._lanes[opened.lane]
        for index in range(opened.left):
            lane.append(Item(opened, index))
        self.queued += opened.left

    def peek(self) -> Item | None:
        """The part that leaves next."""
        for lane in self._lanes:
            if lane:
                return lane[0]
        return None

    def pop(self, item: Item) -> None:
        """Takes the part that `peek` gave."""
        self._lanes[item.open.lane].popleft()
        self.queued -= 1

    def put_back(self, items: Iterable[Item]) -> None:
        """Puts parts the carrier did not take back at the front of their lanes, in the order they had."""
        for item in items:
            item.open.written -= 1
            self.queued += 1
            lane = self._lanes[item.open.lane]
            before: list[Item] = []  # put back earlier, and written before this one
            while lane and 0 < lane[0].order < item.order:
                before.append(lane.popleft())
            lane.appendleft(item)
            lane.extendleft(reversed(before))

    def drain(self, *, keep_begun: bool) -> list[Item]:
        """Takes out every queued part; `keep_begun` leaves those of submissions that are on the wire in part."""
        out: list[Item] = []
        for lane in self._lanes:
            kept = [item for item in lane if keep_begun and item.open.written]
            out.extend(item for item in lane if not (keep_begun and item.open.written))
            lane.clear()
            lane.extend(kept)
        self.queued -= len(out)
        return out

    def settle(self, item: Item, outcome: PartOutcome, now_ms: int) -> None:
        """Notes what came of a part; with the last part, the submission's outcome goes to `done`."""
        opened = item.open
        if opened.outcomes[item.index] is not None:
            return
        opened.outcomes[item.index] = outcome
        opened.left -= 1
        failed = isinstance(outcome, (PartRefused, PartRetry))
        if failed and opened.stopped is None and not opened.submission.each:  # devices stand for themselves
            opened.stopped = outcome
        if not opened.left:
            self._close(opened, now_ms)

    def settle_late(self, item: Item, outcome: PartOutcome, now_ms: int) -> None:
        """The answer to a part that was given up as unknown came after all.

        Before the submission's outcome is told this is the part's outcome; after it, a second (`late`) outcome follows
        once no part is unknown any more.
        """
        opened = item.open
        if not isinstance(opened.outcomes[item.index], PartUnknown):
            return
        opened.outcomes[item.index] = outcome
        parts = tuple(known for known in opened.outcomes if known is not None)
        if not opened.left and not any(isinstance(known, PartUnknown) for known in parts):
            self.done.append(Outcome(opened.submission.attempt_id, parts, now_ms, late=True))

    def _close(self, opened: Open, now_ms: int) -> None:
        self.open -= 1
        parts = cast("tuple[PartOutcome, ...]", tuple(opened.outcomes))  # every part has one now
        self.done.append(Outcome(opened.submission.attempt_id, parts, now_ms))
