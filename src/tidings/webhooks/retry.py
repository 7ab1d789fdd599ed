"""When a delivery that failed is tried again: 5 s, 5 m, 30 m, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h, each ± 10 %."""

import random

import msgspec

from tidings.domain.event import Event
from tidings.kit.ids import new_id
from tidings.kit.limits import WEBHOOK_DISABLE_AFTER_S, WEBHOOK_RETRY_S
from tidings.store.hooks import DeliveryRow
from tidings.webhooks.call import Called

WAITING = "not called yet: the endpoint does not answer"
_LOST = "the event is no longer kept"


def queued(
    project: str, endpoint: str, event: tuple[int, str, str], now_ms: int, error: str | None = None
) -> DeliveryRow:
    """A delivery that waits for its first call, due now. `event` is (sequence number, id, type)."""
    return DeliveryRow(
        project, new_id("whd"), endpoint, *event, "pending", 0, now_ms, None, error, None, now_ms, now_ms
    )  # fmt: skip


def first(endpoint: str, event: Event, called: Called, now_ms: int, rng: random.Random) -> DeliveryRow:
    """The row of a delivery after its first call."""
    row = queued(event.project, endpoint, (event.seq, event.id, event.type), called.at_ms)
    return after(row, called, now_ms, rng)


def after(row: DeliveryRow, called: Called, now_ms: int, rng: random.Random) -> DeliveryRow:
    """The row after one more call."""
    tries, answer = row.tries + 1, called.answer
    status, next_ms, error = "delivered", None, None
    if not answer.ok:
        error = answer.error or f"HTTP {answer.status}"
        status, next_ms = "failed", None
        if tries <= len(WEBHOOK_RETRY_S):
            jitter = 0.9 + 0.2 * rng.random()
            status, next_ms = "pending", now_ms + int(WEBHOOK_RETRY_S[tries - 1] * 1000 * jitter)
    return DeliveryRow(
        row.project, row.id, row.endpoint, row.event_seq, row.event_id, row.type, status, tries, next_ms, answer.status,
        error, called.latency_ms, row.created_ms, now_ms,
    )  # fmt: skip


def lost(row: DeliveryRow, now_ms: int) -> DeliveryRow:
    """The row of a delivery whose event is gone."""
    return msgspec.structs.replace(row, status="failed", next_ms=None, error=_LOST, updated_ms=now_ms)


def disabled(calls: list[Called], failing_since_ms: int | None, now_ms: int) -> str | None:
    """Why the endpoint is to be disabled after these calls; None if it stays."""
    if any(called.answer.status == 410 for called in calls):
        return "the endpoint answered 410 Gone"
    if failing_since_ms is not None and now_ms - failing_since_ms > WEBHOOK_DISABLE_AFTER_S * 1000:
        return f"every call has failed for {WEBHOOK_DISABLE_AFTER_S // 86_400} days"
    return None
