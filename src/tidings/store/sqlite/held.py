"""Work that a restored copy still holds: kept back until an operator says what shall become of it.

The copy does not know what was sent after it was made: every live job may already have reached its person. A held job
waits at `HELD_MS`, which no lease ever reaches and the end of a sequence's predecessor does not move (that one looks
for NEVER). It can be canceled over the API, and it still expires at its time.
"""

from typing import Final

import msgspec

from tidings.kit.ids import new_id
from tidings.store.contract import NEVER, Change, End
from tidings.store.sqlite import jobs, transitions
from tidings.store.sqlite.link import Connection, rows

HELD_MS: Final = NEVER - 1
#: Numbers that the lost server may have given to events since: subscribers' cursors must not lie ahead of new events.
SEQ_GAP: Final = 100_000_000_000
_BATCH: Final = 1_000
_REASON: Final = '{"reason":"restored"}'
_UNSENT: Final = msgspec.json.encode(
    {
        "code": "restored_unsent",
        "detail": "it waited when a backup was restored, and the operator chose not to send it: it may have been sent before",
        "permanent": True,
        "retryable": False,
    }
).decode()
_OPEN = "select project, message, id from attempts where status = 'sending'"


def skip_numbers(connection: Connection) -> None:
    """New events get numbers that the lost server cannot have given."""
    connection.execute("insert into sqlite_sequence select 'events', 0 where not exists"
                       " (select 1 from sqlite_sequence where name = 'events')")  # fmt: skip
    connection.execute("update sqlite_sequence set seq = seq + ? where name = 'events'", (SEQ_GAP,))


def hold(connection: Connection, now_ms: int) -> int:
    """Holds every live job. An attempt that was on the wire becomes unknown: nobody can know. How many jobs there are."""
    open_ones = [(str(p), str(m), str(a)) for p, m, a in connection.execute(_OPEN)]
    connection.execute("update attempts set status = 'unknown' where status = 'sending'")
    connection.execute(
        "update jobs set kind = 'unknown' where (project, message) in (select value->>0, value->>1 from json_each(?))",
        rows(open_ones),
    )
    transitions.add_events(
        connection, [(p, new_id("evt"), "attempt.unknown", m, now_ms, f'{{"attempt_id":"{a}"}}') for p, m, a in open_ones]
    )  # fmt: skip
    keys = [(str(row[0]), str(row[1])) for row in connection.execute("select project, message from jobs")]
    for at in range(0, len(keys), _BATCH):
        changes = [
            Change(project=p, message=m, status="held", at_ms=now_ms, event=new_id("evt"), data=_REASON)
            for p, m in keys[at : at + _BATCH]
        ]
        transitions.apply(connection, changes)  # a message further along keeps its status; its job is held all the same
    connection.execute("update jobs set due_ms = ?, owner = null", (HELD_MS,))
    return len(keys)


def held(connection: Connection) -> int:
    """How many jobs are held."""
    row = connection.execute("select count(*) from jobs where due_ms = ?", (HELD_MS,)).fetchone()
    assert row is not None
    return int(row[0])  # pyright: ignore[reportArgumentType]


def resume(connection: Connection, now_ms: int) -> int:
    """Lets held jobs go: at their time if that is to come, else now; the first of each sequence only. How many."""
    count = held(connection)
    connection.execute(
        "update jobs set due_ms = case when sequence is not null and exists (select 1 from jobs e where"
        " e.project = jobs.project and e.sequence = jobs.sequence and e.message < jobs.message) then ?1"
        " else max(ready_ms, ?2) end where due_ms = ?3",
        (NEVER, now_ms, HELD_MS),
    )
    return count


def give_up(connection: Connection, now_ms: int) -> int:
    """Ends held messages as `failed`, code `restored_unsent`: nobody gets anything twice. How many."""
    done = 0
    while True:
        found = connection.execute("select project, message from jobs where due_ms = ? limit ?", (HELD_MS, _BATCH))
        ends = [
            End(project=str(p), message=str(m), status="failed", at_ms=now_ms, event=new_id("evt"), error=_UNSENT)
            for p, m in found
        ]
        if not ends:
            return done
        jobs.end(connection, ends)
        done += len(ends)
