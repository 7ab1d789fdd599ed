"""See store/clock.py."""

from tidings.store.clock import MARKS_MS, PAGE, Shift
from tidings.store.sqlite.link import Connection

_SEEN = "select value from installation where name = 'seen_ms'"
_LAST = "select max(id) from (select id from events order by seq desc limit 1000)"
_NOTE = "insert or replace into installation values ('seen_ms', ?)"


def server_ms(connection: Connection) -> int | None:
    """None: SQLite has the clock of this machine."""
    return None


def seen_ms(connection: Connection) -> int | None:
    """The last time that was noted. A read."""
    row = connection.execute(_SEEN).fetchone()
    return int(str(row[0])) if row is not None else None


def last_id(connection: Connection) -> str | None:
    """Of the last thousand events, for those of one moment are in no order. A read."""
    row = connection.execute(_LAST).fetchone()
    return str(row[0]) if row is not None and row[0] is not None else None


def note(connection: Connection, items: list[int]) -> list[None]:
    """It is the last of `items`."""
    connection.execute(_NOTE, (str(items[-1]),))
    return [None] * len(items)


def claim(connection: Connection, items: list[tuple[int, int]]) -> list[bool]:
    """(old_ms, new_ms): whether nobody has told of this jump before."""
    answers: list[bool] = []
    for old_ms, new_ms in items:
        seen = seen_ms(connection)
        first = seen is None or abs(seen - old_ms) < abs(seen - new_ms)
        if first:
            note(connection, [new_ms])
        answers.append(first)
    return answers


_PAGE = "select project, message from jobs where (project, message) > (?, ?) order by project, message limit ?"
_SHIFT = f"""
update jobs set
  due_ms = due_ms + (case when due_ms > (case when owner is null and kind = 'deliver' then ?2 else ?3 end)
    and due_ms < {MARKS_MS} then ?1 else 0 end),
  ready_ms = ready_ms + (case when ready_ms > ?2 and ready_ms < {MARKS_MS} then ?1 else 0 end)
where (project, message) > (?4, ?5) and (project, message) <= (?6, ?7) and (owner is not null or exists (
  select 1 from messages m where m.project = jobs.project and m.id = jobs.message and m.status <> 'scheduled'))"""


def shift_jobs(connection: Connection, items: list[Shift]) -> list[tuple[str, str] | None]:
    """One page of each; where it ended, None at the end of the table."""
    answers: list[tuple[str, str] | None] = []
    for item in items:
        keys = list(connection.execute(_PAGE, (item.project, item.message, PAGE)))
        if not keys:
            answers.append(None)
            continue
        last = (str(keys[-1][0]), str(keys[-1][1]))
        connection.execute(_SHIFT, (*item, *last))
        answers.append(last if len(keys) == PAGE else None)
    return answers


_SHIFT_PARTS = """
update inbound_parts set received_ms = received_ms + ?1
where case when ?1 > 0 then received_ms <= ?2 else received_ms > ?3 end"""


def shift_parts(connection: Connection, items: list[tuple[int, int, int]]) -> list[None]:
    """(by_ms, from_ms, firm_ms): see `StoreClock.shift`."""
    for item in items:
        connection.execute(_SHIFT_PARTS, item)
    return [None] * len(items)


def shift_deliveries(connection: Connection, items: list[tuple[int, int]]) -> list[None]:
    """(by_ms, from_ms)."""
    for by_ms, from_ms in items:
        connection.execute("update deliveries set next_ms = next_ms + ?1 where next_ms > ?2", (by_ms, from_ms))
        connection.execute("update receipt_waits set due_ms = due_ms + ?1 where due_ms > ?2", (by_ms, from_ms))
        connection.execute(
            "update verifications set expires_ms = expires_ms + ?1 where status = 'pending' and expires_ms > ?2",
            (by_ms, from_ms),
        )
    return [None] * len(items)
