"""An endpoint: where a customer wants to be called, for which types, signed with what."""

from typing import Any, Final

import msgspec

from tidings.kit.clock import rfc3339
from tidings.kit.secrets import KeyRing
from tidings.store.hooks import EndpointRow
from tidings.webhooks.sign import key_of

#: Every type that may be asked for. Words of None: the family's words are not fixed yet. `message.*`: all of a family.
FAMILIES: Final[dict[str, frozenset[str] | None]] = {
    "message": frozenset(
        {
            *("accepted", "scheduled", "held", "queued", "sending", "sent", "delivered", "partially_delivered"),
            *("undelivered", "failed", "expired", "canceled", "suppressed", "read", "clicked", "replied"),
            *("unsubscribed", "complained", "received", "receipt_overdue", "failover", "fallback"),
        }
    ),
    "contact": frozenset({"unsubscribed"}),
    "provider": frozenset({"degraded", "recovered"}),
    "verification": frozenset({"started", "approved", "failed", "expired", "canceled"}),
    "webhook": frozenset({"disabled"}),
    "attempt": None,
    "broadcast": None,
    "call": None,
    "conversation": None,
    "journey": None,
}


def known_type(kind: str) -> bool:
    """Whether events of this type (or family) can ever come."""
    family, _, word = kind.partition(".")
    if family not in FAMILIES or not word:
        return False
    words = FAMILIES[family]
    return word == "*" or (word.replace("_", "").isalnum() if words is None else word in words)


class Secret(msgspec.Struct, frozen=True):
    """A secret; after a rotation the old one also signs until `until_ms`."""

    value: str
    until_ms: int | None = None


class Sealed(msgspec.Struct, frozen=True):
    """What is kept sealed of an endpoint: its URL may hold a token."""

    url: str
    secrets: list[Secret]


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """See the module. `cursor` is the last event that is done."""

    project: str
    id: str
    url: str
    secrets: tuple[Secret, ...]
    types: frozenset[str]
    description: str
    status: str
    reason: str | None
    cursor: int
    failing_since_ms: int | None
    created_ms: int

    def wants(self, kind: str) -> bool:
        """Whether events of this type go there. Without types: all."""
        return not self.types or kind in self.types or kind.split(".", 1)[0] + ".*" in self.types

    def keys(self, now_ms: int) -> list[bytes]:
        """What signs now: the newest first, then those that were rotated out less than a day ago."""
        return [key_of(one.value) for one in self.secrets if one.until_ms is None or one.until_ms > now_ms]


def from_row(ring: KeyRing, row: EndpointRow) -> Endpoint:
    """Opens a stored endpoint."""
    sealed = msgspec.json.decode(ring.unseal(row.sealed, row.id, row.key_id), type=Sealed)
    return Endpoint(
        project=row.project, id=row.id, url=sealed.url, secrets=tuple(sealed.secrets), types=frozenset(row.types),
        description=row.description, status=row.status, reason=row.reason, cursor=row.cursor,
        failing_since_ms=row.failing_since_ms, created_ms=row.created_ms,
    )  # fmt: skip


def to_row(ring: KeyRing, endpoint: Endpoint) -> EndpointRow:
    """Seals it for the store."""
    sealed = msgspec.json.encode(Sealed(endpoint.url, list(endpoint.secrets)))
    return EndpointRow(
        project=endpoint.project, id=endpoint.id, key_id=ring.current, sealed=ring.seal(sealed, endpoint.id),
        types=sorted(endpoint.types), description=endpoint.description, status=endpoint.status, reason=endpoint.reason,
        cursor=endpoint.cursor, failing_since_ms=endpoint.failing_since_ms, created_ms=endpoint.created_ms,
    )  # fmt: skip


def view(endpoint: Endpoint) -> dict[str, Any]:
    """As the API shows it; never with the secret."""
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "types": sorted(endpoint.types),
        "description": endpoint.description,
        "status": endpoint.status,
        "reason": endpoint.reason,
        "failing_since": rfc3339(endpoint.failing_since_ms),
        "created_at": rfc3339(endpoint.created_ms),
    }
