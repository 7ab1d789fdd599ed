"""Whether a carrier was given more than its rate in any second, judged fairly: our own stalls are not the server's.

When our event loop stalls, submits that came apart are read together. So a window counts as a breach only if it would
still be one with the stall added to its length.
"""

from collections import deque
from typing import Final

_ROUNDING_S: Final = 0.002


class RateWatch:
    """Told of every submit; `breaches` counts the submits that were over the rate. 0: no rate, nothing to breach."""

    def __init__(self, rate_per_s: float) -> None:
        self._most = int(rate_per_s) if rate_per_s >= 1 else (1 if rate_per_s > 0 else 0)
        self._window_s = 1.0 if rate_per_s >= 1 or rate_per_s <= 0 else 1.0 / rate_per_s
        self._seen: deque[float] = deque()
        self._stalls: deque[tuple[float, float]] = deque()
        self.breaches = 0
        self.peak = 0

    def stalled(self, at_s: float, lag_s: float) -> None:
        """Our loop was late by so much."""
        self._stalls.append((at_s, lag_s))
        while self._stalls and self._stalls[0][0] < at_s - 3 * self._window_s:
            self._stalls.popleft()

    def submit(self, at_s: float) -> None:
        """One submit came."""
        seen = self._seen
        while seen and seen[0] <= at_s - self._window_s:
            seen.popleft()
        seen.append(at_s)
        self.peak = max(self.peak, len(seen))
        if not self._most or len(seen) <= self._most:
            return
        start_s = seen[-1 - self._most]
        stall_s = max((lag for when, lag in self._stalls if when >= start_s - self._window_s), default=0.0)
        if at_s - start_s + stall_s + _ROUNDING_S < self._window_s:
            self.breaches += 1
