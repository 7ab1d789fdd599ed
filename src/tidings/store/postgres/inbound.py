"""What people send to us: parts kept until their siblings come, whole messages matched to what they answer."""

from typing import Any

import msgspec

from tidings.kit.limits import INBOUND_DEDUP_S
from tidings.store.contract import InboundPartRow, InboundRow, PartKey
from tidings.store.postgres import locks, transitions, windows
from tidings.store.postgres.rowset import columns, rowset, turned
from tidings.store.postgres.session import Session

_COLUMNS = (
    "provider text, from_hash text, to_hash text, ref int, total int, part int, key_id text, sealed text,"
    " received_ms bigint"
)
_FIELDS = len(_COLUMNS.split(","))
_PART = f"insert into inbound_parts select * from {rowset('e', _COLUMNS)} on conflict do nothing"
_OF = "provider = $1 and from_hash = $2 and to_hash = $3 and ref = $4 and total = $5"
# The latest message that went to this person through this provider.
_ANSWERED = f"""
select e.n, a.project, a.id from {rowset("e", "n int, from_hash text, provider text, project text")}
cross join lateral (
  select m.project, m.id from personal p join messages m on m.project = p.project and m.id = p.owner
  where p.to_hash = e.from_hash and m.provider = e.provider and (e.project = '' or m.project = e.project)
  order by p.owner desc limit 1) a"""

# The messages that are named by the carrier's ids of them.
_NAMED = f"""
select e.n, a.project, a.message from {rowset("e", "n int, place int, ref text, provider text, project text")}
join refs r on r.provider = e.provider and r.ref = e.ref
join attempts a on a.project = r.project and a.id = r.attempt and (e.project = '' or a.project = e.project)
order by e.n, e.place"""

Reply = tuple[str, str]  # project, the message that is answered


async def keep_parts(session: Session, items: list[InboundPartRow]) -> list[list[tuple[Any, ...]]]:
    """Stores parts; for the item that completes its message, the rows (part, key_id, sealed, received_ms), else []."""
    await locks.parts(session, {f"{_key(item)}" for item in items})
    new = await _first_time(session, {n: (item.dedup, item.received_ms) for n, item in enumerate(items) if item.dedup})
    fresh = [item for n, item in enumerate(items) if not item.dedup or n in new]
    if fresh:
        await session.execute(_PART, *columns(fresh)[:_FIELDS])
    answers: list[list[tuple[Any, ...]]] = []
    done: set[PartKey] = set()
    for item in items:
        key = _key(item)
        parts = [] if key in done else await parts_of(session, key)
        whole = len(parts) == item.total
        if whole:
            done.add(key)
        answers.append(parts if whole else [])
    return answers


def _key(item: InboundPartRow) -> PartKey:
    return item.provider, item.from_hash, item.to_hash, item.ref, item.total


async def parts_of(session: Session, key: PartKey) -> list[tuple[Any, ...]]:
    """(part, key_id, sealed, received_ms) of what is there, in order."""
    sql = f"select part, key_id, sealed, received_ms from inbound_parts where {_OF} order by part"
    return [tuple(row) for row in await session.fetch(sql, *key)]


async def stale_parts(session: Session, before_ms: int) -> list[PartKey]:
    """Incomplete messages whose first part came before `before_ms`. A read."""
    found = await session.fetch(
        "select distinct provider, from_hash, to_hash, ref, total from inbound_parts where received_ms < $1 limit 200",
        before_ms,
    )
    return [(row[0], row[1], row[2], row[3], row[4]) for row in found]


async def receive(session: Session, items: list[InboundRow]) -> list[str | None]:
    """Stores whole messages with their events; the project of each, or None for one that was here already."""
    await locks.parts(session, {f"{item.of}" for item in items if item.of is not None})
    whole = {n: (item.dedup, item.received_ms) for n, item in enumerate(items) if item.of is None}
    new = await _first_time(session, whole)
    replies = await _answered(session, items)
    await transitions.lock(session, replies.values())
    default = await session.fetchval("select min(id) from projects")
    answers: list[str | None] = [None] * len(items)
    # by person: rows of suppressions are locked in one order, and STOP and START of one person stay in theirs
    for n in sorted(range(len(items)), key=lambda n: items[n].from_hash):
        item = items[n]
        if item.of is not None:
            if not await session.execute(f"delete from inbound_parts where {_OF}", *item.of):
                continue
        elif n not in new:
            continue
        reply = replies.get(n)
        project = reply[0] if reply is not None else item.provider_project or str(default)
        await _insert(session, item, project, reply[1] if reply is not None else None)
        answers[n] = project
    await windows.opened(session, [item for item, project in zip(items, answers, strict=True) if project is not None])
    return answers


