"""Receipts that never came: a cursor follows the `message.sent` events at a distance and looks what became of each."""

from collections.abc import Sequence

from tidings.kit.ids import new_id
from tidings.store.contract import Late
from tidings.store.sqlite import transitions
from tidings.store.sqlite.link import Connection, rows

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
            " where e.seq > ?1 and e.seq < coalesce((select y.seq from events y where y.seq > ?1 and y.at_ms >= ?2"
            " order by y.seq limit 1), 1 << 62) order by e.seq limit ?3",
            (cursor, before_ms, _BATCH),
        )
    )
    late = tuple((str(r[2]), str(r[3])) for r in found if r[1] == "message.sent" and r[4] == "sent")
    return Late(cursor, int(found[-1][0]) if found else cursor, now_ms, late)


_QUESTIONS = """
select a.provider, r.value, a.sender from json_each(?) e
cross join attempts a indexed by attempts_message
  on a.project = e.value->>0 and a.message = e.value->>1 and a.status = 'sent'
join json_each(a.refs) r on r.value <> '' and substr(a.part_states, r.key + 1, 1) = 's'"""


def questions(connection: Connection, messages: Sequence[tuple[str, str]]) -> list[tuple[str, str, str | None]]:
    """The parts of these messages that no receipt has ended. A read."""
    return [(str(p), str(ref), s) for p, ref, s in connection.execute(_QUESTIONS, rows(list(messages)))]


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
