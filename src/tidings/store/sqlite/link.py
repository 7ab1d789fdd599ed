"""A connection to the database file, and rows as the one parameter of a batch statement."""

from pathlib import Path
from typing import Any, Final

import apsw
import msgspec

Connection = apsw.Connection
_encode: Final = msgspec.json.Encoder().encode
_PRAGMAS: Final = ("journal_mode=wal", "wal_autocheckpoint=4000", "cache_size=-32000", "temp_store=memory")
_WRITE: Final = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE


def rows(items: list[Any]) -> tuple[str]:
    """Rows (tuples) as the one JSON parameter of a batch statement.

    For what joins a batch with tables. Where each row is a statement of its own, binding it is faster (decision 0013).
    """
    return (_encode(items).decode(),)


def connect(path: Path, synchronous: str, *, read_only: bool = False) -> Connection:
    """Opens the file. Raises apsw.Error."""
    connection = Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY if read_only else _WRITE)
    connection.set_busy_timeout(10_000)
    for pragma in _PRAGMAS:  # one by one: a statement that gives a row holds back those behind it
        list(connection.execute(f"pragma {pragma}"))
    list(connection.execute(f"pragma synchronous={synchronous}"))
    return connection
