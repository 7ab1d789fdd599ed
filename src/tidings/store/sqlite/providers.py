"""Providers declared over the API, and which ones an operator has paused."""

from tidings.store.sqlite.link import Connection, rows

Row = tuple[str, str, str, str, str, str]  # project, id, name, type, key_id, sealed configuration


def load(connection: Connection) -> list[Row]:
    """All of them. A read."""
    found = connection.execute("select project, id, name, type, key_id, sealed from providers order by id")
    return [(str(r[0]), str(r[1]), str(r[2]), str(r[3]), str(r[4]), str(r[5])) for r in found]


def states(connection: Connection) -> dict[str, tuple[bool, int]]:
    """Name → (paused, how often it was paused or resumed). A read."""
    found = connection.execute("select name, paused, generation from provider_states")
    return {str(row[0]): (bool(row[1]), int(row[2])) for row in found}  # pyright: ignore[reportArgumentType]


def reroute(connection: Connection, items: list[list[str]]) -> list[int]:
    """Jobs that wait for a provider which is not of these names wait for any; how many there were."""
    sql = (
        "update jobs set provider = '' where provider <> '' and owner is null"
        " and provider not in (select value from json_each(?))"
    )
    answers: list[int] = []
    for names in items:
        connection.execute(sql, rows(names))
        answers.append(connection.changes())
    return answers


def insert(connection: Connection, items: list[tuple[str, str, str, str, str, str, int]]) -> list[None]:
    """(project, id, name, type, key_id, sealed, created_ms)."""
    connection.executemany("insert into providers values (?, ?, ?, ?, ?, ?, ?)", items)
    return [None] * len(items)


def delete(connection: Connection, items: list[tuple[str, str, str]]) -> list[None]:
    """(project, id, name): forgets it; jobs routed to it are unrouted again."""
    for project, provider, name in items:
        connection.execute("delete from providers where project = ? and id = ?", (project, provider))
        connection.execute("delete from provider_states where name = ?", (name,))
        connection.execute("delete from provider_health where provider = ?", (name,))
        connection.execute("update jobs set provider = '' where provider = ? and owner is null", (name,))
    return [None] * len(items)


def set_paused(connection: Connection, items: list[tuple[str, int]]) -> list[None]:
    """(name, 1 or 0). What was routed to a provider that is paused may go to another."""
    for name, on in items:
        if on:
            connection.execute("update jobs set provider = '' where provider = ? and owner is null", (name,))
    connection.executemany(
        "insert into provider_states (name, paused, generation) values (?1, ?2, 1)"
        " on conflict do update set paused = ?2, generation = generation + 1",
        items,
    )
    return [None] * len(items)
