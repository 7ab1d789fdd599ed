"""A write for its own sake."""

from tidings.store.postgres.session import Session


async def probe(session: Session, items: list[int]) -> list[None]:
    """Proves that the store takes writes."""
    await session.execute(
        "insert into installation values ('probed_ms', $1) on conflict (name) do update set value = excluded.value",
        str(items[-1]),
    )
    return [None] * len(items)


async def same_ring(session: Session, items: list[str]) -> list[bool]:
    """Whether this is the key ring that the database was first used with."""
    for name in items:
        await session.execute("insert into installation values ('key_ring', $1) on conflict (name) do nothing", name)
    found = await session.fetchval("select value from installation where name = 'key_ring'")
    return [found == name for name in items]


async def done(session: Session, name: str) -> bool:
    """Whether a piece of work that is done once in an installation's life is done. A read."""
    return await session.fetchval("select 1 from installation where name = $1", name) is not None


async def note_done(session: Session, items: list[str]) -> list[None]:
    """It is."""
    for name in items:
        await session.execute("insert into installation values ($1, 'done') on conflict (name) do nothing", name)
    return [None] * len(items)
