"""Receipts that never came: a cursor follows the `message.sent` events at a distance and looks what became of each."""

from collections.abc import Sequence

from tidings.kit.ids import new_id
from tidings.store.contract import Late
from tidings.store.postgres import log, transitions
from tidings.store.postgres.rowset import rowset, turned
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


_QUESTIONS = f"""
select a.provider, r.value, a.sender from {rowset("e", "project text, message text")}
join attempts a on a.project = e.project and a.message = e.message and a.status = 'sent'
cross join lateral jsonb_array_elements_text(a.refs) with ordinality r (value, n)
where r.value <> '' and substr(a.part_states, r.n::int, 1) = 's' order by a.project, a.id, r.n"""


async def questions(session: Session, messages: Sequence[tuple[str, str]]) -> list[tuple[str, str, str | None]]:
    """The parts of these messages that no receipt has ended. A read."""
    if not messages:
        return []
    return [(row[0], row[1], row[2]) for row in await session.fetch(_QUESTIONS, *turned(messages))]


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
