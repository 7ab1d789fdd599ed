"""One-time codes: begun within limits, checked and counted in one transaction, ended once."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from tidings.domain.verification import Verification
from tidings.kit.limits import VERIFY_SEEN_ROWS
from tidings.kit.secrets import KeyRing
from tidings.policy.velocity import WINDOW_S, Mark, Refusal, Seen, judge
from tidings.store.postgres import idempotency, locks, transitions
from tidings.store.postgres.keys import claimed
from tidings.store.postgres.rowset import rowset, turned
from tidings.store.postgres.session import Session
from tidings.store.verifying import (
    COLUMNS,
    HELD,
    JOIN,
    Act,
    Done,
    Held,
    NewVerification,
    Started,
    Step,
    Tally,
    VerificationFilter,
    Withdrawal,
    cancel_step,
    check_step,
    event_data,
    replayed_check,
    resend_step,
    verification,
)

_INSERT = """
insert into verifications (project, id, mode, status, channel, channels, country, locale, reference, code_hash, code_length,
  max_attempts, created_ms, sent_ms, expires_ms) values ($1, $2, $3, 'pending', $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, $13)"""
_SEEN = """
select k.created_ms, v.sends, v.attempts, v.status = 'approved' from verification_marks k
join verifications v on v.project = k.project and v.id = k.verification
where k.project = $1 and k.mode = $2 and k.kind = $3 and k.mark = $4 and k.created_ms > $5
order by k.created_ms desc limit $6"""
_HOLD = f"""
select {HELD} from verifications v join {rowset("e", "p text, i text, m text")}
on v.project = e.p and v.id = e.i and v.mode = e.m order by v.project, v.id for no key update of v"""
_UPDATE = """
update verifications set status = coalesce($3, status), attempts = coalesce($4, attempts), sends = coalesce($5, sends),
  ended_ms = case when $3::text is null then ended_ms else $6 end, sent_ms = case when $5::int is null then sent_ms else $6 end,
  channel = coalesce($7, channel), reason = coalesce($8, reason)
where project = $1 and id = $2"""

Key = tuple[str, str]


async def start(session: Session, items: list[NewVerification]) -> list[Started]:
    """Begins each, unless its marks say no."""
    names = {f"{item.project}/{item.mode}/{kind}/{mark}" for item in items for kind, mark in item.marks}
    await locks.marks(session, names)
    claims = await claimed(session, [(item.claim, item.id) for item in items])
    return [await _start(session, item, claim) for item, claim in zip(items, claims, strict=True)]


async def _start(session: Session, item: NewVerification, claim: tuple[str, str]) -> Started:
    kind, id = claim
    if kind != "new":
        return Started("replay" if kind == "replay" else "reused", id)
    refusal = await _refusal(session, item)
    if refusal is not None:
        if item.claim is not None:
            await idempotency.forget(session, item.project, item.claim.key_hash)
        return Started("refused", item.id, refusal)
    await session.execute(
        _INSERT, item.project, item.id, item.mode, item.channel, item.channels, item.country, item.locale, item.reference,
        item.code_hash, item.code_length, item.max_attempts, item.created_ms, item.expires_ms,
    )  # fmt: skip
    await session.execute(
        "insert into personal (project, owner, key_id, to_hash, sealed) values ($1, $2, $3, $4, $5)",
        item.project, item.id, item.key_id, item.to_hash, item.sealed,
    )  # fmt: skip
    for mark in item.marks:
        await session.execute(
            "insert into verification_marks values ($1, $2, $3, $4, $5, $6)",
            item.project, item.mode, *mark, item.created_ms, item.id,
        )  # fmt: skip
    data = msgspec.json.encode({"mode": item.mode, "channel": item.channel}).decode()
    event = (item.project, item.event, "verification.started", item.id, item.created_ms, data)
    transitions.add_events(session, [event])
    return Started("new", item.id)


async def _refusal(session: Session, item: NewVerification) -> Refusal | None:
    since_ms = item.created_ms - WINDOW_S * 1000
    seen: dict[Mark, list[Seen]] = {}
    for mark in item.marks:
        found = await session.fetch(_SEEN, item.project, item.mode, *mark, since_ms, VERIFY_SEEN_ROWS)
        seen[mark] = [Seen(*row) for row in found]
    allowed = await session.fetchval(
        "select 1 from verification_prefixes where project = $1 and prefix = any($2::text[]) limit 1",
        item.project, list(item.prefixes),
    )  # fmt: skip
    return judge(seen, item.created_ms, allowed=allowed is not None)


async def check(session: Session, items: list[Act]) -> list[Done]:
    """Compares and counts."""
    return await _act(session, items, check_step, replayed_check)


async def resend(session: Session, items: list[Act]) -> list[Done]:
    """One more message is to be sent."""
    return await _act(session, items, resend_step, _resent)


async def cancel(session: Session, items: list[Act]) -> list[Done]:
    """Ends it."""
    return await _act(session, items, cancel_step, lambda held, act: cancel_step(held, act).done)


def _resent(held: Held, act: Act) -> Done:
    return Done("sent", n=held.sends, replayed=True)


async def _hold(session: Session, keys: Sequence[tuple[str, str, str]]) -> dict[Key, Held]:
    """Locks them in the order of their keys: who checks the same one waits for this transaction's end."""
    found = [Held(*row) for row in await session.fetch(_HOLD, *turned(sorted(set(keys))))]
    return {(held.project, held.id): held for held in found}


