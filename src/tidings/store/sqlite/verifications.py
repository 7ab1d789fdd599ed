"""One-time codes: begun within limits, checked and counted in one transaction, ended once."""

from collections.abc import Callable
from typing import Any

import msgspec

from tidings.domain.verification import Verification
from tidings.kit.limits import VERIFY_SEEN_ROWS
from tidings.kit.secrets import KeyRing
from tidings.policy.velocity import WINDOW_S, Mark, Refusal, Seen, judge
from tidings.store.sqlite import idempotency, transitions
from tidings.store.sqlite.keys import claimed
from tidings.store.sqlite.link import Connection
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
  max_attempts, created_ms, sent_ms, expires_ms) values (?, ?, ?, 'pending', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_SEEN = """
select k.created_ms, v.sends, v.attempts, v.status = 'approved' from verification_marks k
join verifications v on v.project = k.project and v.id = k.verification
where k.project = ? and k.mode = ? and k.kind = ? and k.mark = ? and k.created_ms > ? order by k.created_ms desc limit ?"""
_UPDATE = """
update verifications set status = coalesce(?3, status), attempts = coalesce(?4, attempts), sends = coalesce(?5, sends),
  ended_ms = case when ?3 is null then ended_ms else ?6 end, sent_ms = case when ?5 is null then sent_ms else ?6 end,
  channel = coalesce(?7, channel), reason = coalesce(?8, reason)
where project = ?1 and id = ?2"""


def start(connection: Connection, items: list[NewVerification]) -> list[Started]:
    """Begins each, unless its marks say no."""
    return [_start(connection, item) for item in items]


def _start(connection: Connection, item: NewVerification) -> Started:
    kind, id = claimed(connection, item.claim, item.id)
    if kind != "new":
        return Started("replay" if kind == "replay" else "reused", id)
    refusal = _refusal(connection, item)
    if refusal is not None:
        if item.claim is not None:
            idempotency.forget(connection, item.project, item.claim.key_hash, item.created_ms)
        return Started("refused", item.id, refusal)
    connection.execute(
        _INSERT,
        (
            item.project, item.id, item.mode, item.channel, item.channels, item.country, item.locale, item.reference,
            item.code_hash, item.code_length, item.max_attempts, item.created_ms, item.created_ms, item.expires_ms,
        ),
    )  # fmt: skip
    connection.execute(
        "insert into personal (project, owner, key_id, to_hash, sealed) values (?, ?, ?, ?, ?)",
        (item.project, item.id, item.key_id, item.to_hash, item.sealed),
    )
    connection.executemany(
        "insert into verification_marks values (?, ?, ?, ?, ?, ?)",
        [(item.project, item.mode, *mark, item.created_ms, item.id) for mark in item.marks],
    )
    data = msgspec.json.encode({"mode": item.mode, "channel": item.channel}).decode()
    event = (item.project, item.event, "verification.started", item.id, item.created_ms, data)
    transitions.add_events(connection, [event])
    return Started("new", item.id)


def _refusal(connection: Connection, item: NewVerification) -> Refusal | None:
    since_ms = item.created_ms - WINDOW_S * 1000
    seen: dict[Mark, list[Seen]] = {}
    for mark in item.marks:
        found = connection.execute(_SEEN, (item.project, item.mode, *mark, since_ms, VERIFY_SEEN_ROWS))
        seen[mark] = [Seen(int(row[0]), int(row[1]), int(row[2]), bool(row[3])) for row in found]
    allowed = connection.execute(
        "select 1 from verification_prefixes where project = ? and prefix in (select value from json_each(?)) limit 1",
        (item.project, msgspec.json.encode(item.prefixes).decode()),
    ).fetchone()
    return judge(seen, item.created_ms, allowed=allowed is not None)


def check(connection: Connection, items: list[Act]) -> list[Done]:
    """Compares and counts."""
    return [_act(connection, item, check_step, replayed_check) for item in items]


def resend(connection: Connection, items: list[Act]) -> list[Done]:
    """One more message is to be sent."""
    return [_act(connection, item, resend_step, _resent) for item in items]


def cancel(connection: Connection, items: list[Act]) -> list[Done]:
    """Ends it."""
    return [_act(connection, item, cancel_step, lambda held, act: cancel_step(held, act).done) for item in items]


def _resent(held: Held, act: Act) -> Done:
    return Done("sent", n=held.sends, replayed=True)


def _act(
    connection: Connection, act: Act, rule: Callable[[Held, Act], Step], again: Callable[[Held, Act], Done]
) -> Done:
    row = connection.execute(
        f"select {HELD} from verifications where project = ? and id = ? and mode = ?", (act.project, act.id, act.mode)
    ).fetchone()
    if row is None:
        return Done("gone")
    held = Held(*row)
    kind, _ = claimed(connection, act.claim, act.id)
    if kind != "new":
        return again(held, act) if kind == "replay" else Done("reused")
    step = rule(held, act)
    _write(connection, held, step, act)
    if act.claim is not None and step.done.kind in ("too_soon", "too_many"):
        idempotency.forget(connection, act.project, act.claim.key_hash, act.now_ms)
    return step.done


def _write(connection: Connection, held: Held, step: Step, act: Act) -> None:
    if step.status is None and step.attempts is None and step.sends is None:
        return
    channel = act.channel if step.sends is not None else None
    values = (step.status, step.attempts, step.sends, act.now_ms, channel, act.reason if step.status else None)
    connection.execute(_UPDATE, (held.project, held.id, *values))
    if step.event_type is not None:
        event = (held.project, act.event, step.event_type, held.id, act.now_ms, event_data(held, step))
        transitions.add_events(connection, [event])


def withdraw(connection: Connection, items: list[Withdrawal]) -> list[None]:
    """What was begun could not be sent: a first message ends its verification, which then counts for nothing."""
    for item in items:
        if item.claim is not None:
            idempotency.forget(connection, item.project, item.claim.key_hash, item.now_ms)
        if item.n > 1:
            connection.execute(
                "update verifications set sends = sends - 1 where project = ? and id = ? and sends = ?",
                (item.project, item.id, item.n),
            )
            continue
        connection.execute(
            "update verifications set status = 'canceled', ended_ms = ?, reason = 'not_sent', sends = 0"
            " where project = ? and id = ? and status = 'pending' and sends = 1",
            (item.now_ms, item.project, item.id),
        )
        if not connection.changes():
            continue
        connection.executemany(
            "delete from verification_marks where project = ? and mode = ? and kind = ? and mark = ? and created_ms = ?"
            " and verification = ?",
            [(item.project, item.mode, *mark, item.created_ms, item.id) for mark in item.marks],
        )
        data = msgspec.json.encode({"reason": "not_sent"}).decode()
        event = (item.project, item.event, "verification.canceled", item.id, item.now_ms, data)
        transitions.add_events(connection, [event])
    return [None] * len(items)


def carried(connection: Connection, items: list[tuple[str, str, str]]) -> list[None]:
    """(project, id, channel that the code came by)."""
    for project, id, channel in items:
        connection.execute("update verifications set channel = ? where project = ? and id = ?", (channel, project, id))
    return [None] * len(items)


_PAST = "select 1 from verifications where status = 'pending' and expires_ms <= ? limit ?"
_OLD = "select 1 from verification_marks where created_ms < ? limit ?"
_ENDED = "select 1 from verifications where ended_ms < ? limit ?"


def overdue(
    connection: Connection, now_ms: int, before_ms: int, ended_ms: int, limit: int
) -> tuple[int, int, int]:  # fmt: skip
    """How many are past their time, how many marks are old, how many ended long ago; each up to a limit. A read."""

    def count(sql: str, than_ms: int) -> int:
        return len(list(connection.execute(sql, (than_ms, limit))))

    return count(_PAST, now_ms), count(_OLD, before_ms), count(_ENDED, ended_ms)


def expire(connection: Connection, items: list[tuple[int, list[str]]]) -> list[int]:
    """(now_ms, ids of events): how many were ended."""
    answers: list[int] = []
    for now_ms, events in items:
        due = list(
            connection.execute(
                f"select {HELD} from verifications where status = 'pending' and expires_ms <= ?"
                " order by expires_ms limit ?",
                (now_ms, len(events)),
            )
        )
        for row, event in zip(due, events, strict=False):
            held = Held(*row)
            act = Act(project=held.project, mode=held.mode, id=held.id, now_ms=now_ms, event=event)
            _write(connection, held, Step(Done("expired"), status="expired"), act)
        answers.append(len(due))
    return answers


def forget_marks(connection: Connection, items: list[tuple[int, int]]) -> list[int]:
    """(before_ms, limit): how many were removed."""
    answers: list[int] = []
    for before_ms, limit in items:
        connection.execute(
            "delete from verification_marks where (project, mode, kind, mark, created_ms, verification) in"
            " (select project, mode, kind, mark, created_ms, verification from verification_marks where created_ms < ?"
            " limit ?)",
            (before_ms, limit),
        )
        answers.append(connection.changes())
    return answers


def forget(connection: Connection, items: list[tuple[int, int]]) -> list[int]:
    """(ended_ms, limit): how many were removed. Their sealed rows go with them."""
    answers: list[int] = []
    for item in items:
        gone = list(
            connection.execute(
                "delete from verifications where (project, id) in"
                " (select project, id from verifications where ended_ms < ? order by ended_ms limit ?) returning project, id",
                item,
            )
        )
        connection.executemany("delete from personal where project = ? and owner = ?", gone)
        answers.append(len(gone))
    return answers


def get(connection: Connection, ring: KeyRing, project: str, mode: str, id: str) -> Verification | None:
    """One verification. A read."""
    row = connection.execute(
        f"select {COLUMNS} from verifications v {JOIN} where v.project = ? and v.id = ? and v.mode = ?",
        (project, id, mode),
    ).fetchone()
    return None if row is None else verification(ring, row)


def by_id(connection: Connection, ring: KeyRing, project: str, ids: list[str]) -> dict[str, Verification]:
    """Those of these ids that belong to the project. A read."""
    found = connection.execute(
        f"select {COLUMNS} from verifications v {JOIN} where v.project = ? and v.id in (select value from json_each(?))",
        (project, msgspec.json.encode(ids).decode()),
    )
    return {row[1]: verification(ring, row) for row in found}


def page(connection: Connection, ring: KeyRing, wanted: VerificationFilter) -> list[Verification]:
    """One page, newest first. A read."""
    where, values = ["v.project = ?", "v.mode = ?"], list[Any]([wanted.project, wanted.mode])
    for condition, value in (
        ("v.id < ?", wanted.before),
        ("v.status = ?", wanted.status),
        ("v.reference = ?", wanted.reference),
        ("p.to_hash = ?", wanted.to_hash),
    ):
        if value is not None:
            where.append(condition)
            values.append(value)
    source = f"verifications v {JOIN}"
    if wanted.reference is not None:
        source = f"verifications v indexed by verifications_reference {JOIN}"
    if wanted.to_hash is not None:
        source = (
            "personal p indexed by personal_to cross join verifications v on v.project = p.project and v.id = p.owner"
        )
    sql = f"select {COLUMNS} from {source} where {' and '.join(where)} order by v.id desc limit ?"
    return [verification(ring, row) for row in connection.execute(sql, (*values, wanted.limit))]


_TALLY = """
with newest as (select channel, country, status, ended_ms - created_ms as took_ms from verifications
  where project = ?1 and mode = ?2 and id >= ?3 and id < ?4 and created_ms >= ?5 and created_ms < ?6
    and reason is not 'not_sent' order by id desc limit ?7),
ranked as (select *, row_number() over w as n, count(*) over (partition by channel, country, status) as total from newest
  window w as (partition by channel, country, status order by took_ms))
select channel, country, count(*), count(*) filter (where status = 'approved'),
  count(*) filter (where status = 'max_attempts'), count(*) filter (where status = 'expired'),
  count(*) filter (where status = 'canceled'), count(*) filter (where status = 'pending'),
  min(took_ms) filter (where status = 'approved' and n >= 0.5 * total),
  min(took_ms) filter (where status = 'approved' and n >= 0.9 * total),
  min(took_ms) filter (where status = 'approved' and n >= 0.99 * total)
from ranked group by channel, country order by channel, country"""
_SLACK_MS = 1_000  # an id is made up to this long after the time of its row


def tally(
    connection: Connection, project: str, mode: str, since_ms: int, until_ms: int, limit: int
) -> tuple[list[Tally], int]:
    """By channel and country, and how many verifications that counts. A read."""
    bounds = (f"ver_{max(0, since_ms - _SLACK_MS):012x}", f"ver_{max(0, until_ms + _SLACK_MS):012x}")
    found = connection.execute(_TALLY, (project, mode, *bounds, since_ms, until_ms, limit))
    tallies = [Tally(*row) for row in found]
    return tallies, sum(item.started for item in tallies)


def allow(connection: Connection, items: list[tuple[str, str, int, int]]) -> list[bool]:
    """(project, prefix, now_ms, most): whether it is allowed now."""
    answers: list[bool] = []
    for project, prefix, now_ms, most in items:
        connection.execute(
            "insert or ignore into verification_prefixes select ?1, ?2, ?3"
            " where (select count(*) from verification_prefixes where project = ?1) < ?4",
            (project, prefix, now_ms, most),
        )
        there = connection.execute(
            "select 1 from verification_prefixes where project = ? and prefix = ?", (project, prefix)
        ).fetchone()
        answers.append(there is not None)
    return answers


def disallow(connection: Connection, items: list[tuple[str, str]]) -> list[bool]:
    """(project, prefix): whether it was allowed."""
    answers: list[bool] = []
    for project, prefix in items:
        connection.execute("delete from verification_prefixes where project = ? and prefix = ?", (project, prefix))
        answers.append(connection.changes() > 0)
    return answers


def prefixes(connection: Connection, project: str, after: str, limit: int) -> list[tuple[str, int]]:
    """(prefix, created_ms) behind `after`, in order. A read."""
    found = connection.execute(
        "select prefix, created_ms from verification_prefixes where project = ? and prefix > ? order by prefix limit ?",
        (project, after, limit),
    )
    return [(str(row[0]), int(row[1])) for row in found]