async def _first_time(session: Session, wanted: dict[int, tuple[str, int]]) -> set[int]:
    """Those of (dedup, received_ms) that were not seen before; the unique index decides between two nodes."""
    if not wanted:
        return set()
    ours: dict[str, tuple[int, int]] = {}
    for n, (dedup, received_ms) in wanted.items():
        ours.setdefault(dedup, (n, received_ms))
    latest = max(received_ms for _, received_ms in wanted.values())
    await session.execute(
        "delete from inbound_seen where dedup in (select dedup from inbound_seen where received_ms < $1"
        " order by dedup for update skip locked)",
        latest - INBOUND_DEDUP_S * 1000,
    )
    fresh = await session.fetch(
        f"insert into inbound_seen select * from {rowset('e', 'dedup text, received_ms bigint')} order by e.dedup"
        " on conflict do nothing returning dedup",
        *turned((dedup, received_ms) for dedup, (_, received_ms) in ours.items()),
    )
    return {ours[row[0]][0] for row in fresh}


async def _answered(session: Session, items: list[InboundRow]) -> dict[int, Reply]:
    wanted = [(n, item.from_hash, item.provider, item.provider_project) for n, item in enumerate(items)]
    found = {row[0]: (row[1], row[2]) for row in await session.fetch(_ANSWERED, *turned(wanted))}
    named = [
        (n, place, ref, item.provider, item.provider_project)
        for n, item in enumerate(items)
        for place, ref in enumerate(item.answers)
    ]
    for row in reversed(await session.fetch(_NAMED, *turned(named)) if named else []):  # the best one comes last
        found[row[0]] = (row[1], row[2])
    return found


async def _insert(session: Session, item: InboundRow, project: str, reply: str | None) -> None:
    await session.execute(
        "insert into inbound values ($1, $2, $3, $4, $5, $6, $7, $8)",
        project, item.id, item.provider, item.channel, reply, item.parts, item.missing, item.received_ms,
    )  # fmt: skip
    await session.execute(
        "insert into personal values ($1, $2, $3, $4, $5)", project, item.id, item.key_id, item.from_hash, item.sealed
    )
    data = msgspec.json.encode(
        {"provider": item.provider, "in_reply_to": reply, "missing_parts": item.missing}
    ).decode()
    events: list[tuple[Any, ...]] = [(project, item.events[0], "message.received", item.id, item.received_ms, data)]
    if reply is not None:
        await session.execute(
            "update messages set replied_ms = coalesce(replied_ms, $1) where project = $2 and id = $3",
            item.received_ms, project, reply,
        )  # fmt: skip
        answered = msgspec.json.encode({"inbound_id": item.id}).decode()
        events.append((project, item.events[1], "message.replied", reply, item.received_ms, answered))
    events += await _consent(session, item, project, reply)
    transitions.add_events(session, events)


async def _consent(session: Session, item: InboundRow, project: str, reply: str | None) -> list[tuple[Any, ...]]:
    """STOP suppresses the person for the project on this channel, START lifts that."""
    if item.stop == "start":
        await session.execute(
            "delete from suppressions where project = $1 and channel = $2 and to_hash = $3 and reason = 'stop'",
            project, item.channel, item.from_hash,
        )  # fmt: skip
        return []
    if item.stop != "stop":
        return []
    await session.execute(
        "insert into suppressions values ($1, $2, $3, 'stop', $4) on conflict do nothing",
        project, item.channel, item.from_hash, item.received_ms,
    )  # fmt: skip
    if reply is None:
        return [(project, item.events[2], "contact.unsubscribed", item.id, item.received_ms, None)]
    await session.execute(
        "update messages set unsubscribed_ms = coalesce(unsubscribed_ms, $1) where project = $2 and id = $3",
        item.received_ms, project, reply,
    )  # fmt: skip
    return [(project, item.events[2], "message.unsubscribed", reply, item.received_ms, None)]
