"""Attempts: stored before the wire, settled after it."""

from typing import Any, NamedTuple

import msgspec

from tidings.store.contract import Begin, Begun, Change, Settlement, next_kind
from tidings.store.sqlite import jobs, receipts, routes, suppressions, transitions
from tidings.store.sqlite.link import Connection, rows

_CHECK = """
select (select owner from jobs where project = ?1 and message = ?2) is ?3,
  (select 1 from provider_leases where provider = ?4 and node = ?5 and epoch = ?6 limit 1),
  (select reason from suppressions where project = ?1 and channel = ?7 and to_hash = ?8)"""
#: The same of a message that is being accepted: its job is nobody else's.
_STANDS = """
select (select 1 from provider_leases where provider = ?4 and node = ?5 and epoch = ?6 limit 1)
  and (select reason from suppressions where project = ?1 and channel = ?7 and to_hash = ?8) is null"""
_TRY = "update jobs set tries = tries + 1, provider = ?3 where project = ?1 and message = ?2 returning tries"
_INSERT = """
insert into attempts (project, id, message, n, provider, channel, status, parts, node, epoch, to_hash, sender, user_ref, created_ms)
values (?, ?, ?, ?, ?, ?, 'sending', ?, ?, ?, ?, ?, ?, ?)"""
_SENDING = """
update messages set status = case when status in ('accepted', 'scheduled', 'held', 'queued') then 'sending' else status end,
  provider = ?3, encoding = ?4, parts = ?5 where project = ?1 and id = ?2"""
_CONCAT = """
insert into concat_refs values (?, ?, 1) on conflict do update set n = (n + 1) & 65535 returning n"""


def begin(connection: Connection, items: list[Begin]) -> list[Begun]:
    """Stores attempts. Consent and cancellation are looked at once more, inside this transaction (design §1)."""
    answers: list[Begun] = []
    good: list[Begin] = []
    stopped: list[tuple[Begin, str]] = []
    asked = [(i.project, i.message, i.owner, i.provider, i.node, i.epoch, i.channel, i.to_hash) for i in items]
    for item, (owned, epoch_ok, suppressed) in zip(items, connection.executemany(_CHECK, asked), strict=True):
        if not owned:
            answers.append(Begun("gone"))
        elif not epoch_ok:
            answers.append(Begun("not_owner"))
        elif suppressed is not None:
            stopped.append((item, str(suppressed)))
            answers.append(Begun("suppressed"))
        else:
            good.append(item)
            answers.append(Begun("ok", _concat_ref(connection, item) if item.parts > 1 else 0))
    _store(connection, good)
    _suppress(connection, stopped)
    return answers


def stand(connection: Connection, items: list[Begin]) -> list[bool]:
    """Whether the first attempt of a message that is being accepted may be stored with it (`insert_first`)."""
    asked = [(i.project, None, None, i.provider, i.node, i.epoch, i.channel, i.to_hash) for i in items]
    return [bool(row[0]) for row in connection.executemany(_STANDS, asked)]


def insert_first(connection: Connection, items: list[Begin]) -> list[Begun]:
    """Stores first attempts; what they change of message and job is written with these."""
    connection.executemany(_INSERT, [_row(item, 1) for item in items])
    return [Begun("ok", _concat_ref(connection, item) if item.parts > 1 else 0) for item in items]


def _store(connection: Connection, good: list[Begin]) -> None:
    # Read to its end first: a statement that is left half-way by an error would hold up every later commit.
    tries = list(connection.executemany(_TRY, [(i.project, i.message, i.provider) for i in good]))
    connection.executemany(_INSERT, [_row(i, int(n[0])) for i, n in zip(good, tries, strict=True)])
    connection.executemany(_SENDING, [(i.project, i.message, i.provider, i.encoding, i.parts) for i in good])


def _row(i: Begin, n: int) -> tuple[Any, ...]:
    return (
        i.project, i.attempt, i.message, n, i.provider, i.channel, i.parts, i.node, i.epoch, i.to_hash, i.sender,
        i.user_ref, i.at_ms,
    )  # fmt: skip


