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
from tidings.delivery.fleet import Member
from tidings.delivery.in_hand import InHand
from tidings.delivery.job import Job, Ready, leased
from tidings.delivery.lane import Lane
from tidings.delivery.observer import Nobody, Observer
from tidings.delivery.pipeline import Pipeline, never_sent
from tidings.delivery.quarantine import Quarantine, Row, sorted_out
from tidings.delivery.router import Router
from tidings.delivery.settle import UnknownWait
from tidings.delivery.settler import Settler
from tidings.domain.attempt import Outcome, PartUnknown
from tidings.domain.errors import StoreError
from tidings.domain.message import LANES, Message, Mode
from tidings.kit.clock import Clock
from tidings.kit.ids import new_id
from tidings.kit.limits import ALONE_TURN_S, ALONE_TURNS, LEASE_BATCH, LEASE_S, POLL_S, SWEEP_S
from tidings.kit.secrets import KeyRing
from tidings.store.contract import LeaseAsk, Release, Settlement
from tidings.store.store import Store

_log = logging.getLogger(__name__)
_LEAVE_S = 2.0  # for a lease that is under way; a job of a lease that is cut off comes due at its end
_JOBS = "jobs"  # the doorbell of unrouted jobs: one worker of the group is enough
_GROUP = "workers"


