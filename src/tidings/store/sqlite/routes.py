"""Routes made over the API, the health of carriers, and attempts that wait for a receipt."""

from tidings.kit.ids import new_id
from tidings.routing import pace
from tidings.routing.pace import Fill
from tidings.store.routes import HealthRow, NewHealth, NewRoute, RouteRow, Waiting, Wanted
from tidings.store.sqlite import jobs, keys, transitions
from tidings.store.sqlite.link import Connection, rows

_WAIT = "insert or replace into receipt_waits (project, message, attempt, due_ms) values (?, ?, ?, ?)"
_DUE = """
delete from receipt_waits where (project, message) in (
  select project, message from receipt_waits where due_ms <= ? order by due_ms limit ?)
returning project, message, attempt"""
# A message that has a job goes on by itself: to its next channel.
_AGAIN = """
insert into jobs (project, message, lane, due_ms, ready_ms, tries, kind)
select m.project, m.id, m.lane, ?4, ?4, (select max(n) from attempts b where b.project = ?1 and b.message = ?2), 'again'
from messages m join attempts a on a.project = ?1 and a.id = ?3 and a.status = 'sent' and a.channel = m.channel
where m.project = ?1 and m.id = ?2 and m.status = 'sent' on conflict do nothing returning (
  select json_object('attempt_id', a.id, 'provider', a.provider, 'reason', 'no_receipt') from attempts a
  where a.project = ?1 and a.id = ?3)"""
_GIVE_UP = "select 1 from jobs where project = ? and message = ? and owner = ? and kind = 'again'"
_COME = """
select j.project, j.message from json_each(?) e
join jobs j on j.project = e.value->>0 and j.message = e.value->>1 and j.kind = 'again'"""
_FILLS = "select p.key, p.next_us, p.day, p.used from json_each(?) e join paces p on p.key = e.value"
_FILL = "insert or replace into paces (key, next_us, day, used) values (?, ?, ?, ?)"
_UNROUTE = "update jobs set provider = '' where provider = ? and owner is null and kind <> 'fallback'"


def load(connection: Connection) -> list[RouteRow]:
    """All of them, by project and id. A read."""
    sql = "select project, id, name, route, created_ms, updated_ms from routes order by project, id"
    return [
        RouteRow(
            project=str(r[0]), id=str(r[1]), name=str(r[2]), route=str(r[3]), created_ms=int(r[4]), updated_ms=int(r[5])
        )  # pyright: ignore
        for r in connection.execute(sql)
    ]


class _Refused(Exception):
    pass


def create(connection: Connection, items: list[NewRoute]) -> list[tuple[str, str]]:
    """("new" | "replay" | "reused" | "taken" | "full", id)."""
    answers: list[tuple[str, str]] = []
    for item in items:
        try:
            with connection:  # a savepoint: where it is refused, the idempotency key stays free too
                answers.append(_create(connection, item))
        except _Refused as refused:
            answers.append((str(refused), item.row.id))
    return answers


def _create(connection: Connection, item: NewRoute) -> tuple[str, str]:
    row = item.row
    kind, id = keys.claimed(connection, item.claim, row.id)
    if kind != "new":
        return kind, id
    have = connection.execute("select count(*), sum(name = ?) from routes where project = ?", (row.name, row.project))
    count, same = have.fetchone() or (0, 0)
    if same:
        raise _Refused("taken")
    if int(count) >= item.most:
        raise _Refused("full")
    values = (row.project, row.id, row.name, row.route, row.created_ms, row.updated_ms)
    connection.execute("insert into routes values (?, ?, ?, ?, ?, ?)", values)
    return kind, id


def change(connection: Connection, items: list[RouteRow]) -> list[str]:
    """`changed`, `gone`, or `taken`."""
    answers: list[str] = []
    for row in items:
        other = "select 1 from routes where project = ? and name = ? and id <> ?"
        if connection.execute(other, (row.project, row.name, row.id)).fetchone() is not None:
            answers.append("taken")
            continue
        connection.execute(
            "update routes set name = ?3, route = ?4, updated_ms = ?5 where project = ?1 and id = ?2",
            (row.project, row.id, row.name, row.route, row.updated_ms),
        )
        answers.append("changed" if connection.changes() else "gone")
    return answers


