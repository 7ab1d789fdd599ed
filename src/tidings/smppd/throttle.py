"""Against guessing: wrong binds are counted by address and by system_id, and run out."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from tidings.smppd.config import FAILURE_BACK_S, FAILURES_KEPT, FAILURES_PER_ADDRESS, FAILURES_PER_NAME

_KNOWN: Final = 10_000  # (address, name) pairs that have bound well


class _Tries:
    """So many at once; one comes back each FAILURE_BACK_S. The names longest untouched are forgotten first."""

    def __init__(self, most: int, now: Callable[[], float]) -> None:
        self._most, self._now = most, now
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # name -> (left, at)

    def left(self, name: str) -> float:
        left, at = self._left.get(name, (float(self._most), 0.0))
        return min(self._most, left + (self._now() - at) / FAILURE_BACK_S)

    def take(self, name: str) -> None:
        self._left[name] = (max(0.0, self.left(name) - 1), self._now())
        self._left.move_to_end(name)
        if len(self._left) > FAILURES_KEPT:
            self._left.popitem(last=False)


class BindThrottle:
    """Says who may try to bind now. `now`: monotonic seconds.

    Somebody who guesses at a system_id does not lock its owner out: an address that has bound well with the name counts
    only against itself.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._addresses = _Tries(FAILURES_PER_ADDRESS, now)
        self._names = _Tries(FAILURES_PER_NAME, now)
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def may_try(self, address: str, name: str) -> bool:
        """Asked before anything is compared."""
        if self._addresses.left(address) < 1:
            return False
        return (address, name) in self._known or self._names.left(name) >= 1

    def failed(self, address: str, name: str) -> None:
        """The password was wrong, or the name is not known."""
        self._addresses.take(address)
        if (address, name) not in self._known:
            self._names.take(name)

    def succeeded(self, address: str, name: str) -> None:
        """It bound."""
        self._known[address, name] = None
        self._known.move_to_end((address, name))
        if len(self._known) > _KNOWN:
            self._known.popitem(last=False)