def _concat_ref(connection: Connection, item: Begin) -> int:
    row = connection.execute(_CONCAT, (item.provider, item.to_hash)).fetchone()
    assert row is not None
    return int(row[0])


def _suppress(connection: Connection, stopped: list[tuple[Begin, str]]) -> None:
    changes = [
        Change(
            project=item.project, message=item.message, status="suppressed", at_ms=item.at_ms, event=item.event,
            error=_error(reason), data=_error(reason),
        )
        for item, reason in stopped
    ]  # fmt: skip
    transitions.apply(connection, changes)
    jobs.finish(connection, [(item.project, item.message) for item, _ in stopped])


def _error(reason: str) -> str:
    detail = f"the recipient is suppressed ({reason})"
    return msgspec.json.encode({"code": "suppressed", "detail": detail, "permanent": True, "retryable": False}).decode()


_SETTLE = """
update attempts set status = ?3, sent_ms = coalesce(?4, sent_ms), ended_ms = ?5, error = ?6, refs = ?8,
  part_states = case when part_states = '' or ?9 then ?7 else part_states end
where project = ?1 and id = ?2 and +status in ('sending', 'unknown')"""
_REFS = "insert or replace into refs (provider, ref, to_hash, project, attempt, part) values (?, ?, ?, ?, ?, ?)"
_CURRENT = """
select e.value->>2 from json_each(?) e
cross join attempts a on a.project = e.value->>0 and a.id = e.value->>2
join jobs j on j.project = a.project and j.message = a.message and j.tries = a.n"""
_WAIT = (
    "update jobs set owner = null, due_ms = ?3, kind = ?4, provider = coalesce(?5, provider)"
    " where project = ?1 and message = ?2"
)
_ATTEMPT_STATUS = {"sent": "sent", "refused": "refused", "retry": "refused", "unknown": "unknown"}


def settle(connection: Connection, items: list[Settlement]) -> list[None]:
    """Attempt, message, job, event and the carrier's ids, together; then receipts that came too early."""
    before = _before(connection, items) if connection.execute(_ANY_UNKNOWN).fetchone() else {}
    connection.executemany(_SETTLE, [_attempt_row(item, before.get(item.attempt)) for item in items])
    refs = [
        (item.provider, ref, item.to_hash, item.project, item.attempt, part)
        for item in items
        for part, ref in enumerate(item.refs)
        if ref
    ]
    connection.executemany(_REFS, refs)
    costs = [(item.cost, item.project, item.attempt) for item in items if item.cost is not None]
    if costs:
        connection.executemany("update attempts set cost = ? where project = ? and id = ?", costs)
    gone = [one for item in items for one in item.suppressions]
    if gone:
        suppressions.add(connection, gone)
    current = _current(connection, items)
    open_still = [
        item for item in items
        if (
            item.attempt in before and before[item.attempt].waits if item.late
            else item.kind == "sent" or item.attempt in current
        )
    ]  # fmt: skip
    transitions.apply(
        connection,
        [
            Change(
                project=item.project, message=item.message, status=item.status, at_ms=item.at_ms, event=item.event,
                error=item.error, data=_event_data(item),
            )
            for item in open_still
            if item.status is not None
        ],
    )  # fmt: skip
    _settle_jobs(connection, open_still)
    early = [row[:3] for row in refs]
    receipts.apply_parked(connection, early)
    receipts.match_parked_unknown(connection, {(item.provider, item.to_hash) for item in items})
    return [None] * len(items)


def _current(connection: Connection, items: list[Settlement]) -> frozenset[str]:
    """The attempts that are the last of their message, and it has not ended.

    A worker that was taken for dead may come back with what became of an earlier one: that is no news to the message,
    unless the carrier has it."""
    keys = [(item.project, item.message, item.attempt) for item in items if item.kind != "sent" and not item.late]
    return frozenset(row[0] for row in connection.execute(_CURRENT, rows(keys))) if keys else frozenset()


