"""Poison: a message that makes a stage fail, or the whole worker, ends after a few tries and holds back nobody.

A stage that fails on a job (`struck`) is a strike against it: it goes back to the queue with a pause, and at STRIKES it
ends. A worker that ends tells nobody why, so suspicion comes first: jobs that SUSPECT_AFTER workers ended with, or lost,
are worked on one at a time, after a strike was noted in the store; what the worker lives through takes it back. What ends
the next worker is then the one job that keeps a strike; all others lose nothing but a moment.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from tidings.delivery.job import Job, Leased, from_row, leased
from tidings.domain.errors import StoreError
from tidings.domain.message import MessageError
from tidings.kit.clock import Clock
from tidings.kit.ids import new_id
from tidings.kit.limits import STRIKE_PAUSE_S, STRIKES, SUSPECT_AFTER
from tidings.kit.secrets import KeyRing
from tidings.store.contract import End, Release
from tidings.store.store import Store

Row = tuple[Any, ...]
_log = logging.getLogger(__name__)


def sorted_out(ring: KeyRing, rows: Sequence[Row]) -> tuple[list[Job], list[Row]]:
    """Jobs to work on together, and rows to look at alone: suspects, and those that cannot be read."""
    jobs: list[Job] = []
    alone: list[Row] = []
    for row in rows:
        if leased(row).rescues >= SUSPECT_AFTER:
            alone.append(row)
            continue
        try:
            jobs.append(from_row(ring, row))
        except Exception:
            _log.exception("a stored message cannot be read", extra={"message_id": row[1]})
            alone.append(row)
    return jobs, alone


def struck(job: Job, error: Exception, now_ms: int) -> End | Release:
    """What becomes of a job that made a stage fail: tried again after a pause, or ended."""
    message = job.message
    _log.error("a stage failed on one message", exc_info=error, extra={"message_id": message.id})
    if job.strikes + 1 >= STRIKES:
        return _end(message.project, message.id, "internal_error", type(error).__name__, now_ms)
    due_ms = now_ms + int(1000 * STRIKE_PAUSE_S * (job.strikes + 1))
    return Release(
        message.project, message.id, job.provider, due_ms, job.kind, "queued", new_id("evt"), now_ms, 1
    )  # fmt: skip


def _end(project: str, message: str, code: str, name: str, now_ms: int) -> End:
    detail = {
        "internal_error": f"the delivery path failed on this message ({name}) {STRIKES} times; the server's log says where",
        "poison": f"the worker ended {STRIKES} times while it worked on this message alone",
    }[code]
    error = msgspec.json.encode(MessageError(code=code, detail=detail)).decode()
    return End(project=project, message=message, status="failed", at_ms=now_ms, event=new_id("evt"), error=error)


class Quarantine:
    """Works on suspects, one at a time in this process."""

    def __init__(self, store: Store, ring: KeyRing, now: Clock) -> None:
        self._store, self._ring, self._now = store, ring, now
        self._one = asyncio.Lock()

    async def alone(self, row: Row, run: Callable[[Job], Awaitable[bool]]) -> bool:
        """Runs one suspect, or ends it. Says whether events were written. Raises StoreError."""
        project, message, now_ms = str(row[0]), str(row[1]), self._now()
        found = leased(row)
        if found.strikes >= STRIKES and found.open_attempt is None:
            _log.error("a message ended as poison", extra={"message_id": message})
            await self._store.jobs.end([_end(project, message, "poison", "", now_ms)])
            return True
        async with self._one:
            await self._store.jobs.strike(project, message)
            try:
                told = await run(from_row(self._ring, row))
                await self._store.jobs.strike(project, message, -1)
                return told
            except StoreError:
                raise
            except Exception:
                _log.exception("a message failed alone", extra={"message_id": message})
        await self._store.jobs.release([_later(found, project, message, now_ms)])
        return True


def _later(found: Leased, project: str, message: str, now_ms: int) -> Release:
    due_ms = now_ms + int(1000 * STRIKE_PAUSE_S * (found.strikes + 1))
    return Release(project, message, found.provider, due_ms, found.kind, "queued", new_id("evt"), now_ms)
