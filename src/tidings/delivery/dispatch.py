"""The dispatcher: leases by credit, runs the pipeline, settles outcomes. It never holds more than providers can take now.

For each provider one loop: room = what the provider can write now − what is under way to it. While there is no
backlog, a message is leased in its accepting commit and handed over (`reserve`, `hand`) without going through the queue.
"""

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import Any

from tidings.bus.contract import Bell, Bus
from tidings.bus.local import Doorbell
from tidings.channels.contract import Provider
from tidings.delivery.fleet import Fleet, Member
from tidings.delivery.job import Job, from_row
from tidings.delivery.pipeline import Pipeline
from tidings.delivery.settle import UnknownWait, settle
from tidings.domain.attempt import Outcome, PartUnknown
from tidings.domain.errors import StoreError
from tidings.domain.message import LANES, Mode
from tidings.kit.clock import Clock
from tidings.kit.ids import new_id
from tidings.kit.limits import DOUBTED, LEASE_BATCH, LEASE_S, POLL_S, SWEEP_S
from tidings.kit.secrets import KeyRing
from tidings.routing.choose import candidates
from tidings.store.contract import LeaseAsk, Release, Settlement
from tidings.store.store import Store

_log = logging.getLogger(__name__)
_STORE_RETRY_S = 0.5
_LEAVE_S = 2.0  # for a lease that is under way; a job of a lease that is cut off comes due at its end
_JOBS = "jobs"  # the doorbell of unrouted jobs: one worker of the group is enough
_GROUP = "workers"


class _Lane:
    """What the dispatcher keeps about one provider."""

    def __init__(self, member: Member, epoch: int) -> None:
        self.member, self.epoch = member, epoch
        self.bell = Doorbell()
        self.pending = 0  # leased or reserved, not yet handed to the provider
        self.backlog = [True] * len(LANES)  # there may be due jobs in the store
        self.looking = False
        self.unsettled = 0  # attempts with an outcome that is not stored yet: a crash now would send them again
        self.handed: list[Job] = []
        self.after: list[str] = ["", "", ""]
        self.leaving = False
        self.serving: asyncio.Task[None] | None = None
        self.hearing: asyncio.Task[None] | None = None
        self.running: set[asyncio.Task[None]] = set()

    def room(self, lane: int) -> int:
        return self.member.provider.credit(LANES[lane]) - self.pending - self.unsettled


