"""How fast verifications may begin, and what looks like pumping: tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.kit import limits
from tidings.policy.velocity import WINDOW_S, Mark, MarkKind, Seen, judge

NOW = 1_790_000_000_000
S = 1_000
OLD = limits.VERIFY_PUMPING_GRACE_S


def seen(*ages_s: float, sends: int = 1, wrong: int = 0, approved: bool = False) -> list[Seen]:
    return [Seen(NOW - int(age_s * S), sends, wrong, approved) for age_s in ages_s]


def told(kind: MarkKind, rows: list[Seen], *, allowed: bool = False) -> tuple[str, str | None, int] | None:
    mark: Mark = (kind, "x")
    refusal = judge({mark: rows}, NOW, allowed=allowed)
    return None if refusal is None else (refusal.code, refusal.counted, refusal.retry_after_s)


VELOCITY: list[tuple[MarkKind, list[Seen], tuple[str, str, int] | None]] = [
    ("to", [], None),
    ("to", seen(1, 2, 3, 4), None),
    ("to", seen(1, 2, 3, 4, 5), ("velocity", "starts", 595)),
    ("to", seen(1, 2, 3, 4, 599.5), ("velocity", "starts", 1)),
    ("to", seen(1, 2, 3, 4, 600), None),
    ("to", seen(1, 2, 3, 4, 500, 599), ("velocity", "starts", 100)),
    ("to", seen(*range(700, 705), sends=5), ("velocity", "sends", 86_400 - 704)),
    ("to", seen(*range(700, 704), sends=5), None),
    ("to", seen(*range(700, 706), wrong=5), ("velocity", "wrong", 86_400 - 705)),
    ("to", seen(*range(700, 705), wrong=5), None),
    ("ip", seen(*range(29)), None),
    ("ip", seen(*range(30)), ("velocity", "starts", 3_600 - 29)),
    ("block", seen(*range(100), approved=True), ("velocity", "starts", 3_600 - 99)),
    ("block", seen(*range(99), approved=True), None),
    ("range", seen(*range(150), approved=True), None),
]


@pytest.mark.parametrize(("kind", "rows", "expected"), VELOCITY)
def test_velocity(kind: MarkKind, rows: list[Seen], expected: tuple[str, str, int] | None) -> None:
    assert told(kind, rows) == expected


def unread(n: int, approved: int = 0, age_s: float = OLD) -> list[Seen]:
    return seen(*[age_s] * approved, approved=True) + seen(*[age_s] * (n - approved))


PUMPING: list[tuple[MarkKind, list[Seen], bool]] = [
    ("block", unread(19), False),
    ("block", unread(20), True),
    ("block", unread(20, 1), True),
    ("block", unread(20, 2), False),
    ("block", unread(20, age_s=OLD - 1), False),  # they may still be typing
    ("block", unread(20, age_s=limits.VERIFY_PUMPING_WINDOW_S), False),
    ("block", unread(19) + unread(50, age_s=limits.VERIFY_PUMPING_WINDOW_S), False),
    ("range", unread(99), False),
    ("range", unread(100), True),
    ("range", unread(100, 4), True),
    ("range", unread(100, 5), False),
    ("to", unread(4), False),
]


@pytest.mark.parametrize(("kind", "rows", "expected"), PUMPING)
def test_pumping(kind: MarkKind, rows: list[Seen], expected: bool) -> None:
    answer = told(kind, rows)
    assert (answer is not None and answer[0] == "pumping") == expected
    assert told(kind, rows, allowed=True) is None


def test_an_operator_vouches_for_numbers_and_not_for_guessing() -> None:
    assert told("to", seen(1, 2, 3, 4, 5), allowed=True) == ("velocity", "starts", 595)


@given(st.lists(st.tuples(st.integers(0, WINDOW_S), st.integers(1, 5), st.integers(0, 10), st.booleans()), max_size=60))
def test_after_the_wait_it_may_begin(rows: list[tuple[int, int, int, bool]]) -> None:
    """What `retry_after_s` says is true: then there is room, unless another limit is reached by what is left."""
    made = [Seen(NOW - age * S, sends, wrong, ok) for age, sends, wrong, ok in sorted(rows)]
    refusal = judge({("to", "x"): made}, NOW, allowed=False)
    if refusal is None:
        return
    again = judge({("to", "x"): made}, NOW + refusal.retry_after_s * S, allowed=False)
    assert again is None or again.counted != refusal.counted
    assert judge({("to", "x"): made}, NOW + (refusal.retry_after_s - 1) * S, allowed=False) is not None
