"""Calls to one endpoint: signed, several at once, never more than a batch's time."""

import asyncio
import time

import msgspec

from tidings.domain.event import Event
from tidings.kit.clock import Clock
from tidings.kit.limits import WEBHOOK_BATCH_S, WEBHOOK_CONCURRENCY, WEBHOOK_FAILING_AFTER
from tidings.kit.outbound import Answer, Outbound
from tidings.webhooks.endpoint import Endpoint
from tidings.webhooks.sign import sign

#: Answers of something in front of the endpoint, or of an endpoint that asks for a pause.
_NOT_THERE = frozenset({429, 502, 503, 504})


class Called(msgspec.Struct, frozen=True):
    """A call that was made."""

    answer: Answer
    at_ms: int
    latency_ms: int


class Caller:
    """Knows whether its endpoint answers at all. `stop` lets calls under way end and starts no more."""

    def __init__(self, outbound: Outbound, endpoint: Endpoint, now: Clock) -> None:
        self._outbound, self._endpoint, self._now = outbound, endpoint, now
        self._slots = asyncio.Semaphore(WEBHOOK_CONCURRENCY)
        self._failures = WEBHOOK_FAILING_AFTER if endpoint.failing_since_ms is not None else 0
        self._stopped = False

    @property
    def failing(self) -> bool:
        """Whether the last calls all went without an answer."""
        return self._failures >= WEBHOOK_FAILING_AFTER

    def stop(self) -> None:
        """No further call starts."""
        self._stopped = True

    async def all(self, events: list[Event], bodies: list[bytes], width: int, *, probe: bool = False) -> list[Called]:
        """Calls for the events in order, `width` at once. The answer is shorter than the list if the batch's time ran
        out, or (unless this is a probe) the endpoint proved dead: the others were not called."""
        answers: list[Called | None] = [None] * len(events)
        keys = self._endpoint.keys(self._now())
        last_start = time.monotonic() + WEBHOOK_BATCH_S
        at = 0

        async def lane() -> None:
            nonlocal at
            while at < len(events):
                async with self._slots:
                    n = at
                    late = self._stopped or time.monotonic() > last_start or (self.failing and not probe)
                    if late or n >= len(events):
                        return
                    at += 1
                    answers[n] = await self._call(events[n], bodies[n], keys)

        if len(events) == 1:
            await lane()
        else:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(width, len(events))):
                    group.create_task(lane())
        return [answer for answer in answers[:at] if answer is not None]

    async def _call(self, event: Event, body: bytes, keys: list[bytes]) -> Called:
        at_ms = self._now()
        stamp = at_ms // 1000
        headers = {
            "content-type": "application/json",
            "webhook-id": event.id,
            "webhook-timestamp": str(stamp),
            "webhook-signature": sign(keys, event.id, stamp, body),
        }
        start = time.monotonic()
        answer = await self._outbound.post(self._endpoint.url, headers, body)
        self._failures = self._failures + 1 if answer.status is None or answer.status in _NOT_THERE else 0
        return Called(answer, at_ms, int((time.monotonic() - start) * 1000))
