"""Access tokens of a Google service account: asked for with a signed assertion, kept, renewed well before they expire.

Source: RFC 7523 §2.1 and §3 (JWT bearer grant), RFC 6749 §5.1 (the answer), Google "OAuth 2.0 for server to server"
"""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any, Final, cast
from urllib.parse import urlencode

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tidings.channels.http.call import Transport
from tidings.channels.http.json import json_of
from tidings.kit.clock import Clock
from tidings.kit.outbound import NoReply, NotSent, Reply
from tidings.protocols.jwt import sign

SCOPE: Final = "https://www.googleapis.com/auth/firebase.messaging"
GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ASSERTION_S: Final = 3_600  # Google takes no longer one
#: A token is renewed this long before it expires; until the new one is there the old one is used.
EARLY_S: Final = 300.0
#: While the old token is good, a renewal that failed is not tried again sooner than this.
PAUSE_S: Final = 5.0
ANSWER_BYTES: Final = 65_536


class ServiceAccount(msgspec.Struct, frozen=True, kw_only=True):
    """What is used of the JSON key of a service account."""

    client_email: str
    private_key: str
    project_id: str
    private_key_id: str = ""
    token_uri: str = "https://oauth2.googleapis.com/token"

    def __repr__(self) -> str:
        return f"ServiceAccount({self.project_id!r})"


def read_account(raw: object) -> ServiceAccount:
    """The key as JSON text or as an object. Raises ValueError that says what is wrong, without the key."""
    if isinstance(raw, str):
        raw = json_of(raw.encode())
        if raw is None:
            raise ValueError("is not JSON")
    try:
        return msgspec.convert(raw, ServiceAccount)
    except msgspec.ValidationError as error:
        raise ValueError(str(error).replace("`$.", "`").replace(" - at `$`", "")) from None


def private_key(account: ServiceAccount) -> rsa.RSAPrivateKey:
    """Its key. Raises ValueError."""
    try:
        key = load_pem_private_key(account.private_key.encode(), None)
    except (ValueError, TypeError):
        raise ValueError("private_key is no PEM key without a password") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("private_key is no RSA key")
    return key


class AccessTokens:
    """One token at a time, whoever asks. Made on the running event loop."""

    def __init__(
        self, account: ServiceAccount, key: rsa.RSAPrivateKey, transport: Transport, *, connect_s: float, timeout_s: float,
        clock: Clock, monotonic: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._account, self._key, self._transport = account, key, transport
        self._connect_s, self._timeout_s = connect_s, timeout_s
        self._clock, self._monotonic = clock, monotonic
        self._token = ""
        self._expires_at = 0.0  # monotonic
        self._asked_at = -math.inf
        self._asking: asyncio.Task[str | Reply | NotSent] | None = None

    async def get(self, timeout_s: float) -> str | Reply | NotSent:
        """A token; Google's refusal of the account; or why there is none, in at most `timeout_s`."""
        now = self._monotonic()
        left_s = self._expires_at - now if self._token else 0.0
        if left_s > EARLY_S:
            return self._token
        if left_s > 0:
            if now >= self._asked_at + PAUSE_S:
                self._renewal()
            return self._token
        done, _ = await asyncio.wait({asking := self._renewal()}, timeout=timeout_s)
        return asking.result() if done else NotSent("no access token in time")

    def forget(self, token: str) -> None:
        """The service refuses this one."""
        if token == self._token:
            self._token = ""

    async def close(self) -> None:
        """Asks for nothing more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})

    def _renewal(self) -> "asyncio.Task[str | Reply | NotSent]":
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._ask(), name="google-token")
        return self._asking

    async def _ask(self) -> str | Reply | NotSent:
        asked_at = self._asked_at = self._monotonic()
        body = urlencode({"grant_type": GRANT, "assertion": self._assertion()}).encode()
        came = await self._transport.exchange(
            "POST", self._account.token_uri, {"Content-Type": "application/x-www-form-urlencoded"}, body,
            connect_s=self._connect_s, timeout_s=self._timeout_s, most_bytes=ANSWER_BYTES,
        )  # fmt: skip
        if isinstance(came, NoReply | NotSent):
            return NotSent(f"no access token: {came.reason}")
        if 400 <= came.status < 500 and came.status not in (408, 429):
            return came
        return self._read(came, asked_at)

    def _read(self, came: Reply, asked_at: float) -> str | NotSent:
        found = json_of(came.body) if came.status == 200 else None
        fields = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
        token, life_s = fields.get("access_token"), fields.get("expires_in")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
            return NotSent(f"no access token: the answer (HTTP {came.status}) has none")
        if not isinstance(life_s, int) or life_s <= 0:
            life_s = int(EARLY_S)  # unknown: used, and renewed at the next message
        self._token, self._expires_at = token, asked_at + life_s
        return token

    def _assertion(self) -> str:
        now_s = self._clock() // 1_000
        claims = {
            "iss": self._account.client_email, "scope": SCOPE, "aud": self._account.token_uri, "iat": now_s,
            "exp": now_s + ASSERTION_S,
        }  # fmt: skip
        header: dict[str, object] = {"typ": "JWT"}
        if self._account.private_key_id:
            header["kid"] = self._account.private_key_id
        return sign(header, claims, self._key)


class AuthorizedTransport:
    """Sends with an access token; where one is refused, once more with a new one."""

    def __init__(
        self, transport: Transport, tokens: AccessTokens, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._transport, self._tokens, self._monotonic = transport, tokens, monotonic

    async def exchange(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None, *, connect_s: float, timeout_s: float,
        most_bytes: int,
    ) -> Reply | NotSent | NoReply:  # fmt: skip
        """As `Outbound.exchange`. The whole of it, tokens included, takes `timeout_s` at most."""
        end = self._monotonic() + timeout_s
        came: Reply | NotSent | NoReply = NotSent("no access token in time")
        for last in (False, True):
            token = await self._tokens.get(end - self._monotonic())
            if not isinstance(token, str):
                return token
            left_s = end - self._monotonic()
            if left_s <= 0:
                return came
            came = await self._transport.exchange(
                method, url, {**headers, "Authorization": f"Bearer {token}"}, body, connect_s=min(connect_s, left_s),
                timeout_s=left_s, most_bytes=most_bytes,
            )  # fmt: skip
            if last or not isinstance(came, Reply) or came.status != 401 or not _expired(came):
                return came
            self._tokens.forget(token)
        return came

    async def close(self) -> None:
        """Closes the connections."""
        await self._tokens.close()
        await self._transport.close()


def _expired(reply: Reply) -> bool:
    """Whether a 401 is about our token, and not FCM's own trouble with another service (THIRD_PARTY_AUTH_ERROR)."""
    return b"THIRD_PARTY_AUTH_ERROR" not in reply.body
