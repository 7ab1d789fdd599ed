"""Providers declared over the API, and which ones an operator has paused."""

from tidings.store.postgres.session import Session

Row = tuple[str, str, str, str, str, str]  # project, id, name, type, key_id, sealed configuration
# In the order in which others lock jobs; one that is leased meanwhile keeps its provider.
_UNROUTE = """
with l as materialized (
  select project, message from jobs where provider = $1 and owner is null order by project, message for update)
update jobs j set provider = '' from l where j.project = l.project and j.message = l.message"""


async def load(session: Session) -> list[Row]:
    """All of them. A read."""
    found = await session.fetch("select project, id, name, type, key_id, sealed from providers order by id")
    return [(row[0], row[1], row[2], row[3], row[4], row[5]) for row in found]


async def paused(session: Session) -> set[str]:
    """The names of paused ones. A read."""
    return {row[0] for row in await session.fetch("select name from provider_states where paused = 1")}


async def insert(session: Session, items: list[tuple[str, str, str, str, str, str, int]]) -> list[None]:
    """(project, id, name, type, key_id, sealed, created_ms)."""
    for item in sorted(items):
        await session.execute("insert into providers values ($1, $2, $3, $4, $5, $6, $7)", *item)
    return [None] * len(items)


async def delete(session: Session, items: list[tuple[str, str, str]]) -> list[None]:
    """(project, id, name): forgets it; jobs routed to it are unrouted again."""
    for project, provider, name in sorted(items):
        await session.execute("delete from providers where project = $1 and id = $2", project, provider)
        await session.execute("delete from provider_states where name = $1", name)
        await session.execute(_UNROUTE, name)
    return [None] * len(items)


async def set_paused(session: Session, items: list[tuple[str, int]]) -> list[None]:
    """(name, 1 or 0). What was routed to a provider that is paused may go to another."""
    last = dict(items)
    for name in sorted(last):
        await session.execute(
            "insert into provider_states values ($1, $2) on conflict (name) do update set paused = excluded.paused",
            name,
            last[name],
        )
        if last[name]:
            await session.execute(_UNROUTE, name)
    return [None] * len(items)
