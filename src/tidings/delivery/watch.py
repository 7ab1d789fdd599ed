"""Watches the carriers that this process is bound to, and gives ill ones less. See `routing/health.py` for the rules."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

import msgspec

from tidings.delivery.dispatch import Dispatcher
from tidings.delivery.fleet import Fleet, Member
from tidings.delivery.router import Router
from tidings.domain.attempt import CarrierReceipt, Outcome, PartRefused, PartRetry, PartSent, PartUnknown
from tidings.domain.errors import StoreError
from tidings.kit.clock import Clock
from tidings.kit.ids import new_id
from tidings.kit.limits import HEALTH_LOOK_S, HEALTH_SAMPLES
from tidings.routing.health import Change, Health
from tidings.store.routes import HealthRow, NewHealth
from tidings.store.store import Store

_log = logging.getLogger(__name__)


class _Watched:
    """One carrier. `began`: when a sample of what is on its wire was handed over."""

    def __init__(self, health: Health, member: Member) -> None:
        self.health, self.member = health, member
        self.began: dict[str, float] = {}
        self.oldest = ""
        self.oldest_s = 0.0


class Watch:
    """Implements `dispatch.Observer`."""

    def __init__(
        self, store: Store, fleet: Fleet, router: Router, dispatcher: Dispatcher, now: Clock, told: Callable[[], None],
        monotonic: Callable[[], float],
    ) -> None:  # fmt: skip
        """`told`: called when others should look at what was stored."""
        self._store, self._fleet, self._router, self._dispatcher = store, fleet, router, dispatcher
        self._now, self._told, self._monotonic = now, told, monotonic
        self._watched: dict[str, _Watched] = {}
        self._elsewhere: dict[tuple[str, int], float] = {}
        self._reasons: dict[str, str] = {}
        self._unsaid: list[NewHealth] = []
        self._looked_s = monotonic()

    # -- dispatch.Observer

    def began(self, provider: str, attempt: str) -> None:
        """See `Observer`."""
        watched = self._watched.get(provider)
        if watched is not None and len(watched.began) < HEALTH_SAMPLES:
            watched.began[attempt] = self._monotonic()

    def outcomes(self, provider: str, batch: Sequence[Outcome]) -> None:
        """See `Observer`."""
        watched = self._watched.get(provider)
        if watched is None:
            return
        now_s, ok, bad, latency_s, measured = self._monotonic(), 0, 0, 0.0, 0
        for outcome in batch:
            began_s = watched.began.pop(outcome.attempt_id, None)
            if outcome.late:
                continue
            if any(isinstance(part, PartRetry | PartUnknown) for part in outcome.parts):
                bad += 1
                continue
            first = outcome.parts[0]
            ok += isinstance(first, PartSent | PartRefused)
            if isinstance(first, PartSent):
                watched.health.receipts.sent(now_s, first.ref)
            if began_s is not None:
                latency_s, measured = latency_s + now_s - began_s, measured + 1
        if ok or bad:
            watched.health.outcomes(now_s, ok, bad, latency_s, measured)

    def receipts(self, provider: str, batch: Sequence[CarrierReceipt]) -> None:
        """Final receipts, before they are stored."""
        watched = self._watched.get(provider)
        if watched is not None:
            now_s = self._monotonic()
            for receipt in batch:
                if receipt.state != "pending":
                    watched.health.receipts.came(now_s, receipt.refs)

    # -- inside

    def know(self, rows: Sequence[HealthRow]) -> None:
        """What owners of places have stored; of its own places this process knows more."""
        self._elsewhere = {(row.provider, row.slot): row.share for row in rows}
        self._reasons = {row.provider: row.reason for row in rows}
        self._share()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(HEALTH_LOOK_S)
            try:
                await self.look()
            except StoreError as error:
                _log.warning("the health of carriers cannot be stored, and will be: %s", error)
            except Exception:
                _log.exception("the health of carriers cannot be looked at")

    async def look(self) -> None:
        """One look at every carrier; what changes holds at once, then it is stored and told. Raises StoreError."""
        now_s = self._monotonic()
        late_s, self._looked_s = now_s - self._looked_s, now_s
        oldest = self._dispatcher.in_hand.oldest()
        members = {member.spec.name: member for member in self._fleet.members()}
        for name in [name for name, one in self._watched.items() if members.get(name) is not one.member]:
            del self._watched[name]
        for name, member in members.items():
            if name not in self._watched:
                share = self._elsewhere.get((name, member.slot), 1.0)
                self._watched[name] = _Watched(Health(now_s, share=share), member)
            if late_s > 4 * HEALTH_LOOK_S:  # this process was held up: no carrier answers for that
                self._watched[name].oldest_s += late_s
            change = self._look_at(name, self._watched[name], oldest.get(name, ""), now_s)
            if change is not None:
                self._changed(name, member, change)
        await self._say()

    def _look_at(self, name: str, watched: _Watched, oldest: str, now_s: float) -> Change | None:
        health, links = watched.health, watched.member.provider.links()
        health.link(now_s, any(link.state == "up" for link in links))
        if oldest != watched.oldest or not any(link.in_flight for link in links):
            watched.oldest, watched.oldest_s = oldest, now_s
        health.stalled(now_s - watched.oldest_s if oldest else 0.0)
        if len(watched.began) >= HEALTH_SAMPLES:  # what ended without an outcome of its own must not keep the room
            watched.began.clear()
        return health.look(now_s)

    def _changed(self, name: str, member: Member, change: Change) -> None:
        percent = round(100 * change.share)
        _log.warning("carrier %s gets %d %% of its messages %s", name, percent, change.reason)
        row = HealthRow(provider=name, slot=member.slot, share=change.share, reason=change.reason, since_ms=self._now())
        data = {"provider": name, "reason": change.reason, "share": change.share}
        self._unsaid.append(
            NewHealth(
                row=row, event=f"provider.{change.event}" if change.event else "", event_id=new_id("evt"),
                project=member.spec.project, data=msgspec.json.encode(data).decode(),
            )
        )  # fmt: skip
        self._share()

    def _share(self) -> None:
        shares: dict[str, float] = {}
        ours = {(name, one.member.slot): one.health.share for name, one in self._watched.items()}
        for (name, _), share in (self._elsewhere | ours).items():
            shares[name] = min(share, shares.get(name, 1.0))
        self._router.know_shares(shares)

    async def _say(self) -> None:
        while self._unsaid:
            await self._store.routes.note(self._unsaid[0])
            said = self._unsaid.pop(0)
            key = (said.row.provider, said.row.slot)
            self._elsewhere[key] = said.row.share
            if said.row.share >= 1:
                del self._elsewhere[key]
            if not self._unsaid:
                self._told()
                self._dispatcher.wake("")

    def view(self) -> Mapping[str, tuple[float, str]]:
        """By provider that is not well: its share, and why."""
        shares = self._router.shares()
        reasons = self._reasons | {name: str(one.health.reason) for name, one in self._watched.items()}
        return {name: (share, reasons.get(name, "")) for name, share in shares.items()}
