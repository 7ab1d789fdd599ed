"""What happens in one run, drawn from its seed: who sends what to whom, how the carriers behave, which faults strike when."""

from __future__ import annotations

import datetime as dt
import random
from typing import Literal

import msgspec

from .carrier import Manners

ACTIVE_S = 90.0  # messages and faults come in this time; afterwards everything is healed and has hours to settle
DAY_MS = 86_400_000

Fault = Literal["crash", "crash_at_commit", "crash_at_write", "link", "disk_full", "slow_disk", "clock", "pause"]
_FAULTS: tuple[Fault, ...] = (
    "crash", "crash_at_commit", "crash_at_write", "link", "link", "disk_full", "slow_disk", "clock", "pause",
)  # fmt: skip


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A message that a customer wants to send `after_s` seconds after the one before."""

    after_s: float
    to: str
    text: str
    sender: str | None
    lane: Literal["otp", "transactional", "marketing"]
    on_unknown: Literal["resend", "hold"]
    sequence: str | None
    valid_for_s: int | None
    later_s: float | None  # scheduled
    idempotent: bool
    cancel_after_s: float | None


class Strike(msgspec.Struct, frozen=True, kw_only=True):
    """A fault, from `at_s` for `for_s` seconds; `carrier` and `number` say where and which."""

    at_s: float
    for_s: float
    fault: Fault
    carrier: int
    number: int


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """A person writes to us."""

    at_s: float
    person: str
    text: str
    carrier: int
    copies: int
    split: bool


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run."""

    start_ms: int
    carriers: tuple[Manners, ...]
    customers: tuple[tuple[Wish, ...], ...]
    strikes: tuple[Strike, ...]
    words: tuple[Word, ...]
    unknown_wait_s: float


def write(seed: int) -> Script:
    """The script of a seed."""
    rng = random.Random(seed)
    people = [f"+14155550{n:03}" for n in range(100, 100 + rng.randint(2, 8))]
    carriers = tuple(_manners(rng) for _ in range(rng.choice((1, 1, 2))))
    customers = tuple(_wishes(rng, n, people) for n in range(rng.randint(2, 5)))
    day = dt.datetime(2026, 11, 24, tzinfo=dt.UTC).timestamp() * 1000
    near_midnight = rng.random() < 0.1
    return Script(
        start_ms=int(day) + (DAY_MS - 60_000 if near_midnight else rng.randrange(DAY_MS)),
        carriers=carriers,
        customers=customers,
        strikes=tuple(_strike(rng, len(carriers)) for _ in range(rng.choice((0, 1, 2, 3, 5, 8)))),
        words=tuple(_word(rng, people, len(carriers)) for _ in range(rng.choice((0, 0, 1, 3)))),
        unknown_wait_s=rng.choice((15.0, 60.0, 900.0)),
    )


def _manners(rng: random.Random) -> Manners:
    def some(share: float) -> float:
        return rng.random() * share if rng.random() < 0.4 else 0.0

    return Manners(
        rate_per_s=rng.choice((0.0, 0.0, 1.0, 5.0, 50.0)), window=rng.choice((1, 2, 10, 50)),
        echoes_user_ref=rng.random() < 0.5, names_sender=rng.random() < 0.7, throttles=some(0.5), asks_for_wait=some(0.3),
        refuses=some(0.2), swallows=some(0.3), answers_too_late=some(0.3), slow_answers=some(0.5),
        early_receipts=rng.choice((0.0, 0.3, 1.0)), double_receipts=some(0.6), no_receipts=some(0.3),
        fails_at_the_phone=some(0.4),
    )  # fmt: skip


def _wishes(rng: random.Random, customer: int, people: list[str]) -> tuple[Wish, ...]:
    pace_s = rng.choice((0.0, 0.05, 1.0, 6.0))
    return tuple(_wish(rng, customer, people, pace_s) for _ in range(rng.randint(3, 10)))


def _wish(rng: random.Random, customer: int, people: list[str], pace_s: float) -> Wish:
    return Wish(
        after_s=rng.random() * 2 * pace_s,
        to=rng.choice(people),
        text="🎉" * 80 if rng.random() < 0.15 else "hello",
        sender=rng.choice(("ACME", "12345", None)),
        lane=rng.choice(("otp", "transactional", "marketing")),
        on_unknown=rng.choice(("resend", "hold")),
        sequence=rng.choice((None, None, f"c{customer}-a", f"c{customer}-b")),
        valid_for_s=rng.choice((None, None, None, 5, 30, 300)),
        later_s=rng.choice((None, None, None, None, 3.0, 40.0)),
        idempotent=rng.random() < 0.6,
        cancel_after_s=rng.choice((None, None, None, None, 0.0, 0.5, 5.0)),
    )


def _strike(rng: random.Random, carriers: int) -> Strike:
    return Strike(
        at_s=rng.random() * ACTIVE_S, for_s=rng.choice((0.05, 1.0, 8.0, 20.0)), fault=rng.choice(_FAULTS),
        carrier=rng.randrange(carriers), number=rng.choice((-3_600_000, 3_600_000, -5_000, rng.randint(1, 40))),
    )  # fmt: skip


def _word(rng: random.Random, people: list[str], carriers: int) -> Word:
    return Word(
        at_s=rng.random() * ACTIVE_S, person=rng.choice(people), text=rng.choice(("STOP", "stop.", "START", "thank you")),
        carrier=rng.randrange(carriers), copies=rng.choice((1, 1, 2)), split=rng.random() < 0.25,
    )  # fmt: skip
