"""Two carriers behind one route, one of which dies under a steady load: what it costs, and whom."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp

from .books import NOT_TAKEN, settle
from .rig import KEY, Load, Server

if TYPE_CHECKING:
    from pathlib import Path

    from peers.carriers import NodeSmsc

_PROVIDER = """
[[providers]]
name = "{name}"
type = "sms.smpp"
host = "127.0.0.1"
port = {port}
system_id = "perf"
password = "perf"
window = 50
response_timeout_s = 2.0
reconnect_min_s = 0.05
reconnect_max_s = 0.5
"""
SLICE_S = 0.5


def two_carriers(
    folder: Path, smscs: dict[str, NodeSmsc], unknown_wait_s: float, no_receipt_s: float, url: str | None
) -> Server:
    """A server with a provider for each SMSC and one route over them, half of the messages each."""
    server = Server(folder, 1, unknown_wait_s, url)
    config = f"[delivery]\nunknown_wait_s = {unknown_wait_s}\nunknown_wait_otp_s = {unknown_wait_s}\n"
    config += "".join(_PROVIDER.format(name=name, port=smsc.port) for name, smsc in smscs.items())
    targets = ", ".join(f'{{ provider = "{name}", cost_per_part = 0.01 }}' for name in smscs)
    config += f'[[routes]]\nname = "all"\nno_receipt_s = {no_receipt_s}\ntargets = [{targets}]\n'
    server.config.write_text(config)
    return server


class Steady(Load):
    """So many messages a second, whatever comes back; when each was accepted."""

    def __init__(self, url: str, per_s: float) -> None:
        super().__init__(url, "resend")
        self.per_s = per_s
        self.began: dict[int, float] = {}
        self._ends = asyncio.Event()

    async def go(self) -> None:
        """Until `end`."""
        connector = aiohttp.TCPConnector(limit=200)
        calls: set[asyncio.Task[bool]] = set()
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}, connector=connector) as session:
            start_s = time.monotonic()
            while not self._ends.is_set():
                due = int((time.monotonic() - start_s) * self.per_s)
                while self.next < due:
                    number, self.next = self.next, self.next + 1
                    body = {"to": f"+4471{number:08}", "from": "12345", "text": f"SEQ{number}X"}
                    self.began[number] = time.monotonic()
                    call = asyncio.create_task(self._once(session, number, body))
                    calls.add(call)
                    call.add_done_callback(calls.discard)
                await asyncio.sleep(0.01)
            await asyncio.gather(*calls)

    def end(self) -> None:
        """No more of them."""
        self._ends.set()


def submits(smsc: NodeSmsc) -> Iterable[tuple[float, int, str]]:
    """(when, number of the message, fate) of each submit_sm that it got."""
    for line in smsc.of("submit"):
        found = re.search(r"SEQ(\d+)X", line["text"])
        if found:
            yield line["at"], int(found[1]), line["fate"]


def left_after_s(ill: NodeSmsc, other: NodeSmsc, from_s: float, until_s: float) -> float | None:
    """Seconds from `from_s` until less than 5 % of the traffic goes to the ill one, and a second long stays so."""
    slices: dict[int, Counter[str]] = {}
    for name, smsc in (("ill", ill), ("other", other)):
        for at_s, _, _ in submits(smsc):
            if from_s <= at_s < until_s:
                slices.setdefault(int((at_s - from_s) / SLICE_S), Counter())[name] += 1
    good = 0
    for n in range(int((until_s - from_s) / SLICE_S)):
        count = slices.get(n, Counter[str]())
        total = count.total()
        good = good + 1 if total and count["ill"] < 0.05 * total else 0
        if good * SLICE_S >= 1.0:
            return (n + 1 - good) * SLICE_S
    return None


@dataclass
class Account:
    """What a drill came to. `extra`: copies beyond one for each attempt that was unknown or went without its receipt."""

    accepted: int
    lost: int
    stuck: int
    copies: int
    extra: int
    p99_ms: float
    statuses: dict[str, int]
    events: list[tuple[str, str, str]] = field(default_factory=list)

    def line(self, name: str, **more: object) -> str:
        """For the terminal and docs/reliability.md."""
        words = " ".join(f"{key}={value}" for key, value in more.items())
        return (
            f"\n{name}: {words} accepted={self.accepted} lost={self.lost} stuck={self.stuck} copies={self.copies}"
            f" (beyond bound {self.extra}) others' p99={self.p99_ms:.0f} ms {self.statuses} {self.told()}"
        )

    def told(self) -> dict[str, int]:
        """provider.degraded and provider.recovered, by provider."""
        return dict(Counter(f"{provider} {kind.removeprefix('provider.')}" for kind, provider, _ in self.events))


async def account(
    server: Server,
    smscs: dict[str, NodeSmsc],
    load: Steady,
    well: str,
    during: tuple[float, float],
    deadline_s: float = 60,
) -> Account:
    """Lets everything settle, and counts. `during`: of the messages accepted in this time the delay to `well` is measured."""
    async with asyncio.timeout(deadline_s):  # those without a receipt go to the other one
        while await server.rows("select 1 from receipt_waits union all select 1 from jobs limit 1"):
            await asyncio.sleep(0.2)
    stuck = await settle(server, deadline_s)
    await asyncio.sleep(0.5)  # the last receipts
    for smsc in smscs.values():
        await smsc.caught_up()
    taken = Counter[int]()
    for smsc in smscs.values():
        taken.update(number for _, number, fate in submits(smsc) if fate not in NOT_TAKEN)
    delays: list[float] = []
    seen = set[int]()
    for at_s, number, _ in submits(smscs[well]):
        if during[0] <= load.began.get(number, 0.0) < during[1] and number not in seen:
            seen.add(number)
            delays.append(at_s - load.began[number])
    reasons = await server.rows("select count(*) from events where type in ('attempt.unknown', 'message.failover')")
    copies = sum(count - 1 for count in taken.values())
    told = await server.rows("select type, data from events where type like 'provider.%' order by seq")
    return Account(
        accepted=len(load.accepted), lost=len(load.accepted - set(taken)), stuck=stuck, copies=copies,
        extra=max(0, copies - reasons[0][0]), p99_ms=1000 * sorted(delays)[int(0.99 * len(delays))] if delays else -1.0,
        statuses=dict(await server.rows("select status, count(*) from messages group by status order by 1")),
        events=[(str(kind), *_said(data)) for kind, data in told],
    )  # fmt: skip


def _said(data: Any) -> tuple[str, str]:
    provider, reason = re.search(r'"provider":\s*"([^"]*)"', str(data)), re.search(r'"reason":\s*"([^"]*)"', str(data))
    return provider[1] if provider else "", reason[1] if reason else ""
