"""Whether one more verification may begin: how fast, and whether anybody there ever types a code. Pure.

SMS pumping: somebody makes a service send codes to numbers whose operator pays him a share. Nobody reads those codes, so
the share of approved ones among the started says it: where it is below a floor over enough of them, no more are sent.
A block is the numbers that differ in the last four digits, a range those that differ in the last six.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from tidings.kit import limits

#: What verifications are counted by. `to`: an address (hashed), `ip`: the end user's (hashed).
MarkKind = Literal["to", "ip", "block", "range"]
Mark = tuple[MarkKind, str]
Counted = Literal["starts", "sends", "wrong"]


class Seen(msgspec.Struct, frozen=True, array_like=True):
    """An earlier verification with the same mark. `wrong`: codes that were not it."""

    created_ms: int
    sends: int
    wrong: int
    approved: bool


class Refusal(msgspec.Struct, frozen=True):
    """Why none may begin. `retry_after_s` of `pumping`: when the oldest of those judged leaves the window."""

    code: Literal["velocity", "pumping"]
    kind: MarkKind
    counted: Counted | None
    window_s: int
    most: int
    retry_after_s: int


_VELOCITY: Final[tuple[tuple[MarkKind, Counted, tuple[int, int]], ...]] = (
    ("to", "starts", limits.VERIFY_STARTS_PER_ADDRESS),
    ("to", "sends", limits.VERIFY_SENDS_PER_ADDRESS),
    ("to", "wrong", limits.VERIFY_WRONG_PER_ADDRESS),
    ("ip", "starts", limits.VERIFY_STARTS_PER_IP),
    ("block", "starts", limits.VERIFY_STARTS_PER_BLOCK),
)
_PUMPING: Final[dict[MarkKind, tuple[int, float]]] = {
    "block": limits.VERIFY_PUMPING_BLOCK,
    "range": limits.VERIFY_PUMPING_RANGE,
}
#: The longest window: what is older counts for nothing.
WINDOW_S: Final = max(limits.VERIFY_PUMPING_WINDOW_S, *(window_s for _, _, (window_s, _) in _VELOCITY))


def judge(seen: Mapping[Mark, Sequence[Seen]], now_ms: int, *, allowed: bool) -> Refusal | None:
    """None: it may begin. `seen`: by mark, newest first. `allowed`: an operator vouches for these numbers."""
    for (kind, _), rows in seen.items():
        if allowed and kind in _PUMPING:
            continue
        for of, counted, (window_s, most) in _VELOCITY:
            if of == kind:
                wait_s = _wait_s(rows, counted, window_s, most, now_ms)
                if wait_s:
                    return Refusal("velocity", kind, counted, window_s, most, wait_s)
        if kind in _PUMPING:
            refusal = _pumping(kind, rows, now_ms)
            if refusal is not None:
                return refusal
    return None


def _wait_s(rows: Sequence[Seen], counted: Counted, window_s: int, most: int, now_ms: int) -> int:
    """Seconds until fewer than `most` are left in the window; 0 if that is so now."""
    total = 0
    for row in rows:
        age_ms = now_ms - row.created_ms
        if age_ms >= window_s * 1000:
            break
        total += _count(row, counted)
        if total >= most:  # when this one leaves the window, there is room
            return max(1, -(-(window_s * 1000 - age_ms) // 1000))
    return 0


def _count(row: Seen, counted: Counted) -> int:
    if counted == "sends":
        return row.sends
    return row.wrong if counted == "wrong" else 1


def _pumping(kind: MarkKind, rows: Sequence[Seen], now_ms: int) -> Refusal | None:
    sample, floor = _PUMPING[kind]
    window_ms, grace_ms = limits.VERIFY_PUMPING_WINDOW_S * 1000, limits.VERIFY_PUMPING_GRACE_S * 1000
    recent = [row for row in rows if now_ms - row.created_ms < window_ms]
    judged = [row for row in recent if row.approved or now_ms - row.created_ms >= grace_ms]
    if len(judged) < sample or sum(row.approved for row in judged) >= floor * len(judged):
        return None
    oldest_ms = min(row.created_ms for row in judged)
    wait_s = max(1, (window_ms - (now_ms - oldest_ms)) // 1000)
    return Refusal("pumping", kind, None, limits.VERIFY_PUMPING_WINDOW_S, sample, wait_s)
