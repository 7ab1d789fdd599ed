"""A write for its own sake."""

from tidings.store.sqlite.link import Connection


def probe(connection: Connection, items: list[int]) -> list[None]:
    """Proves that the store takes writes."""
    connection.execute("insert or replace into installation values ('probed_ms', ?)", (str(items[-1]),))
    return [None] * len(items)


def same_ring(connection: Connection, items: list[str]) -> list[bool]:
    """Whether this is the key ring that the database was first used with."""
    answers: list[bool] = []
    for name in items:
        connection.execute("insert or ignore into installation values ('key_ring', ?)", (name,))
        found = connection.execute("select value from installation where name = 'key_ring'").fetchone()
        answers.append(found is not None and found[0] == name)
    return answers


def done(connection: Connection, name: str) -> bool:
    """Whether a piece of work that is done once in an installation's life is done. A read."""
    return connection.execute("select 1 from installation where name = ?", (name,)).fetchone() is not None


def note_done(connection: Connection, items: list[str]) -> list[None]:
    """It is."""
    connection.executemany("insert or ignore into installation values (?, 'done')", [(name,) for name in items])
    return [None] * len(items)
