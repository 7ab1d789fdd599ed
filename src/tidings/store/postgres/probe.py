"""A write for its own sake."""

from tidings.store.postgres.session import Session


async def probe(session: Session, items: list[int]) -> list[None]:
    """Proves that the store takes writes."""
    await session.execute(
        "insert into installation values ('probed_ms', $1) on conflict (name) do update set value = excluded.value",
        str(items[-1]),
    )
    return [None] * len(items)
