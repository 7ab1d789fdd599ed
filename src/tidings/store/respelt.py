"""Suppressions of earlier versions, which went by an address's spelling: filed once more, as `domain/address.py` has it.

A schema step cannot do it: the addresses are sealed, and their hashes keyed. Only those that were written another way are
touched. A crash in between leaves both, or the new one alone; the next start goes on.
"""

from typing import Final

from tidings.domain.address import address_key
from tidings.domain.message import Personal
from tidings.kit.secrets import KeyRing
from tidings.store.accounts import NewSuppression, Suppression, owner
from tidings.store.sealed import encode_personal
from tidings.store.store import Store

_DONE: Final = "addresses_respelt"
_PAGE: Final = 500


async def respell(store: Store, ring: KeyRing) -> int:
    """Does it unless it is done, before anything is sent; how many there were. Raises StoreError."""
    if await store.done(_DONE):
        return 0
    count, before = 0, None
    while projects := await store.keys.projects(None, before, _PAGE):
        for project in projects:
            count += await _project(store, ring, project.id)
        before = projects[-1].id
    await store.note_done(_DONE)
    return count


async def _project(store: Store, ring: KeyRing, project: str) -> int:
    count, after = 0, ("", "")
    while page := await store.suppressions.page(ring, project, after, _PAGE):
        for item in page:
            if item.to is not None and item.to_hash != address_key(ring, item.to):
                await _again(store, ring, project, item, item.to)
                count += 1
        after = (page[-1].channel, page[-1].to_hash)
    return count


async def _again(store: Store, ring: KeyRing, project: str, item: Suppression, to: str) -> None:
    key = address_key(ring, to)
    new = NewSuppression(
        project=project, channel=item.channel, to_hash=key, reason=item.reason, created_ms=item.created_ms,
        key_id=ring.current, sealed=ring.seal(encode_personal(Personal(to=to)), owner(item.channel, key)),
    )  # fmt: skip
    await store.suppressions.add(new)  # first, so that there is no moment without it
    await store.suppressions.remove(project, item.channel, item.to_hash)
