"""Who owns a place. Its row stays when it is given back, so that the epoch counts on.

A change of owner waits for the attempts that are being stored under the epoch before (`attempts.begin` shares the row).
Rows are locked in one order: nodes, then places, then jobs; of these none is waited for.
"""

from tidings.store.owners import Alive, LinkReport, NodeRow, Owned, Place
from tidings.store.postgres.session import Session

_ENTER = """
insert into nodes as n (node, home, stamp, at_ms) values ($1, $2, 1, $3)
on conflict (node) do update set stamp = n.stamp + 1, at_ms = $3"""
_BEFORE = """
with l as materialized (
  select node from nodes where home = $1 and home <> '' and node <> $2 order by node for update)
delete from nodes n using l where n.node = l.node returning n.node"""
# A job that somebody is at right now keeps its lease, and comes due with it.
_DUE_NOW = """
with l as materialized (
  select project, message from jobs where owner = any($1::text[]) and due_ms > $2
  order by project, message for update skip locked)
update jobs j set due_ms = $2 from l where j.project = l.project and j.message = l.message"""
_ACQUIRE = """
insert into provider_leases as l (provider, slot, node, epoch, share, until_ms) values ($1, $2, $3, 1, 1.0, 0)
on conflict (provider, slot) do update set node = $3, epoch = l.epoch + 1
where l.node in ('', $3) or not exists (select 1 from nodes n where n.node = l.node) returning epoch"""
_RELEASE = "update provider_leases set node = '' where provider = $1 and slot = $2 and node = $3 and epoch = $4"
_REPORT = """
insert into link_states as s (provider, slot, node, links, at_ms) values ($1, $2, $3, $4, $5)
on conflict (provider, slot) do update set node = $3, links = $4, at_ms = $5"""
_REPORTS = """
select s.provider, s.slot, s.node, s.links, s.at_ms from link_states s
join provider_leases l on l.provider = s.provider and l.slot = s.slot and l.node = s.node
join nodes n on n.node = s.node order by s.provider, s.slot"""


async def enter(session: Session, items: list[NodeRow]) -> list[int]:
    """How many jobs of a process before it are due now."""
    answers = [0] * len(items)
    for n in sorted(range(len(items)), key=lambda n: items[n].node):
        item = items[n]
        gone = [row[0] for row in await session.fetch(_BEFORE, item.home, item.node)]
        await session.execute(_ENTER, item.node, item.home, item.at_ms)
        answers[n] = await _due_now(session, gone, item.at_ms)
    return answers


async def beat(session: Session, items: list[tuple[str, int]]) -> list[bool]:
    """(node, at_ms) → whether it was not buried."""
    sql = "update nodes set stamp = stamp + 1, at_ms = $2 where node = $1"
    return [await session.execute(sql, *item) == 1 for item in items]


async def bury(session: Session, items: list[tuple[str, int, int]]) -> list[bool]:
    """(node, stamp, at_ms) → whether it had not beaten since."""
    answers: list[bool] = []
    for node, stamp, at_ms in items:
        gone = await session.execute("delete from nodes where node = $1 and stamp = $2", node, stamp) == 1
        if gone:
            await _due_now(session, [node], at_ms)
        answers.append(gone)
    return answers


async def leave(session: Session, items: list[tuple[str, int]]) -> list[None]:
    """(node, at_ms)."""
    for node, at_ms in sorted(items):
        await session.execute("delete from nodes where node = $1", node)
        await _due_now(session, [node], at_ms)
    return [None] * len(items)


async def _due_now(session: Session, nodes: list[str], at_ms: int) -> int:
    return await session.execute(_DUE_NOW, nodes, at_ms) if nodes else 0


async def acquire(session: Session, items: list[tuple[str, int, str]]) -> list[int]:
    """(name, slot, node) → the epoch, 0 where another owns it."""
    epochs = [0] * len(items)
    for n in sorted(range(len(items)), key=lambda n: (items[n][2], items[n][:2])):
        name, slot, node = items[n]
        if await session.fetchval("select 1 from nodes where node = $1 for share", node):
            epochs[n] = int(await session.fetchval(_ACQUIRE, name, slot, node) or 0)
    return epochs


async def release(session: Session, items: list[tuple[str, int, str, int]]) -> list[bool]:
    """(name, slot, node, epoch) → whether it was owned so."""
    done = [False] * len(items)
    for n in sorted(range(len(items)), key=lambda n: items[n]):
        done[n] = await session.execute(_RELEASE, *items[n]) == 1
    return done


async def survey(session: Session) -> tuple[list[Alive], list[Owned]]:
    """Nodes and places. A read."""
    nodes = [Alive(row[0], row[1]) for row in await session.fetch("select node, stamp from nodes order by node")]
    found = await session.fetch("select provider, slot, node, epoch from provider_leases order by provider, slot")
    return nodes, [Owned(Place(row[0], row[1]), row[2], row[3]) for row in found]


async def report(session: Session, items: list[LinkReport]) -> list[None]:
    """The last word on each slot."""
    last = {(item.provider, item.slot): item for item in items}
    for key in sorted(last):
        item = last[key]
        await session.execute(_REPORT, item.provider, item.slot, item.node, item.links, item.at_ms)
    return [None] * len(items)


async def reports(session: Session) -> list[LinkReport]:
    """What living owners see. A read."""
    return [LinkReport(*row) for row in await session.fetch(_REPORTS)]
