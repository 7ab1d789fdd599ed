"""Who owns a provider's binds, or a duty. The row stays when it is given back, so that the epoch counts on.

A change of owner waits for the attempts that are being stored under the epoch before (`attempts.begin` shares the row).
"""

from tidings.store.owners import Claim, Hold, Owned
from tidings.store.postgres.session import Session

_ACQUIRE = """
insert into provider_leases as l (provider, slot, node, epoch, share, until_ms) values ($1, 0, $2, 1, 1.0, $4)
on conflict (provider, slot) do update set node = $2, epoch = l.epoch + 1, until_ms = $4
where l.node in ('', $2) or l.until_ms <= $3 returning epoch"""
_RENEW = """
update provider_leases set until_ms = $4 where provider = $1 and slot = 0 and node = $2 and epoch = $3"""
_RELEASE = """
update provider_leases set node = '', until_ms = $4 where provider = $1 and slot = 0 and node = $2 and epoch = $3"""
_BEAT = "insert into nodes (node, until_ms) values ($1, $2) on conflict (node) do update set until_ms = $2"
_FORGET = """
delete from nodes where node in (select node from nodes where until_ms <= $1 order by node for update skip locked)"""


async def acquire(session: Session, items: list[Claim]) -> list[int]:
    """The epoch of each claim, 0 where another owns it."""
    epochs = [0] * len(items)
    for n in sorted(range(len(items)), key=lambda n: items[n].name):
        item = items[n]
        epochs[n] = int(await session.fetchval(_ACQUIRE, item.name, item.node, item.now_ms, item.until_ms) or 0)
    return epochs


async def renew(session: Session, items: list[Hold]) -> list[bool]:
    """Which are still owned."""
    return await _written(session, _RENEW, items)


async def release(session: Session, items: list[Hold]) -> list[bool]:
    """Which were owned."""
    return await _written(session, _RELEASE, items)


async def _written(session: Session, sql: str, items: list[Hold]) -> list[bool]:
    done = [False] * len(items)
    for n in sorted(range(len(items)), key=lambda n: items[n].name):
        item = items[n]
        done[n] = await session.execute(sql, item.name, item.node, item.epoch, item.until_ms) == 1
    return done


async def beat(session: Session, items: list[tuple[str, int, int]]) -> list[None]:
    """(node, now_ms, until_ms)."""
    for node, now_ms, until_ms in sorted(items):
        await session.execute(_BEAT, node, until_ms)
        await session.execute(_FORGET, now_ms)
    return [None] * len(items)


async def survey(session: Session, now_ms: int) -> tuple[list[str], list[Owned]]:
    """Nodes alive, and all rows. A read."""
    alive = await session.fetch("select node from nodes where until_ms > $1 order by node", now_ms)
    sql = "select provider, node, epoch, until_ms from provider_leases where slot = 0 order by provider"
    return [row[0] for row in alive], [Owned(row[0], row[1], row[2], row[3]) for row in await session.fetch(sql)]
