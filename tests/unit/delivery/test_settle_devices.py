"""A push message to several devices: what becomes of it when their services say different things."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tidings.delivery.job import Job
from tidings.delivery.settle import UnknownWait, settle
from tidings.domain.attempt import Outcome, PartExpired, PartOutcome, PartRefused, PartRetry, PartSent, PartUnknown
from tidings.domain.message import Message, MessageError, Personal

GONE = PartRefused(MessageError(code="unregistered", detail="gone"), "unregistered")
BUSY = PartRetry(MessageError(code="throttled", detail="busy", permanent=False, retryable=True), 7.0)
LOST, LATE = PartUnknown("no_answer"), PartExpired()


def taken(n: int) -> PartSent:
    return PartSent(f"r{n}")


def made(*parts: PartOutcome, channel: str = "push") -> Any:
    devices = tuple(f"t{n}" for n in range(len(parts)))
    message = Message(
        id="msg_1", project="prj_1", mode="live", channel=channel, lane="transactional", created_ms=0, due_ms=0,
        personal=Personal(to="t0", text="Hi", each=devices),
    )  # fmt: skip
    return settle(
        Job(message=message, to_hash="h"), "p1", Outcome("att_1", parts, 1_000), UnknownWait(10, 900), random.Random(1)
    )


@pytest.mark.parametrize(
    ("parts", "kind", "status", "states", "refs"),
    [
        ((taken(1), taken(2)), "sent", "sent", "", ("r1", "r2")),
        ((GONE, taken(2)), "sent", "sent", "us", ("", "r2")),
        ((taken(1), BUSY, LOST), "sent", "sent", "suu", ("r1", "", "")),
        ((GONE, GONE), "refused", "failed", "", ("", "")),
        ((GONE, BUSY), "retry", "queued", "", ()),
        ((BUSY, GONE, GONE), "retry", "queued", "", ()),
        ((GONE, LOST), "unknown", None, "", ("", "")),
        ((BUSY, LOST), "unknown", None, "", ("", "")),
        ((LATE, LATE), "refused", "expired", "", ()),
    ],
)
def test_devices(
    parts: tuple[PartOutcome, ...], kind: str, status: str | None, states: str, refs: tuple[str, ...]
) -> None:
    found = made(*parts)
    assert (found.kind, found.status, found.states, found.refs) == (kind, status, states, refs)


def test_the_device_that_had_enough_says_when() -> None:
    assert made(GONE, BUSY).due_ms == 8_000


def test_parts_of_an_sms_share_their_fate() -> None:
    assert made(GONE, BUSY, channel="sms").status == "failed"
