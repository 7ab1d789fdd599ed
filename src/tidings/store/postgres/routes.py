"""Routes made over the API, the health of carriers, and attempts that wait for a receipt."""

import msgspec

from tidings.kit.ids import new_id
from tidings.routing import pace
from tidings.routing.pace import Fill
from tidings.store.postgres import jobs, keys, transitions
from tidings.store.postgres.rowset import rowset, turned
from tidings.store.postgres.session import Session
from tidings.store.postgres.transitions import Key
from tidings.store.routes import HealthRow, NewHealth, NewRoute, RouteRow, Waiting, Wanted

_WAIT = f"""
insert into receipt_waits as w (project, message, attempt, due_ms)
select e.project, e.message, e.attempt, e.due_ms
from {rowset("e", "project text, message text, attempt text, due_ms bigint")} order by e.project, e.message
on conflict (project, message) do update set attempt = excluded.attempt, due_ms = excluded.due_ms"""
_DUE = "select project, message, attempt from receipt_waits where due_ms <= $1 order by due_ms limit $2"
_TAKE = f"""
delete from receipt_waits w using {rowset("e", "project text, message text, attempt text")}
where w.project = e.project and w.message = e.message and w.attempt = e.attempt returning w.project, w.message, w.attempt"""
# A message that has a job goes on by itself: to its next channel. The messages are locked.
_AGAIN = f"""
insert into jobs as j (project, message, lane, due_ms, ready_ms, tries, kind)
select m.project, m.id, m.lane, $4, $4, (select max(n) from attempts b where b.project = m.project and b.message = m.id), 'again'
from {rowset("e", "project text, message text, attempt text")}
join messages m on m.project = e.project and m.id = e.message and m.status = 'sent'
join attempts a on a.project = e.project and a.id = e.attempt and a.status = 'sent' and a.channel = m.channel
order by m.project, m.id on conflict do nothing returning j.project, j.message"""
_PROVIDERS = f"""
select a.project, a.message, a.id, a.provider from {rowset("e", "project text, attempt text")}
join attempts a on a.project = e.project and a.id = e.attempt"""
_COME = f"""
select j.project, j.message from {rowset("e", "project text, message text")}
join jobs j on j.project = e.project and j.message = e.message and j.kind = 'again'
order by j.project, j.message for update of j"""
_OURS = f"""
select j.project, j.message from {rowset("e", "project text, message text, owner text")}
join jobs j on j.project = e.project and j.message = e.message and j.owner = e.owner and j.kind = 'again'"""
_KEYS = """
insert into paces (key, next_us, day, used) select k, 0, 0, 0 from unnest($1::text[]) k order by k on conflict do nothing"""
# Held to the end: of two nodes the second one sees what the first one took.
_FILLS = "select key, next_us, day, used from paces where key = any($1::text[]) order by key for update"
_FILL = f"""
update paces p set next_us = e.next_us, day = e.day, used = e.used
from {rowset("e", "key text, next_us bigint, day int, used bigint")} where p.key = e.key"""
# In the order in which others lock jobs; one that is leased meanwhile keeps its provider.
_UNROUTE = """
with l as materialized (
  select project, message from jobs where provider = $1 and owner is null and kind <> 'fallback'
  order by project, message for update skip locked)
update jobs j set provider = '' from l where j.project = l.project and j.message = l.message"""


async def load(session: Session) -> list[RouteRow]:
    """All of them, by project and id. A read."""
    sql = "select project, id, name, route, created_ms, updated_ms from routes order by project, id"
    return [
        RouteRow(project=r[0], id=r[1], name=r[2], route=r[3], created_ms=r[4], updated_ms=r[5])
        for r in await session.fetch(sql)
    ]


async def create(session: Session, items: list[NewRoute]) -> list[tuple[str, str]]:
    """("new" | "replay" | "reused" | "taken" | "full", id)."""
    projects = sorted({item.row.project for item in items})
    # who makes routes of a project does so alone: their number is limited
    await session.fetch("select 1 from projects where id = any($1::text[]) order by id for update", projects)
    return [await _create(session, item) for item in items]


async def _create(session: Session, item: NewRoute) -> tuple[str, str]:
    row = item.row
    await session.execute("savepoint route")  # where it is refused, the idempotency key stays free too
    kind, id = (await keys.claimed(session, [(item.claim, row.id)]))[0]
    if kind == "new":
        have = await session.fetchrow(
            "select count(*), count(*) filter (where name = $2) from routes where project = $1", row.project, row.name
        )
        assert have is not None
        problem = "taken" if have[1] else "full" if have[0] >= item.most else ""
        if problem:
            await session.execute("rollback to savepoint route")
            return problem, row.id
        await session.execute(
            "insert into routes values ($1, $2, $3, $4, $5, $6)",
            row.project, row.id, row.name, row.route, row.created_ms, row.updated_ms,
        )  # fmt: skip
    await session.execute("release savepoint route")
    return kind, id


async def change(session: Session, items: list[RouteRow]) -> list[str]:
    """`changed`, `gone`, or `taken`."""
    projects = sorted({row.project for row in items})
    await session.fetch("select 1 from projects where id = any($1::text[]) order by id for update", projects)
    answers: list[str] = []
    for row in items:
        other = "select 1 from routes where project = $1 and name = $2 and id <> $3"
        if await session.fetchval(other, row.project, row.name, row.id) is not None:
            answers.append("taken")
            continue
        done = await session.execute(
            "update routes set name = $3, route = $4, updated_ms = $5 where project = $1 and id = $2",
            row.project, row.id, row.name, row.route, row.updated_ms,
        )  # fmt: skip
        answers.append("changed" if done else "gone")
    return answers


