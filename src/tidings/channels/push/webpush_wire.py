"""How push services are called. Whose they are is up to the browsers, so none of them may disturb the others.

A service that cannot be reached, stays silent or wants patience is a matter of its own: it becomes an answer with status 0,
or one that says when to come again, and never the failure of the provider's link. Short waits are waited out here.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from math import ceil
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from tidings.channels.http.call import Transport
from tidings.channels.http.retry_after import retry_after_s
from tidings.kit.outbound import FORBIDDEN, NoReply, NotSent, Reply
from tidings.protocols.webpush import vapid

#: Longer waits go back to the queue.
WAIT_MOST_S: Final = 2.0
WAIT_LEAST_S: Final = 0.05
#: Origins that are remembered; there are four that matter, and anybody can invent more.
ORIGINS: Final = 1_000
MOST_S: Final = 86_400.0
TOKEN_LIFE_S: Final = 12 * 3_600  # half of what RFC 8292 §2 allows: clocks differ
RENEW_S: Final = 3_600  # with this much left
#: The status of what never was an answer, and where its kind is told.
NO_ANSWER: Final = 0
KIND: Final = "kind"
REASON: Final = "reason"


def isolated(came: NotSent | NoReply) -> Reply:
    """What a failure looks like to the codec."""
    if isinstance(came, NoReply):
        return Reply(NO_ANSWER, {KIND: "unknown", REASON: "no_answer" if came.timed_out else "connection_lost"}, b"")
    return Reply(NO_ANSWER, {KIND: "forbidden" if came.reason == FORBIDDEN else "unreached", REASON: came.reason}, b"")


class VapidHeaders:
    """Authorization headers, one for each origin, signed anew twice a day."""

    def __init__(self, key: EllipticCurvePrivateKey, subject: str) -> None:
        self._key, self._subject = key, subject
        self._made: OrderedDict[str, tuple[str, int]] = OrderedDict()

    def of(self, endpoint: str, now_s: int) -> str:
        """The header for the push service of `endpoint`."""
        origin = vapid.audience(endpoint)
        header, expires_s = self._made.get(origin, ("", 0))
        if expires_s - now_s > RENEW_S:
            return header
        expires_s = now_s + TOKEN_LIFE_S
        self._made[origin] = made = vapid.authorization(self._key, endpoint, self._subject, expires_s), expires_s
        if len(self._made) > ORIGINS:
            self._made.popitem(last=False)
        return made[0]


class IsolatingTransport:
    """See the module."""

    def __init__(self, transport: Transport, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._transport, self._monotonic = transport, monotonic
        self._held: OrderedDict[str, float] = OrderedDict()

    async def exchange(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None, *, connect_s: float, timeout_s: float,
        most_bytes: int,
    ) -> Reply | NotSent | NoReply:  # fmt: skip
        """As `Outbound.exchange`, but always an answer."""
        origin, end = vapid.audience(url), self._monotonic() + timeout_s
        while True:
            now = self._monotonic()
            wait_s = self._held.get(origin, 0.0) - now
            if wait_s > WAIT_MOST_S or now + wait_s >= end:
                return Reply(429, {"retry-after": str(ceil(wait_s))}, b"")
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            left_s = end - self._monotonic()
            came = await self._transport.exchange(
                method, url, headers, body, connect_s=min(connect_s, left_s), timeout_s=left_s, most_bytes=most_bytes
            )
            if not isinstance(came, Reply):
                return isolated(came)
            after_s = retry_after_s(came, MOST_S) if came.status in (429, 503) else None
            if after_s is None:
                return came
            self._hold(origin, after_s)
            if after_s > WAIT_MOST_S or self._monotonic() + after_s >= end:
                return came

    async def close(self) -> None:
        """Closes the connections."""
        await self._transport.close()

    def _hold(self, origin: str, after_s: float) -> None:
        until = self._monotonic() + max(after_s, WAIT_LEAST_S)
        self._held[origin] = max(self._held.pop(origin, 0.0), until)
        if len(self._held) > ORIGINS:
            self._held.popitem(last=False)
