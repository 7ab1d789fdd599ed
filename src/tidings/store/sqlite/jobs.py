"""Jobs: leasing fairly, giving back, expiring, cancelling, and taking over what a dead process held."""

from itertools import zip_longest
from typing import Any

from tidings.store.contract import NEVER, Change, End, LeaseAsk, Release
from tidings.store.sealed import COLUMNS, JOIN
from tidings.store.sqlite import transitions
from tidings.store.sqlite.link import Connection, rows

#: Behind COLUMNS in a leased row: jobs.tries, kind, the owner before, the attempt left open, if any, provider, to_hash,
#: rescues (this one with them), strikes, and the providers tried on this channel, in order (JSON), if any.
LEASED = COLUMNS + (
    ", j.tries, j.kind, j.owner, case when j.owner is not null then (select a.id from attempts a indexed by attempts_message"
    " where a.project = m.project and a.message = m.id and a.status = 'sending') end, j.provider, p.to_hash,"
    " j.rescues + (j.owner is not null), j.strikes, case when j.tries > 0 then (select json_group_array(a.provider order by a.n)"
    " from attempts a indexed by attempts_message where a.project = m.project and a.message = m.id and a.channel = m.channel) end"
)
_TENANTS = """
with recursive t(x) as (select min(project) from jobs where lane = ?1
  union all select (select min(project) from jobs where lane = ?1 and project > t.x) from t where t.x is not null)
select x from t where x is not null"""
_DUE = "select project, message from jobs where lane = ? and project = ? and provider = ? and due_ms <= ? order by due_ms limit ?"
_READ = (
    f"select {LEASED} from json_each(?) e join jobs j on j.project = e.value->>0 and j.message = e.value->>1"
    f" join messages m on m.project = j.project and m.id = j.message {JOIN}"
)
_TAKE = """
update jobs set rescues = rescues + (owner is not null), owner = ?2, due_ms = ?3
from json_each(?1) e where project = e.value->>0 and message = e.value->>1"""


def lease(connection: Connection, asks: list[LeaseAsk]) -> list[list[tuple[Any, ...]]]:
    """For each ask the leased rows (LEASED), tenants of a lane served in turn."""
    answers: list[list[tuple[Any, ...]]] = []
    for ask in asks:
        keys: list[tuple[str, str]] = []
        for lane, room in enumerate(ask.room):
            if room > len(keys):
                keys += _fair(connection, ask, lane, room - len(keys))
        if not keys:
            answers.append([])
            continue
        value = rows(keys)
        answers.append(list(connection.execute(_READ, value)))
        connection.execute(_TAKE, (*value, ask.owner, ask.until_ms))
    return answers


def _rows(
    connection: Connection, ask: LeaseAsk, lane: int, tenant: str, provider: str, most: int
) -> list[tuple[str, str]]:
    return list(connection.execute(_DUE, (lane, tenant, provider, ask.now_ms, most)))  # pyright: ignore[reportReturnType]


