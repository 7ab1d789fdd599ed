"""Provider tokens of APNs: signed here, kept for three quarters of an hour, replaced once if APNs calls one expired.

Source: Apple, "Establishing a token-based connection to APNs": not older than an hour, not renewed within 20 minutes
"""

import time
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tidings.channels.http.call import Transport
from tidings.channels.push.apns_errors import reason_of
from tidings.kit.clock import Clock
from tidings.kit.outbound import NoReply, NotSent, Reply
from tidings.protocols.jwt import sign

RENEW_S: Final = 45 * 60


def private_key(pem: str) -> ec.EllipticCurvePrivateKey:
    """The key of a `.p8` file. Raises ValueError."""
    try:
        key = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError):
        raise ValueError("is no PEM key without a password") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("is no key on P-256")
    return key


class ProviderTokens:
    """The token of one key."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, key_id: str, team_id: str, clock: Clock) -> None:
        self._key, self._key_id, self._team_id, self._clock = key, key_id, team_id, clock
        self._header, self._made_s = "", 0

    def header(self) -> str:
        """The Authorization header of this moment."""
        now_s = self._clock() // 1_000
        if not self._header or not 0 <= now_s - self._made_s < RENEW_S:
            self._make(now_s)
        return self._header

    def replace(self, header: str) -> str:
        """APNs calls the token of `header` expired: the one to use instead. Many that ask at once get the same."""
        if header == self._header:
            self._make(self._clock() // 1_000)
        return self._header

    def _make(self, now_s: int) -> None:
        token = sign({"kid": self._key_id}, {"iss": self._team_id, "iat": now_s}, self._key)
        self._header, self._made_s = f"bearer {token}", now_s


class SignedTransport:
    """Sends with the provider token of the moment; where it has expired, once more with a new one."""

    def __init__(
        self, transport: Transport, tokens: ProviderTokens, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._transport, self._tokens, self._monotonic = transport, tokens, monotonic

    async def exchange(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None, *, connect_s: float, timeout_s: float,
        most_bytes: int,
    ) -> Reply | NotSent | NoReply:  # fmt: skip
        """As `Http2.exchange`; both tries together take `timeout_s` at most."""
        end = self._monotonic() + timeout_s
        header = self._tokens.header()
        came = await self._transport.exchange(
            method, url, {**headers, "authorization": header}, body, connect_s=connect_s, timeout_s=timeout_s,
            most_bytes=most_bytes,
        )  # fmt: skip
        left_s = end - self._monotonic()
        if (
            left_s <= 0
            or not isinstance(came, Reply)
            or came.status != 403
            or reason_of(came) != "ExpiredProviderToken"
        ):
            return came
        return await self._transport.exchange(
            method, url, {**headers, "authorization": self._tokens.replace(header)}, body,
            connect_s=min(connect_s, left_s), timeout_s=left_s, most_bytes=most_bytes,
        )  # fmt: skip

    async def close(self) -> None:
        """Closes the connection."""
        await self._transport.close()
