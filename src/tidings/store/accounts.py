"""Projects, API keys, idempotency claims and suppressions, as the store keeps them."""

import msgspec


class StoredKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key without its secret; `hint` is the last four characters."""

    id: str
    project: str
    name: str
    mode: str
    scopes: list[str]
    hash: str
    hint: str
    created_ms: int
    expires_ms: int | None = None
    revoked_ms: int | None = None


class StoredProject(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant."""

    id: str
    name: str
    created_ms: int


class First(msgspec.Struct, frozen=True, kw_only=True):
    """What the very first start makes."""

    project: str
    keys: list[StoredKey]
    preset: bool  # the first of `keys` is given by the operator: it must exist at every start
    now_ms: int


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """An idempotency key to be claimed for `resource`."""

    project: str
    key_hash: str
    body_hash: str
    resource: str
    now_ms: int


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key to be stored, once per idempotency key."""

    key: StoredKey
    claim: Claim | None = None


class NewProject(msgspec.Struct, frozen=True, kw_only=True):
    """A project to be stored, once per idempotency key."""

    project: StoredProject
    claim: Claim | None = None


class NewSuppression(msgspec.Struct, frozen=True, kw_only=True):
    """A suppression to be added; the sealed address belongs to `owner(channel, to_hash)`."""

    project: str
    channel: str
    to_hash: str
    reason: str
    created_ms: int
    key_id: str
    sealed: str
    claim: Claim | None = None


class Suppression(msgspec.Struct, frozen=True, kw_only=True):
    """One suppression; `to` is None where the person was erased."""

    channel: str
    to_hash: str
    reason: str
    created_ms: int
    to: str | None


def owner(channel: str, to_hash: str) -> str:
    """The name of the personal row that keeps the address."""
    return f"sup_{channel}_{to_hash}"
