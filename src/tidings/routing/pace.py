"""How fast messages may leave, by sender, by domain, or as a whole; and new senders that warm up. Pure.

A rate is a bucket: in any time t at most `rate_per_s` × t + `burst` messages leave. A day is one of UTC.
"""

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from tidings.domain.errors import FieldError
from tidings.domain.message import Lane, Message
from tidings.kit.limits import PACE_LOOK_S
from tidings.routing.match import regions
from tidings.routing.route import Name, destination_problems

_DAY_MS: Final = 86_400_000
_EPOCH: Final = dt.date(1970, 1, 1)


class Limit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What it is for, as in a route (an empty list: for everything), and how much may leave.

    `each`: one allowance for `all` that fits, or one for each `sender` or recipient's `domain`. `warm_up`: how many on the
    first day from `began` on, on the second, …; then `per_day` (0: as many as you like).
    """

    name: Name
    channels: list[str] = []
    to: list[str] = []
    lanes: list[Lane] = msgspec.field(name="class", default_factory=list[Lane])
    senders: list[str] = msgspec.field(name="from", default_factory=list[str])
    each: Literal["all", "sender", "domain"] = "all"
    rate_per_s: Annotated[float, Meta(ge=0, le=100_000)] = 0.0
    burst: Annotated[int, Meta(ge=0, le=100_000)] = 0  # 0: what leaves within half a second, at least one
    per_day: Annotated[int, Meta(ge=0)] = 0
    warm_up: list[Annotated[int, Meta(ge=1)]] = []
    began: dt.date | None = None


class Bucket(NamedTuple):
    """What a message takes one of. `most`: of the `day`; 0: as many as you like."""

    key: str
    interval_us: int
    burst: int
    day: int
    most: int


class Fill(NamedTuple):
    """A bucket as it is stored: when it is full again, and how many left on a day."""

    next_us: int = 0
    day: int = 0
    used: int = 0


def problems(limit: Limit) -> list[FieldError]:
    """What is wrong beyond the types."""
    found = destination_problems(limit.to)
    if not (limit.rate_per_s or limit.per_day or limit.warm_up):
        detail = "a limit needs rate_per_s, per_day or warm_up"
        found.append(FieldError(pointer="/rate_per_s", code="required", detail=detail))
    if bool(limit.warm_up) != (limit.began is not None):
        detail = "warm_up and began (the first day, YYYY-MM-DD) go together"
        found.append(FieldError(pointer="/began", code="required", detail=detail))
    return found


def buckets(limits: Sequence[Limit], message: Message, now_ms: int) -> tuple[Bucket, ...]:
    """Those that the message takes from."""
    found: list[Bucket] = []
    for limit in limits:
        of = _of(limit, message) if _fits(limit, message) else None
        if of is not None:
            day = now_ms // _DAY_MS
            interval_us = round(1_000_000 / limit.rate_per_s) if limit.rate_per_s else 0
            burst = limit.burst or max(1, math.ceil(limit.rate_per_s * PACE_LOOK_S))
            found.append(Bucket(f"{limit.name}|{of}", interval_us, burst, day, _most(limit, day)))
    return tuple(found)


def take(
    fills: Mapping[str, Fill], wanted: Iterable[Sequence[Bucket]], now_ms: int
) -> tuple[list[int], dict[str, Fill]]:
    """For each message in order: 0, or when it may try again (ms); and the buckets after it.

    A message takes one of each of its buckets, or of none. Those that wait are spread over the time to come.
    """
    left, answers, waiting = dict(fills), list[int](), dict[str, int]()
    for message in wanted:
        due_ms = max((_due_ms(bucket, left.get(bucket.key, Fill()), now_ms, waiting) for bucket in message), default=0)
        answers.append(due_ms)
        for bucket in message:
            if due_ms:
                waiting[bucket.key] = waiting.get(bucket.key, 0) + 1
            else:
                left[bucket.key] = _taken(bucket, left.get(bucket.key, Fill()), now_ms)
    return answers, left


def _due_ms(bucket: Bucket, fill: Fill, now_ms: int, waiting: Mapping[str, int]) -> int:
    before = waiting.get(bucket.key, 0)
    if bucket.most and fill.day == bucket.day and fill.used >= bucket.most:
        return (bucket.day + 1) * _DAY_MS + before * bucket.interval_us // 1000
    free_us = fill.next_us - (bucket.burst - 1) * bucket.interval_us
    if free_us <= now_ms * 1000:
        return 0
    return max(now_ms + 1, -(-(free_us + before * bucket.interval_us) // 1000))


def _taken(bucket: Bucket, fill: Fill, now_ms: int) -> Fill:
    used = fill.used + 1 if fill.day == bucket.day else 1
    return Fill(max(fill.next_us, now_ms * 1000) + bucket.interval_us, bucket.day, used)


def _most(limit: Limit, day: int) -> int:
    if limit.began is None:
        return limit.per_day
    n = day - (limit.began - _EPOCH).days
    if n < len(limit.warm_up):
        return limit.warm_up[max(n, 0)]
    return limit.per_day


def _of(limit: Limit, message: Message) -> str | None:
    """Whose allowance it is; None: it has no such thing."""
    if limit.each == "all":
        return ""
    if limit.each == "sender":
        return message.personal.sender or ""
    to = message.personal.to
    return to[to.rindex("@") :].lower() if "@" in to else None


def _fits(limit: Limit, message: Message) -> bool:
    return (
        (not limit.channels or message.channel in limit.channels)
        and (not limit.lanes or message.lane in limit.lanes)
        and (not limit.senders or message.personal.sender in limit.senders)
        and (not limit.to or any(_goes_to(word, message.personal.to) for word in limit.to))
    )


def _goes_to(word: str, to: str) -> bool:
    if word.startswith("+"):
        return to.startswith(word)
    if word.startswith("@"):
        return to.lower().endswith(word)
    return to.startswith("+") and word in regions(to)
