"""Jobs that wait for the next channel of a message: put by `transitions`, taken by the sweeper."""

from tidings.kit.secrets import KeyRing
from tidings.store.chain import NOBODY, Advance, Pending, pending
from tidings.store.contract import NEVER
from tidings.store.postgres import locks
from tidings.store.postgres.rowset import rowset, turned
from tidings.store.postgres.session import Row, Session
from tidings.store.sealed import COLUMNS, JOIN, stored

_PUT = f"""
insert into jobs as j (project, message, lane, provider, due_ms, ready_ms, sequence, kind)
select m.project, m.id, m.lane, '{NOBODY}', e.due_ms, e.due_ms, m.sequence, 'fallback'
from {rowset("e", "project text, message text, due_ms bigint")}
join messages m on m.project = e.project and m.id = e.message order by m.project, m.id
on conflict (project, message) do update set
  kind = 'fallback', provider = '{NOBODY}', due_ms = excluded.due_ms, owner = null, rescues = 0, strikes = 0"""
_LOCKED = f"""
with l as materialized (
  select j.project, j.message from {rowset("e", "project text, message text")}
  join jobs j on j.project = e.project and j.message = e.message
    and {{}} order by j.project, j.message for update of j)
delete from jobs j using l where j.project = l.project and j.message = l.message returning j.project, j.sequence"""
_DROP = _LOCKED.format("j.owner is null")
_STOP = _LOCKED.format("j.kind = 'fallback'")
_DUE = f"""
select {COLUMNS}, j.tries, a.channel, a.status from (
  select * from jobs where kind = 'fallback' and due_ms <= $1 order by due_ms limit $2) j
join messages m on m.project = j.project and m.id = j.message {JOIN}
left join lateral (
  select b.channel, b.status from attempts b where b.project = m.project and b.message = m.id order by b.n desc limit 1) a
  on true"""
_JOB = """
update jobs j set kind = 'deliver', provider = $3, due_ms = $4, ready_ms = $4, expires_ms = m.valid_until_ms
from messages m where j.project = $1 and j.message = $2 and j.kind = 'fallback' and m.project = $1 and m.id = $2"""
_MESSAGE = """
update messages set channel = $3, chain = $4, status = case when status = 'sending' then 'queued' else status end
where project = $1 and id = $2"""
_PERSONAL = "update personal set to_hash = $3, key_id = $4, sealed = $5 where project = $1 and owner = $2"
_HOLD = f"""
select m.project, m.sequence from {rowset("e", "project text, id text")}
join messages m on m.project = e.project and m.id = e.id order by m.project, m.id for no key update of m"""
_NEXT = f"""
update jobs n set due_ms = n.ready_ms
from (select e.project, (select min(j.message) from jobs j where j.project = e.project and j.sequence = e.sequence) as id
  from {rowset("e", "project text, sequence text")}) f
where n.project = f.project and n.message = f.id and n.due_ms = {NEVER}"""


async def put(session: Session, due: list[tuple[str, str, int]]) -> None:
    """(project, message, due_ms) of locked messages: within a write, the next channel is tried then."""
    await session.execute(_PUT, *turned({row[:2]: row for row in due}.values()))


async def drop(session: Session, keys: list[tuple[str, str]]) -> None:
    """Within a write: no other channel is wanted. What is in a worker's hand goes on."""
    await _free(session, await session.fetch(_DROP, *turned(set(keys))))


async def due(session: Session, ring: KeyRing, now_ms: int, limit: int) -> list[Pending]:
    """Messages whose next channel is due. A read."""
    found = await session.fetch(_DUE, now_ms, limit)
    return [pending(stored(ring, tuple(row)), row[-3], row[-2], row[-1]) for row in found]


async def advance(session: Session, items: list[Advance]) -> list[bool]:
    """Goes on to the next channel; False where the job is gone."""
    await _hold(session, [(item.project, item.message) for item in items])
    answers = [False] * len(items)
    for n in sorted(range(len(items)), key=lambda n: (items[n].project, items[n].message)):
        item = items[n]
        key = (item.project, item.message)
        answers[n] = await session.execute(_JOB, *key, item.provider, item.at_ms) > 0
        if answers[n]:
            await session.execute(_MESSAGE, *key, item.channel, item.chain)
            await session.execute(_PERSONAL, *key, item.to_hash, item.key_id, item.sealed)
            session.events.append((item.project, item.event, "message.fallback", item.message, item.at_ms, item.data))
    return answers


async def stop(session: Session, items: list[tuple[str, str]]) -> list[None]:
    """(project, message): no other channel is tried."""
    await _hold(session, items)
    await _free(session, await session.fetch(_STOP, *turned(set(items))))
    return [None] * len(items)


async def _hold(session: Session, keys: list[tuple[str, str]]) -> None:
    """As `transitions.lock` does: messages in the order of their keys, then the sequences they are in."""
    found = await session.fetch(_HOLD, *turned(set(keys)))
    sequenced = {f"{row[0]}/{row[1]}" for row in found if row[1] is not None}
    if sequenced:
        await locks.sequences(session, sequenced)


async def _free(session: Session, gone: list[Row]) -> None:
    """The next one of each sequence may go."""
    free = {(row[0], row[1]) for row in gone if row[1] is not None}
    if free:
        await session.execute(_NEXT, *turned(free))