class _Before(NamedTuple):
    """An attempt that was unknown until now: whether its message waits for it, and the parts that receipts spoke of."""

    waits: bool
    states: str
    guessed: dict[str, int]  # the carrier's ids that a receipt brought, and the parts that they were taken for


#: The first condition is the index's own: without it every attempt is looked at.
_ANY_UNKNOWN = "select 1 from attempts where status in ('sending', 'unknown') and status = 'unknown' limit 1"
_BEFORE = """
select e.key, j.kind = 'unknown' and j.owner is null and a.n = j.tries, a.part_states from json_each(?) e
cross join attempts a on a.project = e.value->>0 and a.id = e.value->>2 and +a.status = 'unknown'
left join jobs j on j.project = a.project and j.message = a.message"""
_GUESSED = "select part from refs where provider = ? and ref = ? and to_hash = ? and attempt = ?"


def _before(connection: Connection, items: list[Settlement]) -> dict[str, _Before]:
    """By attempt, those that were unknown. A message that was sent again since, or has ended, waits no more."""
    keys = rows([(item.project, item.message, item.attempt) for item in items])
    found: dict[str, _Before] = {}
    for n, waits, states in list(connection.execute(_BEFORE, keys)):
        item, guessed = items[int(n)], dict[str, int]()
        for ref in filter(None, item.refs):
            row = connection.execute(_GUESSED, (item.provider, ref, item.to_hash, item.attempt)).fetchone()
            if row is not None:
                guessed[ref] = int(row[0])
        found[item.attempt] = _Before(bool(waits) and item.kind != "unknown", str(states or ""), guessed)
    return found


def _attempt_row(item: Settlement, before: _Before | None) -> tuple[Any, ...]:
    sent = item.at_ms if item.kind == "sent" else None
    ended = item.at_ms if item.kind in ("refused", "retry") else None
    # a part without an answer is `?`: only a receipt can say that the carrier has it
    states = "".join("s" if ref else "?" for ref in item.refs) if item.kind == "unknown" else "s" * len(item.refs)
    states = item.states or states
    if before is not None:  # what receipts said of a part stays with the part that has their id
        told = {ref: before.states[part : part + 1] for ref, part in before.guessed.items()}
        states = "".join(told.get(ref) or state for ref, state in zip(item.refs, states, strict=True))
    refs = msgspec.json.encode(item.refs).decode() if item.refs else None
    return (
        item.project,
        item.attempt,
        _ATTEMPT_STATUS[item.kind],
        sent,
        ended,
        item.error,
        states,
        refs,
        before is not None,
    )


def _event_data(item: Settlement) -> str:
    data = msgspec.json.encode({"attempt_id": item.attempt, "provider": item.provider}).decode()
    return data if item.error is None else f'{data[:-1]},"error":{item.error}}}'


def _settle_jobs(connection: Connection, items: list[Settlement]) -> None:
    waiting = [(i.project, i.message, i.due_ms, next_kind(i), i.goes_to) for i in items if next_kind(i) is not None]
    connection.executemany(_WAIT, waiting)
    jobs.finish(connection, [(item.project, item.message) for item in items if next_kind(item) is None])
    routes.wait(connection, [(i.project, i.message, i.attempt, i.receipt_by_ms) for i in items if i.receipt_by_ms])
    unknown = [item for item in items if item.kind == "unknown"]
    transitions.add_events(
        connection,
        [(u.project, u.event, "attempt.unknown", u.message, u.at_ms, _event_data(u)) for u in unknown],
    )


def acquire(connection: Connection, items: list[tuple[str, str, int]]) -> list[int]:
    """(provider, node, until_ms) → the epoch under which this node now owns the provider's binds."""
    epochs: list[int] = []
    for provider, node, until_ms in items:
        row = connection.execute(
            "insert into provider_leases values (?1, 0, ?2, 1, 1.0, ?3)"
            " on conflict do update set node = ?2, epoch = epoch + 1, until_ms = ?3 returning epoch",
            (provider, node, until_ms),
        ).fetchone()
        assert row is not None
        epochs.append(int(row[0]))
    return epochs
