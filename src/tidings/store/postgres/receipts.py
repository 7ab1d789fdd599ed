"""Receipts: matched to attempts by provider + carrier's id + destination, or kept until they can be.

A receipt may come before the commit of the answer that names its message. `locks` keeps the two apart: a receipt is only
kept as unmatched while no settlement of that provider is under way, and a settlement looks at the kept ones at its end.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from tidings.kit.ids import new_id
from tidings.kit.limits import RECEIPT_KEPT_S, UNKNOWN_MATCH_S
from tidings.store.contract import Change, ReceiptRow
from tidings.store.postgres import jobs, locks, transitions
from tidings.store.postgres.rowset import rowset, turned
from tidings.store.postgres.session import Session
from tidings.store.postgres.transitions import Key, Locked

_WANTED = "n int, provider text, ref text, to_hash text"
_KNOWN = f"""
select e.n, a.project, a.message from {rowset("e", _WANTED)}
join refs r on r.provider = e.provider and r.ref = e.ref and (e.to_hash is null or r.to_hash = e.to_hash)
join attempts a on a.project = r.project and a.id = r.attempt"""
_FIND = f"""
select e.n, r.project, r.attempt, r.part, a.message, a.status, a.part_states, a.parts from {rowset("e", _WANTED)}
join refs r on r.provider = e.provider and r.ref = e.ref and (e.to_hash is null or r.to_hash = e.to_hash)
join attempts a on a.project = r.project and a.id = r.attempt"""
_OPEN = f"""
select e.n, a.project, a.id, a.message, a.parts, a.part_states, a.user_ref, a.sender
from {rowset("e", "n int, provider text, to_hash text, since_ms bigint, until_ms bigint")}
join attempts a on a.status = 'unknown' and a.provider = e.provider and a.to_hash = e.to_hash
  and a.created_ms between e.since_ms and e.until_ms order by a.created_ms, a.id"""
_ATTEMPTS = f"""
update attempts a set part_states = e.states, status = e.status, ended_ms = coalesce(e.ended_ms, a.ended_ms)
from {rowset("e", "project text, id text, states text, status text, ended_ms bigint")}
where a.project = e.project and a.id = e.id"""
_REF = "provider text, ref text, to_hash text, project text, attempt text, part int"
_REFS = f"""
insert into refs (provider, ref, to_hash, project, attempt, part)
select * from {rowset("e", _REF)} order by e.provider, e.ref, e.to_hash
on conflict (provider, ref, to_hash) do update
  set project = excluded.project, attempt = excluded.attempt, part = excluded.part"""
_PARK = """
with r as (
  insert into receipts (provider, ref, to_hash, receipt, received_ms)
  select $1, $2, $3, $4, $5 where not exists (
    select 1 from receipts r where r.received_ms = $5 and r.provider = $1 and r.ref = $2 and r.receipt = $4)
  returning id, provider)
insert into receipt_refs (provider, ref, receipt) select r.provider, x, r.id from r, unnest($6::text[]) x"""
_encode = msgspec.json.encode
_decode = msgspec.json.Decoder(ReceiptRow).decode


class Match(msgspec.Struct, frozen=True):
    """The part that a receipt speaks of."""

    project: str
    attempt: str
    part: int
    message: str
    status: str
    part_states: str
    parts: int


async def receive(session: Session, items: list[ReceiptRow]) -> list[bool]:
    """Applies receipts; says which were matched. The others are kept (receipt before answer) and listed."""
    numbered = dict(enumerate(items))
    keys = await _known(session, numbered)
    missing = {n: item for n, item in numbered.items() if n not in keys}
    if missing:
        await locks.keep_receipts(session, {item.provider for item in missing.values()})
        keys |= await _known(session, missing)
        missing = {n: item for n, item in numbered.items() if n not in keys}
    open_ones = await _open(session, missing)
    locked = await transitions.lock(
        session,
        {key for found in keys.values() for key in found}
        | {(row[1], row[3]) for rows in open_ones.values() for row in rows},
    )
    found = await _find(session, numbered)
    missing = {n: item for n, item in numbered.items() if n not in found}
    found |= await _unknown(session, missing, locked)
    for n in sorted(missing):
        if n not in found:
            await _park(session, items[n])
    await _apply(session, [(items[n], found[n]) for n in sorted(found)], locked)
    return [n in found for n in range(len(items))]


def _wanted(items: dict[int, ReceiptRow]) -> list[tuple[Any, ...]]:
    return [(n, item.provider, ref, item.to_hash) for n, item in items.items() for ref in item.refs]


async def _known(session: Session, items: dict[int, ReceiptRow]) -> dict[int, list[Key]]:
    """The messages that receipts may speak of: a look without locks."""
    keys: dict[int, list[Key]] = {}
    wanted = _wanted(items)
    for row in await session.fetch(_KNOWN, *turned(wanted)) if wanted else []:
        keys.setdefault(row[0], []).append((row[1], row[2]))
    return keys


async def _find(session: Session, items: dict[int, ReceiptRow]) -> dict[int, Match]:
    """What the receipts speak of, as it is now that the messages are locked."""
    found: dict[int, list[Match]] = {}
    wanted = _wanted(items)
    for row in await session.fetch(_FIND, *turned(wanted)) if wanted else []:
        matches = found.setdefault(row[0], [])
        match = Match(*row[1:])
        if match not in matches:
            matches.append(match)
    # without a destination only one candidate will do; the spellings are ordered, the first is the canonical one
    return {n: matches[0] for n, matches in found.items() if len(matches) == 1 or items[n].to_hash is not None}


async def _park(session: Session, item: ReceiptRow) -> None:
    await session.execute("delete from receipts where received_ms < $1", item.received_ms - RECEIPT_KEPT_S * 1000)
    await session.execute(
        _PARK, item.provider, item.refs[0], item.to_hash, _encode(item).decode(), item.received_ms,
        list(dict.fromkeys(item.refs)),
    )  # fmt: skip


async def add_refs(session: Session, refs: Sequence[tuple[Any, ...]]) -> None:
    """Writes carriers' ids: (provider, ref, to_hash, project, attempt, part); the last one of the same id stands."""
    if refs:
        await session.execute(_REFS, *turned({row[:3]: row for row in refs}.values()))


