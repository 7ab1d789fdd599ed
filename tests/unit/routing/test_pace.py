"""Rates, days and warm-up: simulated seconds, and what is exact about them."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidings.domain.message import Message, Personal
from tidings.routing import pace
from tidings.routing.pace import Bucket, Fill, Limit, buckets, problems, take

NOW = 1_790_000_000_000
DAY = 86_400_000
TODAY = NOW // DAY


def message(to: str = "bob@example.com", sender: str | None = "news@acme.test", **fields: Any) -> Message:
    row: dict[str, Any] = {"project": "prj_a", "mode": "live", "channel": "email", "lane": "marketing"}
    return Message(id="msg_1", created_ms=0, due_ms=0, personal=Personal(to=to, sender=sender), **(row | fields))


def limit(**fields: Any) -> Limit:
    return Limit(**({"name": "l", "rate_per_s": 10.0} | fields))


KEYS: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({}, {}, ["l|"]),
    ({"each": "sender"}, {}, ["l|news@acme.test"]),
    ({"each": "domain"}, {"to": "x@EXAMPLE.com"}, ["l|@example.com"]),
    ({"each": "domain"}, {"to": "+491701234567", "channel": "sms"}, []),
    ({"channels": ["sms"]}, {}, []),
    ({"lanes": ["otp"]}, {}, []),
    ({"senders": ["news@acme.test"]}, {}, ["l|"]),
    ({"senders": ["other@acme.test"]}, {}, []),
    ({"to": ["@example.com"]}, {}, ["l|"]),
    ({"to": ["@example.org", "+49"]}, {}, []),
    ({"to": ["+49"]}, {"to": "+491701234567"}, ["l|"]),
    ({"to": ["DE"]}, {"to": "+491701234567"}, ["l|"]),
    ({"to": ["GB"]}, {"to": "+491701234567"}, []),
]


@pytest.mark.parametrize(("fields", "of", "keys"), KEYS)
def test_whose_allowance(fields: dict[str, Any], of: dict[str, Any], keys: list[str]) -> None:
    assert [bucket.key for bucket in buckets([limit(**fields)], message(**of), NOW)] == keys


MOST: list[tuple[dict[str, Any], int, int]] = [
    ({"per_day": 500}, 0, 500),
    ({"warm_up": [50, 100], "began": dt.date(2026, 9, 21), "per_day": 500}, -1, 50),
    ({"warm_up": [50, 100], "began": dt.date(2026, 9, 21), "per_day": 500}, 0, 50),
    ({"warm_up": [50, 100], "began": dt.date(2026, 9, 21), "per_day": 500}, 1, 100),
    ({"warm_up": [50, 100], "began": dt.date(2026, 9, 21), "per_day": 500}, 2, 500),
    ({"warm_up": [50, 100], "began": dt.date(2026, 9, 21)}, 2, 0),
]


@pytest.mark.parametrize(("fields", "days", "most"), MOST)
def test_how_many_on_a_day(fields: dict[str, Any], days: int, most: int) -> None:
    assert dt.datetime.fromtimestamp(NOW / 1000, dt.UTC).date() == dt.date(2026, 9, 21)
    assert [b.most for b in buckets([limit(**fields)], message(), NOW + days * DAY)] == [most]


@settings(max_examples=30, deadline=None)
@given(
    rate=st.floats(0.5, 300), burst=st.integers(1, 50), seed=st.lists(st.integers(1, 400), min_size=3, max_size=20),
    waiting=st.integers(1, 20),
)  # fmt: skip
def test_in_any_time_at_most_rate_and_burst(rate: float, burst: int, seed: list[int], waiting: int) -> None:
    interval_us, now, left, fills = round(1_000_000 / rate), NOW, list[int](), dict[str, Fill]()
    bucket = Bucket("k", interval_us, burst, TODAY, 0)
    for step_ms in seed:
        now += step_ms
        answers, fills = take(fills, [(bucket,)] * waiting, now)
        left += [now] * answers.count(0)
        assert all(due > now for due in answers if due)
    for n, at in enumerate(left):
        for m in range(n, len(left)):
            assert m - n + 1 <= burst + (left[m] - at) * 1000 / interval_us + 1e-6
    total_ms = now - NOW - seed[0]
    assert len(left) >= min(waiting, burst, total_ms * 1000 // interval_us), "what may leave does"


def test_a_day_is_full() -> None:
    bucket = Bucket("k", 1_000_000, 10, TODAY, 3)
    answers, fills = take({}, [(bucket,)] * 5, NOW)
    assert answers[:3] == [0, 0, 0]
    assert answers[3:] == [(TODAY + 1) * DAY, (TODAY + 1) * DAY + 1_000], "spread over the next one"
    tomorrow = bucket._replace(day=TODAY + 1)
    assert take(fills, [(tomorrow,)], (TODAY + 1) * DAY)[0] == [0]


def test_a_message_takes_of_all_its_buckets_or_of_none() -> None:
    wide, narrow = Bucket("wide", 1_000, 100, TODAY, 0), Bucket("narrow", 60_000_000, 1, TODAY, 0)
    answers, fills = take({}, [(wide, narrow), (wide, narrow), (wide,)], NOW)
    assert answers[0] == answers[2] == 0
    assert answers[1] > NOW
    assert fills["wide"].used == 2


def test_those_that_wait_are_spread() -> None:
    answers, _ = take({}, [(Bucket("k", 100_000, 1, TODAY, 0),)] * 5, NOW)
    assert answers == [0, NOW + 100, NOW + 200, NOW + 300, NOW + 400]


@pytest.mark.parametrize(
    ("fields", "pointers"),
    [
        ({"rate_per_s": 0}, ["/rate_per_s"]),
        ({"warm_up": [1]}, ["/began"]),
        ({"began": dt.date(2026, 1, 1)}, ["/began"]),
        ({"to": ["Example.com"]}, ["/to/0"]),
        ({"to": ["@Example.com"]}, ["/to/0"]),
    ],
)
def test_what_is_wrong(fields: dict[str, Any], pointers: list[str]) -> None:
    assert [error.pointer for error in problems(limit(**fields))] == pointers


def test_saboteur_a_bucket_that_is_never_emptied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_taken", lambda bucket, fill, now_ms: fill)
    with pytest.raises(AssertionError):
        test_those_that_wait_are_spread()
