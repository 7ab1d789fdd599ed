"""How often acknowledgements are taken."""

from __future__ import annotations

import pytest

from tidings.domain.errors import Overloaded
from tidings.http.v1.push import Gate
from tidings.kit.limits import ACK_TOKENS, ACKS_PER_S, ACKS_PER_TOKEN_PER_S


def test_one_message_cannot_take_the_place_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidings.http.ratelimit.time.monotonic", lambda: 1.0)
    gate = Gate()
    for _ in range(ACKS_PER_TOKEN_PER_S):
        gate.take("a")
    for _ in range(50):
        with pytest.raises(Overloaded) as caught:
            gate.take("a")
        assert caught.value.status == 429
    for n in range(ACKS_PER_S - ACKS_PER_TOKEN_PER_S):  # what was refused has taken nothing from the others
        gate.take(f"b{n}")
    with pytest.raises(Overloaded):
        gate.take("c")


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1.0
    monkeypatch.setattr("tidings.http.ratelimit.time.monotonic", lambda: now)
    gate = Gate()
    for n in range(ACK_TOKENS + 100):
        now += 1.0
        gate.take(str(n))
    assert len(gate._each) == ACK_TOKENS