async def apply_parked(session: Session, refs: list[tuple[Any, ...]], locked: Locked) -> None:
    """Receipts that came before the answer that named their message: (provider, ref, to_hash)."""
    if not refs:
        return
    early = await session.fetch(
        f"select distinct r.id, r.receipt from {rowset('e', 'provider text, ref text, to_hash text')}"
        " join receipt_refs x on x.provider = e.provider and x.ref = e.ref"
        " join receipts r on r.id = x.receipt and (r.to_hash is null or r.to_hash = e.to_hash) order by r.id",
        *turned(set(refs)),
    )
    if not early:
        return
    items = {n: _decode(row[1]) for n, row in enumerate(early)}
    found = await _find(session, items)
    await session.execute("delete from receipts where id = any($1::bigint[])", [early[n][0] for n in found])
    await _lock_more(session, {(match.project, match.message) for match in found.values()}, locked)
    await _apply(session, [(items[n], found[n]) for n in sorted(found)], locked)


async def may_speak_of(session: Session, recipients: set[tuple[str, str]]) -> list[Key]:
    """Messages that kept receipts for these (provider, to_hash) could settle: they are locked with those at hand."""
    if not recipients:
        return []
    found = await session.fetch(
        f"select distinct a.project, a.message from {rowset('e', 'provider text, to_hash text')}"
        " join receipts r on r.provider = e.provider and r.to_hash = e.to_hash"
        " join attempts a on a.status = 'unknown' and a.provider = r.provider and a.to_hash = r.to_hash",
        *turned(recipients),
    )
    return [(row[0], row[1]) for row in found]


async def match_parked_unknown(session: Session, recipients: set[tuple[str, str]], locked: Locked) -> None:
    """Attempts have become unknown, to these (provider, to_hash): receipts that are kept may be theirs."""
    if not recipients:
        return
    kept = await session.fetch(
        f"select r.id, r.receipt from {rowset('e', 'provider text, to_hash text')}"
        " join receipts r on r.provider = e.provider and r.to_hash = e.to_hash order by r.id",
        *turned(recipients),
    )
    items = {n: _decode(row[1]) for n, row in enumerate(kept)}
    open_ones = await _open(session, items)
    if not open_ones:
        return
    await _lock_more(session, {(row[1], row[3]) for rows in open_ones.values() for row in rows}, locked)
    found = await _unknown(session, items, locked)
    await session.execute("delete from receipts where id = any($1::bigint[])", [kept[n][0] for n in found])
    await _apply(session, [(items[n], found[n]) for n in sorted(found)], locked)


async def _lock_more(session: Session, keys: set[Key], locked: Locked) -> None:
    """For what came in between: seldom, and out of order, so that one of two may have to start again."""
    if not keys <= locked.status.keys():
        locked.status |= (await transitions.lock(session, keys)).status


async def _open(session: Session, items: dict[int, ReceiptRow]) -> dict[int, list[Any]]:
    """Unknown attempts to the same person through the same provider, from about the time that a receipt speaks of."""
    near = UNKNOWN_MATCH_S * 1000 + 60_000
    wanted = [
        (n, item.provider, item.to_hash, _around(item) - near, _around(item) + near)
        for n, item in items.items()
        if item.to_hash is not None
    ]
    found: dict[int, list[Any]] = {}
    for row in await session.fetch(_OPEN, *turned(wanted)) if wanted else []:
        found.setdefault(row[0], []).append(row)
    return found


