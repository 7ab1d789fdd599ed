"""One load test, from the first connection to the result: set up, send on schedule, wait for what comes back, account."""

import asyncio
import contextlib
import os
import platform
import secrets
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from time import monotonic
from typing import Any, Final, Literal

import msgspec

from tidings.domain.message import LANE_NUMBER, LANES
from tidings.kit.clock import rfc3339, wall_ms
from tidings.loadtest import arrivals, result
from tidings.loadtest.callbacks import SENT, TYPES, Listener, follow
from tidings.loadtest.client import Pool, Target
from tidings.loadtest.plan import Limits, Plan
from tidings.loadtest.ratewatch import RateWatch
from tidings.loadtest.recorder import Recorder
from tidings.loadtest.result import Context, Result
from tidings.loadtest.stage import Carrier, Stage
from tidings_client import TidingsError

Callbacks = Literal["auto", "webhook", "stream"]
_TICK_S: Final = 0.1
_SPIN_S: Final = 0.002  # timers are a millisecond late; for arrivals that are far apart the last bit is waited out
_SPIN_GAP_S: Final = 0.01
_BURST: Final = 64  # messages handed over before answers are looked at again
_ASKED: Final = 200  # messages of which the server is asked what became of them
_FOLLOW_S: Final = 10.0
_encode: Final = msgspec.json.Encoder().encode


class _Accepted(msgspec.Struct):
    id: str


class _Problem(msgspec.Struct):
    code: str = "unknown"


class _Item(msgspec.Struct):
    id: str | None = None
    error: _Problem | None = None


class _Batch(msgspec.Struct):
    data: list[_Item]


_accepted: Final = msgspec.json.Decoder(_Accepted).decode
_batch: Final = msgspec.json.Decoder(_Batch).decode
_problem: Final = msgspec.json.Decoder(_Problem).decode