def delete(connection: Connection, items: list[tuple[str, str]]) -> list[bool]:
    """(project, id) → whether there was one."""
    answers: list[bool] = []
    for key in items:
        connection.execute("delete from routes where project = ? and id = ?", key)
        answers.append(connection.changes() > 0)
    return answers


def health(connection: Connection) -> list[HealthRow]:
    """Of all places whose carrier is not well. A read."""
    found = connection.execute("select provider, slot, share, reason, since_ms from provider_health")
    return [
        HealthRow(provider=str(r[0]), slot=int(r[1]), share=float(r[2]), reason=str(r[3]), since_ms=int(r[4]))  # pyright: ignore
        for r in found
    ]


def note(connection: Connection, items: list[NewHealth]) -> list[None]:
    """Keeps what is thought of carriers, tells it, and frees the jobs of those that get less."""
    for item in items:
        row = item.row
        key = (row.provider, row.slot)
        old = connection.execute("select share from provider_health where provider = ? and slot = ?", key).fetchone()
        if row.share >= 1:
            connection.execute("delete from provider_health where provider = ? and slot = ?", key)
        else:
            values = (*key, row.share, row.reason, row.since_ms)
            connection.execute("insert or replace into provider_health values (?, ?, ?, ?, ?)", values)
        if row.share < (1.0 if old is None else float(old[0])):  # pyright: ignore
            connection.execute(_UNROUTE, (row.provider,))
        if item.event:
            project = item.project or keys.first_project(connection)
            event = (project, item.event_id, item.event, None, row.since_ms, item.data)
            transitions.add_events(connection, [event])
    return [None] * len(items)


def wait(connection: Connection, waiting: list[Waiting]) -> None:
    """Within a write: these attempts are sent, and wait for a receipt."""
    connection.executemany(_WAIT, waiting)


def come(connection: Connection, keys_of: list[tuple[str, str]]) -> None:
    """Within a write: receipts came for these messages; what would send them again is no more, also in a worker's hand."""
    if connection.execute("select 1 from jobs where kind = 'again' limit 1").fetchone() is not None:
        found = [(str(row[0]), str(row[1])) for row in connection.execute(_COME, rows(keys_of))]
        jobs.finish(connection, found)


def any_wait(connection: Connection, now_ms: int) -> bool:
    """Whether a wait is over. A read."""
    found = connection.execute("select 1 from receipt_waits where due_ms <= ? limit 1", (now_ms,)).fetchone()
    return found is not None


def overdue(connection: Connection, items: list[tuple[int, int]]) -> list[list[tuple[str, str]]]:
    """(now_ms, limit): the waits that are over end; (project, message) of those that are sent again."""
    answers: list[list[tuple[str, str]]] = []
    for now_ms, limit in items:
        found: list[tuple[str, str]] = []
        for project, message, attempt in list(connection.execute(_DUE, (now_ms, limit))):
            row = connection.execute(_AGAIN, (project, message, attempt, now_ms)).fetchone()
            if row is not None:
                found.append((str(project), str(message)))
                event = (project, new_id("evt"), "message.failover", message, now_ms, str(row[0]))
                transitions.add_events(connection, [event])
        answers.append(found)
    return answers


def take(connection: Connection, items: list[tuple[int, list[Wanted]]]) -> list[list[int]]:
    """(now_ms, the buckets of each message): 0, or when it may try again."""
    answers: list[list[int]] = []
    for now_ms, wanted in items:
        keys_of = sorted({bucket.key for buckets in wanted for bucket in buckets})
        found = connection.execute(_FILLS, rows(keys_of))
        fills = {str(r[0]): Fill(int(r[1]), int(r[2]), int(r[3])) for r in found}  # pyright: ignore
        told, after = pace.take(fills, wanted, now_ms)
        connection.executemany(_FILL, [(key, *fill) for key, fill in after.items() if fills.get(key) != fill])
        answers.append(told)
    return answers


def give_up(connection: Connection, items: list[tuple[str, str, str]]) -> list[None]:
    """(project, message, owner): the job goes, if it is still this owner's; the message stays as it is."""
    ours = [item[:2] for item in items if connection.execute(_GIVE_UP, item).fetchone() is not None]
    jobs.finish(connection, ours)
    return [None] * len(items)