async def _act(
    session: Session, items: list[Act], rule: Callable[[Held, Act], Step], again: Callable[[Held, Act], Done]
) -> list[Done]:
    helds = await _hold(session, [(act.project, act.id, act.mode) for act in items])
    there = [act for act in items if _of(helds, act) is not None]
    claims = dict(zip(map(id, there), await claimed(session, [(act.claim, act.id) for act in there]), strict=True))
    answers: list[Done] = []
    for act in items:
        held = _of(helds, act)
        if held is None:
            answers.append(Done("gone"))
            continue
        kind, _ = claims[id(act)]
        if kind != "new":
            answers.append(again(held, act) if kind == "replay" else Done("reused"))
            continue
        step = rule(held, act)
        helds[held.project, held.id] = await _write(session, held, step, act)
        if act.claim is not None and step.done.kind in ("too_soon", "too_many"):
            await idempotency.forget(session, act.project, act.claim.key_hash)
        answers.append(step.done)
    return answers


def _of(helds: dict[Key, Held], act: Act) -> Held | None:
    held = helds.get((act.project, act.id))
    return held if held is not None and held.mode == act.mode else None


async def _write(session: Session, held: Held, step: Step, act: Act) -> Held:
    """The row as it is then."""
    if step.status is None and step.attempts is None and step.sends is None:
        return held
    channel = act.channel if step.sends is not None else None
    await session.execute(
        _UPDATE, held.project, held.id, step.status, step.attempts, step.sends, act.now_ms, channel,
        act.reason if step.status else None,
    )  # fmt: skip
    if step.event_type is not None:
        event = (held.project, act.event, step.event_type, held.id, act.now_ms, event_data(held, step))
        transitions.add_events(session, [event])
    return msgspec.structs.replace(
        held,
        status=step.status or held.status,
        attempts=held.attempts if step.attempts is None else step.attempts,
        sends=held.sends if step.sends is None else step.sends,
        sent_ms=held.sent_ms if step.sends is None else act.now_ms,
    )


