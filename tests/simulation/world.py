"""One run: a script played against the real delivery path (`delivery.node.Node` and the SQLite store) in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import random
from collections import Counter
from collections.abc import Coroutine, Generator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tidings.channels import registry
from tidings.channels.contract import ProviderSpec, Sink
from tidings.delivery import dispatch, sweep, timekeeper, watch
from tidings.delivery.accept import Accepted, Idempotency, Want
from tidings.delivery.node import Node
from tidings.delivery.settle import UnknownWait
from tidings.domain.attempt import InboundPart, PartOutcome, PartUnknown, Submission
from tidings.domain.errors import RequestError, StoreError
from tidings.domain.request import SendRequest
from tidings.kit import ids
from tidings.kit.clock import SteadyClock
from tidings.kit.limits import CLOCK_STEP_MS
from tidings.kit.secrets import KeyRing
from tidings.store.contract import Begin, InboundRow, NewMessage
from tidings.store.sqlite.group import Write, Written
from tidings.store.store import Store

from .carrier import Carrier, SimProvider, Submit
from .clockwork import Uuid7, VirtualLoop, WallClock
from .disk import SimEngine
from .script import ACTIVE_S, Script, Strike, Wish, Word

PROJECT = "prj_" + "0" * 32
SWEEP_ACTIVE_S, SWEEP_QUIET_S = 2.0, 45.0  # in the server 0.5: a sweep is what a lost doorbell costs, no more
OVERDUE_S = 3 * 3600  # in the server three days
SETTLE_S = 6 * 3600  # longer than 8 tries and an unknown's wait


class Sent(msgspec.Struct, kw_only=True):
    """A message as its customer knows it."""

    id: str
    wish: Wish
    customer: int
    number: int
    valid_until_ms: int | None
    canceled: bool = False


class World:
    """Everything that one run knows. What it saw is judged by `judge.problems`."""

    def __init__(self, seed: int, script: Script, path: Path, loop: VirtualLoop) -> None:
        self.seed, self.script, self.path, self.loop = seed, script, path, loop
        self.rng = random.Random(f"world {seed}")
        self.wall_ms = WallClock(loop, script.start_ms)
        self.now_ms = SteadyClock(self.wall_ms, loop.time)  # of the node: it follows the wall's jumps
        self.uuid7 = Uuid7(self.wall_ms, random.Random(f"ids {seed}"))
        self.ring = KeyRing({"k1": b"k" * 32}, "k1", b"l" * 32)
        self.carriers = [
            Carrier(f"{'ab'[n]}-carrier", self, msgspec.structs.replace(manners), random.Random(f"carrier {n} {seed}"))
            for n, manners in enumerate(script.carriers)
        ]
        self.sent: list[Sent] = []
        self.refused_tries: set[str] = set()  # references of tries that were answered with an error
        self.disk_full = self.slow_disk = False
        self.engine: SimEngine | None = None
        self.node: Node | None = None
        self.crashes = 0
        self.leaps_s: list[float] = []  # starts that found a clock which was set ahead while nobody looked
        self.unknowns: Counter[str] = Counter()  # by attempt
        self.open_at_crash: Counter[str] = Counter()  # by message
        self.outcomes: dict[str, tuple[PartOutcome, ...]] = {}
        self.begun: dict[str, int] = {}  # attempt → number of its commit
        self.stops: list[tuple[int, str, bool]] = []  # (number of the commit, hash of the person, STOP or START)
        self.errors: Counter[str] = Counter()
        self.broken: list[str] = []  # what was seen to be wrong while it ran
        self.commits = self.writes = 0
        self._crash_at: dict[str, int] = {}
        self._crashed: asyncio.Future[None] | None = None
        self._working: set[asyncio.Future[Any]] = set()
        self._hash = hashlib.blake2b(digest_size=16)
        self.trace: list[str] | None = None

    # -- Observer

    def note(self, *what: Any) -> None:
        """Into the trace: two runs are the same run if their traces are."""
        line = f"{self.loop.clock_s:.6f} {what}"
        self._hash.update(line.encode())
        if self.trace is not None:
            self.trace.append(line)

    def wrote(self, carrier: Carrier, submit: Submit, submission: Submission) -> None:
        """A part has reached a carrier."""
        self.note("wire", carrier.name, submit)
        self.writes += 1
        self._maybe_crash("crash_at_write", self.writes)

    def outcome(self, attempt: str, parts: Sequence[PartOutcome]) -> None:
        """A provider reports."""
        self.note("outcome", attempt, parts)
        self.outcomes[attempt] = tuple(parts)
        self.unknowns[attempt] += any(isinstance(part, PartUnknown) for part in parts)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Outside the node: it lives on when the node dies."""
        task = self.loop.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._spawned_done)

    def _spawned_done(self, task: asyncio.Future[Any]) -> None:
        self._working.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.broken.append(f"the simulation's own task failed: {task.exception()!r}")

    async def until_end(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What `work` (a call into the node) gives; None if the node crashes first."""
        assert self._crashed is not None
        task = self.loop.create_task(work)
        await asyncio.wait((task, self._crashed), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None

    # -- Faults

    def committed(self, group: list[Write], answers: list[Written]) -> None:
        """A transaction is in the file: remember the order of attempts and STOPs."""
        self.commits += 1
        self.note("commit", [(write.fn.__name__, len(write.items)) for write in group])
        results = {answer.number: answer.results for answer in answers}
        for write in group:
            for item, result in zip(write.items, results[write.number], strict=True):
                if isinstance(item, Begin) and result.kind == "ok":
                    self.begun[item.attempt] = self.commits
                elif isinstance(item, NewMessage) and item.begin and result.begun and result.begun.kind == "ok":
                    self.begun[item.begin.attempt] = self.commits
                elif isinstance(item, InboundRow) and result is not None and item.stop:
                    self.stops.append((self.commits, item.from_hash, item.stop == "stop"))
        self._maybe_crash("crash_at_commit", self.commits)

    def _maybe_crash(self, kind: str, count: int) -> None:
        if self._crash_at.get(kind, count) < count:
            del self._crash_at[kind]
            self.loop.call_soon(self.crash)

    # -- the node's life

    async def boot(self) -> None:
        """Starts the node, as often as it takes: with a full disk it cannot."""
        while True:
            self.uuid7.new_process()
            ids.ids._last = ""  # its memory is gone
            self._new_clock()
            self._crashed = self.loop.create_future()
            self.engine = SimEngine(self.path, self, random.Random(self.rng.random()))
            self.engine.open()
            self.engine.start()
            wait = UnknownWait(self.script.unknown_wait_s, self.script.unknown_wait_s)
            node = Node(Store(self.engine), self.ring, now=self.now_ms, wait=wait, rng=random.Random(self.rng.random()))
            specs = [ProviderSpec(name=c.name, type="sms.sim", config={}, origin="config") for c in self.carriers]
            self.note("boot")
            try:
                await self.until_end(node.start(specs))
            except StoreError:
                self.crash()
            if not self._crashed.done():
                self.node = node  # the server listens only now
                return
            await asyncio.sleep(2.0)

    def _new_clock(self) -> None:
        before_ms = self.now_ms()  # it would have gone on
        self.now_ms = SteadyClock(self.wall_ms, self.loop.time)
        if self.now_ms() - before_ms > CLOCK_STEP_MS:
            self.leaps_s.append(self.loop.time())

    def crash(self) -> None:
        """kill -9: memory is gone, the file stays, what is on the wire goes on."""
        if self.engine is None or self._crashed is None:
            return  # it is down already
        self.crashes += 1
        self.engine.crash()
        for carrier in self.carriers:
            if carrier.near is not None:
                carrier.near.die()
        self._count_open()
        self.note("crash")
        self.engine = self.node = None
        self._crashed.set_result(None)

    def _count_open(self) -> None:
        import apsw

        with contextlib.closing(apsw.Connection(str(self.path))) as file:
            for row in file.execute("select message from attempts where status = 'sending'"):
                self.open_at_crash[str(row[0])] += 1

    async def _keep_alive(self) -> None:
        while True:
            await self.boot()
            if self._crashed is not None:
                await self._crashed
            await asyncio.sleep(self.rng.choice((0.1, 1.0, 15.0)))

    # -- playing

    async def play(self) -> None:
        """The whole script, then hours of peace."""
        alive = self.loop.create_task(self._keep_alive())
        for number, wishes in enumerate(self.script.customers):
            self.spawn(self._customer(number, wishes))
        for strike in self.script.strikes:
            self.spawn(self._strike(strike))
        for number, word in enumerate(self.script.words):
            self.spawn(self._word(number, word))
        await asyncio.sleep(ACTIVE_S + 25.0)
        self.note("healed")
        self._crash_at.clear()
        for carrier in self.carriers:
            carrier.manners.heal()
        await self._settled()
        alive.cancel()
        assert self.engine is not None
        self.engine.shut()

    async def _settled(self) -> None:
        """Until nothing is to come any more, or the time is up; then until receipts are overdue."""
        sweep.SWEEP_S = dispatch.SWEEP_S = timekeeper.LOOK_S = watch.HEALTH_LOOK_S = SWEEP_QUIET_S
        until_s = self.loop.clock_s + SETTLE_S
        while self.loop.clock_s < until_s and not self._quiet():
            await asyncio.sleep(20.0)
        sweep.SWEEP_S = dispatch.SWEEP_S = timekeeper.LOOK_S = watch.HEALTH_LOOK_S = OVERDUE_S / 3
        dispatch.LEASE_S = OVERDUE_S  # nothing is leased any more: the renewing task need not wake every ten seconds
        # a clock that was ahead and was set back has dated events up to its step into the future
        await asyncio.sleep(OVERDUE_S * 2 + 3600 * 8)

    def _quiet(self) -> bool:
        if self.engine is None or self._working:
            return False
        return not self.engine.look(lambda c: c.execute("select 1 from jobs limit 1").fetchone())

    async def _customer(self, number: int, wishes: Sequence[Wish]) -> None:
        for count, wish in enumerate(wishes):
            await asyncio.sleep(wish.after_s)
            await self._send(number, count, wish)

    async def _send(self, customer: int, number: int, wish: Wish) -> None:
        """Sends until it is accepted. Without an idempotency key every try may be a message of its own."""
        key = Idempotency(f"{customer}-{number}", "body") if wish.idempotent else None
        due_ms = self.wall_ms() + int((wish.later_s or 0) * 1000)
        for n in range(1000):
            request = SendRequest(
                to=wish.to, text=wish.text, sender=wish.sender, lane=wish.lane, on_unknown=wish.on_unknown,
                sequence=wish.sequence, valid_for_s=wish.valid_for_s, reference=f"{customer}-{number}-{n}",
                send_at=dt.datetime.fromtimestamp(due_ms / 1000, dt.UTC) if wish.later_s else None,
            )  # fmt: skip
            answer = await self._try(Want(request, key), request.reference or "")
            if answer is not None:
                self.note("accepted", answer.id, customer, number)
                sent = Sent(id=answer.id, wish=wish, customer=customer, number=number, valid_until_ms=None)
                self.sent.append(sent)
                if wish.cancel_after_s is not None:
                    self.spawn(self._cancel(sent, wish.cancel_after_s))
                return
            await asyncio.sleep(self.rng.choice((0.1, 1.0, 2.5)))

    async def _try(self, want: Want, reference: str) -> Accepted | None:
        node = self.node
        if node is None:
            return None
        try:
            answers = await self.until_end(node.acceptor.accept(PROJECT, "live", [want]))
        except (StoreError, RequestError):
            self.refused_tries.add(reference)
            return None
        if answers is None:
            return None
        if isinstance(answers[0], Accepted):
            return answers[0]
        self.refused_tries.add(reference)  # while the only provider is being paused: `no_provider`
        self.errors[answers[0].code] += 1
        return None

    async def _cancel(self, sent: Sent, after_s: float) -> None:
        await asyncio.sleep(after_s)
        if self.node is None:
            return
        with contextlib.suppress(RequestError, StoreError):
            sent.canceled = await self.until_end(self.node.control.cancel(PROJECT, sent.id)) is not None
            self.note("canceled", sent.id, sent.canceled)

    async def _word(self, number: int, word: Word) -> None:
        await asyncio.sleep(word.at_s)
        carrier = self.carriers[word.carrier]
        pieces = [word.text[:2], word.text[2:]] if word.split else [word.text]
        for n, piece in reversed(list(enumerate(pieces, 1))):
            part = InboundPart(
                provider=carrier.name, sender=word.person, to="+12345", text=piece, concat_ref=number if word.split else None,
                total=len(pieces), part=n, dedup=f"w{number}-{n}",
            )  # fmt: skip
            carrier.inbound(part, 0.5 * n, word.copies)

    async def _strike(self, strike: Strike) -> None:
        await asyncio.sleep(strike.at_s)
        carrier = self.carriers[strike.carrier]
        self.note("strike", strike)
        match strike.fault:
            case "crash":
                self.crash()
            case "crash_at_commit":
                self._crash_at["crash_at_commit"] = self.commits + abs(strike.number) % 50
            case "crash_at_write":
                self._crash_at["crash_at_write"] = self.writes + abs(strike.number) % 10
            case "link":
                carrier.link(up=False)
                await asyncio.sleep(strike.for_s)
                carrier.link(up=True)
            case "disk_full":
                self.disk_full = True
                await asyncio.sleep(strike.for_s)
                self.disk_full = False
            case "slow_disk":
                self.slow_disk = True
                await asyncio.sleep(strike.for_s)
                self.slow_disk = False
            case "clock":
                self.wall_ms.step(strike.number if abs(strike.number) > 1000 else 1000 * strike.number)
            case "pause":
                await self._pause(carrier.name, strike.for_s)

    async def _pause(self, name: str, for_s: float) -> None:
        """An operator takes a provider out and puts it back, the way `ProviderAdmin` does; an error he tries again."""
        await self._told(name, True)
        await asyncio.sleep(for_s)
        while not await self._told(name, False):
            await asyncio.sleep(2.0)

    async def _told(self, name: str, paused: bool) -> bool:
        """Whether it is surely done: the node was up, and still is."""
        if self.node is None:
            return False
        try:
            return await self.until_end(self._set_paused(self.node, name, paused)) is True
        except StoreError:
            return False

    async def _set_paused(self, node: Node, name: str, paused: bool) -> bool:
        await node.store.providers.set_paused(name, paused)
        await node._changed()
        return True

    @property
    def digest(self) -> str:
        """The hash of the trace so far."""
        return self._hash.hexdigest()


@contextlib.contextmanager
def staged(world: World) -> Generator[None]:
    """The few places where the path asks something else than its arguments: ids, the registry, and how often it sweeps."""

    def create(spec: ProviderSpec, sink: Sink) -> SimProvider:
        return SimProvider(spec, sink, next(c for c in world.carriers if c.name == spec.name))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ids, "uuid7", world.uuid7)
        patch.setattr(registry, "create", create)
        patch.setattr(dispatch, "SWEEP_S", SWEEP_ACTIVE_S)
        patch.setattr(sweep, "SWEEP_S", SWEEP_ACTIVE_S)
        patch.setattr(watch, "HEALTH_LOOK_S", SWEEP_ACTIVE_S)
        patch.setattr(sweep, "RECEIPT_OVERDUE_S", OVERDUE_S)
        patch.setattr(timekeeper, "LOOK_S", timekeeper.LOOK_S)  # these are put back at the end: `_settled` changes them
        patch.setattr(dispatch, "LEASE_S", dispatch.LEASE_S)
        yield
