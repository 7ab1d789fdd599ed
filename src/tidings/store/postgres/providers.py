"""Providers declared over the API, and which ones an operator has paused."""

from tidings.store.postgres.session import Session

Row = tuple[str, str, str, str, str, str]  # project, id, name, type, key_id, sealed configuration
# In the order in which others lock jobs; one that is leased meanwhile keeps its provider.
_UNROUTE = """
with l as materialized (
  select project, message from jobs where provider = $1 and owner is null order by project, message for update)
update jobs j set provider = '' from l where j.project = l.project and j.message = l.message"""

_REROUTE = """
with l as materialized (
  select project, message from jobs where provider <> '' and owner is null and provider <> all($1::text[])
  order by project, message for update skip locked)
update jobs j set provider = '' from l where j.project = l.project and j.message = l.message"""


async def load(session: Session) -> list[Row]:
    """All of them. A read."""
    found = await session.fetch("select project, id, name, type, key_id, sealed from providers order by id")
    return [(row[0], row[1], row[2], row[3], row[4], row[5]) for row in found]


async def states(session: Session) -> dict[str, tuple[bool, int]]:
    """Name → (paused, how often it was paused or resumed). A read."""
    found = await session.fetch("select name, paused, generation from provider_states")
    return {row[0]: (row[1] == 1, row[2]) for row in found}


async def reroute(session: Session, items: list[list[str]]) -> list[int]:
    """Jobs that wait for a provider which is not of these names wait for any; how many there were."""
    return [await session.execute(_REROUTE, names) for names in items]


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
        await session.execute("delete from provider_health where provider = $1", name)
        await session.execute(_UNROUTE, name)
    return [None] * len(items)


async def set_paused(session: Session, items: list[tuple[str, int]]) -> list[None]:
    """(name, 1 or 0). What was routed to a provider that is paused may go to another."""
    last = dict(items)
    for name in sorted(last):
        await session.execute(
            "insert into provider_states as s (name, paused, generation) values ($1, $2, 1)"
            " on conflict (name) do update set paused = $2, generation = s.generation + 1",
            name,
            last[name],
        )
        if last[name]:
            await session.execute(_UNROUTE, name)
    return [None] * len(items)
