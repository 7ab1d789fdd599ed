"""Attempts: stored before the wire, settled after it."""

from itertools import zip_longest
from typing import Any, NamedTuple

import msgspec

from tidings.store.contract import Begin, Begun, Change, Settlement, next_kind
from tidings.store.postgres import jobs, locks, receipts, routes, suppressions, transitions
from tidings.store.postgres.rowset import columns, rowset, turned
from tidings.store.postgres.session import Session

_BEGIN = (
    "project text, message text, attempt text, provider text, channel text, parts int, node text, epoch bigint,"
    " to_hash text, sender text, user_ref bigint, encoding text, at_ms bigint"
)
_FIELDS = len(_BEGIN.split(","))
# Held to the end of this transaction: whoever takes the binds over waits for the attempts that were stored before it.
_OWNERS = """
select provider, node, epoch from provider_leases where provider = any($1::text[]) order by provider, slot for share"""
_SUPPRESSED = f"""
select s.project, s.channel, s.to_hash, s.reason from {rowset("e", "project text, channel text, to_hash text")}
join suppressions s on s.project = e.project and s.channel = e.channel and s.to_hash = e.to_hash"""
# Three tables from one reading of the arrays.
_STORE = f"""
with e as materialized (select * from {rowset("e", _BEGIN)}),
j as (update jobs j set tries = j.tries + 1, provider = e.provider from e
  where j.project = e.project and j.message = e.message returning j.project, j.message, j.tries),
m as (update messages m set provider = e.provider, encoding = e.encoding, parts = e.parts,
    status = case when m.status in ('accepted', 'scheduled', 'held', 'queued') then 'sending' else m.status end
  from e where m.project = e.project and m.id = e.message)
insert into attempts (project, id, message, n, provider, channel, status, parts, node, epoch, to_hash, sender, user_ref,
  created_ms)
select e.project, e.attempt, e.message, j.tries, e.provider, e.channel, 'sending', e.parts, e.node, e.epoch, e.to_hash,
  e.sender, e.user_ref, e.at_ms
from e join j on j.project = e.project and j.message = e.message"""
_CONCAT = f"""
insert into concat_refs as c (provider, to_hash, n)
select e.provider, e.to_hash, e.n from {rowset("e", "provider text, to_hash text, n int")} order by e.provider, e.to_hash
on conflict (provider, to_hash) do update set n = (c.n + excluded.n) & 65535 returning provider, to_hash, n"""


async def begin(session: Session, items: list[Begin]) -> list[Begun]:
    """Stores attempts. Consent, ownership and cancellation are looked at once more, inside this transaction."""
    owners = {tuple(row) for row in await session.fetch(_OWNERS, sorted({item.provider for item in items}))}
    held = await jobs.hold(session, [(item.project, item.message) for item in items])
    reasons = await _suppressed(session, items)
    kinds: list[str] = []
    good: list[Begin] = []
    stopped: list[tuple[Begin, str]] = []
    for item in items:
        job = held.jobs.get((item.project, item.message))
        reason = reasons.get((item.project, item.channel, item.to_hash))
        if job is None or job[0] != item.owner:
            kinds.append("gone")
        elif (item.provider, item.node, item.epoch) not in owners:
            kinds.append("not_owner")
        elif reason is not None:
            kinds.append("suppressed")
            stopped.append((item, reason))
        else:
            kinds.append("ok")
            good.append(item)
    numbers = iter(await _concat_refs(session, good))
    if good:
        await session.execute(_STORE, *columns(good)[:_FIELDS])
    await _suppress(session, stopped, held)
    return [Begun(kind, next(numbers)) if kind == "ok" else Begun(kind) for kind in kinds]


async def _suppressed(session: Session, items: list[Begin]) -> dict[tuple[str, str, str], str]:
    wanted = {(item.project, item.channel, item.to_hash) for item in items}
    return {(row[0], row[1], row[2]): row[3] for row in await session.fetch(_SUPPRESSED, *turned(wanted))}


