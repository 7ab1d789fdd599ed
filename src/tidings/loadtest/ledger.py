"""The account of every message: one row of numbers each, in arrays, so that millions fit. No I/O.

Messages are counted from 0; everything that comes back names its message by `reference` (or by the text at the
carrier): `<run>-<n>`. Times are monotonic seconds; 0 is "not yet".
"""

from array import array
from collections import Counter
from typing import Final

import msgspec

from tidings.domain.message import LANES

#: Final states, by the word of their event. The number is what the ledger keeps.
ENDS: Final[tuple[str, ...]] = (
    "delivered", "partially_delivered", "undelivered", "failed", "expired", "canceled", "suppressed",
)  # fmt: skip
_END: Final = {word: n + 1 for n, word in enumerate(ENDS)}
#: What the carrier told: no receipt asked of it yet, delivered, undelivered, none will come.
TOLD: Final = {"delivered": 1, "undelivered": 2, "none": 3}
PENDING, ACCEPTED, REFUSED, NO_ANSWER = range(4)
_RECEIPT_S: Final = 12.0  # without anything new: the sandbox's slowest receipts take 10


class Accounts(msgspec.Struct, frozen=True, kw_only=True):
    """Where every message ended up. The groups overlap only where their words say so.

    scheduled = accepted + refused + no_answer + unasked; accepted = the ends + unreceipted + lost + open.
    Beside these: `duplicated`, `late`, `over_rate`, `ghosts`, `contradicted`, `resent_after_unknown`, `repeated_callbacks`.
    """

    scheduled: int
    accepted: int
    refused: int
    no_answer: int
    unasked: int
    delivered: int
    partially_delivered: int
    undelivered: int
    failed: int
    expired: int
    canceled: int
    suppressed: int
    unreceipted: int
    lost: int
    lost_before_carrier: int
    open: int
    duplicated: int
    resent_after_unknown: int
    late: int
    over_rate: int
    ghosts: int
    contradicted: int
    repeated_callbacks: int


