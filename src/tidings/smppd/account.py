"""One key in this process: who it is, and its rate."""

import time
from collections.abc import Callable
from typing import cast

from tidings.domain.message import Mode
from tidings.domain.smpp_login import allows
from tidings.store.accounts import StoredKey


class Rate:
    """Tokens of one key: `per_s` come back each second, and at most one second's worth is kept."""

    __slots__ = ("_at_s", "_now", "_per_s", "_tokens")

    def __init__(self, per_s: int, now: Callable[[], float] = time.monotonic) -> None:
        self._per_s, self._now = per_s, now
        self._tokens, self._at_s = float(per_s), now()

    def take(self) -> bool:
        """Whether there was one."""
        now_s = self._now()
        self._tokens = min(float(self._per_s), self._tokens + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Account:
    """What a bound session may do is what its key may."""

    def __init__(self, key: StoredKey, rate_per_s: int) -> None:
        self.key = key
        self.id, self.project = key.id, key.project
        self.mode: Mode = cast(Mode, key.mode)
        self.rate = Rate(rate_per_s)

    @property
    def writes(self) -> bool:
        """Whether it may send."""
        return allows(self.key.scopes, "messages:write")

    @property
    def reads(self) -> bool:
        """Whether it may receive, and ask."""
        return allows(self.key.scopes, "messages:read")
