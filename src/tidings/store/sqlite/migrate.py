"""Schema steps, applied in order, each in its own transaction; `pragma user_version` says how far a file is."""

from importlib import resources

from tidings.domain.errors import StoreError
from tidings.store.sqlite.link import Connection


def steps() -> list[tuple[int, str, str]]:
    """(number, name, SQL) of every step, in order."""
    folder = resources.files("tidings.store") / "migrations" / "sqlite"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(int(name[:4]), name, (folder / name).read_text()) for name in names]


def migrate(connection: Connection) -> list[str]:
    """Applies what is missing; returns the names. Raises StoreError for a file of a newer Tidings."""
    at = int(connection.pragma("user_version"))  # pyright: ignore[reportArgumentType]
    known = steps()
    if at > known[-1][0]:
        raise StoreError(f"the database has schema {at}, this Tidings knows {known[-1][0]}: use a newer Tidings")
    done: list[str] = []
    for number, name, sql in known:
        if number <= at:
            continue
        connection.execute("begin immediate")
        try:
            connection.execute(sql)
            connection.execute(f"pragma user_version = {number}")
            connection.execute("commit")
        except BaseException:
            connection.execute("rollback")
            raise
        done.append(name)
    return done
