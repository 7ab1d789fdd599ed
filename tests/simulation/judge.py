"""What must hold at the end of every run, whatever happened in it. Each check says what is wrong, or nothing."""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, Final

import apsw

from tidings.domain.attempt import PartRefused, PartSent
from tidings.domain.status import ENDS, RANK, may_follow
from tidings.kit.limits import CLOCK_STEP_MS, TRIES

from .carrier import Heard, Submit
from .world import World

Row = tuple[Any, ...]
#: Statuses that a message may have when nothing is to come any more.
AT_REST: Final = ENDS | {"sent", "partially_delivered"}


class Found:
    """The end of a run: the file, and what the carriers remember."""

    def __init__(self, world: World) -> None:
        self.world = world
        with contextlib.closing(apsw.Connection(str(world.path), flags=apsw.SQLITE_OPEN_READONLY)) as file:

            def rows(sql: str) -> list[Row]:
                return list(file.execute(sql))

            found = rows(
                "select id, status, reference, on_unknown, valid_until_ms, error ->> 'code' from messages order by id"
            )
            self.messages = {str(row[0]): row for row in found}
            self.jobs = {str(row[0]) for row in rows("select message from jobs")}
            self.attempts = rows("select id, message, status, to_hash, n from attempts order by id")
            self.events = rows("select message, type from events where message is not null order by seq")
            self.inbound = rows("select id, parts, missing from inbound")
            self.refs = rows("select ref, attempt from refs")
        self.by_message: dict[str, list[Submit]] = defaultdict(list)
        for carrier in world.carriers:
            for submit in carrier.log:
                self.by_message[submit.message].append(submit)
        self.types: dict[str, list[str]] = defaultdict(list)
        for message, kind in self.events:
            self.types[str(message)].append(str(kind).removeprefix("message."))


def problems(world: World) -> list[str]:
    """Everything that is wrong with the run; empty if it is right."""
    found = Found(world)
    checks = (
        _kept, _at_rest, _log_is_legal, _true_to_the_carrier, _reasons, _duplicates, _validity, _stop, _order, _rate,
        _inbound, _receipts, _clock,
    )  # fmt: skip
    return world.broken + [f"{check.__name__.strip('_')}: {text}" for check in checks for text in check(found)]


def _kept(found: Found) -> Iterator[str]:
    """What was accepted is there, once for each idempotency key; what was refused is not there."""
    seen: Counter[tuple[int, int]] = Counter()
    for row in found.messages.values():
        customer, number, _ = str(row[2]).split("-")
        seen[int(customer), int(number)] += 1
        if row[2] in found.world.refused_tries:
            yield f"the try {row[2]} was answered with an error, and {row[0]} was kept"
    for sent in found.world.sent:
        if sent.id not in found.messages:
            yield f"{sent.id} was accepted and is lost"
        if sent.wish.idempotent and seen[sent.customer, sent.number] != 1:
            yield f"{seen[sent.customer, sent.number]} messages for the key of {sent.id}"


def _at_rest(found: Found) -> Iterator[str]:
    """Nothing is stuck."""
    for id, status, *_ in found.messages.values():
        if status not in AT_REST:
            yield f"{id} is stuck in {status}, types {found.types[id]}"
        if id in found.jobs:
            yield f"{id} ({status}) still has a job"
        if status == "sent" and "receipt_overdue" not in found.types[id]:
            yield f"{id} is sent without a receipt, and nobody says so"
    for id, message, status, *_ in found.attempts:
        if status == "sending":
            yield f"attempt {id} of {message} is never settled"


def _log_is_legal(found: Found) -> Iterator[str]:
    """The events of a message are a walk that `domain.status` allows, to the status it has."""
    for id, status, *_ in found.messages.values():
        walk = [kind for kind in found.types[id] if kind in RANK]
        at = walk[0] if walk else ""
        if at not in ("accepted", "scheduled"):
            yield f"{id} begins with {at or 'nothing'}"
            continue
        for kind in walk[1:]:
            if not may_follow(at, kind) and not (at == kind == "queued"):  # `sending` between them has no event
                yield f"{id}: {kind} after {at}"
            at = kind
        if at != status and status != "sending":
            yield f"{id} is {status}, its log ends with {at}"


