"""What the log says of requests that failed: our mistakes with their traceback, a store that is full or away in a word.

Such a store fails every request that comes. A traceback for each would be three megabytes of log a second at a thousand
requests, perhaps on the very disk that has no room left.
"""

import time
from collections.abc import Callable
from typing import Final

import structlog
from litestar.exceptions import HTTPException

from tidings.domain.errors import RequestError, StoreAway, StoreFull
from tidings.kit.limits import FAILURES_TOLD_S

_log: Final = structlog.get_logger("tidings.http")


class FailureLog:
    """`tell` is called with every exception of a request; `monotonic` is in seconds."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._next_s = 0.0
        self._untold = 0

    def tell(self, error: Exception, request_id: str, route: str | None) -> None:
        """What was foreseen, the caller's mistakes, is not told at all: the metrics count it."""
        if isinstance(error, (StoreFull, StoreAway)):
            self._store(error)
        elif not isinstance(error, RequestError) and not (isinstance(error, HTTPException) and error.status_code < 500):
            _log.error("request_failed", request_id=request_id, route=route, exc_info=error)

    def _store(self, error: Exception) -> None:
        self._untold += 1
        now_s = self._monotonic()
        if now_s >= self._next_s:
            _log.error("requests_not_accepted", reason=str(error), count=self._untold)
            self._next_s, self._untold = now_s + FAILURES_TOLD_S, 0