class Dispatcher:
    """The worker of one node. Implements `accept.Desk`."""

    def __init__(
        self,
        store: Store,
        ring: KeyRing,
        bus: Bus,
        fleet: Fleet,
        now: Clock,
        wait: UnknownWait,
        rng: random.Random,
    ) -> None:
        self._store, self._ring, self._bus, self._fleet, self._now = store, ring, bus, fleet, now
        self._wait, self._rng = wait, rng
        self.owner = self.node = new_id("wrk")  # of this process; the one started in its place has another
        self._lanes: dict[str, _Lane] = {}
        self._flying: dict[str, tuple[Job, str]] = {}
        self._doubted: dict[str, Job] = {}  # settled as unknown, oldest first
        self._pipeline = Pipeline(store, now, self.node, self.owner, self._route, self._register, wait)
        self._tasks: set[asyncio.Task[None]] = set()
        self._settlements: list[Settlement] = []
        self._settling: asyncio.Task[None] | None = None
        self._draining = False
        self._living: list[asyncio.Task[None]] = []

    # -- life

    async def start(self) -> None:
        """Takes over what the process before held, if there is never another one beside it."""
        if self._bus.alone:
            await self._store.jobs.take_over(self._now())
        else:
            bell = self._bus.subscribe(_JOBS, _GROUP)
            self._living.append(asyncio.create_task(self._hear(bell, ""), name="hear of jobs"))
        self._living.append(asyncio.create_task(self._renew(), name="renew leases"))

    def join(self, member: Member, epoch: int) -> None:
        """The links of this provider are open, and its binds ours under this epoch: begin to lease for it."""
        name = member.spec.name
        lane = self._lanes[name] = _Lane(member, epoch)
        lane.serving = self._spawn(self._serve(lane))
        if not self._bus.alone:
            lane.hearing = self._spawn(self._hear(self._bus.subscribe(_topic(name)), name))

    async def leave(self, name: str, *, drain: bool = False) -> None:
        """The provider is being stopped: lease nothing more for it. `drain`: what is leased gets to it before."""
        lane = self._lanes.pop(name, None)
        if lane is None:
            return
        lane.leaving = True
        if drain and lane.serving is not None:
            lane.bell.ring()
            await asyncio.wait({lane.serving, *lane.running}, timeout=_LEAVE_S)
        for task in (lane.serving, lane.hearing):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    def drain(self) -> None:
        """Lease nothing more; what is under way goes on."""
        self._draining = True

    async def stop(self) -> None:
        """After the providers have stopped (every submission has its outcome): settles the rest."""
        self._draining = True
        for name in list(self._lanes):
            await self.leave(name)
        while self._tasks:
            await asyncio.wait(self._tasks)
        for task in self._living:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    @property
    def flying(self) -> int:
        """Attempts whose outcome is still to come."""
        return len(self._flying)

    # -- accept.Desk

    def hint(self, project: str, mode: Mode, channel: str) -> str | None:
        """See `accept.Desk`."""
        names = candidates(self._fleet.candidates(), project, mode, channel)
        if not names:
            return None
        return names[0] if len(names) == 1 else ""

    def reserve(self, provider: str, lane: int) -> bool:
        """See `accept.Desk`."""
        state = self._lanes.get(provider)
        if state is None or state.backlog[lane] or self._draining or state.room(lane) <= 0:
            return False
        state.pending += 1
        return True

    def unreserve(self, provider: str) -> None:
        """See `accept.Desk`."""
        state = self._lanes.get(provider)
        if state is not None:
            state.pending -= 1

    def hand(self, provider: str, job: Job) -> None:
        """See `accept.Desk`. What one commit hands over is one batch."""
        state = self._lanes.get(provider)
        if state is None:  # its binds went to another worker meanwhile
            self._spawn(self._give_back(provider, job))
            return
        if not state.handed:
            asyncio.get_running_loop().call_soon(self._flush, state)
        state.handed.append(job)

    def wake(self, provider: str) -> None:
        """See `accept.Desk`."""
        self.wake_here(provider)
        self._bus.ring_others(_topic(provider))

    def wake_here(self, provider: str) -> None:
        """The same, where only this process can have to do with them."""
        for name, state in self._lanes.items():
            if provider in ("", name):
                state.backlog[:] = [True] * len(LANES)
                state.bell.ring()

    # -- providers' reports

    def ready(self, provider: str) -> None:
        """A provider has room."""
        state = self._lanes.get(provider)
        if state is not None and (state.looking or any(state.backlog)):
            state.bell.ring()

    def outcomes(self, provider: str, batch: Sequence[Outcome]) -> None:
        """Outcomes of submissions; settled in the next commit."""
        state = self._lanes.get(provider)
        for outcome in batch:
            job = self._landed(outcome)
            if job is not None:
                self._settlements.append(settle(job, provider, outcome, self._wait, self._rng))
                if state is not None:
                    state.unsettled += 1
        if self._settling is None and self._settlements:
            self._settling = self._spawn(self._settle())

    # -- inside

    def _landed(self, outcome: Outcome) -> Job | None:
        """Whose outcome it is. What is unknown is remembered for a while: its answer may still come."""
        if outcome.late:
            return self._doubted.pop(outcome.attempt_id, None)
        flying = self._flying.pop(outcome.attempt_id, None)
        if flying is None:
            _log.error("an outcome for no submission", extra={"attempt_id": outcome.attempt_id})
            return None
        if any(isinstance(part, PartUnknown) for part in outcome.parts):
            self._doubted[outcome.attempt_id] = flying[0]
            if len(self._doubted) > DOUBTED:
                del self._doubted[next(iter(self._doubted))]
        return flying[0]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a delivery task failed", exc_info=task.exception())

    def _route(self, job: Job) -> str | None:
        message = job.message
        names = candidates(self._fleet.candidates(), message.project, message.mode, message.channel)
        return names[0] if names else None

    def _register(self, attempt: str, job: Job, provider: str) -> None:
        self._flying[attempt] = (job, provider)

    async def _give_back(self, provider: str, job: Job) -> None:
        message = job.message
        back = Release(message.project, message.id, provider, self._now(), job.kind, owner=self.owner)
        with contextlib.suppress(StoreError):  # then its lease runs out, and the job comes due again
            await self._store.jobs.release([back])
            self.wake(provider)

    async def _hear(self, bell: Bell, provider: str) -> None:
        """What other processes ring for."""
        try:
            while True:
                if await bell.wait(SWEEP_S * 100):
                    self.wake_here(provider)
        finally:
            self._bus.unsubscribe(_topic(provider), bell)

    def _flush(self, state: _Lane) -> None:
        batch, state.handed = state.handed, []
        self._begin(state, batch)

    def _begin(self, state: _Lane, batch: list[Job]) -> None:
        task = self._spawn(self._run(state, batch))
        state.running.add(task)
        task.add_done_callback(state.running.discard)

    async def _serve(self, state: _Lane) -> None:
        """Leases while there is room; sleeps until rung. Every SWEEP_S it looks for jobs that have come due by themselves."""
        time_s, swept_s = asyncio.get_running_loop().time, 0.0
        while not state.leaving:
            every_s = SWEEP_S if self._bus.carries else POLL_S
            if time_s() - swept_s >= every_s:
                swept_s = time_s()
                state.backlog[:] = [True] * len(LANES)
            try:
                full = not self._draining and await self._lease(state)
            except StoreError as error:
                _log.warning("cannot lease: %s", error)
                full = False
            if not full:
                await state.bell.wait(every_s)

    async def _lease(self, state: _Lane) -> bool:
        """One lease; whether there may be more to lease at once."""
        room = [min(LEASE_BATCH, state.room(lane)) if state.backlog[lane] else 0 for lane in range(len(LANES))]
        most = max(room)
        if most <= 0:
            return False
        now_ms = self._now()
        state.pending += most
        try:
            ask = LeaseAsk(
                state.member.spec.name, state.member.sandbox, (room[0], room[1], room[2]), self.owner, now_ms,
                now_ms + LEASE_S * 1000, (state.after[0], state.after[1], state.after[2]),
            )  # fmt: skip
            # before the look: a wake while it runs must not be forgotten, nor that a provider has room again
            state.looking = True
            state.backlog[:] = [more and lane_room <= 0 for more, lane_room in zip(state.backlog, room, strict=True)]
            leased = await self._store.jobs.lease(ask)
        finally:
            state.pending -= most
            state.looking = False
        batch = [from_row(self._ring, row) for row in leased]
        if not batch:
            return False  # a lane without room is no reason to look again at once: `ready` and `wake` ring
        found = [0] * len(LANES)
        for job in batch:
            lane = LANES.index(job.message.lane)
            found[lane] += 1
            state.after[lane] = job.message.project
        for lane, count in enumerate(found):
            state.backlog[lane] |= count >= room[lane] > 0  # cut off by its room: it may hold more
        state.pending += len(batch)
        self._begin(state, batch)
        return any(state.backlog)

    async def _run(self, state: _Lane, batch: list[Job]) -> None:
        provider: Provider = state.member.provider
        try:
            if await self._pipeline.run(batch, provider, state.epoch):
                self._bus.ring("events")
                self.wake_here("")  # what was released may be for another provider
                self._pass_on(batch)
        except StoreError as error:
            _log.warning("a batch goes back to the queue: %s", error)  # its lease runs out by itself
        finally:
            state.pending -= len(batch)
            if any(state.backlog):
                state.bell.ring()

    def _pass_on(self, batch: list[Job]) -> None:
        """Rings for what was released to providers that other workers hold."""
        if not self._bus.alone:
            for name in {self._route(job) or "" for job in batch} - self._lanes.keys():
                self._bus.ring_others(_topic(name))

    async def _renew(self) -> None:
        """Keeps the leases of what is with a provider: a throttled carrier may take longer than a lease."""
        while True:
            await asyncio.sleep(LEASE_S / 3)
            until_ms = self._now() + LEASE_S * 1000
            keys = [(job.message.project, job.message.id, self.owner, until_ms) for job, _ in self._flying.values()]
            try:
                await self._store.jobs.renew(keys)
            except StoreError as error:
                _log.warning("cannot renew leases: %s", error)

    def _settled(self, batch: list[Settlement]) -> None:
        for name, count in Counter(item.provider for item in batch).items():
            state = self._lanes.get(name)
            if state is not None:
                state.unsettled = max(0, state.unsettled - count)  # a provider that was resumed begins at 0
                if any(state.backlog):
                    state.bell.ring()

    async def _settle(self) -> None:
        """Writes settlements until none are left; a full disk delays them, it never drops them."""
        while self._settlements:
            batch, self._settlements = self._settlements, []
            try:
                await self._store.attempts.settle(batch)
            except StoreError as error:
                _log.warning("cannot settle yet: %s", error)
                self._settlements = batch + self._settlements
                await asyncio.sleep(_STORE_RETRY_S)
                continue
            self._settled(batch)
            self._bus.ring("events")
            if any(item.status == "queued" for item in batch):
                self.wake_here("")
        self._settling = None


def _topic(provider: str) -> str:
    return f"{_JOBS} {provider}" if provider else _JOBS
