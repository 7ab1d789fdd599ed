"""Jobs: leasing fairly, giving back, expiring, cancelling. Several workers lease at once and never share a job."""

from collections.abc import Iterable
from typing import Any

import msgspec

from tidings.store.contract import NEVER, Change, End, LeaseAsk, Release
from tidings.store.postgres import transitions
from tidings.store.postgres.rowset import columns, rowset, turned
from tidings.store.postgres.session import Session
from tidings.store.postgres.transitions import Key, Locked
from tidings.store.sealed import COLUMNS, JOIN

# How many jobs each tenant of a lane has due, up to the room: a look without locks. The recursion hops from tenant to
# tenant through the index.
_DUE = """
with recursive asked as (select * from unnest($1::int[], $2::int[]) as a (lane, room)),
t (lane, room, project) as (
  select a.lane, a.room, (select min(project) from jobs where lane = a.lane) from asked a
  union all
  select t.lane, t.room, (select min(project) from jobs where lane = t.lane and project > t.project)
  from t where t.project is not null)
select t.lane, t.project, p.provider, c.n
from t cross join unnest($3::text[]) as p (provider)
cross join lateral (select count(*) as n from (
  select 1 from jobs j where j.lane = t.lane and j.project = t.project and j.provider = p.provider and j.due_ms <= $4
  limit t.room) d) c
where t.project is not null and c.n > 0"""
# (Materialized: joined to the update itself, the planner may look for a share once for every row, and take more each time.)
# Takes each tenant's share, skipping what others have locked: they take theirs, nobody waits. Behind COLUMNS come
# jobs.tries, kind, the owner before, the attempt left open, if any, the provider, to_hash, rescues (this one with them),
# strikes, the providers tried on this channel (JSON), if any; then what the order needs.
# (`|| ''` keeps the planner from the index of all open attempts: a message has few, a busy node has thousands.)
_TAKE = f"""
with d as materialized (
  select d.* from unnest($1::int[], $2::text[], $3::text[], $4::int[]) as s (lane, project, provider, share)
  cross join lateral (
    select d.project, d.message, d.owner, d.due_ms from jobs d
    where d.lane = s.lane and d.project = s.project and d.provider = s.provider and d.due_ms <= $7
    order by d.due_ms limit s.share for update skip locked) d),
taken as (
  update jobs j set owner = $5, due_ms = $6, rescues = j.rescues + (d.owner is not null)::int from d
  where j.project = d.project and j.message = d.message
  returning j.project, j.message, j.tries, j.kind, d.owner as before, j.provider, j.rescues, j.strikes, j.lane,
    d.due_ms)
select {COLUMNS}, j.tries, j.kind, j.before, case when j.before is not null then (select a.id from attempts a
    where a.project = m.project and a.message = m.id and a.status || '' = 'sending' limit 1) end,
  j.provider, p.to_hash, j.rescues, j.strikes, case when j.tries > 0 then (
    select jsonb_agg(a.provider order by a.n)::text from attempts a
    where a.project = m.project and a.message = m.id and a.channel || '' = m.channel) end, j.lane, j.due_ms
from taken j join messages m on m.project = j.project and m.id = j.message {JOIN}"""
_EXTRA = 2  # columns of _TAKE that only order its rows

Share = tuple[int, str, str, int]  # lane, project, provider, how many


async def lease(session: Session, asks: list[LeaseAsk]) -> list[list[tuple[Any, ...]]]:
    """For each ask the leased rows, tenants of a lane served in turn."""
    return [await _lease(session, ask) for ask in asks]


async def _lease(session: Session, ask: LeaseAsk) -> list[tuple[Any, ...]]:
    lanes = [lane for lane, room in enumerate(ask.room) if room > 0]
    if not lanes:
        return []
    providers = [ask.provider] if ask.routed_only or not ask.provider else [ask.provider, ""]
    due = await session.fetch(_DUE, lanes, [ask.room[lane] for lane in lanes], providers, ask.now_ms)
    shares = _shares(ask, providers, {(row[0], row[1], row[2]): row[3] for row in due})
    if not shares:
        return []
    found = await session.fetch(_TAKE, *turned(shares), ask.owner, ask.until_ms, ask.now_ms)
    return [tuple(row)[:-_EXTRA] for row in _in_turn(ask, list(found))]


