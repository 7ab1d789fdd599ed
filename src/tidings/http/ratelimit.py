"""A token bucket per API key, and the headers that tell its state. Source: draft-ietf-httpapi-ratelimit-headers-10."""

import time
from typing import Final

from tidings.domain.errors import Overloaded
from tidings.kit.limits import RATE_PER_KEY_PER_S

POLICY: Final = f'"default";q={RATE_PER_KEY_PER_S};w=1'.encode()


class Bucket:
    """Tokens of one key: `rate` come back each second, and at most one second's worth is kept."""

    __slots__ = ("_at_s", "_rate", "_tokens")

    def __init__(self, rate: int = RATE_PER_KEY_PER_S) -> None:
        self._rate, self._tokens, self._at_s = rate, float(rate), time.monotonic()

    def take(self, count: int = 1) -> None:
        """Takes `count` tokens, or raises Overloaded (429, `rate_limited`) and takes none."""
        now_s = time.monotonic()
        tokens = min(self._rate, self._tokens + (now_s - self._at_s) * self._rate)
        self._at_s = now_s
        if tokens < count:
            self._tokens = tokens
            wait_s = max(1, round((count - tokens) / self._rate + 0.5))
            detail = f"more than {self._rate} requests a second with this key; nothing was done"
            raise Overloaded(detail, code="rate_limited", status=429, retry_after_s=wait_s)
        self._tokens = tokens - count

    def header(self) -> bytes:
        """The `RateLimit` field: what is left now, and the seconds until all of it is back."""
        return b'"default";r=%d;t=1' % self._tokens
