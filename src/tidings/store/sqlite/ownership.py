"""Who owns a provider's binds, or a duty. The row stays when it is given back, so that the epoch counts on."""

from tidings.store.owners import Claim, Hold, Owned
from tidings.store.sqlite.engine import Connection

_ACQUIRE = """
insert into provider_leases (provider, slot, node, epoch, share, until_ms) values (?1, 0, ?2, 1, 1.0, ?4)
on conflict do update set node = ?2, epoch = epoch + 1, until_ms = ?4
where node in ('', ?2) or until_ms <= ?3 returning epoch"""
_RENEW = """
update provider_leases set until_ms = ?4 where provider = ?1 and slot = 0 and node = ?2 and epoch = ?3"""
_RELEASE = """
update provider_leases set node = '', until_ms = ?4 where provider = ?1 and slot = 0 and node = ?2 and epoch = ?3"""
_BEAT = "insert into nodes (node, until_ms) values (?1, ?2) on conflict do update set until_ms = ?2"


def acquire(connection: Connection, items: list[Claim]) -> list[int]:
    """The epoch of each claim, 0 where another owns it."""
    found = [connection.execute(_ACQUIRE, (i.name, i.node, i.now_ms, i.until_ms)).fetchone() for i in items]
    return [int(row[0]) if row is not None else 0 for row in found]


def renew(connection: Connection, items: list[Hold]) -> list[bool]:
    """Which are still owned."""
    return [_written(connection, _RENEW, item) for item in items]


def release(connection: Connection, items: list[Hold]) -> list[bool]:
    """Which were owned."""
    return [_written(connection, _RELEASE, item) for item in items]


def _written(connection: Connection, sql: str, item: Hold) -> bool:
    connection.execute(sql, (item.name, item.node, item.epoch, item.until_ms))
    return connection.changes() == 1


def beat(connection: Connection, items: list[tuple[str, int, int]]) -> list[None]:
    """(node, now_ms, until_ms)."""
    for node, now_ms, until_ms in items:
        connection.execute(_BEAT, (node, until_ms))
        connection.execute("delete from nodes where until_ms <= ?", (now_ms,))
    return [None] * len(items)


def survey(connection: Connection, now_ms: int) -> tuple[list[str], list[Owned]]:
    """Nodes alive, and all rows. A read."""
    nodes = connection.execute("select node from nodes where until_ms > ? order by node", (now_ms,))
    alive = [str(row[0]) for row in nodes]
    sql = "select provider, node, epoch, until_ms from provider_leases where slot = 0 order by provider"
    return alive, [Owned(*row) for row in connection.execute(sql)]  # pyright: ignore[reportArgumentType]