class Ledger:
    """Told of everything that happens; knows what became of each message."""

    def __init__(self) -> None:
        self.lane = bytearray()
        self.due_s = array("d")
        self.answer = bytearray()
        self.answered_s = array("d")
        self.submitted_s = array("d")
        self.submits = bytearray()
        self.told = bytearray()
        self.receipt_s = array("d")
        self.end = bytearray()
        self.ended_s = array("d")
        self.sent_event = bytearray()
        self.late = bytearray()
        self.ids: dict[int, str] = {}  # of messages that are still to be accounted for
        self.refusals: Counter[str] = Counter()
        self.accepted = self.refused = self.no_answer = self.settled = self.taken = 0
        self.repeated_callbacks = 0
        self.excused: set[int] = set()  # seen twice at the carrier with an `unknown` between
        self.moved_s = 0.0

    def __len__(self) -> int:
        return len(self.lane)

    def schedule(self, lane: int, due_s: float) -> int:
        """A message is due; its number."""
        self.lane.append(lane)
        self.due_s.append(due_s)
        for times in (self.answered_s, self.submitted_s, self.receipt_s, self.ended_s):
            times.append(0.0)
        for marks in (self.answer, self.submits, self.told, self.end, self.sent_event, self.late):
            marks.append(0)
        return len(self.lane) - 1

    def accept(self, n: int, message_id: str, at_s: float) -> None:
        """202."""
        self.answer[n], self.answered_s[n] = ACCEPTED, at_s
        self.accepted += 1
        self.moved_s = at_s
        if not self.end[n]:
            self.ids[n] = message_id

    def refuse(self, n: int, code: str, at_s: float) -> None:
        """Any other answer: `code` is the problem's, or `http_<status>`."""
        self.answer[n], self.answered_s[n] = REFUSED, at_s
        self.refused += 1
        self.refusals[code] += 1

    def unanswered(self, n: int, reason: str, at_s: float) -> None:
        """No answer: whether it was accepted is not known."""
        self.answer[n], self.answered_s[n] = NO_ANSWER, at_s
        self.no_answer += 1
        self.refusals[reason] += 1

    def submitted(self, n: int, at_s: float) -> bool:
        """The carrier took it; whether for the first time."""
        if not 0 <= n < len(self.lane):
            return False
        first = not self.submits[n]
        if first:
            self.submitted_s[n] = at_s
            self.taken += 1
        self.submits[n] = min(255, self.submits[n] + 1)
        self.moved_s = at_s
        return first

    def receipt(self, n: int, fate: str, at_s: float) -> None:
        """The carrier's receipt for it was due now (or, `none`: never will be)."""
        if 0 <= n < len(self.lane):
            self.told[n], self.receipt_s[n] = TOLD[fate], at_s

    def event(self, n: int, word: str, at_s: float) -> bool:
        """An event came (`delivered`, `sent` …); whether it is this message's end, for the first time."""
        if not 0 <= n < len(self.lane):
            return False
        self.moved_s = at_s
        if word == "sent":
            self.sent_event[n] = 1
        number = _END.get(word)
        if number is None:
            return False
        if self.end[n]:
            if self.end[n] == number:
                self.repeated_callbacks += 1
            self.end[n] = 1 if word == "delivered" else self.end[n]  # a late receipt turns a failing end
            return False
        self.end[n], self.ended_s[n] = number, at_s
        self.settled += 1
        self.ids.pop(n, None)
        return True

    def sweep_late(self, valid_s: dict[int, float], sla_s: dict[int, float]) -> int:
        """Marks what reached the carrier after its validity (from the 202 on) or its lane's SLA; how many there are."""
        for n in range(len(self.lane)):
            at_s = self.submitted_s[n]
            if not at_s:
                continue
            valid, sla = valid_s.get(self.lane[n]), sla_s.get(self.lane[n])
            over = valid is not None and self.answered_s[n] and at_s > self.answered_s[n] + valid
            self.late[n] = bool(over or (sla is not None and at_s > self.due_s[n] + sla))
        return sum(self.late)

    def waiting(self) -> list[int]:
        """Accepted, and neither at an end nor known to get no receipt."""
        return [
            n for n in range(len(self.lane))
            if self.answer[n] == ACCEPTED and not self.end[n] and not self._unreceipted(n)
        ]  # fmt: skip

    def quiet(self, still_s: float) -> bool:
        """Whether every accepted message is accounted for, where nothing has moved for `still_s`.

        A carrier that is not ours does not say that no receipt comes: what it took is waited for a while.
        """
        if all(self.told[n] == TOLD["none"] for n in self.ids):
            return True
        return still_s > _RECEIPT_S and all(self._unreceipted(n) for n in self.ids)

    def twice(self) -> list[int]:
        """Seen more than once at the carrier."""
        return [n for n, count in enumerate(self.submits) if count > 1]

    def accounts(self, *, over_rate: int, waited: bool) -> Accounts:
        """The sums. `waited`: the wait is over, so that what is not settled is lost; else it is still open."""
        ends = [0] * (len(ENDS) + 1)
        for n, end in enumerate(self.end):
            if self.answer[n] == ACCEPTED:
                ends[end] += 1
        waiting = self.waiting()
        unreceipted = ends[0] - len(waiting)
        ghosts = sum(1 for n, count in enumerate(self.submits) if count and self.answer[n] != ACCEPTED)
        lost = len(waiting) if waited else 0
        twice = set(self.twice())
        return Accounts(
            scheduled=len(self),
            accepted=self.accepted,
            refused=self.refused,
            no_answer=self.no_answer,
            unasked=len(self) - self.accepted - self.refused - self.no_answer,
            **dict(zip(ENDS, ends[1:], strict=True)),
            unreceipted=unreceipted,
            lost=lost,
            lost_before_carrier=sum(1 for n in waiting if not self.submits[n]) if waited else 0,
            open=len(waiting) - lost,
            duplicated=len(twice - self.excused),
            resent_after_unknown=len(twice & self.excused),
            late=sum(self.late),
            over_rate=over_rate,
            ghosts=ghosts,
            contradicted=sum(1 for n in range(len(self)) if self._contradicted(n)),
            repeated_callbacks=self.repeated_callbacks,
        )

    def failed_unasked(self) -> int:
        """Accepted and at a bad end that the carrier did not ask for."""
        bad = {
            _END[word] for word in ("undelivered", "failed", "expired", "canceled", "suppressed", "partially_delivered")
        }
        return sum(
            1 for n, end in enumerate(self.end) if end in bad and not (self.told[n] == 2 and end == _END["undelivered"])
        )

    def lane_counts(self) -> dict[str, int]:
        """Messages by lane."""
        counts = Counter(self.lane)
        return {lane: counts[n] for n, lane in enumerate(LANES) if counts[n]}

    def _unreceipted(self, n: int) -> bool:
        """It was handed over, and the carrier keeps its receipt to itself."""
        return self.told[n] == TOLD["none"] or (not self.told[n] and bool(self.sent_event[n]))

    def _contradicted(self, n: int) -> bool:
        told, end = self.told[n], self.end[n]
        return bool(end) and ((told == 1 and end != 1) or (told == 2 and end == 1) or (told == 3 and end == 1))
