"""Providers declared over the API, and which ones an operator has paused."""

from tidings.store.sqlite.engine import Connection

Row = tuple[str, str, str, str, str, str]  # project, id, name, type, key_id, sealed configuration


def load(connection: Connection) -> list[Row]:
    """All of them. A read."""
    found = connection.execute("select project, id, name, type, key_id, sealed from providers order by id")
    return [(str(r[0]), str(r[1]), str(r[2]), str(r[3]), str(r[4]), str(r[5])) for r in found]


def paused(connection: Connection) -> set[str]:
    """The names of paused ones. A read."""
    return {str(row[0]) for row in connection.execute("select name from provider_states where paused = 1")}


def insert(connection: Connection, items: list[tuple[str, str, str, str, str, str, int]]) -> list[None]:
    """(project, id, name, type, key_id, sealed, created_ms)."""
    connection.executemany("insert into providers values (?, ?, ?, ?, ?, ?, ?)", items)
    return [None] * len(items)


def delete(connection: Connection, items: list[tuple[str, str, str]]) -> list[None]:
    """(project, id, name): forgets it; jobs routed to it are unrouted again."""
    for project, provider, name in items:
        connection.execute("delete from providers where project = ? and id = ?", (project, provider))
        connection.execute("delete from provider_states where name = ?", (name,))
        connection.execute("update jobs set provider = '' where provider = ? and owner is null", (name,))
    return [None] * len(items)


def set_paused(connection: Connection, items: list[tuple[str, int]]) -> list[None]:
    """(name, 1 or 0). What was routed to a provider that is paused may go to another."""
    for name, on in items:
        if on:
            connection.execute("update jobs set provider = '' where provider = ? and owner is null", (name,))
    connection.executemany("insert or replace into provider_states values (?, ?)", items)
    return [None] * len(items)
