"""Health: simulated carriers under a clock of our own, looked at four times a second as a server does."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from tidings.routing.health import STEPS, Health, Policy

LOOK_S = 0.25
Well = Callable[[float], bool]


@dataclass
class Carrier:
    """A carrier that gets its share of `per_s` messages, and does `ill` of `kind` while it is not well."""

    well: Well
    kind: str
    per_s: float = 200.0
    noise: float = 0.0  # refused for now though well
    receipts: float = 0.9
    receipt_s: float = 0.4
    seed: int = 1
    policy: Policy = field(default_factory=Policy)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.health = Health(0.0, self.policy)
        self.events: list[tuple[float, str, str]] = []
        self.shares: list[tuple[float, float]] = [(0.0, 1.0)]
        self.got = self.got_ill = self.offered = self.offered_ill = 0
        self.open: deque[float] = deque()  # on the wire since
        self.due: list[tuple[float, str]] = []
        self.number = 0

    def run(self, until_s: float) -> Carrier:
        for n in range(int(until_s / LOOK_S)):
            self.turn(n * LOOK_S)
        return self

    def turn(self, now_s: float) -> None:
        well, health = self.well(now_s), self.health
        wanted = self.per_s * LOOK_S
        sent = int(wanted * health.share + self.rng.random())
        self.offered, self.got = self.offered + int(wanted), self.got + sent
        if not well:
            self.offered_ill, self.got_ill = self.offered_ill + int(wanted), self.got_ill + sent
        health.link(now_s, well or self.kind != "down")
        if well or self.kind == "silent":
            self.answer(now_s, sent, self.noise if well else 0.0, receipts=well)
        elif self.kind == "refuses":
            self.answer(now_s, sent, 1.0, receipts=False)
        elif self.kind == "hangs":
            self.open.extend([now_s] * min(sent, 50 - len(self.open)))
            lost = 0
            while self.open and now_s - self.open[0] > 10:
                self.open.popleft()
                lost += 1
            health.outcomes(now_s, 0, lost) if lost else None
        elif self.kind == "down":
            health.outcomes(now_s, 0, sent) if sent else None
        elif self.kind == "slow":
            self.answer(now_s, sent, 0.0, receipts=True, latency_s=4.0)
        if well:
            self.open.clear()
        health.stalled(now_s - self.open[0] if self.open else 0.0)
        while self.due and self.due[0][0] <= now_s:
            health.receipts.came(now_s, ["other spelling", self.due.pop(0)[1]])
        change = health.look(now_s)
        if change is not None:
            self.shares.append((now_s, change.share))
            if change.event:
                self.events.append((now_s, change.event, change.reason))

    def answer(self, now_s: float, sent: int, bad: float, *, receipts: bool, latency_s: float = 0.05) -> None:
        refused = sum(self.rng.random() < bad for _ in range(sent))
        if sent:
            self.health.outcomes(now_s, sent - refused, refused, latency_s * sent, sent)
        for _ in range(sent - refused):
            self.number += 1
            self.health.receipts.sent(now_s, str(self.number))
            if receipts and self.rng.random() < self.receipts:
                self.due.append((now_s + self.receipt_s, str(self.number)))

    @property
    def names(self) -> list[str]:
        return [event for _, event, _ in self.events]


KINDS = {
    "refuses": ("failures", 1.0),
    "hangs": ("no_answers", 4.0),
    "down": ("link_down", 1.5),
    "silent": ("no_receipts", 6.0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_carrier_that_dies_loses_everything_soon_and_comes_back_in_steps(kind: str) -> None:
    reason, within_s = KINDS[kind]
    carrier = Carrier(lambda s: not 60 <= s < 120, kind).run(240)
    assert [(event, why) for _, event, why in carrier.events] == [("degraded", reason), ("recovered", "")]
    degraded_s, recovered_s = carrier.events[0][0], carrier.events[1][0]
    assert 60 <= degraded_s <= 60 + within_s
    assert 120 < recovered_s < 230
    assert [share for _, share in carrier.shares[-5:]] == list(STEPS[1:]), "gradually"
    # probes are 2 % and few; a carrier that says no is left within a second
    assert carrier.got_ill < carrier.offered_ill * (within_s + 4) / 60


@pytest.mark.parametrize("per_s", [0.5, 2.0, 20.0, 1_000.0])
@pytest.mark.parametrize("kind", ["refuses", "down"])
def test_at_any_rate(kind: str, per_s: float) -> None:
    carrier = Carrier(lambda s: not 60 <= s < 120, kind, per_s=per_s).run(400)
    assert carrier.names == ["degraded", "recovered"]


def flapping(period_s: float, up: float, offset_s: float) -> Well:
    return lambda s: ((s + offset_s) % period_s) / period_s < up


@settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    period_s=st.floats(1, 150),
    up=st.floats(0.1, 0.9),
    offset_s=st.floats(0, 150),
    kind=st.sampled_from(["refuses", "down", "hangs", "silent"]),
    per_s=st.sampled_from([2.0, 40.0]),
    seed=st.integers(0, 9),
)
def test_a_flapping_carrier_is_left_alone_rather_than_followed(
    period_s: float, up: float, offset_s: float, kind: str, per_s: float, seed: int
) -> None:
    """Ten minutes of it: few changes of mind, whatever the rhythm."""
    carrier = Carrier(flapping(period_s, up, offset_s), kind, per_s=per_s, seed=seed).run(600)
    assert carrier.names.count("recovered") <= 3
    assert carrier.names == (["degraded", "recovered"] * 4)[: len(carrier.names)]
    falls = [s for (_, before), (s, after) in zip(carrier.shares, carrier.shares[1:], strict=False) if after < before]
    assert len(falls) <= 24
    assert carrier.health.share in STEPS


@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    noise=st.floats(0, 0.02),
    receipts=st.floats(0, 1),
    receipt_s=st.floats(0.1, 20),
    per_s=st.sampled_from([3.0, 60.0]),
)
@example(
    noise=0.0182, receipts=0.3573, receipt_s=1.0984, per_s=3.0
)  # one refusal is a doubt, and few receipts are usual
@example(noise=0.0154, receipts=0.5325, receipt_s=1.7851, per_s=3.0)
def test_one_that_is_well_keeps_its_traffic(noise: float, receipts: float, receipt_s: float, per_s: float) -> None:
    carrier = Carrier(lambda s: True, "refuses", per_s, noise, receipts, receipt_s).run(300)
    assert carrier.events == []


def test_one_that_is_ill_loses_step_by_step() -> None:
    carrier = Carrier(lambda s: True, "refuses", noise=0.2).run(60)
    assert [share for _, share in carrier.shares] == [1.0, 0.6, 0.3, 0.1, 0.02]
    gaps = [b - a for (a, _), (b, _) in zip(carrier.shares[1:], carrier.shares[2:], strict=False)]
    assert min(gaps) >= carrier.policy.step_s


def test_between_ill_and_well_nothing_moves() -> None:
    assert Carrier(lambda s: True, "refuses", noise=0.06).run(100).shares == [(0.0, 1.0)]


def test_one_that_is_slow() -> None:
    carrier = Carrier(lambda s: s < 60, "slow").run(90)
    assert carrier.events[0][1:] == ("degraded", "slow")
    assert carrier.health.share <= 0.1


def test_a_long_outage_is_no_relapse() -> None:
    """After twenty minutes without a link it comes back as soon as after a minute."""
    times = []
    for end_s in (120, 1_260):
        carrier = Carrier(lambda s, end_s=end_s: not 60 <= s < end_s, "down").run(end_s + 60)
        times.append(carrier.events[-1][0] - end_s)
    assert times[0] == pytest.approx(times[1], abs=3.0)


@pytest.mark.parametrize("stragglers", [1, 40])
def test_what_was_on_the_wire_when_it_was_left_does_not_keep_it_away(stragglers: int) -> None:
    """Its answer came a moment later, its receipt never: the pause ends all the same."""
    health = Health(0.0)
    for n in range(4 * 60):
        now_s = n / 4
        health.outcomes(now_s, 10, 0, 0.1, 10)
        for k in range(10):
            health.receipts.sent(now_s, f"{n}-{k}")
            if now_s < 40:
                health.receipts.came(now_s + 0.1, [f"{n}-{k}"])
        if (change := health.look(now_s)) is not None:
            break
    else:
        pytest.fail("it was not left")
    assert (change.share, change.reason) == (0.0, "no_receipts")
    for k in range(stragglers):
        health.receipts.sent(now_s + 0.05, f"late-{k}")
    looks = (health.look(now_s + n / 4) for n in range(1, 4 * 8))
    assert next(look.share for look in looks if look is not None) > 0


def test_what_another_process_knew() -> None:
    health = Health(0.0, share=0.1)
    assert health.share == 0.1
    looks = [health.look(s * LOOK_S) for s in range(400)]
    assert [c.share for c in looks if c is not None] == [0.3, 0.6, 1.0]
    assert [c.event for c in looks if c is not None] == ["", "", "recovered"]


def test_saboteur_without_doubling(monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy whose pause never grows follows a flapping carrier."""
    eager = Policy(pause_s=1.0, pause_most_s=1.0, step_s=0.5)
    carrier = Carrier(flapping(60, 0.5, 0), "refuses", 20, policy=eager).run(600)
    assert carrier.names.count("recovered") > 3


def test_saboteur_deaf_to_receipts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidings.routing.health.ReceiptRate.grade", lambda *a, **k: "well")
    with pytest.raises(AssertionError):
        test_a_carrier_that_dies_loses_everything_soon_and_comes_back_in_steps("silent")