async def withdraw(session: Session, items: list[Withdrawal]) -> list[None]:
    """What was begun could not be sent: a first message ends its verification, which then counts for nothing."""
    for item in sorted(items, key=lambda item: (item.project, item.id)):
        if item.claim is not None:
            await idempotency.forget(session, item.project, item.claim.key_hash)
        if item.n > 1:
            await session.execute(
                "update verifications set sends = sends - 1 where project = $1 and id = $2 and sends = $3",
                item.project, item.id, item.n,
            )  # fmt: skip
            continue
        ended = await session.execute(
            "update verifications set status = 'canceled', ended_ms = $1, reason = 'not_sent', sends = 0"
            " where project = $2 and id = $3 and status = 'pending' and sends = 1",
            item.now_ms, item.project, item.id,
        )  # fmt: skip
        if not ended:
            continue
        for mark in item.marks:
            await session.execute(
                "delete from verification_marks where project = $1 and mode = $2 and kind = $3 and mark = $4"
                " and created_ms = $5 and verification = $6",
                item.project, item.mode, *mark, item.created_ms, item.id,
            )  # fmt: skip
        data = msgspec.json.encode({"reason": "not_sent"}).decode()
        event = (item.project, item.event, "verification.canceled", item.id, item.now_ms, data)
        transitions.add_events(session, [event])
    return [None] * len(items)


async def carried(session: Session, items: list[tuple[str, str, str]]) -> list[None]:
    """(project, id, channel that the code came by)."""
    for project, id, channel in sorted(items):
        await session.execute(
            "update verifications set channel = $1 where project = $2 and id = $3", channel, project, id
        )
    return [None] * len(items)


_PAST = "select 1 from verifications where status = 'pending' and expires_ms <= $1 limit $2"
_OLD = "select 1 from verification_marks where created_ms < $1 limit $2"
_ENDED = "select 1 from verifications where ended_ms < $1 limit $2"
_FORGET = """
with gone as (
  delete from verifications where ctid = any(array(
    select ctid from verifications where ended_ms < $1 order by ended_ms limit $2 for update skip locked))
  returning project, id),
sealed as (delete from personal p using gone g where p.project = g.project and p.owner = g.id)
select count(*) from gone"""


async def overdue(
    session: Session, now_ms: int, before_ms: int, ended_ms: int, limit: int
) -> tuple[int, int, int]:  # fmt: skip
    """How many are past their time, how many marks are old, how many ended long ago; each up to a limit. A read."""

    async def count(sql: str, than_ms: int) -> int:
        return len(await session.fetch(sql, than_ms, limit))

    return await count(_PAST, now_ms), await count(_OLD, before_ms), await count(_ENDED, ended_ms)


async def expire(session: Session, items: list[tuple[int, list[str]]]) -> list[int]:
    """(now_ms, ids of events): how many were ended."""
    answers: list[int] = []
    for now_ms, events in items:
        due = await session.fetch(
            f"select {HELD} from verifications where status = 'pending' and expires_ms <= $1"
            " order by expires_ms limit $2 for no key update skip locked",
            now_ms, len(events),
        )  # fmt: skip
        for row, event in zip(due, events, strict=False):
            held = Held(*row)
            act = Act(project=held.project, mode=held.mode, id=held.id, now_ms=now_ms, event=event)
            await _write(session, held, Step(Done("expired"), status="expired"), act)
        answers.append(len(due))
    return answers


async def forget_marks(session: Session, items: list[tuple[int, int]]) -> list[int]:
    """(before_ms, limit): how many were removed."""
    return [
        await session.execute(
            "delete from verification_marks where ctid = any(array(select ctid from verification_marks"
            " where created_ms < $1 limit $2 for update skip locked))",
            before_ms, limit,
        )
        for before_ms, limit in items
    ]  # fmt: skip


async def forget(session: Session, items: list[tuple[int, int]]) -> list[int]:
    """(ended_ms, limit): how many were removed. Their sealed rows go with them."""
    return [int(await session.fetchval(_FORGET, ended_ms, limit) or 0) for ended_ms, limit in items]


async def get(session: Session, ring: KeyRing, project: str, mode: str, id: str) -> Verification | None:
    """One verification. A read."""
    row = await session.fetchrow(
        f"select {COLUMNS} from verifications v {JOIN} where v.project = $1 and v.id = $2 and v.mode = $3",
        project, id, mode,
    )  # fmt: skip
    return None if row is None else verification(ring, row)