def _whole(submits: list[Submit]) -> set[str]:
    """Attempts of which the carrier has every part."""
    parts: Counter[str] = Counter(submit.attempt for submit in submits if submit.carried)
    return {submit.attempt for submit in submits if parts[submit.attempt] == submit.parts}


def _true_to_the_carrier(found: Found) -> Iterator[str]:
    """`sent` and `delivered` are said only of what the carrier has, and has delivered."""
    receipts = {
        ref for carrier in found.world.carriers for ref, states in carrier.receipts.items() if "delivered" in states
    }
    for id, status, *_ in found.messages.values():
        submits = found.by_message[id]
        if status in ("sent", "delivered", "undelivered", "partially_delivered") and not _whole(submits):
            yield f"{id} is {status}, and the carrier never had all of it: {submits}"
        if status == "delivered" and not any(submit.ref in receipts for submit in submits):
            yield f"{id} is delivered, and no receipt said so"
        if status in ("canceled",) and any(submit.carried for submit in submits):
            yield f"{id} is {status}, and the carrier has it"


def _reasons(found: Found) -> Iterator[str]:
    """A message ends badly only for a reason."""
    refused = {a for a, parts in found.world.outcomes.items() if any(isinstance(p, PartRefused) for p in parts)}
    attempts: dict[str, list[Row]] = defaultdict(list)
    for row in found.attempts:
        attempts[str(row[1])].append(row)
    wishes = {sent.id: sent for sent in found.world.sent}
    for id, status, _, on_unknown, valid_until_ms, code in found.messages.values():
        mine = attempts[id]
        if status == "expired" and valid_until_ms is None:
            yield f"{id} expired without a validity"
        held = code == "outcome_unknown" and on_unknown == "hold"
        if status == "failed" and not (held or len(mine) >= TRIES or any(row[0] in refused for row in mine)):
            yield f"{id} failed ({code}) for no reason"
        if status == "canceled" and id in wishes and wishes[id].wish.cancel_after_s is None:
            yield f"{id} was canceled by nobody"
        if status == "suppressed" and not found.world.stops:
            yield f"{id} was suppressed, and nobody said STOP"


def _duplicates(found: Found) -> Iterator[str]:
    """`hold`: never twice. `resend`: once more for each answer that never came, and each crash with the attempt open."""
    attempts = {str(row[0]): str(row[1]) for row in found.attempts}
    again: Counter[str] = Counter(found.world.open_at_crash)
    for attempt in (found.world.unknowns.keys() | found.world.outcomes.keys()) - attempts.keys():
        yield f"{attempt} was on the wire and is nowhere in the store"
    for attempt, count in found.world.unknowns.items():
        again[attempts.get(attempt, "")] += count
    partly: Counter[str] = Counter()
    for attempt, parts in found.world.outcomes.items():
        sent = sum(isinstance(part, PartSent) for part in parts)
        partly[attempts.get(attempt, "")] += 0 < sent < len(parts)
    for id, _, _, on_unknown, *_ in found.messages.values():
        times: Counter[int] = Counter(submit.part for submit in found.by_message[id] if submit.carried)
        most = max(times.values(), default=0)
        bound = 1 if on_unknown == "hold" else 1 + again[id] + partly[id]
        if most > bound:
            yield f"{id} ({on_unknown}) is {most} times with the carrier, the bound is {bound}"
        handed: Counter[tuple[str, int]] = Counter((submit.attempt, submit.part) for submit in found.by_message[id])
        if any(count > 1 for count in handed.values()):
            yield f"a part of {id} was written twice in one attempt"


def _validity(found: Found) -> Iterator[str]:
    for id, _, _, _, valid_until_ms, _ in found.messages.values():
        for submit in found.by_message[id]:
            if submit.valid_until_ms != valid_until_ms:
                yield f"{id} is valid until {valid_until_ms}, the provider was told {submit.valid_until_ms}"
            if valid_until_ms is not None and submit.at_ms >= valid_until_ms:
                yield f"{id} was written {submit.at_ms - valid_until_ms} ms after its validity"


