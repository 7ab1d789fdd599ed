"""API keys: who calls, and what they may do. A key belongs to one project and is stored as a hash only."""

import asyncio
import secrets
from collections import OrderedDict
from typing import Final, cast

import structlog

from tidings.domain.errors import Forbidden, StoreError, Unauthenticated
from tidings.domain.message import Mode
from tidings.http.ratelimit import Bucket
from tidings.kit.clock import Clock
from tidings.kit.ids import new_id
from tidings.kit.limits import KEY_CACHE, KEY_WATCH_S
from tidings.kit.secrets import digest
from tidings.store.accounts import First, StoredKey
from tidings.store.store import Store

_log: Final = structlog.get_logger("tidings.http")
#: What a key may be allowed. `x:*` stands for all of `x`, `*` for everything.
SCOPES: Final[dict[str, str]] = {
    "messages:read": "Read messages, their events and what came in (`/v1/inbound`)",
    "messages:write": "Send, preview, cancel and retry messages",
    "events:read": "Read the event log and the live stream",
    "receipts:read": "Read carrier receipts that match no message",
    "suppressions:read": "Read who must not be written to",
    "suppressions:write": "Add and lift suppressions",
    "webhooks:read": "Read webhook endpoints and deliveries",
    "webhooks:write": "Change webhook endpoints, rotate secrets, replay deliveries",
    "providers:read": "Read providers and the state of their links",
    "providers:write": "Declare, pause, resume and remove providers",
    "routes:read": "Read routes",
    "routes:write": "Make, change and remove routes",
    "keys:read": "Read keys (never the secret part)",
    "keys:write": "Make and revoke keys that may do no more than the key that makes them",
    "projects:read": "Read projects",
    "projects:write": 'Make projects (needs a live "*" key of the first project)',
    "verify": "Start, check, resend, cancel and read verifications",
    "verify:prefixes": "Allow numbers past the guard against SMS pumping",
    "metrics:read": "Read `/metrics` from another machine",
}
_WILD: Final = {"*"} | {f"{scope.split(':')[0]}:*" for scope in SCOPES}
GRANTABLE: Final = frozenset(SCOPES) | _WILD


def expand(granted: list[str]) -> frozenset[str]:
    """All single scopes that the granted ones amount to."""
    if "*" in granted:
        return frozenset(SCOPES) | {"*"}
    wide = tuple(scope[:-1] for scope in granted if scope.endswith(":*"))
    return frozenset(s for s in SCOPES if s in granted or (wide and f"{s}:".startswith(wide)))


class Caller:
    """Who calls: a key, with its project, mode and scopes, and its rate bucket."""

    __slots__ = ("bucket", "expires_ms", "key_id", "mode", "platform", "project", "revoked", "scopes")

    def __init__(self, key: StoredKey, *, platform: bool) -> None:
        self.key_id, self.project = key.id, key.project
        self.mode: Mode = cast(Mode, key.mode)
        self.expires_ms, self.scopes, self.bucket = key.expires_ms, expand(key.scopes), Bucket()
        self.revoked = False
        self.platform = platform and key.mode == "live" and "*" in key.scopes

    def require(self, scope: str) -> None:
        """Raises Forbidden unless the key has this scope."""
        if scope not in self.scopes:
            raise Forbidden(f"this needs a key with the scope `{scope}`")


class Keys:
    """The keys in use, in memory by hash. A key revoked through this process stops at once."""

    def __init__(self, store: Store, now: Clock) -> None:
        self._store, self._now = store, now
        self._cache: OrderedDict[str, Caller] = OrderedDict()
        self._generation = 0

    async def caller(self, authorization: bytes | None) -> Caller:
        """The caller behind an `Authorization` header. Raises Unauthenticated."""
        if authorization is None or authorization[:7].lower() != b"bearer ":
            raise Unauthenticated("send `Authorization: Bearer tk_live_…` (or `tk_test_…`)")
        hashed = digest(authorization[7:].strip())
        caller = self._cache.get(hashed) or await self._load(hashed)
        if caller is None:
            raise Unauthenticated("this key is unknown or was revoked")
        self.check(caller)
        return caller

    def known(self, authorization: bytes | None) -> Caller | None:
        """The caller, if the header is well formed and its key in memory; for `check` to judge."""
        if authorization is None or authorization[:7].lower() != b"bearer ":
            return None
        return self._cache.get(digest(authorization[7:].strip()))

    def check(self, caller: Caller) -> None:
        """Raises Unauthenticated if the key's time is over."""
        if caller.expires_ms is not None and caller.expires_ms <= self._now():
            raise Unauthenticated("this key has expired")

    def forget(self, hashed: str) -> None:
        """Stops a key at once; also one that is being read from the store this moment."""
        self._generation += 1
        gone = self._cache.pop(hashed, None)
        if gone is not None:
            gone.revoked = True

    async def watch(self) -> None:
        """Until cancelled: stops keys that were revoked through another process, within KEY_WATCH_S."""
        while True:
            await asyncio.sleep(KEY_WATCH_S)
            try:
                for hashed in await self._store.keys.revoked(list(self._cache)) if self._cache else ():
                    self.forget(hashed)
            except StoreError as error:
                _log.warning("keys_not_watched", error=str(error))

    def holds(self, caller: Caller) -> bool:
        """Whether the key is still good: long answers ask again and again."""
        return not caller.revoked and (caller.expires_ms is None or caller.expires_ms > self._now())

    async def _load(self, hashed: str) -> Caller | None:
        while True:
            generation = self._generation
            found = await self._store.keys.by_hash(hashed)
            if generation == self._generation:
                break
        if found is None:
            return None
        key, first_project = found
        known = self._cache.get(hashed)  # another request may have been faster; one bucket for each key
        if known is not None:
            return known
        caller = Caller(key, platform=key.project == first_project)
        self._cache[hashed] = caller
        if len(self._cache) > KEY_CACHE:
            self._cache.popitem(last=False)
        return caller


def new_token(mode: str) -> str:
    """A fresh key, 192 random bits: `tk_live_…` or `tk_test_…`."""
    return f"tk_{mode}_{secrets.token_hex(24)}"


def new_key(token: str, project: str, name: str, scopes: list[str], now_ms: int) -> StoredKey:
    """The row of a key that is made now."""
    mode = "test" if token.startswith("tk_test_") else "live"
    return StoredKey(
        id=new_id("key"), project=project, name=name, mode=mode, scopes=scopes, hash=digest(token), hint=token[-4:],
        created_ms=now_ms,
    )  # fmt: skip


async def first_keys(store: Store, preset: str | None, now_ms: int) -> list[str]:
    """Makes the first project with a live and a test key if there is none; returns what it made up, to be shown once.

    `preset` (`TIDINGS_API_KEY`) takes the place of the live (or test) key, at any start. A revoked one stays revoked.
    """
    tokens = [new_token("live"), new_token("test")]
    if preset is not None:
        tokens = [preset, new_token("test" if preset.startswith("tk_live_") else "live")]
    rows = [new_key(token, "", "first key", ["*"], now_ms) for token in tokens]
    first = First(project=new_id("prj"), keys=rows, preset=preset is not None, now_ms=now_ms)
    made = await store.keys.first(first)
    return [token for token in tokens if token != preset] if made else []
