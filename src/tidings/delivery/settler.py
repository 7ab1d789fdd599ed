"""The settler: outcomes become rows, batch by batch; a full disk or a store that is away delays them, it never drops them."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec

from tidings.delivery.isolate import Refused, isolated
from tidings.delivery.job import Job
from tidings.delivery.router import Router
from tidings.delivery.settle import UnknownWait, plainly, settle
from tidings.delivery.suppress import suppressions_of
from tidings.domain.attempt import Outcome, PartRefused, PartSent, PartUnknown
from tidings.domain.errors import StoreError
from tidings.kit.clock import Clock
from tidings.kit.secrets import KeyRing
from tidings.store.contract import Settlement
from tidings.store.store import Store

_log = logging.getLogger(__name__)
_STORE_RETRY_S = 0.5


class Settler:
    """One task at a time writes; what comes in meanwhile is the next batch."""

    def __init__(
        self,
        store: Store,
        ring: KeyRing,
        now: Clock,
        wait: UnknownWait,
        rng: random.Random,
        router: Router,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        settled: Callable[[list[Settlement]], None],
    ) -> None:
        """`spawn` starts the task; `settled` is told what is stored now."""
        self._store, self._ring, self._now, self._wait, self._rng = store, ring, now, wait, rng
        self._router, self._spawn, self._settled = router, spawn, settled
        self._waiting: list[Settlement] = []
        self._writing = False

    def add(self, job: Job, provider: str, outcome: Outcome) -> None:
        """To be stored with the next batch; see `write`."""
        self._waiting.append(self._settlement(job, provider, outcome))

    def write(self) -> None:
        """Stores what was added, soon."""
        if self._waiting and not self._writing:
            self._writing = True
            self._spawn(self._write())

    def _settlement(self, job: Job, provider: str, outcome: Outcome) -> Settlement:
        try:
            made = settle(job, provider, outcome, self._wait, self._rng, self._router)
            if not any(isinstance(part, PartRefused) and part.suppress for part in outcome.parts):
                return made
            return msgspec.structs.replace(made, suppressions=suppressions_of(job, outcome, self._ring))
        except Exception:  # whatever the carrier said: what it took is taken, of the rest nobody knows
            _log.exception("an outcome cannot be read", extra={"message_id": job.message.id})
            parts = tuple(p if isinstance(p, PartSent) else PartUnknown("internal_error") for p in outcome.parts)
            plain = msgspec.structs.replace(outcome, parts=parts)
            return settle(job, provider, plain, self._wait, self._rng)

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            answers = await isolated(batch, self._store.attempts.settle, self._probe)
            for item, answer in zip(batch, answers, strict=True):
                if isinstance(answer, Refused):
                    await self._plainly(item, answer.error)
            left = [item for item, answer in zip(batch, answers, strict=True) if isinstance(answer, StoreError)]
            self._settled([i for i, answer in zip(batch, answers, strict=True) if not isinstance(answer, StoreError)])
            if left:
                away = next(answer for answer in answers if isinstance(answer, StoreError))
                _log.warning("cannot settle yet: %s", away)
                self._waiting = left + self._waiting
                await asyncio.sleep(_STORE_RETRY_S)
        self._writing = False

    async def _plainly(self, item: Settlement, error: Exception) -> None:
        """Something that the carrier said cannot be stored: the outcome is, without the carrier's words."""
        _log.error("an outcome cannot be stored as it is", exc_info=error, extra={"message_id": item.message})
        try:
            await self._store.attempts.settle([plainly(item)])
        except Exception:
            _log.exception("an outcome is lost: its message counts as unknown", extra={"message_id": item.message})

    def _probe(self) -> Awaitable[None]:
        return self._store.probe(self._now())
