"""Accepting: message, personal row, job, first event and idempotency record in one commit, and where the path is idle the first
attempt too."""

from msgspec.structs import replace

from tidings.store.contract import NEVER, Accepted, NewMessage
from tidings.store.postgres import attempts, idempotency, locks
from tidings.store.postgres.rowset import columns, rowset, turned
from tidings.store.postgres.session import Session

_MESSAGE = (
    "project text, id text, mode text, channel text, lane int, status text, created_ms bigint, due_ms bigint,"
    " valid_until_ms bigint, sequence text, on_unknown text, template text, locale text, reference text, tags text,"
    " retry_of text, key_id text, to_hash text, sealed text, provider text, event text, owner text, job_due_ms bigint"
)
_FIELDS = len(_MESSAGE.split(","))
# All in one statement: three tables filled from one reading of the arrays.
_INSERT = f"""
with e as materialized (select * from {rowset("e", _MESSAGE)}),
m as (insert into messages (project, id, mode, channel, lane, status, created_ms, due_ms, valid_until_ms, sequence,
    on_unknown, template, locale, reference, tags, retry_of)
  select project, id, mode, channel, lane, status, created_ms, due_ms, valid_until_ms, sequence, on_unknown, template,
    locale, reference, tags, retry_of from e),
p as (insert into personal (project, owner, key_id, to_hash, sealed) select project, id, key_id, to_hash, sealed from e)
insert into jobs (project, message, lane, provider, due_ms, ready_ms, expires_ms, sequence, owner)
select project, id, lane, provider, job_due_ms, due_ms, valid_until_ms, sequence, owner from e"""
_CHAIN = f"""
update messages m set chain = e.chain from {rowset("e", "project text, id text, chain text")}
where m.project = e.project and m.id = e.id"""
_WAITING = f"""
select distinct j.project, j.sequence from {rowset("e", "project text, sequence text")}
join jobs j on j.project = e.project and j.sequence = e.sequence"""
_REPLAY = f"""
select m.project, m.id, m.status, m.channel, m.created_ms from {rowset("e", "project text, id text")}
join messages m on m.project = e.project and m.id = e.id"""


async def accept(session: Session, items: list[NewMessage]) -> list[Accepted]:
    """Stores the messages whose idempotency key is new; one caller's conflict never touches the others."""
    claims = await _claims(session, items)
    fresh: list[NewMessage] = []
    results: list[Accepted] = []
    replays: dict[int, tuple[str, str]] = {}
    for n, (item, (kind, resource)) in enumerate(zip(items, claims, strict=True)):
        if kind == "new":
            fresh.append(item)
            results.append(Accepted("new", item.id, item.status, item.channel, item.created_ms, item.owner is not None))
        else:
            results.append(Accepted(kind, resource, "", "", 0))
            if kind == "replay":
                replays[n] = (item.project, resource)
    if fresh:
        fresh = await _in_sequence(session, fresh, results)
        await session.execute(_INSERT, *columns(fresh)[:_FIELDS])
        chained = [(item.project, item.id, item.chain) for item in fresh if item.chain is not None]
        if chained:
            await session.execute(_CHAIN, *turned(chained))
        session.events += [
            (item.project, item.event, f"message.{item.status}", item.id, item.created_ms, None) for item in fresh
        ]
        await _begin(session, fresh, results)
    await _replay(session, replays, results)
    return results


async def _begin(session: Session, fresh: list[NewMessage], results: list[Accepted]) -> None:
    begins = [item.begin for item in fresh if item.begin is not None]
    if not begins:
        return
    begun = dict(zip([i.message for i in begins], await attempts.begin(session, begins), strict=True))
    for n, result in enumerate(results):
        if result.kind == "new" and result.id in begun:
            results[n] = replace(result, begun=begun[result.id])


async def _claims(session: Session, items: list[NewMessage]) -> list[tuple[str, str]]:
    keyed = [
        (item.project, item.key_hash, item.body_hash or "", item.id) for item in items if item.key_hash is not None
    ]
    claimed = iter(await idempotency.claim_all(session, keyed, items[0].created_ms) if keyed else ())
    return [("new", item.id) if item.key_hash is None else next(claimed) for item in items]


async def _in_sequence(session: Session, fresh: list[NewMessage], results: list[Accepted]) -> list[NewMessage]:
    """Jobs behind another one of their sequence wait at NEVER, and are not handed over."""
    keys = {(item.project, item.sequence) for item in fresh if item.sequence is not None}
    if not keys:
        return fresh
    await locks.sequences(session, (f"{project}/{sequence}" for project, sequence in keys))
    taken: set[tuple[str, str | None]] = {(row[0], row[1]) for row in await session.fetch(_WAITING, *turned(keys))}
    ordered: list[NewMessage] = []
    held: set[str] = set()
    for item in fresh:
        key = (item.project, item.sequence)
        if item.sequence is not None and key in taken:
            ordered.append(_waiting(item))
            held.add(item.id)
        else:
            ordered.append(item)
            taken.add(key)
    for n, result in enumerate(results):
        if result.handed and result.id in held:
            results[n] = Accepted("new", result.id, result.status, result.channel, result.created_ms, False)
    return ordered


def _waiting(item: NewMessage) -> NewMessage:
    fields = [getattr(item, name) for name in item.__struct_fields__]
    fields[21], fields[22] = None, NEVER
    return NewMessage(*fields)


async def _replay(session: Session, replays: dict[int, tuple[str, str]], results: list[Accepted]) -> None:
    if not replays:
        return
    found = {(row[0], row[1]): row for row in await session.fetch(_REPLAY, *turned(replays.values()))}
    for n, key in replays.items():
        row = found.get(key)
        status, channel, created_ms = (row[2], row[3], row[4]) if row is not None else ("accepted", "sms", 0)
        results[n] = Accepted("replay", key[1], status, channel, created_ms)
