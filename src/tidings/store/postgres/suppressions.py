"""Who must not be written to, by project, channel and the hash of the address."""

from tidings.domain.address import address_key
from tidings.kit.secrets import KeyRing
from tidings.store.accounts import NewSuppression, Suppression, owner
from tidings.store.postgres.keys import claimed
from tidings.store.postgres.session import Session
from tidings.store.sealed import personal


def _order(item: NewSuppression) -> tuple[str, str, str]:
    return item.project, item.channel, item.to_hash


async def add(session: Session, items: list[NewSuppression]) -> list[tuple[str, str]]:
    """Adds them (one that is there stays as it is): ("new" | "replay" | "reused", to_hash) for each."""
    answers = await claimed(session, [(item.claim, item.to_hash) for item in items])
    fresh = [item for item, answer in zip(items, answers, strict=True) if answer[0] == "new"]
    for item in sorted(fresh, key=_order):
        await session.execute(
            "insert into suppressions values ($1, $2, $3, $4, $5) on conflict do nothing",
            item.project, item.channel, item.to_hash, item.reason, item.created_ms,
        )  # fmt: skip
        await session.execute(
            "insert into personal values ($1, $2, $3, $4, $5) on conflict (project, owner) do update"
            " set key_id = excluded.key_id, to_hash = excluded.to_hash, sealed = excluded.sealed",
            item.project, owner(item.channel, item.to_hash), item.key_id, item.to_hash, item.sealed,
        )  # fmt: skip
    return answers


async def remove(session: Session, items: list[tuple[str, str, str]]) -> list[bool]:
    """(project, channel, to_hash) → whether there was one."""
    answers = [False] * len(items)
    for n in sorted(range(len(items)), key=lambda n: items[n]):
        project, channel, to_hash = items[n]
        gone = await session.execute(
            "delete from suppressions where project = $1 and channel = $2 and to_hash = $3", project, channel, to_hash
        )
        answers[n] = gone > 0
        await session.execute(
            "delete from personal where project = $1 and owner = $2", project, owner(channel, to_hash)
        )
    return answers


async def get(session: Session, ring: KeyRing, project: str, channel: str, to_hash: str) -> Suppression | None:
    """One suppression. A read."""
    row = await session.fetchrow(
        "select reason, created_ms from suppressions where project = $1 and channel = $2 and to_hash = $3",
        project, channel, to_hash,
    )  # fmt: skip
    if row is None:
        return None
    to = await _address(session, ring, project, to_hash)
    return Suppression(channel=channel, to_hash=to_hash, reason=row[0], created_ms=row[1], to=to)


async def among(session: Session, project: str, channel: str, hashes: list[str]) -> list[str]:
    """Those of these hashes that are suppressed. A read."""
    sql = "select to_hash from suppressions where project = $1 and channel = $2 and to_hash = any($3::text[])"
    return [row[0] for row in await session.fetch(sql, project, channel, hashes)]


async def page(session: Session, ring: KeyRing, project: str, after: tuple[str, str], limit: int) -> list[Suppression]:
    """Suppressions of the project by (channel, to_hash), behind `after`. A read."""
    found = await session.fetch(
        "select channel, to_hash, reason, created_ms from suppressions"
        " where project = $1 and (channel, to_hash) > ($2, $3) order by channel, to_hash limit $4",
        project, *after, limit,
    )  # fmt: skip
    return [
        Suppression(
            channel=row[0], to_hash=row[1], reason=row[2], created_ms=row[3],
            to=await _address(session, ring, project, row[1]),
        )
        for row in found
    ]  # fmt: skip


async def _address(session: Session, ring: KeyRing, project: str, to_hash: str) -> str | None:
    """The address, from any personal row of the project that has it (`|| ''`: by the address, never by the project)."""
    row = await session.fetchrow(
        "select owner, key_id, sealed from personal where to_hash = $2 and project || '' = $1"
        " order by owner desc limit 1",
        project, to_hash,
    )  # fmt: skip
    if row is None:
        return None
    who = personal(ring, row[0], row[1], row[2])
    address = who.sender if row[0].startswith("rec_") else who.to
    # one that an earlier version kept is found by its own spelling alone, see store/respelt.py
    return address if address and to_hash in (address_key(ring, address), ring.lookup(address)) else None
