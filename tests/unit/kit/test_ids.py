"""Ids: of the form, each after the one before, also behind those of a process whose clock was ahead."""

from __future__ import annotations

import uuid

import pytest

from tidings.kit.ids import Ids, is_id, new_id

AHEAD = "ffffffffff00" + "7" + "000" + "8000" + "0" * 12  # of a clock that was millennia ahead
LAST_OF_ITS_MS = "ffffffffff00" + "7" + "fff" + "bfff" + "f" * 12


def test_the_form() -> None:
    made = new_id("msg")
    assert is_id(made, "msg")
    assert not is_id(made, "evt")
    assert uuid.UUID(hex=made[4:]).version == 7


@pytest.mark.parametrize("before", ["", "0" * 32, AHEAD, LAST_OF_ITS_MS])
def test_each_sorts_after_the_one_before(before: str) -> None:
    ids = Ids()
    if before:
        ids.go_on_behind(f"evt_{before}")
    made = [before, *(ids() for _ in range(20_000))]
    assert made == sorted(set(made))
    for text in made[1::1000]:
        found = uuid.UUID(hex=text)
        assert (found.version, found.variant) == (7, uuid.RFC_4122)


def test_a_process_goes_on_behind_the_latest_of_several() -> None:
    ids = Ids()
    for text in (AHEAD, "0" * 32):
        ids.go_on_behind(text)
    assert ids() > AHEAD


def test_when_the_clock_has_come_up_the_ids_are_of_its_time_again() -> None:
    ids, now = Ids(), new_id("evt")
    ids.go_on_behind(now)
    later = ids()
    assert later > now[4:]
    assert int(later[:12], 16) - int(now[4:16], 16) < 60_000