def _fair(connection: Connection, ask: LeaseAsk, lane: int, room: int) -> list[tuple[str, str]]:
    """Round robin over the tenants with due jobs: equal shares, then what is left over to who has more."""
    tenants = [str(row[0]) for row in connection.execute(_TENANTS, (lane,))]
    after = ask.after[lane]
    tenants = [t for t in tenants if t > after] + [t for t in tenants if t <= after]
    waiting: list[list[tuple[str, str]]] = []
    for tenant in tenants:
        due = _rows(connection, ask, lane, tenant, ask.provider, room)
        if (
            not ask.routed_only
        ):  # what names nobody (freed from an ill carrier) does not wait behind all that comes for us
            free = _rows(connection, ask, lane, tenant, "", max(room - len(due), (room + 1) // 2))
            due = due[: room - len(free)]
            due = [one for pair in zip_longest(free, due) for one in pair if one is not None] if free else due
        if due:
            waiting.append(due)
    taken: list[tuple[str, str]] = []
    turn = 0
    while waiting and len(taken) < room:
        waiting = [due for due in waiting if turn < len(due)]
        taken += [due[turn] for due in waiting[: room - len(taken)]]
        turn += 1
    return taken


_RENEW = """
update jobs set due_ms = e.value->>3 from json_each(?) e
where jobs.project = e.value->>0 and jobs.message = e.value->>1 and jobs.owner = e.value->>2"""


def renew(connection: Connection, items: list[tuple[str, str, str, int]]) -> list[None]:
    """(project, message, owner, until_ms): a longer lease, where it is still this owner's."""
    connection.execute(_RENEW, rows(items))
    return [None] * len(items)


_GIVE_BACK = """
update jobs set owner = null, provider = e.value->>2, due_ms = e.value->>3, kind = e.value->>4, strikes = strikes + e.value->>8
from json_each(?) e
where project = e.value->>0 and message = e.value->>1 and (e.value->>9 = '' or owner = e.value->>9)"""


def release(connection: Connection, items: list[Release]) -> list[None]:
    """Gives leased jobs back, due at `due_ms`; a `status` is written with its event."""
    connection.execute(_GIVE_BACK, rows(items))
    transitions.apply(
        connection,
        [
            Change(project=item.project, message=item.message, status=item.status, at_ms=item.at_ms, event=item.event)
            for item in items
            if item.status is not None and item.event is not None
        ],
    )
    return [None] * len(items)


_STRIKE = """
update jobs set strikes = strikes + e.value->>2 from json_each(?) e where project = e.value->>0 and message = e.value->>1"""


def strike(connection: Connection, items: list[tuple[str, str, int]]) -> list[None]:
    """(project, message, by): noted before a job is worked on alone, and taken back after it."""
    connection.execute(_STRIKE, rows(items))
    return [None] * len(items)


def end(connection: Connection, items: list[End]) -> list[bool]:
    """Ends messages that have no attempt under way, and removes their jobs."""
    done = transitions.apply(
        connection,
        [
            Change(
                project=item.project, message=item.message, status=item.status, at_ms=item.at_ms, event=item.event,
                error=item.error, data=item.error,
            )
            for item in items
        ],
    )  # fmt: skip
    finish(connection, [(item.project, item.message) for item in items])
    return done


_FINISH = """
delete from jobs where project = ? and message = ? and kind <> 'fallback' returning project, sequence"""
_NEXT = """
update jobs set due_ms = ready_ms where due_ms = ?1 and (project, message) in (
  select e.value->>0, (select min(j.message) from jobs j where j.project = e.value->>0 and j.sequence = e.value->>1)
  from json_each(?2) e)"""


def finish(connection: Connection, keys: list[tuple[str, str]]) -> None:
    """Removes jobs; the next one of each sequence may go."""
    free = [row for row in connection.executemany(_FINISH, keys) if row[1] is not None]
    if free:
        connection.execute(_NEXT, (NEVER, *rows(free)))


def cancel(connection: Connection, items: list[tuple[str, str, str, int]]) -> list[str]:
    """(project, message, event, at_ms) → `canceled`, `gone` (no job: too late) or `in_flight` (leased)."""
    answers: list[str] = []
    for project, message, event, at_ms in items:
        job = connection.execute(
            "select owner, kind from jobs where project = ? and message = ?", (project, message)
        ).fetchone()
        if job is None:
            answers.append("gone")
        elif job[0] is not None or job[1] != "deliver":
            answers.append("in_flight")
        else:
            end(connection, [End(project=project, message=message, status="canceled", at_ms=at_ms, event=event)])
            answers.append("canceled")
    return answers


def expired(connection: Connection, now_ms: int, limit: int) -> list[tuple[str, str]]:
    """Jobs at rest whose validity has passed: (project, message). A read."""
    found = connection.execute(
        "select project, message from jobs where expires_ms <= ?1 and owner is null and kind = 'deliver'"
        " order by expires_ms limit ?2",
        (now_ms, limit),
    )
    return [(str(row[0]), str(row[1])) for row in found]


def expire(connection: Connection, items: list[End]) -> list[bool]:
    """Ends those that are still at rest; a job leased meanwhile is left to its worker."""
    keys = [(item.project, item.message) for item in items]
    free = {
        (row[0], row[1])
        for row in connection.execute(
            "select j.project, j.message from json_each(?) e join jobs j on j.project = e.value->>0"
            " and j.message = e.value->>1 where j.owner is null and j.kind = 'deliver'",
            rows(keys),
        )
    }
    still = [item for item in items if (item.project, item.message) in free]
    end(connection, still)
    return [(item.project, item.message) in free for item in items]


def take_over(connection: Connection, items: list[int]) -> list[int]:
    """(now_ms) At the start of the only process: every lease of the one before is over now. How many there were."""
    connection.execute("update jobs set due_ms = ? where owner is not null", (items[-1],))
    return [connection.changes()] * len(items)


def queued(connection: Connection, most: int) -> dict[int, int]:
    """Waiting jobs by lane, counted up to `most` each. A read."""
    sql = "select count(*) from (select 1 from jobs where lane = ? limit ?)"
    return {lane: int(connection.execute(sql, (lane, most)).fetchone()[0]) for lane in (0, 1, 2)}  # pyright: ignore
