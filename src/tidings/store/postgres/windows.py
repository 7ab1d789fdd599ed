"""When people last wrote to us."""

from tidings.store.contract import InboundRow
from tidings.store.postgres.rowset import rowset, turned
from tidings.store.postgres.session import Session
from tidings.store.windows import forgotten_before, windows_of


async def opened(session: Session, items: list[InboundRow]) -> None:
    """These people have written; an older message that comes late closes nothing."""
    found = windows_of(items)
    if not found:
        return
    latest = max(item.received_ms for item in items)
    await session.execute(
        "delete from windows where (provider, from_hash) in (select provider, from_hash from windows where wrote_ms < $1"
        " order by provider, from_hash for update skip locked)",
        forgotten_before(latest),
    )
    await session.execute(
        f"insert into windows select * from {rowset('e', 'provider text, from_hash text, wrote_ms bigint')}"
        " order by e.provider, e.from_hash"
        " on conflict (provider, from_hash) do update set wrote_ms = greatest(windows.wrote_ms, excluded.wrote_ms)",
        *turned(found),
    )


async def last(session: Session, provider: str, hashes: list[str]) -> dict[str, int]:
    """When each of these people last wrote through the provider. A read."""
    sql = "select from_hash, wrote_ms from windows where provider = $1 and from_hash = any($2::text[])"
    return {row[0]: row[1] for row in await session.fetch(sql, provider, hashes)}