async def delete(session: Session, items: list[tuple[str, str]]) -> list[bool]:
    """(project, id) → whether there was one."""
    answers = [False] * len(items)
    for n in sorted(range(len(items)), key=lambda n: items[n]):
        answers[n] = await session.execute("delete from routes where project = $1 and id = $2", *items[n]) > 0
    return answers


async def health(session: Session) -> list[HealthRow]:
    """Of all places whose carrier is not well. A read."""
    found = await session.fetch("select provider, slot, share, reason, since_ms from provider_health")
    return [HealthRow(provider=r[0], slot=r[1], share=r[2], reason=r[3], since_ms=r[4]) for r in found]


async def note(session: Session, items: list[NewHealth]) -> list[None]:
    """Keeps what is thought of carriers, tells it, and frees the jobs of those that get less."""
    for item in sorted(items, key=lambda item: (item.row.provider, item.row.slot)):
        row = item.row
        key = (row.provider, row.slot)
        where = "where provider = $1 and slot = $2"
        old = await session.fetchval(f"select share from provider_health {where} for update", *key)
        if row.share >= 1:
            await session.execute(f"delete from provider_health {where}", *key)
        else:
            await session.execute(
                "insert into provider_health values ($1, $2, $3, $4, $5) on conflict (provider, slot) do update"
                " set share = $3, reason = $4, since_ms = $5",
                *key, row.share, row.reason, row.since_ms,
            )  # fmt: skip
        if row.share < (1.0 if old is None else old):
            await session.execute(_UNROUTE, row.provider)
        if item.event:
            project = item.project or await keys.first_project(session)
            session.events.append((project, item.event_id, item.event, None, row.since_ms, item.data))
    return [None] * len(items)


async def wait(session: Session, waiting: list[Waiting]) -> None:
    """Within a write, of locked messages: these attempts are sent, and wait for a receipt."""
    if waiting:
        await session.execute(_WAIT, *turned({row[:2]: row for row in waiting}.values()))


async def come(session: Session, keys_of: list[tuple[str, str]]) -> None:
    """Within a write, of locked messages: receipts came; what would send them again is no more, also in a worker's hand."""
    if keys_of and await session.fetchval("select 1 from jobs where kind = 'again' limit 1") is not None:
        found = await session.fetch(_COME, *turned(set(keys_of)))
        await jobs.finish(session, [(row[0], row[1]) for row in found])


async def any_wait(session: Session, now_ms: int) -> bool:
    """Whether a wait is over. A read."""
    return await session.fetchval("select 1 from receipt_waits where due_ms <= $1 limit 1", now_ms) is not None


async def overdue(session: Session, items: list[tuple[int, int]]) -> list[list[tuple[str, str]]]:
    """(now_ms, limit): the waits that are over end; (project, message) of those that are sent again."""
    answers: list[list[tuple[str, str]]] = []
    for now_ms, limit in items:
        due = [(row[0], row[1], row[2]) for row in await session.fetch(_DUE, now_ms, limit)]
        await transitions.lock(session, [row[:2] for row in due])  # before their waits, as those that settle do
        taken = [tuple(row) for row in await session.fetch(_TAKE, *turned(due))] if due else []
        again = (
            {(row[0], row[1]) for row in await session.fetch(_AGAIN, *turned(taken), now_ms)} if taken else set[Key]()
        )
        await _tell(session, [row for row in taken if row[:2] in again], now_ms)
        answers.append(sorted(again))
    return answers


async def _tell(session: Session, again: list[tuple[str, ...]], now_ms: int) -> None:
    if again:
        for project, message, attempt, provider in await session.fetch(_PROVIDERS, *turned(row[::2] for row in again)):
            data = msgspec.json.encode({"attempt_id": attempt, "provider": provider, "reason": "no_receipt"}).decode()
            session.events.append((project, new_id("evt"), "message.failover", message, now_ms, data))


async def take(session: Session, items: list[tuple[int, list[Wanted]]]) -> list[list[int]]:
    """(now_ms, the buckets of each message): 0, or when it may try again."""
    keys_of = sorted({bucket.key for _, wanted in items for buckets in wanted for bucket in buckets})
    await session.execute(_KEYS, keys_of)
    found = await session.fetch(_FILLS, keys_of)
    fills = before = {row[0]: Fill(row[1], row[2], row[3]) for row in found}
    answers: list[list[int]] = []
    for now_ms, wanted in items:
        told, fills = pace.take(fills, wanted, now_ms)
        answers.append(told)
    changed = [(key, *fill) for key, fill in fills.items() if before.get(key) != fill]
    if changed:
        await session.execute(_FILL, *turned(changed))
    return answers


async def give_up(session: Session, items: list[tuple[str, str, str]]) -> list[None]:
    """(project, message, owner): the job goes, if it is still this owner's; the message stays as it is."""
    await transitions.lock(session, [item[:2] for item in items])
    found = await session.fetch(_OURS, *turned(set(items)))
    await jobs.finish(session, [(row[0], row[1]) for row in found])
    return [None] * len(items)