def _shares(ask: LeaseAsk, providers: list[str], due: dict[tuple[int, str, str], int]) -> list[Share]:
    """Equal shares for the tenants of a lane, then what is left over to who has more."""
    shares: list[Share] = []
    taken = 0
    for lane, total in enumerate(ask.room):
        room = total - taken
        have = {tenant: 0 for of, tenant, _ in due if of == lane}
        for tenant in have:
            have[tenant] = min(room, sum(due.get((lane, tenant, provider), 0) for provider in providers))
        given = _rounds([(tenant, have[tenant]) for tenant in _from(ask.after[lane], have)], max(room, 0))
        for tenant, share in given.items():
            taken += share
            # what names nobody (freed from an ill carrier) does not wait behind all that comes for us
            named, free = due.get((lane, tenant, ask.provider), 0), due.get((lane, tenant, ""), 0)
            free = min(free, max(share - named, (share + 1) // 2)) if len(providers) > 1 else 0
            for provider, part in ((ask.provider, min(named, share - free)), ("", free)):
                if part:
                    shares.append((lane, tenant, provider, part))
    return shares


def _from(after: str, tenants: dict[str, int]) -> list[str]:
    """The tenants, beginning behind the one served last."""
    ordered = sorted(tenants)
    return [t for t in ordered if t > after] + [t for t in ordered if t <= after]


def _rounds(have: list[tuple[str, int]], room: int) -> dict[str, int]:
    """One each, turn by turn, until the room is given."""
    given = dict.fromkeys((tenant for tenant, _ in have), 0)
    while room > 0 and have:
        have = [(tenant, n) for tenant, n in have if n > given[tenant]]
        step = max(1, min([room // len(have), *(n - given[t] for t, n in have)])) if have else 0
        for tenant, _ in have:
            part = min(step, room)
            given[tenant] += part
            room -= part
    return {tenant: share for tenant, share in given.items() if share}


def _in_turn(ask: LeaseAsk, found: list[Any]) -> list[Any]:
    """Lane by lane; within a lane the first of each tenant, then the second of each."""
    found.sort(key=lambda row: (row[-2], row[-1], row[1]))
    turns: dict[tuple[int, str], int] = {}
    keyed: list[tuple[tuple[int, int, bool, str], Any]] = []
    for row in found:
        lane, tenant = int(row[-2]), str(row[0])
        turn = turns[lane, tenant] = turns.get((lane, tenant), -1) + 1
        keyed.append(((lane, turn, tenant <= ask.after[lane], tenant), row))
    keyed.sort(key=lambda pair: pair[0])
    return [row for _, row in keyed]


_RENEW = f"""
with l as materialized (
  select j.project, j.message, e.until_ms from {rowset("e", "project text, message text, owner text, until_ms bigint")}
  join jobs j on j.project = e.project and j.message = e.message and j.owner = e.owner
  order by j.project, j.message for update of j)
update jobs j set due_ms = l.until_ms from l where j.project = l.project and j.message = l.message"""


async def renew(session: Session, items: list[tuple[str, str, str, int]]) -> list[None]:
    """(project, message, owner, until_ms): a longer lease, where it is still this owner's."""
    await session.execute(_RENEW, *turned({item[:3]: item for item in items}.values()))
    return [None] * len(items)


_GIVE_BACK = f"""
update jobs j set owner = null, provider = e.provider, due_ms = e.due_ms, kind = e.kind, strikes = j.strikes + e.strike
from {rowset("e", "project text, message text, provider text, due_ms bigint, kind text, strike int, owner text")}
where j.project = e.project and j.message = e.message and (e.owner = '' or j.owner = e.owner)"""


async def release(session: Session, items: list[Release]) -> list[None]:
    """Gives leased jobs back, due at `due_ms`; a `status` is written with its event."""
    last = {(item.project, item.message): item for item in items}
    locked = await hold(session, last)
    released = columns(list(last.values()))
    await session.execute(_GIVE_BACK, *released[:5], *released[8:10])
    await transitions.apply(
        session,
        [
            Change(project=item.project, message=item.message, status=item.status, at_ms=item.at_ms, event=item.event)
            for item in items
            if item.status is not None and item.event is not None
            if item.owner in ("", locked.jobs.get((item.project, item.message), ("",))[0])
        ],
        locked,
    )
    return [None] * len(items)


_STRIKE = f"""
with l as materialized (
  select j.project, j.message, e.by from {rowset("e", "project text, message text, by int")}
  join jobs j on j.project = e.project and j.message = e.message order by j.project, j.message for update of j)
update jobs j set strikes = j.strikes + l.by from l where j.project = l.project and j.message = l.message"""


async def strike(session: Session, items: list[tuple[str, str, int]]) -> list[None]:
    """(project, message, by): noted before a job is worked on alone, and taken back after it."""
    for item in items:
        await session.execute(_STRIKE, *turned([item]))
    return [None] * len(items)


_HOLD = f"""
select j.project, j.message, j.owner, j.kind from {rowset("e", "project text, message text")}
join jobs j on j.project = e.project and j.message = e.message order by j.project, j.message for update of j"""


class Held(Locked):
    """Messages that this transaction holds, with their jobs: (owner, kind)."""

    jobs: dict[Key, tuple[str | None, str]] = msgspec.field(default_factory=dict[Key, tuple[str | None, str]])


async def hold(session: Session, keys: Iterable[Key]) -> Held:
    """Locks messages and then their jobs, each in order. A lease takes no lock on messages: hence both."""
    locked = await transitions.lock(session, keys)
    found = await session.fetch(_HOLD, *turned(locked.status)) if locked.status else []
    return Held(locked.status, locked.chains, {(row[0], row[1]): (row[2], row[3]) for row in found})


async def end(session: Session, items: list[End]) -> list[bool]:
    """Ends messages that have no attempt under way, and removes their jobs."""
    locked = await hold(session, [(item.project, item.message) for item in items])
    return await _end(session, items, locked)


async def _end(session: Session, items: list[End], locked: Locked) -> list[bool]:
    changes = [
        Change(
            project=item.project, message=item.message, status=item.status, at_ms=item.at_ms, event=item.event,
            error=item.error, data=item.error,
        )
        for item in items
    ]  # fmt: skip
    done = await transitions.apply(session, changes, locked)
    await finish(session, [(item.project, item.message) for item in items])
    return done


_FINISH = f"""
with l as materialized (
  select j.project, j.message from {rowset("e", "project text, message text")}
  join jobs j on j.project = e.project and j.message = e.message and j.kind <> 'fallback'
  order by j.project, j.message for update of j)
delete from jobs j using l where j.project = l.project and j.message = l.message returning j.project, j.sequence"""
_NEXT = f"""
update jobs n set due_ms = n.ready_ms
from (select e.project, (select min(j.message) from jobs j where j.project = e.project and j.sequence = e.sequence) as id
  from {rowset("e", "project text, sequence text")}) f
where n.project = f.project and n.message = f.id and n.due_ms = {NEVER}"""


async def finish(session: Session, keys: list[Key]) -> None:
    """Removes jobs of locked messages; the next one of each sequence may go."""
    if not keys:
        return
    gone = await session.fetch(_FINISH, *turned(set(keys)))
    free = {(row[0], row[1]) for row in gone if row[1] is not None}
    if free:
        await session.execute(_NEXT, *turned(free))


async def cancel(session: Session, items: list[tuple[str, str, str, int]]) -> list[str]:
    """(project, message, event, at_ms) → `canceled`, `gone` (no job: too late) or `in_flight` (leased)."""
    held = await hold(session, [(item[0], item[1]) for item in items])
    answers: list[str] = []
    ends: list[End] = []
    for project, message, event, at_ms in items:
        job = held.jobs.get((project, message))
        if job is None:
            answers.append("gone")
        elif job[0] is not None or job[1] != "deliver":
            answers.append("in_flight")
        else:
            del held.jobs[project, message]  # a second caller of this batch comes too late
            ends.append(End(project=project, message=message, status="canceled", at_ms=at_ms, event=event))
            answers.append("canceled")
    if ends:
        await _end(session, ends, held)
    return answers


async def expired(session: Session, now_ms: int, limit: int) -> list[tuple[str, str]]:
    """Jobs at rest whose validity has passed: (project, message). A read."""
    found = await session.fetch(
        "select project, message from jobs where expires_ms <= $1 and owner is null and kind = 'deliver'"
        " order by expires_ms limit $2",
        now_ms,
        limit,
    )
    return [(row[0], row[1]) for row in found]


async def expire(session: Session, items: list[End]) -> list[bool]:
    """Ends those that are still at rest; a job leased meanwhile is left to its worker."""
    held = await hold(session, [(item.project, item.message) for item in items])
    free = [held.jobs.get((item.project, item.message)) == (None, "deliver") for item in items]
    still = [item for item, ours in zip(items, free, strict=True) if ours]
    if still:
        await _end(session, still, held)
    return free


async def take_over(session: Session, items: list[int]) -> list[int]:
    """None: other processes may be at work on this database, and the leases of dead ones end by themselves."""
    return [0] * len(items)


async def queued(session: Session, most: int) -> dict[int, int]:
    """Waiting jobs by lane, counted up to `most` each. A read."""
    sql = "select count(*) from (select 1 from jobs where lane = $1 limit $2) j"
    return {lane: int(await session.fetchval(sql, lane, most)) for lane in (0, 1, 2)}
