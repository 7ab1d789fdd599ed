"""A write for its own sake."""

from tidings.store.sqlite.engine import Connection


def probe(connection: Connection, items: list[int]) -> list[None]:
    """Proves that the store takes writes."""
    connection.execute("insert or replace into installation values ('probed_ms', ?)", (str(items[-1]),))
    return [None] * len(items)