async def by_id(session: Session, ring: KeyRing, project: str, ids: list[str]) -> dict[str, Verification]:
    """Those of these ids that belong to the project. A read."""
    sql = f"select {COLUMNS} from verifications v {JOIN} where v.project = $1 and v.id = any($2::text[])"
    return {row[1]: verification(ring, row) for row in await session.fetch(sql, project, ids)}


async def page(session: Session, ring: KeyRing, wanted: VerificationFilter) -> list[Verification]:
    """One page, newest first. A read."""
    where, values = ["v.project = $1", "v.mode = $2"], list[Any]([wanted.project, wanted.mode])
    for condition, value in (
        ("v.id < ", wanted.before),
        ("v.status = ", wanted.status),
        ("v.reference = ", wanted.reference),
        ("p.to_hash = ", wanted.to_hash),
    ):
        if value is not None:
            values.append(value)
            where.append(f"{condition}${len(values)}")
    join = JOIN if wanted.to_hash is None else JOIN.removeprefix("left ")
    sql = f"select {COLUMNS} from verifications v {join} where {' and '.join(where)} order by v.id desc"
    found = await session.fetch(f"{sql} limit {wanted.limit:d}", *values)
    return [verification(ring, row) for row in found]


_TALLY = """
with newest as (select channel, country, status, ended_ms - created_ms as took_ms from verifications
  where project = $1 and mode = $2 and id >= $3 and id < $4 and created_ms >= $5 and created_ms < $6
    and reason is distinct from 'not_sent' order by id desc limit $7),
ranked as (select *, row_number() over w as n, count(*) over (partition by channel, country, status) as total from newest
  window w as (partition by channel, country, status order by took_ms))
select channel, country, count(*), count(*) filter (where status = 'approved'),
  count(*) filter (where status = 'max_attempts'), count(*) filter (where status = 'expired'),
  count(*) filter (where status = 'canceled'), count(*) filter (where status = 'pending'),
  min(took_ms) filter (where status = 'approved' and n >= 0.5 * total),
  min(took_ms) filter (where status = 'approved' and n >= 0.9 * total),
  min(took_ms) filter (where status = 'approved' and n >= 0.99 * total)
from ranked group by channel, country order by channel, country nulls first"""
_SLACK_MS = 1_000  # an id is made up to this long after the time of its row


async def tally(
    session: Session, project: str, mode: str, since_ms: int, until_ms: int, limit: int
) -> tuple[list[Tally], int]:
    """By channel and country, and how many verifications that counts. A read."""
    bounds = (f"ver_{max(0, since_ms - _SLACK_MS):012x}", f"ver_{max(0, until_ms + _SLACK_MS):012x}")
    found = await session.fetch(_TALLY, project, mode, *bounds, since_ms, until_ms, limit)
    tallies = [Tally(*row) for row in found]
    return tallies, sum(item.started for item in tallies)


async def allow(session: Session, items: list[tuple[str, str, int, int]]) -> list[bool]:
    """(project, prefix, now_ms, most): whether it is allowed now."""
    answers: list[bool] = []
    for project, prefix, now_ms, most in items:
        await session.execute(
            "insert into verification_prefixes select $1, $2, $3::bigint"
            " where (select count(*) from verification_prefixes where project = $1) < $4::bigint on conflict do nothing",
            project, prefix, now_ms, most,
        )  # fmt: skip
        there = await session.fetchval(
            "select 1 from verification_prefixes where project = $1 and prefix = $2", project, prefix
        )
        answers.append(there is not None)
    return answers


async def disallow(session: Session, items: list[tuple[str, str]]) -> list[bool]:
    """(project, prefix): whether it was allowed."""
    sql = "delete from verification_prefixes where project = $1 and prefix = $2"
    return [await session.execute(sql, project, prefix) > 0 for project, prefix in items]


async def prefixes(session: Session, project: str, after: str, limit: int) -> list[tuple[str, int]]:
    """(prefix, created_ms) behind `after`, in order. A read."""
    found = await session.fetch(
        "select prefix, created_ms from verification_prefixes where project = $1 and prefix > $2 order by prefix limit $3",
        project, after, limit,
    )  # fmt: skip
    return [(row[0], row[1]) for row in found]
