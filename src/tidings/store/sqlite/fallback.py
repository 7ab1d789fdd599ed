"""Jobs that wait for the next channel of a message: put by `transitions`, taken by the sweeper."""

from tidings.kit.secrets import KeyRing
from tidings.store.chain import NOBODY, Advance, Pending, pending
from tidings.store.contract import NEVER
from tidings.store.sealed import COLUMNS, JOIN, stored
from tidings.store.sqlite.link import Connection, rows

_PUT = f"""
insert into jobs (project, message, lane, provider, due_ms, ready_ms, sequence, kind)
select project, id, lane, '{NOBODY}', ?3, ?3, sequence, 'fallback' from messages where project = ?1 and id = ?2
on conflict (project, message) do update set
  kind = 'fallback', provider = '{NOBODY}', due_ms = excluded.due_ms, owner = null, rescues = 0, strikes = 0"""
_DROP = "delete from jobs where project = ? and message = ? and owner is null returning project, sequence"
_DUE = f"""
select {COLUMNS}, j.tries, a.channel, a.status from (
  select * from jobs where kind = 'fallback' and due_ms <= ? order by due_ms limit ?) j
join messages m on m.project = j.project and m.id = j.message {JOIN}
left join attempts a on a.project = m.project and a.id = (
  select b.id from attempts b where b.project = m.project and b.message = m.id order by b.n desc limit 1)"""
_JOB = """
update jobs set kind = 'deliver', provider = ?3, due_ms = ?4, ready_ms = ?4,
  expires_ms = (select valid_until_ms from messages where project = ?1 and id = ?2)
where project = ?1 and message = ?2 and kind = 'fallback'"""
_MESSAGE = """
update messages set channel = ?3, chain = ?4, status = case when status = 'sending' then 'queued' else status end
where project = ?1 and id = ?2"""
_PERSONAL = "update personal set to_hash = ?3, key_id = ?4, sealed = ?5 where project = ?1 and owner = ?2"
_STOP = "delete from jobs where project = ? and message = ? and kind = 'fallback' returning project, sequence"
_NEXT = """
update jobs set due_ms = ready_ms where due_ms = ?1 and (project, message) in (
  select e.value->>0, (select min(j.message) from jobs j where j.project = e.value->>0 and j.sequence = e.value->>1)
  from json_each(?2) e)"""
_EVENT = "insert into events (project, id, type, message, at_ms, data) values (?, ?, 'message.fallback', ?, ?, ?)"


def put(connection: Connection, due: list[tuple[str, str, int]]) -> None:
    """(project, message, due_ms): within a write, the next channel is tried then."""
    connection.executemany(_PUT, due)


def drop(connection: Connection, keys: list[tuple[str, str]]) -> None:
    """Within a write: no other channel is wanted. What is in a worker's hand goes on."""
    _free(connection, [row for row in connection.executemany(_DROP, keys) if row[1] is not None])


def due(connection: Connection, ring: KeyRing, now_ms: int, limit: int) -> list[Pending]:
    """Messages whose next channel is due. A read."""
    found = list(connection.execute(_DUE, (now_ms, limit)))
    return [pending(stored(ring, row), *row[-3:]) for row in found]


def advance(connection: Connection, items: list[Advance]) -> list[bool]:
    """Goes on to the next channel; False where the job is gone."""
    answers: list[bool] = []
    for item in items:
        key = (item.project, item.message)
        connection.execute(_JOB, (*key, item.provider, item.at_ms))
        answers.append(connection.changes() > 0)
        if answers[-1]:
            connection.execute(_MESSAGE, (*key, item.channel, item.chain))
            connection.execute(_PERSONAL, (*key, item.to_hash, item.key_id, item.sealed))
            connection.execute(_EVENT, (item.project, item.event, item.message, item.at_ms, item.data))
    return answers


def stop(connection: Connection, items: list[tuple[str, str]]) -> list[None]:
    """(project, message): no other channel is tried."""
    _free(connection, [row for row in connection.executemany(_STOP, items) if row[1] is not None])
    return [None] * len(items)


def _free(connection: Connection, gone: list[tuple[object, ...]]) -> None:
    """The next one of each sequence may go."""
    if gone:
        connection.execute(_NEXT, (NEVER, *rows(gone)))
