"""What the dispatcher keeps about one provider."""

import asyncio
from collections.abc import Sequence
from typing import Any

from tidings.bus.local import Doorbell
from tidings.delivery.fleet import Member
from tidings.delivery.job import Job, Ready
from tidings.domain.message import LANES


class Lane:
    """A provider that this process leases for, under the epoch by which it owns the binds."""

    def __init__(self, member: Member, epoch: int) -> None:
        self.member, self.epoch = member, epoch
        self.bell = Doorbell()
        self.pending = 0  # leased or reserved, not yet handed to the provider
        self.backlog = [True] * len(LANES)  # there may be due jobs in the store
        self.sweeping = False  # nobody rang, in the only process: a look for what has come due by itself
        self.looking = False
        self.unsettled = 0  # attempts with an outcome that is not stored yet: a crash now would send them again
        self.handed: list[Job] = []
        self.launched: list[tuple[Ready, int]] = []  # with their concatenation references
        self.after: list[str] = ["", "", ""]
        self.leaving = False
        self.serving: asyncio.Task[None] | None = None
        self.hearing: asyncio.Task[None] | None = None
        self.running: set[asyncio.Task[None]] = set()

    def room(self, lane: int) -> int:
        """Parts of this lane that the provider can take beside what is under way to it."""
        return self.member.provider.credit(LANES[lane]) - self.pending - self.unsettled

    def due(self, *, accepts: bool) -> None:
        """Something may have come due by itself. `accepts`: this process hands over messages as it accepts them."""
        if accepts:
            self.sweeping = True
        else:
            self.backlog[:] = [True] * len(LANES)

    def found(self, rows: Sequence[tuple[Any, ...]], room: Sequence[int]) -> None:
        """These were leased of so many that were asked for, by lane."""
        counts = [0] * len(LANES)
        for row in rows:
            lane = int(row[4])
            counts[lane] += 1
            self.after[lane] = row[0]
        for lane, count in enumerate(counts):
            self.backlog[lane] |= count >= room[lane] > 0  # cut off by its room: it may hold more

    def asked(self, lane: int) -> int:
        """For how many jobs of this lane the next lease asks. Where nobody rang it leaves room to those that are accepted while
        it looks: what finds no room has to be leased, and so would all that follow."""
        if self.backlog[lane]:
            return self.room(lane)
        room = self.room(lane) if self.sweeping else 0
        return max(1, room // 4) if room > 0 else 0
