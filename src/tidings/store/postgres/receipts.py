"""Receipts: matched to attempts by provider + carrier's id + destination, or kept until they can be.

A receipt may come before the commit of the answer that names its message. `locks` keeps the two apart: a receipt is only
kept as unmatched while no settlement of that provider is under way, and a settlement looks at the kept ones at its end.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from tidings.kit.ids import new_id
from tidings.kit.limits import RECEIPT_KEPT_S
from tidings.store.contract import Change, ReceiptRow
from tidings.store.postgres import jobs, locks, routes, transitions
from tidings.store.postgres.rowset import rowset, turned
from tidings.store.postgres.session import Session
from tidings.store.postgres.transitions import Key, Locked
from tidings.store.receipt import (
    ENGAGED,
    LETTER,
    Match,
    Unanswered,
    accounted,
    around,
    attempt_status,
    change_of,
    engagement_data,
    looked_for,
    unanswered,
)

_WANTED = "n int, provider text, ref text, to_hash text"
_KNOWN = f"""
select e.n, a.project, a.message from {rowset("e", _WANTED)}
join refs r on r.provider = e.provider and r.ref = e.ref and (e.to_hash is null or r.to_hash = e.to_hash)
join attempts a on a.project = r.project and a.id = r.attempt"""
_FIND = f"""
select e.n, r.project, r.attempt, r.part, a.message, a.status, a.part_states, a.parts, a.channel, a.to_hash
from {rowset("e", _WANTED)}
join refs r on r.provider = e.provider and r.ref = e.ref and (e.to_hash is null or r.to_hash = e.to_hash)
join attempts a on a.project = r.project and a.id = r.attempt"""
_OPEN = f"""
select e.n, {", ".join(f"a.{name}" for name in Unanswered._fields)}
from {rowset("e", "n int, provider text, to_hash text, since_ms bigint, until_ms bigint")}
join attempts a on a.status in ('sending', 'unknown') and a.provider = e.provider and a.to_hash = e.to_hash
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


async def receive(session: Session, items: list[ReceiptRow]) -> list[bool]:
    """Applies receipts; says which were matched. The others are kept (receipt before answer) and listed."""
    numbered = dict(enumerate(items))
    keys = await _known(session, numbered)
    missing = {n: item for n, item in numbered.items() if n not in keys}
    if missing:
        await locks.keep_receipts(session, {item.provider for item in missing.values()})
        keys |= await _known(session, missing)
        missing = {n: item for n, item in numbered.items() if n not in keys}
    wanted = {key for found in keys.values() for key in found} | await _keys_of_open(session, missing)
    matched = await _place(session, numbered, await transitions.lock(session, wanted))
    for n, item in numbered.items():
        if n not in matched:
            await _park(session, item)
    return [n in matched for n in numbered]


async def _place(session: Session, items: dict[int, ReceiptRow], locked: Locked) -> set[int]:
    """Finds a home for receipts where there is one; then, in order, for the others: one before them may have told us
    which part has this carrier's id."""
    found = await _find(session, items)
    await _apply(session, [(items[n], found[n]) for n in sorted(found)], locked)
    placed, told = set(found), False
    rest = {n: item for n, item in items.items() if n not in found}
    candidates = await _open(session, rest)
    for n, item in rest.items():
        match = (await _find(session, {n: item})).get(n) if told else None
        if match is None and n in candidates:
            match = await _unknown(session, item, locked)
            told = told or match is not None
        if match is not None:
            await _apply(session, [(item, match)], locked)
            placed.add(n)
    return placed


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
        _PARK, item.provider, item.refs[0], item.unanswered_hash, _encode(item).decode(), item.received_ms,
        list(dict.fromkeys(item.refs)),
    )  # fmt: skip


async def add_refs(session: Session, refs: Sequence[tuple[Any, ...]]) -> None:
    """Writes carriers' ids: (provider, ref, to_hash, project, attempt, part); the last one of the same id stands."""
    if refs:
        await session.execute(_REFS, *turned({row[:3]: row for row in refs}.values()))


Kept = list[tuple[int, ReceiptRow]]
_KEPT = f"""
select r.id, r.receipt from receipts r where r.id in (
  select x.receipt from {rowset("e", "provider text, ref text, to_hash text")}
  join receipt_refs x on x.provider = e.provider and x.ref = e.ref
  union all
  select k.id from {rowset("p", "provider text, to_hash text", 4)}
  join receipts k on k.provider = p.provider and k.to_hash = p.to_hash) order by r.id"""


async def kept(session: Session, refs: set[tuple[Any, ...]], people: set[tuple[str, str]]) -> Kept:
    """Receipts that came too early: of these (provider, ref, to_hash), or to these (provider, to_hash)."""
    columns: list[list[Any]] = turned(refs) if refs else [[], [], []]
    return [(row[0], _decode(row[1])) for row in await session.fetch(_KEPT, *columns, *turned(people))]


async def may_speak_of(session: Session, early: Kept) -> set[Key]:
    """The unknown messages that kept receipts could settle: they are locked with those at hand."""
    return await _keys_of_open(session, {n: item for n, (_, item) in enumerate(early)})


