"""Who owns a place. Its row stays when it is given back, so that the epoch counts on."""

from tidings.store.owners import Alive, LinkReport, NodeRow, Owned, Place
from tidings.store.sqlite.link import Connection, rows

_ENTER = """
insert into nodes (node, home, stamp, at_ms) values (?1, ?2, 1, ?3)
on conflict do update set stamp = stamp + 1, at_ms = ?3"""
_BURY = "delete from nodes where node = ?1 and stamp = ?2 returning node"
_DUE_NOW = "update jobs set due_ms = ?2 where owner in (select value from json_each(?1)) and due_ms > ?2"
_ACQUIRE = """
insert into provider_leases (provider, slot, node, epoch, share, until_ms)
select ?1, ?2, ?3, 1, 1.0, 0 where exists (select 1 from nodes where node = ?3)
on conflict do update set node = ?3, epoch = epoch + 1
where node in ('', ?3) or not exists (select 1 from nodes n where n.node = provider_leases.node) returning epoch"""
_RELEASE = "update provider_leases set node = '' where provider = ?1 and slot = ?2 and node = ?3 and epoch = ?4"
_REPORTS = """
select s.provider, s.slot, s.node, s.links, s.at_ms from link_states s
join provider_leases l on l.provider = s.provider and l.slot = s.slot and l.node = s.node
join nodes n on n.node = s.node order by s.provider, s.slot"""


def enter(connection: Connection, items: list[NodeRow]) -> list[int]:
    """How many jobs of a process before it are due now."""
    answers: list[int] = []
    for item in items:
        gone = connection.execute(
            "delete from nodes where home = ? and home <> '' and node <> ? returning node", (item.home, item.node)
        )
        answers.append(_due_now(connection, [str(row[0]) for row in gone], item.at_ms))
        connection.execute(_ENTER, (item.node, item.home, item.at_ms))
    return answers


def beat(connection: Connection, items: list[tuple[str, int]]) -> list[bool]:
    """(node, at_ms) → whether it was not buried."""
    answers: list[bool] = []
    for node, at_ms in items:
        connection.execute("update nodes set stamp = stamp + 1, at_ms = ?2 where node = ?1", (node, at_ms))
        answers.append(connection.changes() == 1)
    return answers


def bury(connection: Connection, items: list[tuple[str, int, int]]) -> list[bool]:
    """(node, stamp, at_ms) → whether it had not beaten since."""
    answers: list[bool] = []
    for node, stamp, at_ms in items:
        gone = [str(row[0]) for row in connection.execute(_BURY, (node, stamp))]
        _due_now(connection, gone, at_ms)
        answers.append(bool(gone))
    return answers


def leave(connection: Connection, items: list[tuple[str, int]]) -> list[None]:
    """(node, at_ms)."""
    for node, at_ms in items:
        connection.execute("delete from nodes where node = ?", (node,))
        _due_now(connection, [node], at_ms)
    return [None] * len(items)


def _due_now(connection: Connection, nodes: list[str], at_ms: int) -> int:
    if not nodes:
        return 0
    connection.execute(_DUE_NOW, (*rows(nodes), at_ms))
    return connection.changes()


def acquire(connection: Connection, items: list[tuple[str, int, str]]) -> list[int]:
    """(name, slot, node) → the epoch, 0 where another owns it."""
    found = [connection.execute(_ACQUIRE, item).fetchone() for item in items]
    return [int(row[0]) if row is not None else 0 for row in found]


def release(connection: Connection, items: list[tuple[str, int, str, int]]) -> list[bool]:
    """(name, slot, node, epoch) → whether it was owned so."""
    answers: list[bool] = []
    for item in items:
        connection.execute(_RELEASE, item)
        answers.append(connection.changes() == 1)
    return answers


def survey(connection: Connection) -> tuple[list[Alive], list[Owned]]:
    """Nodes and places. A read."""
    nodes = [
        Alive(str(row[0]), int(row[1])) for row in connection.execute("select node, stamp from nodes order by node")
    ]  # pyright: ignore[reportArgumentType]
    found = connection.execute("select provider, slot, node, epoch from provider_leases order by provider, slot")
    return nodes, [Owned(Place(str(r[0]), int(r[1])), str(r[2]), int(r[3])) for r in found]  # pyright: ignore[reportArgumentType]


def report(connection: Connection, items: list[LinkReport]) -> list[None]:
    """The last word on each slot."""
    values = [(i.provider, i.slot, i.node, i.links, i.at_ms) for i in items]
    connection.executemany("insert or replace into link_states values (?, ?, ?, ?, ?)", values)
    return [None] * len(items)


def reports(connection: Connection) -> list[LinkReport]:
    """What living owners see. A read."""
    return [LinkReport(*row) for row in connection.execute(_REPORTS)]  # pyright: ignore[reportArgumentType]