async def _concat_refs(session: Session, good: list[Begin]) -> list[int]:
    """The concatenation reference of each, 0 for a single part."""
    counts: dict[tuple[str, str], int] = {}
    for item in good:
        if item.parts > 1:
            key = (item.provider, item.to_hash)
            counts[key] = counts.get(key, 0) + 1
    if not counts:
        return [0] * len(good)
    found = await session.fetch(_CONCAT, *turned((*key, n) for key, n in counts.items()))
    following = {(row[0], row[1]): row[2] - counts[row[0], row[1]] for row in found}
    numbers: list[int] = []
    for item in good:
        if item.parts == 1:
            numbers.append(0)
            continue
        key = (item.provider, item.to_hash)
        following[key] += 1
        numbers.append(following[key] & 65535)
    return numbers


async def _suppress(session: Session, stopped: list[tuple[Begin, str]], held: jobs.Held) -> None:
    changes = [
        Change(
            project=item.project, message=item.message, status="suppressed", at_ms=item.at_ms, event=item.event,
            error=_error(reason), data=_error(reason),
        )
        for item, reason in stopped
    ]  # fmt: skip
    await transitions.apply(session, changes, held)
    await jobs.finish(session, [(item.project, item.message) for item, _ in stopped])


def _error(reason: str) -> str:
    detail = f"the recipient is suppressed ({reason})"
    return msgspec.json.encode({"code": "suppressed", "detail": detail, "permanent": True, "retryable": False}).decode()


# (`|| ''`: by the attempt's id, never through the index of all open ones.)
_SETTLE = f"""
update attempts a set status = e.status, sent_ms = coalesce(e.sent_ms, a.sent_ms), ended_ms = e.ended_ms, error = e.error,
  refs = e.refs::jsonb, part_states = case when a.part_states = '' or e.late then e.states else a.part_states end
from {
    rowset(
        "e",
        "project text, id text, status text, sent_ms bigint, ended_ms bigint, error text, states text, refs text, late bool",
    )
}
where a.project = e.project and a.id = e.id and a.status || '' in ('sending', 'unknown')"""
_COSTS = f"""
update attempts a set cost = e.cost from {rowset("e", "project text, id text, cost float8")}
where a.project = e.project and a.id = e.id"""
_LATE = f"""
select a.id, a.part_states, j.kind = 'unknown' and j.owner is null and a.n = j.tries
from {rowset("e", "project text, message text, id text")}
join attempts a on a.project = e.project and a.id = e.id
left join jobs j on j.project = e.project and j.message = e.message"""
_CURRENT = f"""
select a.id from {rowset("e", "project text, message text, id text")}
join attempts a on a.project = e.project and a.id = e.id
join jobs j on j.project = e.project and j.message = e.message and j.tries = a.n"""
_WAIT = f"""
update jobs j set owner = null, due_ms = e.due_ms, kind = e.kind, provider = coalesce(e.provider, j.provider)
from {rowset("e", "project text, message text, due_ms bigint, kind text, provider text")}
where j.project = e.project and j.message = e.message"""
_ATTEMPT_STATUS = {"sent": "sent", "refused": "refused", "retry": "refused", "unknown": "unknown"}


async def settle(session: Session, items: list[Settlement]) -> list[None]:
    """Attempt, message, job, event and the carrier's ids, together; then receipts that came too early."""
    await locks.expect_receipts(session, {item.provider for item in items})
    refs = [
        (item.provider, ref, item.to_hash, item.project, item.attempt, part)
        for item in items
        for part, ref in enumerate(item.refs)
        if ref
    ]
    people = {(item.provider, item.to_hash) for item in items}
    kept = await receipts.kept(session, {row[:3] for row in refs}, people)
    keys = {(item.project, item.message) for item in items} | await receipts.may_speak_of(session, kept)
    # who settles a waiting job writes it: its lock is taken in order before, for a lease may be looking at it
    waits = any(item.kind != "sent" or item.late for item in items)
    locked = await (jobs.hold(session, keys) if waits else transitions.lock(session, keys))
    late = await _late(session, items) if any(item.late for item in items) else {}
    current = await _current(session, items) if waits else frozenset[str]()
    last = {(item.project, item.attempt): item for item in items}
    await session.execute(_SETTLE, *turned(_attempt_row(item, late.get(item.attempt)) for item in last.values()))
    await receipts.add_refs(session, refs)
    costs = [(item.project, item.attempt, item.cost) for item in items if item.cost is not None]
    if costs:
        await session.execute(_COSTS, *turned(costs))
    gone = [one for item in items for one in item.suppressions]
    if gone:
        await suppressions.add(session, gone)
    open_still = [
        item for item in items
        if (late[item.attempt].waits if item.late else item.kind == "sent" or item.attempt in current)
    ]  # fmt: skip
    await transitions.apply(session, [_change(item) for item in open_still if item.status is not None], locked)
    await _settle_jobs(session, open_still)
    await receipts.place_kept(session, kept, locked)
    return [None] * len(items)


