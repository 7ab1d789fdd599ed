"""Whether a carrier that is called over HTTP can be reached: the breaker of `engine`. Pure: times are passed in.

::

    connecting ─ answer ─▶ up ─ no connection, line cut, FAILURES in a row ─▶ backoff ─ time ─▶ connecting (one probe)
         └──────────────── no connection again: twice as long ───────────────────▲
    up, connecting ─ 401/403 ─▶ auth_failed (until it is resumed)
"""

from collections.abc import Callable
from random import Random
from typing import Final

from tidings.channels.contract import Link, LinkState
from tidings.kit.clock import Clock

#: Answers in a row that say nothing (5xx, silence) before the carrier gets a rest.
FAILURES: Final = 5


class HttpLink:
    """The state of a provider's way to its carrier."""

    def __init__(
        self, least_s: float, most_s: float, clock: Clock, random: Random, changed: Callable[[Link], None]
    ) -> None:
        self._least_s, self._most_s, self._clock, self._random, self._changed = least_s, most_s, clock, random, changed
        self.state: LinkState = "down"
        self._since_ms = clock()
        self._last_error: str | None = None
        self._failures = 0
        self._pauses = 0
        self.retry_at = 0.0  # monotonic; of use in `backoff`
        self.in_flight = 0

    @property
    def usable(self) -> bool:
        """Whether anything may be sent."""
        return self.state in ("up", "connecting")

    @property
    def probing(self) -> bool:
        """Whether one request at a time is enough: nobody knows yet whether the carrier is back."""
        return self.state == "connecting"

    def open(self) -> None:
        """The provider has started: HTTP knows no session, so the first request will tell."""
        self._failures = self._pauses = 0
        self._become("up")

    def close(self) -> None:
        """The provider has stopped."""
        self._become("down")

    def drain(self) -> None:
        """The provider is being stopped."""
        self._become("draining")

    def answered(self) -> None:
        """A whole answer that makes sense came."""
        self._failures = self._pauses = 0
        if self.state in ("connecting", "backoff"):
            self._become("up")

    def failed(self, reason: str, now: float, *, cut: bool) -> None:
        """No connection, or a cut one (`cut`); else a sign of trouble that counts only in numbers."""
        self._failures += 1
        if self.state not in ("up", "connecting"):
            return
        if not cut and self._failures < FAILURES and self.state == "up":
            return
        self._pauses += 1
        longest = min(self._most_s, self._least_s * 2 ** min(self._pauses - 1, 20))
        self.retry_at = now + longest * (0.5 + self._random.random() / 2)
        self._become("backoff", reason)

    def refused(self, reason: str) -> None:
        """The carrier does not take our credentials: more requests would only lock the account."""
        if self.state != "auth_failed":
            self._become("auth_failed", reason)

    def rested(self, now: float) -> bool:
        """Ends the rest if it is over; whether it has just ended."""
        if self.state != "backoff" or now < self.retry_at:
            return False
        self._become("connecting", self._last_error)
        return True

    def view(self) -> Link:
        """As an operator sees it."""
        return Link(
            kind="http",
            state=self.state,
            since_ms=self._since_ms,
            in_flight=self.in_flight,
            last_error=self._last_error,
        )

    def _become(self, state: LinkState, error: str | None = None) -> None:
        self.state, self._since_ms, self._last_error = state, self._clock(), error
        self._changed(self.view())