class Dispatcher:
    """The worker of one node. Implements `accept.Desk`."""

    def __init__(
        self,
        store: Store,
        ring: KeyRing,
        bus: Bus,
        router: Router,
        now: Clock,
        wait: UnknownWait,
        rng: random.Random,
    ) -> None:
        self._store, self._ring, self._bus, self._router, self._now = store, ring, bus, router, now
        self.observer: Observer = Nobody()
        self.owner = self.node = new_id("wrk")  # of this process; the one started in its place has another
        self._lanes: dict[str, Lane] = {}
        self.in_hand = InHand()
        self._quarantine = Quarantine(store, ring, now)
        self._pipeline = Pipeline(
            store, ring, now, self.node, self.owner, router.carrier, self._register, wait, router
        )  # fmt: skip
        self._tasks: set[asyncio.Task[None]] = set()
        self._settler = Settler(store, ring, now, wait, rng, router, self._spawn, self._settled)
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
        lane = self._lanes[name] = Lane(member, epoch)
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

    # -- accept.Desk

    def hint(self, project: str, mode: Mode, channel: str) -> str | None:
        """See `accept.Desk`."""
        return self._router.some(project, mode, channel)

    def carrier(self, message: Message) -> str | None:
        """See `accept.Desk`."""
        choice = self._router.choice(message)
        return None if choice is None else choice.provider

    def reserve(self, provider: str, lane: int) -> bool:
        """See `accept.Desk`."""
        state = self._lanes.get(provider)
        if state is None or state.backlog[lane] or self._draining or state.room(lane) <= 0:
            return False
        state.pending += 1
        return True

    def unreserve(self, provider: str) -> None:
        """See `accept.Desk`."""
        if provider in self._lanes:
            self._lanes[provider].pending -= 1

    def first_attempt(self, provider: str, job: Job) -> Ready | None:
        """See `accept.Desk`."""
        state = self._lanes[provider]
        return self._pipeline.ready(job, state.member.provider, state.epoch)

    def launch(self, provider: str, ready: Ready, concat_ref: int) -> None:
        """See `accept.Desk`. What one commit launches is one batch."""
        state = self._lanes.get(provider)
        if state is None:  # its binds went to another worker meanwhile: nothing was sent
            self._register(ready.begin.attempt, ready.prepared.job, provider)
            self.outcomes(provider, [never_sent(ready.begin, self._now())])
            return
        if not state.launched:
            asyncio.get_running_loop().call_soon(self._take_off, state)
        state.launched.append((ready, concat_ref))

    def ended(self, provider: str) -> None:
        """See `accept.Desk`."""
        self.unreserve(provider)
        self._bus.ring("events")

    def hand(self, provider: str, job: Job) -> None:
        """See `accept.Desk`. What one commit hands over is one batch."""
        state = self._lanes.get(provider)
        if state is None:  # its binds went to another worker meanwhile
            self._spawn(self._give_back(provider, job))
            return
        self.in_hand.hold(job.message.project, job.message.id)
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
        if provider in self._router.rivals:
            self.observer.outcomes(provider, batch)
        for outcome in batch:
            job = self.in_hand.landed(outcome)
            if job is not None:
                self._settler.add(job, provider, outcome)
                if state is not None:
                    state.unsettled += 1
        self._settler.write()

    # -- inside

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a delivery task failed", exc_info=task.exception())

    def _register(self, attempt: str, job: Job, provider: str) -> None:
        self.in_hand.took_off(attempt, job, provider)
        if provider in self._router.rivals:
            self.observer.began(provider, attempt)

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

    def _flush(self, state: Lane) -> None:
        batch, state.handed = state.handed, []
        self._begin(state, self._run(state, batch))

    def _take_off(self, state: Lane) -> None:
        batch, state.launched = state.launched, []
        try:
            self._pipeline.launch(batch, state.member.provider)
        except Exception:
            _log.exception("a provider failed on a batch: whether it was sent is unknown")
            self._doubt([ready.prepared.job for ready, _ in batch], state.member.spec.name)
        state.pending -= len(batch)
        if any(state.backlog):
            state.bell.ring()

    def _begin(self, state: Lane, work: Coroutine[Any, Any, None]) -> None:
        task = self._spawn(work)
        state.running.add(task)
        task.add_done_callback(state.running.discard)

    async def _serve(self, state: Lane) -> None:
        """Leases while there is room; sleeps until rung. Every SWEEP_S it looks for jobs that have come due by themselves."""
        time_s, swept_s = asyncio.get_running_loop().time, 0.0
        while not state.leaving:
            every_s = SWEEP_S if self._bus.carries else POLL_S
            if time_s() - swept_s >= every_s:
                swept_s = time_s()
                state.due(accepts=self._bus.alone)
            try:
                full = not self._draining and await self._lease(state)
            except Exception as error:  # whatever it was: a provider without this loop would stand still for good
                _log.warning("cannot lease: %s", error, exc_info=not isinstance(error, StoreError))
                full = False
            if not full:
                await state.bell.wait(every_s)

    async def _lease(self, state: Lane) -> bool:
        """One lease; whether there may be more to lease at once."""
        room = [min(LEASE_BATCH, state.asked(lane)) for lane in range(len(LANES))]
        state.sweeping = False
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
            rows = await self._store.jobs.lease(ask)
        finally:
            state.pending -= most
            state.looking = False
        if not rows:
            return False  # a lane without room is no reason to look again at once: `ready` and `wake` ring
        state.found(rows, room)
        # A clock that jumped ends leases early. What another lane has just given back is still in its hand here, and free.
        self._take(state, [row for row in rows if row[1] not in self.in_hand or leased(row).owner is None])
        return any(state.backlog)

    def _take(self, state: Lane, rows: list[Row]) -> None:
        """Works on what was leased."""
        for row in rows:
            self.in_hand.hold(row[0], row[1])
        batch, suspects = sorted_out(self._ring, rows)
        state.pending += len(rows)
        if batch:
            self._begin(state, self._run(state, batch))
        if suspects:
            self._begin(state, self._run_alone(state, suspects))

    async def _run(self, state: Lane, batch: list[Job]) -> None:
        try:
            self._told(batch, await self._pipeline.run(batch, state.member.provider, state.epoch))
        except StoreError as error:
            _log.warning("a batch goes back to the queue: %s", error)  # its lease runs out by itself
        except Exception:
            _log.exception("a batch goes back to the queue")
            self._doubt(batch, state.member.spec.name)
        finally:
            self._ran(state, [job.message.id for job in batch])

    async def _run_alone(self, state: Lane, rows: list[Row]) -> None:
        """Suspects, one by one."""

        async def run(job: Job) -> bool:
            told = await self._pipeline.run([job], state.member.provider, state.epoch)
            for _ in range(ALONE_TURNS):
                if not self.in_hand.in_the_air(job):
                    break
                await asyncio.sleep(ALONE_TURN_S)
            return told

        for row in rows:
            try:
                self._told([], await self._quarantine.alone(row, run))
            except StoreError as error:
                _log.warning("a message goes back to the queue: %s", error)
            finally:
                self._ran(state, [str(row[1])])

    def _told(self, batch: list[Job], events: bool) -> None:
        if events:
            self._bus.ring("events")
            self.wake_here("")  # what was released may be for another provider
            self._pass_on(batch)

    def _ran(self, state: Lane, messages: list[str]) -> None:
        """The pipeline is done with these: what has no attempt is in hand no more."""
        for message in messages:
            self.in_hand.put_down(message)
        state.pending -= len(messages)
        if any(state.backlog):
            state.bell.ring()

    def _doubt(self, batch: list[Job], provider: str) -> None:
        """The provider failed on a batch: what has an attempt may be on the wire or not."""
        attempts = [attempt for job in batch if (attempt := self.in_hand.in_the_air(job))]
        unknown = (PartUnknown("internal_error"),)
        self.outcomes(provider, [Outcome(attempt, unknown, self._now()) for attempt in attempts])

    def _pass_on(self, batch: list[Job]) -> None:
        """Rings for what was released to providers that other workers hold."""
        if not self._bus.alone:
            for name in {self._router.carrier(job) or "" for job in batch} - self._lanes.keys():
                self._bus.ring_others(_topic(name))

    async def _renew(self) -> None:
        """Keeps the leases of what is in hand: a throttled carrier, or a full disk, may take longer than a lease."""
        while True:
            await asyncio.sleep(LEASE_S / 3)
            until_ms = self._now() + LEASE_S * 1000
            keys = [(project, message, self.owner, until_ms) for project, message in self.in_hand.held()]
            try:
                await self._store.jobs.renew(keys)
            except Exception as error:
                _log.warning("cannot renew leases: %s", error, exc_info=not isinstance(error, StoreError))

    def _settled(self, batch: list[Settlement]) -> None:
        """These are stored: out of hand, and room for others."""
        for item in batch:
            self.in_hand.settled(item.message, item.attempt)
        for name, count in Counter(item.provider for item in batch).items():
            state = self._lanes.get(name)
            if state is not None:
                state.unsettled = max(0, state.unsettled - count)  # a provider that was resumed begins at 0
                if any(state.backlog):
                    state.bell.ring()
        self._bus.ring("events")
        if any(item.status == "queued" for item in batch):
            self.wake_here("")


def _topic(provider: str) -> str:
    return f"{_JOBS} {provider}" if provider else _JOBS
