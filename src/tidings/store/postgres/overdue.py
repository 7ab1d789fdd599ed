"""Receipts that never came: a cursor follows the `message.sent` events at a distance and looks what became of each."""

from tidings.kit.ids import new_id
from tidings.store.contract import Late
from tidings.store.postgres import log, transitions
from tidings.store.postgres.session import Session

_SUBSCRIBER = "receipt-overdue"
_BATCH = 1_000


async def find(session: Session, before_ms: int, now_ms: int) -> Late:
    """Sent before `before_ms` and still without a final receipt. A read."""
    cursor = int(await session.fetchval("select seq from cursors where subscriber = $1", _SUBSCRIBER) or 0)
    found = await session.fetch(
        "select e.seq, e.type, e.project, e.message, m.status, e.at_ms from"
        " (select * from events where seq > $1 and seq < $2 order by seq limit $3) e"
        " left join messages m on m.project = e.project and m.id = e.message order by e.seq",
        cursor,
        await log.bound(session),
        _BATCH,
    )
    late: list[tuple[str, str]] = []
    upto = cursor
    for seq, kind, project, message, status, at_ms in found:
        if at_ms >= before_ms:
            break
        upto = seq
        if kind == "message.sent" and status == "sent":
            late.append((project, message))
    return Late(cursor, upto, now_ms, tuple(late))


async def record(session: Session, items: list[Late]) -> list[None]:
    """Writes a `receipt_overdue` event for each, with the cursor. Of two nodes that found the same, one writes it."""
    for item in items:
        ours = await session.fetchval(
            "insert into cursors as c values ($1, $2) on conflict (subscriber) do update set seq = $2 where c.seq = $3"
            " returning 1",
            _SUBSCRIBER,
            item.upto,
            item.cursor,
        )
        if ours is None:
            continue
        transitions.add_events(
            session,
            [
                (project, new_id("evt"), "message.receipt_overdue", message, item.at_ms, None)
                for project, message in item.messages
            ],
        )
    return [None] * len(items)
