"""What a load test shall do, checked before anything is sent."""

import re
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from tidings.domain.message import LANES, Lane

#: Numbers that no telephone has: api.md keeps +1500555… for the sandbox.
DEFAULT_RANGE: Final = "+15005551000-+15005559999"
_MOST_MESSAGES: Final = 20_000_000  # ~70 bytes of account for each: 1.4 GB
_RANGE: Final = re.compile(r"\+(\d{5,15})(?:-\+?(\d{5,15}))?")
Fate = Literal["delivered", "undelivered", "none"]
FATES: Final[tuple[Fate, ...]] = ("delivered", "undelivered", "none")


class PlanError(ValueError):
    """An option that cannot be; the text says which, and what would be right."""


class Recipients(msgspec.Struct, frozen=True):
    """The numbers written to, in turn."""

    first: int
    count: int

    def number(self, n: int) -> str:
        """E.164 form of the n-th message's recipient."""
        return f"+{self.first + n % self.count}"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One run. Rates are messages a second; `sla_ms` bounds scheduled → submit by lane."""

    rate_per_s: float
    duration_s: float
    arrivals: Literal["constant", "poisson"] = "constant"
    seed: int = 1
    lanes: dict[Lane, float]
    recipients: Recipients
    text: str = "is your load test message"
    sender: str | None = "LOADTEST"
    batch: int = 1
    connections: int = 64
    timeout_s: float = 30.0
    wait_s: float = 30.0
    valid_for_s: dict[Lane, int] = {}
    sla_ms: dict[Lane, float] = {}
    most_lag_ms: float = 25.0

    @property
    def messages(self) -> int:
        """How many are scheduled on average."""
        return round(self.rate_per_s * self.duration_s)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What must hold for exit code 0; None is not asked."""

    max_p99_ms: float | None = None
    max_submit_p99_ms: float | None = None
    max_callback_p99_ms: float | None = None
    max_lost: int | None = 0
    max_duplicated: int | None = 0
    max_late: int | None = 0
    max_over_rate: int | None = 0
    max_refused: int | None = 0
    max_failed: int | None = 0


def check(plan: Plan) -> Plan:
    """The plan itself. Raises PlanError."""
    for name, value, least, most in (
        ("--rate", plan.rate_per_s, 0.01, 100_000),
        ("--duration", plan.duration_s, 0.1, 7 * 86_400),
        ("--batch", plan.batch, 1, 1_000),
        ("--connections", plan.connections, 1, 5_000),
        ("--wait", plan.wait_s, 0.1, 86_400),
        ("--timeout", plan.timeout_s, 0.1, 600),
    ):
        if not least <= value <= most:
            raise PlanError(f"{name} must be from {least:g} to {most:g}, not {value:g}")
    if plan.messages < 1:
        raise PlanError("--rate times --duration is less than one message")
    if plan.messages > _MOST_MESSAGES:
        raise PlanError(f"--rate times --duration is over {_MOST_MESSAGES:,} messages: run several tests")
    return plan


def read_lanes(text: str) -> dict[Lane, float]:
    """`otp=5,transactional=15,marketing=80` as shares that add up to 1. Raises PlanError."""
    pairs = read_pairs("--lanes", text, LANES)
    total = sum(pairs.values())
    if total <= 0:
        raise PlanError("--lanes needs a share above 0")
    return {lane: pairs[lane] / total for lane in LANES if pairs.get(lane, 0) > 0}


def read_receipts(text: str) -> dict[Fate, float]:
    """`delivered=97,undelivered=2,none=1` as shares that add up to 1. Raises PlanError."""
    pairs = read_pairs("--receipts", text, FATES)
    total = sum(pairs.values())
    if total <= 0:
        raise PlanError("--receipts needs a share above 0")
    return {fate: pairs[fate] / total for fate in FATES if pairs.get(fate, 0) > 0}


def read_pairs(option: str, text: str, names: tuple[str, ...]) -> dict[str, float]:
    """`a=1,b=2`. Raises PlanError for another name, a negative number, or none."""
    found: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = part.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if name not in names or not 0 <= number < float("inf") or name in found:
            raise PlanError(f"{option} {part!r}: write NAME=NUMBER once for each of {', '.join(names)}")
        found[name] = number
    return found


def by_lane(found: Mapping[str, float]) -> dict[Lane, float]:
    """The same, with the lanes' own type."""
    return {lane: found[lane] for lane in LANES if lane in found}


def read_range(text: str) -> Recipients:
    """`+15005551000-+15005559999`, or one number. Raises PlanError."""
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise PlanError(f"--to-range {text!r}: write FIRST-LAST in E.164 form, such as {DEFAULT_RANGE}")
    first, last = int(match[1]), int(match[2] or match[1])
    if match[2] and (len(match[1]) != len(match[2]) or last < first):
        raise PlanError(f"--to-range {text!r}: LAST must be as long as FIRST, and not before it")
    if match[1].startswith("0"):
        raise PlanError(f"--to-range {text!r}: a country code does not begin with 0")
    return Recipients(first, last - first + 1)
