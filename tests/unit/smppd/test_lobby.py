"""Who has to go where too many connections have not bound yet."""

from __future__ import annotations

from typing import Any

import pytest

from tidings.smppd.lobby import Lobby


class Guest:
    """As much of a session as the lobby looks at."""

    def __init__(self, peer: str, name: str) -> None:
        self.peer, self.name = peer, name


@pytest.mark.parametrize(
    ("came", "pushed_out"),
    [
        ("a1 a2 a3", ""),
        ("a1 a2 a3 a4", "a1"),  # all from one address: the oldest
        ("b1 a1 a2 a3", "a1"),  # the crowd pushes out its own, however long another has waited
        ("b1 a1 a2 a3 a4 a5", "a1 a2 a3"),
        ("b1 a1 c1 a2 c2 a3", "a1 c1 a2"),
    ],
)
def test_who_has_to_go(came: str, pushed_out: str) -> None:
    lobby: Any = Lobby(3)
    guests = [Guest(name[0], name) for name in came.split()]
    gone = [found.name for guest in guests if (found := lobby.enter(guest)) is not None]
    assert gone == pushed_out.split()
    assert len(lobby) == 3
    assert {guest.name for guest in lobby.all()} == set(came.split()) - set(gone)
    assert all((guest in lobby) == (guest.name not in gone) for guest in guests)


def test_who_binds_is_not_pushed_out() -> None:
    lobby: Any = Lobby(2)
    first, *others = (Guest("a", f"a{n}") for n in range(5))
    assert lobby.enter(first) is None
    assert lobby.binds(first)
    assert [getattr(lobby.enter(guest), "name", "") for guest in others] == ["", "", "a1", "a2"]
    assert first in lobby
    assert not lobby.binds(others[0]), "it is gone"
    assert lobby.binds(others[3])
    assert not lobby.binds(others[2]), "as many binds as may be are being looked at"
    for guest in (first, *others):
        lobby.discard(guest)
    assert len(lobby) == 0
    assert lobby.all() == []