async def place_kept(session: Session, early: Kept, locked: Locked) -> None:
    """Attempts have been settled: kept receipts may be theirs now."""
    if early:
        placed = await _place(session, {n: item for n, (_, item) in enumerate(early)}, locked)
        await session.execute("delete from receipts where id = any($1::bigint[])", [early[n][0] for n in placed])


async def _lock_more(session: Session, keys: set[Key], locked: Locked) -> None:
    """For what came in between: seldom, and out of order, so that one of two may have to start again."""
    if not keys <= locked.status.keys():
        more = await transitions.lock(session, keys)
        locked.status |= more.status
        locked.chains |= more.chains


async def _open(session: Session, items: dict[int, ReceiptRow]) -> dict[int, list[Unanswered]]:
    """Attempts without an answer to the same person through the same provider, from about the time of the receipt."""
    wanted = [
        (n, item.provider, item.unanswered_hash, *looked_for(item))
        for n, item in items.items()
        if item.unanswered_hash is not None
    ]
    found: dict[int, list[Unanswered]] = {}
    for n, *row in await session.fetch(_OPEN, *turned(wanted)) if wanted else []:
        found.setdefault(n, []).append(Unanswered(*row))
    return found


async def _keys_of_open(session: Session, items: dict[int, ReceiptRow]) -> set[Key]:
    found = (await _open(session, items)).values()
    return {(one.project, one.message) for ones in found for one in ones if one.status == "unknown"}


async def _unknown(session: Session, item: ReceiptRow, locked: Locked) -> Match | None:
    """The part of an unknown attempt that this receipt is for, see `receipt.unanswered`.

    The attempt stays unknown, and its job waits, until every part is accounted for.
    """
    chosen = unanswered(item, (await _open(session, {0: item})).get(0, []))
    if chosen is None:
        return None
    project, attempt, message, parts = chosen.project, chosen.id, chosen.message, chosen.parts
    states = chosen.part_states.ljust(parts, "?")
    part = states.find("?")
    if part < 0:
        return None
    await _lock_more(session, {(project, message)}, locked)
    states = states[:part] + "s" + states[part + 1 :]
    await add_refs(session, [(item.provider, item.refs[0], item.unanswered_hash, project, attempt, part)])
    await session.execute(
        "update attempts set part_states = $1 where project = $2 and id = $3", states, project, attempt
    )
    if accounted(states, chosen.channel):
        await jobs.finish(session, [(project, message)])
        sent = Change(project=project, message=message, status="sent", at_ms=around(item), event=new_id("evt"))
        await transitions.apply(session, [sent], locked)
    return Match(project, attempt, part, message, "sent", states, parts, chosen.channel, item.unanswered_hash or "")


async def _apply(session: Session, matched: list[tuple[ReceiptRow, Match]], locked: Locked) -> None:
    states: dict[str, list[Any]] = {}
    changes: list[Change] = []
    ended: list[tuple[str, str]] = []
    for item, match in matched:
        letter = LETTER.get(item.state)
        if letter is None:
            continue
        row = states.get(match.attempt)
        old = row[2] if row else match.part_states.ljust(match.parts, "s")
        if old[match.part] in ("d", letter):
            continue
        new = old[: match.part] + letter + old[match.part + 1 :]
        status = attempt_status(new, match.channel)
        over = status not in ("sent", "unknown")
        states[match.attempt] = [match.project, match.attempt, new, status, item.received_ms if over else None]
        if over and status != "undelivered":
            ended.append((match.project, match.message))
        if over and not (status == "undelivered" and await _another_way(session, match)):
            changes.append(change_of(item, match, status))
    if states:
        await session.execute(_ATTEMPTS, *turned(states.values()))
    await routes.come(session, ended)
    await transitions.apply(session, changes, locked)
    await _engaged(session, matched)


async def _another_way(session: Session, match: Match) -> bool:
    """A failing end is written only when no attempt is left (design §2)."""
    found = await session.fetchval(
        "select 1 from attempts where project = $1 and message = $2 and id <> $3 and status in ('sending', 'sent', 'unknown')"
        " union all select 1 from jobs where project = $1 and message = $2 and kind <> 'fallback' limit 1",
        match.project,
        match.message,
        match.attempt,
    )
    return found is not None


async def _engaged(session: Session, matched: list[tuple[ReceiptRow, Match]]) -> None:
    """What people did, told once each, and addresses that must not be written to again."""
    for item, match in matched:
        column = ENGAGED.get(item.engagement or "")
        if column is None:
            continue
        first = await session.execute(
            f"update messages set {column} = $1 where project = $2 and id = $3 and {column} is null",
            item.received_ms,
            match.project,
            match.message,
        )
        if first:
            kind, data = f"message.{item.engagement}", engagement_data(item, match)
            event = (match.project, new_id("evt"), kind, match.message, item.received_ms, data)
            transitions.add_events(session, [event])
    gone = [(m.project, m.channel, m.to_hash, i.suppress, i.received_ms) for i, m in matched if i.suppress is not None]
    for row in sorted(gone):  # rows of suppressions are locked in one order
        await session.execute("insert into suppressions values ($1, $2, $3, $4, $5) on conflict do nothing", *row)