async def _current(session: Session, items: list[Settlement]) -> frozenset[str]:
    """The attempts that are the last of their message, and it has not ended.

    A worker that froze, and was taken for dead, may come back with what became of an earlier one: that is no news to the
    message, unless the carrier has it."""
    keys = [(item.project, item.message, item.attempt) for item in items if item.kind != "sent" and not item.late]
    return frozenset(row[0] for row in await session.fetch(_CURRENT, *turned(keys))) if keys else frozenset()


class _Late(NamedTuple):
    """What a late answer meets: whether its message still waits for it, and the parts as they are known."""

    waits: bool
    states: str


async def _late(session: Session, items: list[Settlement]) -> dict[str, _Late]:
    """By attempt. A message that was sent again since, or has ended, waits no more."""
    late = {item.attempt: item for item in items if item.late}
    rows = await session.fetch(_LATE, *turned((item.project, item.message, item.attempt) for item in late.values()))
    found = {row[0]: _Late(bool(row[2]) and late[row[0]].kind != "unknown", row[1]) for row in rows}
    return {attempt: found.get(attempt, _Late(False, "")) for attempt in late}


def _change(item: Settlement) -> Change:
    return Change(
        project=item.project, message=item.message, status=item.status or "", at_ms=item.at_ms, event=item.event,
        error=item.error, data=_event_data(item),
    )  # fmt: skip


def _attempt_row(item: Settlement, late: _Late | None) -> tuple[Any, ...]:
    sent = item.at_ms if item.kind == "sent" else None
    ended = item.at_ms if item.kind in ("refused", "retry") else None
    # a part without an answer is `?`: only a receipt can say that the carrier has it
    states = "".join("s" if ref else "?" for ref in item.refs) if item.kind == "unknown" else "s" * len(item.refs)
    states = item.states or states
    if late is not None:  # receipts may have spoken of some parts since
        states = "".join(new if old == "?" else old for old, new in zip_longest(late.states, states, fillvalue="?"))
    refs = msgspec.json.encode(item.refs).decode() if item.refs else None
    status = _ATTEMPT_STATUS[item.kind]
    return item.project, item.attempt, status, sent, ended, item.error, states, refs, late is not None


def _event_data(item: Settlement) -> str:
    data = msgspec.json.encode({"attempt_id": item.attempt, "provider": item.provider}).decode()
    return data if item.error is None else f'{data[:-1]},"error":{item.error}}}'


async def _settle_jobs(session: Session, items: list[Settlement]) -> None:
    waiting = {
        (item.project, item.message): (item.due_ms, next_kind(item), item.goes_to)
        for item in items
        if next_kind(item) is not None
    }
    if waiting:
        await session.execute(_WAIT, *turned((*key, *how) for key, how in waiting.items()))
    await jobs.finish(session, [(item.project, item.message) for item in items if next_kind(item) is None])
    await routes.wait(session, [(i.project, i.message, i.attempt, i.receipt_by_ms) for i in items if i.receipt_by_ms])
    unknown = [item for item in items if item.kind == "unknown"]
    transitions.add_events(
        session,
        [(u.project, u.event, "attempt.unknown", u.message, u.at_ms, _event_data(u)) for u in unknown],
    )


_ACQUIRE = """
insert into provider_leases as l values ($1, 0, $2, 1, 1.0, $3)
on conflict (provider, slot) do update set node = $2, epoch = l.epoch + 1, until_ms = $3 returning epoch"""


async def acquire(session: Session, items: list[tuple[str, str, int]]) -> list[int]:
    """(provider, node, until_ms) → the epoch under which this node now owns the provider's binds."""
    epochs = [0] * len(items)
    for n in sorted(range(len(items)), key=lambda n: items[n][0]):
        epochs[n] = int(await session.fetchval(_ACQUIRE, *items[n]))
    return epochs