def _stop(found: Found) -> Iterator[str]:
    """After the commit of a STOP no attempt is stored, and what is not stored never reaches the wire."""
    world = found.world
    for id, message, _, to_hash, _ in found.attempts:
        commit = world.begun.get(str(id))
        if commit is None:
            continue  # begun in a commit that the crash cut off from its answer is in `begun` too
        before = [stop for at, who, stop in world.stops if who == to_hash and at < commit]
        if before and before[-1]:
            yield f"attempt {id} of {message} was stored after the STOP had been"
    for carrier in world.carriers:
        for submit in carrier.log:
            if submit.attempt not in world.begun:
                yield f"attempt {submit.attempt} was on the wire before it was stored"


def _order(found: Found) -> Iterator[str]:
    """A sequence leaves in the order in which it was accepted, one after the other."""
    rows: dict[tuple[int, str], list[str]] = defaultdict(list)
    for sent in found.world.sent:
        if sent.wish.sequence is not None:
            rows[sent.customer, sent.wish.sequence].append(sent.id)
    for key, ids in rows.items():
        last: Submit | None = None
        for id in ids:
            for submit in sorted(found.by_message[id]):
                if last is not None and submit.at_s < last.at_s:
                    yield f"sequence {key[1]}: {id} left at {submit.at_s}, before {last.message} at {last.at_s}"
            last = max([*found.by_message[id], *([last] if last is not None else [])], default=None)


def _rate(found: Found) -> Iterator[str]:
    """In no second does a carrier get more than its rate, but where a restart made the pacer forget it."""
    for carrier in found.world.carriers:
        rate = int(carrier.manners.rate_per_s)
        times = sorted(submit.at_s for submit in carrier.log) if rate else []
        for first, later in zip(times, times[rate:], strict=False):
            if later - first < 1.0 and not any(first <= at <= later for at in carrier.starts_s):
                yield f"{carrier.name} got {rate + 1} parts in {later - first:.3f} s at a rate of {rate}"


def _inbound(found: Found) -> Iterator[str]:
    """What a person wrote and we acknowledged is there, once; in pieces only if the clock says that an hour lay between them.

    Set ahead while the node is down, a clock cannot be told from an hour that has passed.
    """
    heard: dict[str, list[Heard]] = defaultdict(list)
    for carrier in found.world.carriers:
        for one in carrier.acked:
            heard[one.part.dedup.split("-")[0]].append(one)
    apart = 0
    for pieces in heard.values():
        from_s, until_s = min(one.from_s for one in pieces), max(one.until_s for one in pieces)
        if pieces[0].part.total > 1 and any(from_s <= at_s <= until_s for at_s in found.world.leaps_s):
            apart += pieces[0].part.total - 1
    if not len(heard) <= len(found.inbound) <= len(heard) + apart:
        yield f"{len(heard)} inbound messages were acknowledged, {len(found.inbound)} are kept"


def _receipts(found: Found) -> Iterator[str]:
    """A receipt that was acknowledged counts: where all parts are delivered the attempt is, and the message.

    But not a message that has ended as suppressed (design.md §2): its person said STOP, and what was on the wire then does
    not make the refusal of what was to follow undone. The attempt says what became of it.
    """
    delivered = {
        ref for carrier in found.world.carriers for ref, states in carrier.receipts.items() if states.count("delivered")
    }
    sent = {a for a, parts in found.world.outcomes.items() if all(isinstance(part, PartSent) for part in parts)}
    known = {str(attempt) for _, attempt in found.refs}
    of_attempt = {str(row[0]): row[2] for row in found.attempts}
    by_attempt: dict[str, list[Submit]] = defaultdict(list)
    for submits in found.by_message.values():
        for submit in submits:
            by_attempt[submit.attempt].append(submit)
    for attempt in sorted(sent & known):
        submits = by_attempt[attempt]
        if all(submit.ref in delivered for submit in submits):
            status = found.messages[submits[0].message][1]
            if status not in ("delivered", "suppressed") or of_attempt.get(attempt) != "delivered":
                yield (
                    f"{submits[0].message} is {status}, its attempt {of_attempt.get(attempt, 'is not stored')};"
                    " the carrier told us that all of it was delivered"
                )


def _clock(found: Found) -> Iterator[str]:
    """The node's clock has followed the machine's, however often that was set."""
    behind_ms = found.world.wall_ms() - found.world.now_ms()
    if abs(behind_ms) > CLOCK_STEP_MS:
        yield f"the node's clock is {behind_ms} ms behind"
