"""Receipts that never came: a cursor follows the `message.sent` events at a distance and looks what became of each."""

from tidings.kit.ids import new_id
from tidings.store.contract import Late
from tidings.store.sqlite import transitions
from tidings.store.sqlite.engine import Connection

_SUBSCRIBER = "receipt-overdue"
_BATCH = 1_000


def find(connection: Connection, before_ms: int, now_ms: int) -> Late:
    """Sent before `before_ms` and still without a final receipt. A read."""
    row = connection.execute("select seq from cursors where subscriber = ?", (_SUBSCRIBER,)).fetchone()
    cursor = int(row[0]) if row else 0
    found = list(
        connection.execute(
            "select e.seq, e.type, e.project, e.message, m.status from events e"
            " left join messages m on m.project = e.project and m.id = e.message"
            " where e.seq > ? and e.at_ms < ? order by e.seq limit ?",
            (cursor, before_ms, _BATCH),
        )
    )
    late = tuple((str(r[2]), str(r[3])) for r in found if r[1] == "message.sent" and r[4] == "sent")
    return Late(cursor, int(found[-1][0]) if found else cursor, now_ms, late)


def record(connection: Connection, items: list[Late]) -> list[None]:
    """Writes a `receipt_overdue` event for each, with the cursor."""
    for item in items:
        transitions.add_events(
            connection,
            [
                (project, new_id("evt"), "message.receipt_overdue", message, item.at_ms, None)
                for project, message in item.messages
            ],
        )
        connection.execute("insert or replace into cursors values (?, ?)", (_SUBSCRIBER, item.upto))
    return [None] * len(items)