class LoadTest:
    """`run` it once. `carrier` is the test's own far side, with the recorder as its log; None: the server's carriers."""

    def __init__(
        self,
        plan: Plan,
        limits: Limits,
        url: str,
        key: str,
        *,
        far_side: Callable[[Recorder], Carrier] | None,
        callbacks: Callbacks = "auto",
        listen_host: str = "127.0.0.1",
        show: Callable[["LoadTest"], None] | None = None,
    ) -> None:
        self.plan, self._limits, self._url = plan, limits, url
        self._target = Target(url, key)  # raises ValueError before anything is set up
        self.recorder = Recorder(secrets.token_hex(4))
        self._carrier = far_side(self.recorder) if far_side is not None else None
        if self._carrier is not None:
            self.recorder.rate = RateWatch(self._carrier.rate_per_s)
        self._stage = Stage(url, key, self.recorder.run)
        self._callbacks: Callbacks = callbacks
        self._listener = Listener(self.recorder.heard, listen_host)
        self._listen_host = listen_host
        self._show = show
        self._pool: Pool | None = None
        self._follower: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self.phase: Literal["setting up", "sending", "waiting", "over"] = "setting up"
        self.heard_by = "webhook"

    def stop(self) -> None:
        """Ends it early: nothing more is sent or waited for, and the result tells what was."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()

    async def run(self) -> Result:
        """The result. Raises StageError, TidingsError, OSError if it could not begin."""
        started = rfc3339(wall_ms()) or ""
        notes: list[str] = []
        ticking: asyncio.Task[None] | None = None
        try:
            await self._set_up()
            ticking = asyncio.create_task(self._tick())
            await self._send()
            waited = await self._wait()
            seconds = self.recorder.elapsed_s
            self.phase = "over"
            statuses = await self._ask(waited)
        finally:
            if ticking is not None:
                ticking.cancel()
            notes += await self._tear_down()
        self.recorder.close_step()
        return self._result(started, seconds, waited, statuses, self._stage.notes + notes)

    # -- before

    async def _set_up(self) -> None:
        carrier, stage = self._carrier, self._stage
        await stage.enter(own_project=carrier is not None)
        await self._hear()
        if carrier is not None:
            await carrier.start()
            name = await stage.add_provider(carrier)
            await stage.prove_route(self.plan.recipients.number(0), name)
        self._target = Target(self._url, stage.key)
        self._pool = Pool(self._target, self.plan.connections, self.plan.timeout_s)
        await self._pool.start()

    async def _hear(self) -> None:
        """A webhook where the server may call us, else the event stream."""
        sent = self._carrier is None  # our own carrier knows by itself what it was given
        if self._callbacks in ("auto", "webhook"):
            port = await self._listener.start()
            host = f"[{self._listen_host}]" if ":" in self._listen_host else self._listen_host
            secret = await self._stage.add_webhook(f"http://{host}:{port}/", sent=sent)
            if secret is not None:
                self._listener.trust(secret)
                return
            told = f"the server may not call {self._listen_host} ([webhooks] allow in tidings.toml)"
            if self._callbacks == "webhook":
                raise TidingsError(told)
            self._stage.notes.append(told + ": followed /v1/stream instead")
        self.heard_by, ready = "stream", asyncio.Event()
        types = [*TYPES, SENT] if sent else list(TYPES)
        self._follower = asyncio.create_task(follow(self._stage.client, self.recorder.heard, types, ready))
        waiter = asyncio.create_task(ready.wait())
        await asyncio.wait({waiter, self._follower}, timeout=_FOLLOW_S, return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        if self._follower.done():
            self._follower.result()

    # -- sending

    async def _send(self) -> None:
        """Hands each request to the pool when it is due, whatever became of those before."""
        plan, recorder = self.plan, self.recorder
        lanes, burst = arrivals.lanes(plan), 0
        gap_s = plan.batch / plan.rate_per_s
        start_s = monotonic() + 0.05
        recorder.begin()
        self.phase = "sending"
        for at_s in arrivals.times_s(plan):
            due_s = start_s + at_s
            while (left_s := due_s - monotonic()) > 0:
                if self._stop.is_set():
                    return
                far = gap_s > _SPIN_GAP_S
                pause_s = left_s - _SPIN_S if far and left_s > _SPIN_S else (0 if far else left_s)
                await asyncio.sleep(min(max(pause_s, 0), 1.0))
                burst = 0
            burst += plan.batch
            if burst >= _BURST:  # behind schedule: answers must be read all the same
                await asyncio.sleep(0)
                burst = 0
            if self._stop.is_set():
                return
            self._post(due_s, lanes)

    def _post(self, due_s: float, lanes: Iterator[int]) -> None:
        assert self._pool is not None
        now_s = monotonic()
        numbers = [self.recorder.scheduled(next(lanes), due_s, now_s) for _ in range(self.plan.batch)]
        bodies = [self._body(n) for n in numbers]
        if self.plan.batch == 1:
            n = numbers[0]
            self._pool.post("/v1/messages", _encode(bodies[0]), lambda status, body: self._one(n, status, body))
        else:
            whole = _encode({"messages": bodies})
            self._pool.post("/v1/messages/batch", whole, lambda status, body: self._many(numbers, status, body))

    def _body(self, n: int) -> dict[str, Any]:
        plan, recorder = self.plan, self.recorder
        lane, token = LANES[recorder.ledger.lane[n]], recorder.token(n)
        body: dict[str, Any] = {
            "to": plan.recipients.number(n), "text": f"{token} {plan.text}", "class": lane, "reference": token,
        }  # fmt: skip
        if plan.sender is not None:
            body["from"] = plan.sender
        if lane in plan.valid_for_s:
            body["valid_for_s"] = plan.valid_for_s[lane]
        return body

    def _one(self, n: int, status: int, body: bytes) -> None:
        at_s = monotonic()
        if status == 202:
            with contextlib.suppress(msgspec.MsgspecError):
                self.recorder.accepted(n, _accepted(body).id, at_s)
                return
        self._not_accepted([n], status, body, at_s)

    def _many(self, numbers: list[int], status: int, body: bytes) -> None:
        at_s = monotonic()
        try:
            items = _batch(body).data if status == 202 else []
        except msgspec.MsgspecError:
            items = []
        if len(items) != len(numbers):
            self._not_accepted(numbers, status, body, at_s)
            return
        for n, item in zip(numbers, items, strict=True):
            if item.id is not None:
                self.recorder.accepted(n, item.id, at_s)
            else:
                self.recorder.ledger.refuse(n, item.error.code if item.error is not None else "unknown", at_s)

    def _not_accepted(self, numbers: list[int], status: int, body: bytes, at_s: float) -> None:
        ledger = self.recorder.ledger
        for n in numbers:
            if status == 0:
                ledger.unanswered(n, body.decode(), at_s)
            else:
                ledger.refuse(n, f"{status} {_code(body)}", at_s)

    # -- waiting

    async def _wait(self) -> bool:
        """Until all is accounted for, or nothing has moved for the wait; False if it was stopped before."""
        self.phase = "waiting"
        pool, ledger = self._pool, self.recorder.ledger
        assert pool is not None
        begun_s = monotonic()
        while not self._stop.is_set():
            still_s = monotonic() - max(begun_s, ledger.moved_s)
            if (not pool.under_way and ledger.quiet(still_s)) or still_s > self.plan.wait_s:
                return True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):
                    await self._stop.wait()
        return False

    async def _tick(self) -> None:
        """Closes the steps of the series, watches our own stalls, shows the progress."""
        last_s = monotonic()
        while True:
            await asyncio.sleep(_TICK_S)
            now_s = monotonic()
            self.recorder.rate.stalled(now_s, max(0.0, now_s - last_s - _TICK_S))
            last_s = now_s
            self.recorder.tick()
            if self._show is not None:
                self._show(self)

    # -- after

    async def _ask(self, waited: bool) -> dict[str, int]:
        """What the server says of those that are lost, and whether those seen twice had an unknown between."""
        ledger, found = self.recorder.ledger, dict[str, int]()
        for n in ledger.twice()[:_ASKED]:
            id = ledger.ids.get(n) or await self._id_of(n)
            with contextlib.suppress(TidingsError):
                if id is not None and await self._stage.was_unknown(id):
                    ledger.excused.add(n)
        for n in ledger.waiting()[:_ASKED] if waited else ():
            id, status = ledger.ids.get(n), "no answer"
            if id is None:
                continue  # it came while we asked for the others
            with contextlib.suppress(TidingsError):
                status = await self._stage.status_of(id)
            found[status] = found.get(status, 0) + 1
        return found

    async def _id_of(self, n: int) -> str | None:
        """By its reference: ids of settled messages are not kept."""
        with contextlib.suppress(TidingsError):
            async for message in self._stage.client.messages.list(reference=self.recorder.token(n), limit=1):
                return message.id
        return None

    async def _tear_down(self) -> list[str]:
        if self._pool is not None:
            await self._pool.close()
        if self._follower is not None:
            self._follower.cancel()
            with contextlib.suppress(asyncio.CancelledError, TidingsError):
                await self._follower
        left = await self._stage.leave()
        await self._listener.stop()
        if self._carrier is not None:
            await self._carrier.stop()
        return left

    def _result(self, started: str, seconds: float, waited: bool, statuses: dict[str, int], notes: list[str]) -> Result:
        recorder, plan = self.recorder, self.plan
        assert self._pool is not None
        recorder.ledger.sweep_late(
            {LANE_NUMBER[lane]: float(value) for lane, value in plan.valid_for_s.items()},
            {LANE_NUMBER[lane]: value / 1000 for lane, value in plan.sla_ms.items()},
        )
        accounts = recorder.ledger.accounts(over_rate=recorder.rate.breaches, waited=waited)
        latency = result.latencies(recorder)
        checked = result.assertions(self._limits, accounts, recorder.ledger.failed_unasked(), latency)
        generator = result.generator_of(recorder, plan, self._pool.most_waiting)
        if recorder.strangers:
            notes.append(f"{recorder.strangers} submit(s) at the test's carrier are not of this test")
        if len(recorder.ledger.twice()) > _ASKED:
            notes.append(f"only the first {_ASKED} messages seen twice were asked about an unknown outcome")
        return Result(
            context=self._context(started, notes),
            plan=plan,
            seconds=round(seconds, 3),
            stopped=self._stop.is_set(),
            accounts=accounts,
            sent_by_lane=recorder.ledger.lane_counts(),
            refusals=dict(recorder.ledger.refusals.most_common(20)),
            lost_by_status=statuses,
            carrier_peak_per_s=recorder.rate.peak,
            refused_callbacks=self._listener.refused,
            latency=latency,
            series=recorder.points,
            step_s=recorder.step_s,
            generator=generator,
            assertions=checked,
            exit_code=result.exit_code(checked, generator, stopped=self._stop.is_set()),
        )

    def _context(self, started: str, notes: list[str]) -> Context:
        carrier = self._carrier
        machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        return Context(
            started_at=started,
            url=self._url,
            far_side="the test's own sandbox SMSC" if carrier is not None else "the server's carriers",
            callbacks="signed webhooks" if self.heard_by == "webhook" else "/v1/stream",
            tidings=version("tidings"),
            machine=f"{machine}, load {load} at the end ({time.tzname[0]})",
            carrier_rate_per_s=carrier.rate_per_s if carrier is not None else 0,
            notes=notes,
        )


def _code(body: bytes) -> str:
    try:
        return _problem(body).code
    except msgspec.MsgspecError:
        return "not_understood"