def _around(item: ReceiptRow) -> int:
    return item.submit_at_ms if item.submit_at_ms is not None else item.received_ms


async def _unknown(session: Session, items: dict[int, ReceiptRow], locked: Locked) -> dict[int, Match]:
    """The unknown attempts that receipts settle (design §2): by the echoed reference, else the only candidate."""
    open_ones = await _open(session, items)
    found: dict[int, Match] = {}
    taken: dict[str, str] = {}  # of attempts matched in this batch: the next receipt is another part's
    for n, item in items.items():
        chosen = _candidate(item, open_ones.get(n, []))
        if chosen is None:
            continue
        _, project, attempt, message, parts, stored, _, _ = chosen
        now = taken.get(str(attempt)) or str(stored).ljust(parts, "s")
        part = max(now.find("s"), 0)
        taken[attempt] = now[:part] + "-" + now[part + 1 :]
        found[n] = Match(project, attempt, part, message, "sent", stored.ljust(parts, "s"), parts)
        await add_refs(session, [(item.provider, item.refs[0], item.to_hash, project, attempt, part)])
        change = Change(project=project, message=message, status="sent", at_ms=_around(item), event=new_id("evt"))
        await transitions.apply(session, [change], locked)
    await jobs.finish(session, [(match.project, match.message) for match in found.values()])
    return found


def _candidate(item: ReceiptRow, open_ones: list[Any]) -> Any:
    echoed = [row for row in open_ones if item.user_ref is not None and row[6] == item.user_ref]
    same_sender = [row for row in open_ones if item.sender is None or _digits(row[7]) == _digits(item.sender)]
    chosen = echoed if len(echoed) == 1 else same_sender
    return chosen[0] if len(chosen) == 1 else None


def _digits(sender: str | None) -> str:
    return (sender or "").lstrip("+").lower()


_LETTER = {"delivered": "d", "undelivered": "u"}


async def _apply(session: Session, matched: list[tuple[ReceiptRow, Match]], locked: Locked) -> None:
    states: dict[str, list[Any]] = {}
    changes: list[Change] = []
    reads: list[tuple[ReceiptRow, Match]] = []
    for item, match in matched:
        if item.carrier_state == "read":
            reads.append((item, match))
        letter = _LETTER.get(item.state)
        if letter is None:
            continue
        row = states.get(match.attempt)
        old = row[2] if row else match.part_states.ljust(match.parts, "s")
        if old[match.part] in ("d", letter):
            continue
        new = old[: match.part] + letter + old[match.part + 1 :]
        status = _attempt_status(new)
        ended = item.received_ms if status != "sent" else None
        states[match.attempt] = [match.project, match.attempt, new, status, ended]
        if status != "sent" and not (status == "undelivered" and await _another_way(session, match)):
            changes.append(_change(item, match, status))
    if states:
        await session.execute(_ATTEMPTS, *turned(states.values()))
    await transitions.apply(session, changes, locked)
    await _read(session, reads)


def _attempt_status(states: str) -> str:
    if "s" in states:
        return "sent"
    if "u" not in states:
        return "delivered"
    return "partially_delivered" if "d" in states else "undelivered"


async def _another_way(session: Session, match: Match) -> bool:
    """A failing end is written only when no attempt is left (design §2)."""
    found = await session.fetchval(
        "select 1 from attempts where project = $1 and message = $2 and id <> $3 and status in ('sending', 'sent', 'unknown')"
        " union all select 1 from jobs where project = $1 and message = $2 limit 1",
        match.project,
        match.message,
        match.attempt,
    )
    return found is not None


def _change(item: ReceiptRow, match: Match, status: str) -> Change:
    data: dict[str, Any] = {"attempt_id": match.attempt, "provider": item.provider}
    error = None
    if status != "delivered":
        data["carrier_state"] = item.carrier_state
        error = _encode(
            {
                "code": f"carrier_{item.carrier_state}",
                "detail": f"the carrier reports: {item.carrier_state}",
                "permanent": True,
                "retryable": False,
                "provider_code": item.error_code,
                "spec": "SMPP 3.4 §5.2.28",
            }
        ).decode()
    return Change(
        project=match.project, message=match.message, status=status, at_ms=item.received_ms, event=item.event,
        error=error, data=_encode(data).decode(),
    )  # fmt: skip


async def _read(session: Session, reads: list[tuple[ReceiptRow, Match]]) -> None:
    for item, match in reads:
        first = await session.execute(
            "update messages set read_ms = $1 where project = $2 and id = $3 and read_ms is null",
            item.received_ms,
            match.project,
            match.message,
        )
        if first:
            event = (match.project, item.event, "message.read", match.message, item.received_ms, None)
            transitions.add_events(session, [event])
