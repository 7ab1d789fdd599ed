"""When to try again, as a table."""

from email.utils import formatdate
from time import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings_client.core import Policy, call, pause_s, wait_s

POLICY = Policy(retries=2, first_s=1.0, last_s=8.0)
PLAIN, ONCE = call("POST", "/"), call("POST", "/", repeatable=False)
IN_FLIGHT = b'{"code": "idempotency_key_in_flight"}'

TABLE: list[tuple[Any, int, int | None, bytes, bool]] = [
    (PLAIN, 1, None, b"", True), (PLAIN, 2, None, b"", True), (PLAIN, 3, None, b"", False),
    (PLAIN, 1, 200, b"", False), (PLAIN, 1, 400, b"", False), (PLAIN, 1, 409, b"", False),
    (PLAIN, 1, 409, IN_FLIGHT, True), (PLAIN, 1, 429, b"", True), (PLAIN, 1, 500, b"", True),
    (PLAIN, 1, 501, b"", False), (PLAIN, 1, 503, b"", True), (PLAIN, 3, 503, b"", False), (PLAIN, 1, 507, b"", False),
    (ONCE, 1, None, b"", False), (ONCE, 1, 500, b"", False), (ONCE, 1, 503, b"", True), (ONCE, 1, 429, b"", True),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "tries", "status", "body", "again"), TABLE)
def test_again(wanted: Any, tries: int, status: int | None, body: bytes, again: bool) -> None:
    assert (wait_s(POLICY, wanted, tries, status, None, body) is not None) == again


@pytest.mark.parametrize(
    ("tries", "low_s", "high_s"), [(1, 0.5, 1), (2, 1, 2), (3, 2, 4), (4, 4, 8), (9, 4, 8), (5000, 4, 8)]
)
def test_backoff_doubles_up_to_its_limit_with_jitter(tries: int, low_s: float, high_s: float) -> None:
    assert pause_s(POLICY, tries, None, lambda: 0.0) == low_s
    assert pause_s(POLICY, tries, None, lambda: 1.0) == high_s


@pytest.mark.parametrize(("header", "again"), [(None, True), ("60", True), ("61", False), ("86400", False)])
def test_a_pause_of_more_than_a_minute_is_the_caller_s(header: str | None, again: bool) -> None:
    assert (wait_s(POLICY, PLAIN, 1, 429, header) is not None) == again


RETRY_AFTER = [("3", 3), ("0", 0.5), ("100000", 60), ("-5", 0.5), ("soon", 0.5), ("", 0.5), ("1" * 400, 60)]


@pytest.mark.parametrize(("header", "seconds"), RETRY_AFTER)
def test_retry_after(header: str, seconds: float) -> None:
    assert pause_s(POLICY, 1, header, lambda: 0.0) == seconds


def test_retry_after_as_a_date() -> None:
    assert 18 <= pause_s(POLICY, 1, formatdate(time() + 20, usegmt=True), lambda: 0.0) <= 20
    assert pause_s(POLICY, 1, formatdate(time() - 20, usegmt=True), lambda: 0.0) == 0.5


@given(st.text(), st.integers(1, 10_000))
def test_no_header_makes_it_wait_long_or_raise(header: str, tries: int) -> None:
    assert 0.5 <= pause_s(POLICY, tries, header) <= 60
