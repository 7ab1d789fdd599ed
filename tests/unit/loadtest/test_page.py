"""The HTML report: one file that asks for nothing, well formed, with the figures in it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest

from tidings.loadtest.page import page
from tidings.loadtest.plan import Limits, Plan, read_lanes, read_range
from tidings.loadtest.recorder import Recorder
from tidings.loadtest.result import Context, Result, assertions, exit_code, generator_of, latencies, to_json

VOID = {"meta", "br", "link", "img", "input"}


class Balanced(HTMLParser):
    """Fails on an end tag that does not fit; collects what the document would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        assert not {name for name, _ in attrs} & {"src", "href", "onload", "onclick"}

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def result(*, lost: int = 0, lag_ms: float = 1, stopped: bool = False, messages: int = 60, note: str = "") -> Result:
    """A run of one second that never took place."""
    clock = [100.0]
    recorder = Recorder("abcd1234", lambda: clock[0])
    wanted = Plan(
        rate_per_s=60, duration_s=1, lanes=read_lanes("otp=1,marketing=1"), recipients=read_range("+15005551000")
    )
    recorder.begin()
    for n in range(messages):
        recorder.scheduled(0 if n % 2 else 2, 100.0, 100.0 + lag_ms / 1000)
        recorder.accepted(n, f"msg_{n}", 100.001 + n / 1000)
        recorder.taken(n, 100.002 + n / 1000)
        recorder.ledger.receipt(n, "delivered", 100.1)
        if n >= lost:
            recorder.heard(recorder.token(n), "delivered", 100.11 + n / 1000)
    recorder.close_step()
    accounts = recorder.ledger.accounts(over_rate=0, waited=not stopped)
    latency = latencies(recorder)
    checked = assertions(Limits(max_callback_p99_ms=5_000), accounts, 0, latency)
    generator = generator_of(recorder, wanted, 0)
    context = Context(
        started_at="2026-11-24T10:00:00.000Z", url="http://127.0.0.1:1/<script>", far_side="none", callbacks="signed webhooks",
        tidings="0", machine="a & b", carrier_rate_per_s=0, notes=[note] if note else [],
    )  # fmt: skip
    return Result(
        context=context, plan=wanted, seconds=1.2, stopped=stopped, accounts=accounts,
        sent_by_lane=recorder.ledger.lane_counts(), refusals={}, lost_by_status={"queued": lost} if lost else {},
        carrier_peak_per_s=60, refused_callbacks=0, latency=latency, series=recorder.points, step_s=1.0,
        generator=generator, assertions=checked, exit_code=exit_code(checked, generator, stopped=stopped),
    )  # fmt: skip


CASES: list[tuple[dict[str, Any], int, str]] = [
    ({}, 0, "Everything held"),
    ({"lost": 7}, 1, "Missed: lost"),
    ({"lag_ms": 500}, 3, "could not keep its schedule"),
    ({"stopped": True, "lost": 3}, 130, "Stopped early"),
    ({"messages": 0}, 1, "Missed: receipt"),
    ({"note": "<b>bold"}, 0, "&lt;b&gt;bold"),
]


@pytest.mark.parametrize(("more", "code", "told"), CASES)
def test_the_page(more: dict[str, Any], code: int, told: str) -> None:
    found = result(**more)
    assert found.exit_code == code
    text = page(found)
    assert told in text
    checker = Balanced()
    checker.feed(text)
    checker.close()
    assert checker.open == []
    assert not checker.tags & {"script", "link", "img", "iframe", "object"}
    assert not re.findall(r"url\(|@import", text)
    assert "prefers-color-scheme:dark" in text


def test_the_json_report_reads_back() -> None:
    found = result(lost=2)
    again = msgspec.json.decode(to_json(found), type=Result)
    assert again == found
    assert again.accounts.lost == 2
    assert sum(again.latency["accept"]["all"].bins) == 60
