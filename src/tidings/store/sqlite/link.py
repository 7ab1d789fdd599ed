"""A connection to the database file, and rows as the one parameter of a batch statement."""

from pathlib import Path
from typing import Any, Final

import apsw
import msgspec

Connection = apsw.Connection
_encode: Final = msgspec.json.Encoder().encode
_PRAGMAS: Final = ("journal_mode=wal", "wal_autocheckpoint=4000", "temp_store=memory")
_CACHE_KIB: Final = 16_000  # pages of the one connection that writes
_READ_CACHE_KIB: Final = 4_000  # of each that reads; the kernel has what is not in it
#: apsw's cache is a ring of the last executions, not of statements: at its default of 100 a commit of twenty receipts drove
#: out what the next one needed, and a tenth of the writer's time went into preparing it again. 512 is the most it takes.
_STATEMENTS: Final = 512
_WRITE: Final = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE


def rows(items: list[Any]) -> tuple[str]:
    """Rows (tuples) as the one JSON parameter of a batch statement.

    For what joins a batch with tables. Where each row is a statement of its own, binding it is faster (decision 0013).
    """
    return (_encode(items).decode(),)


def connect(path: Path, synchronous: str, *, read_only: bool = False) -> Connection:
    """Opens the file. Raises apsw.Error."""
    flags = apsw.SQLITE_OPEN_READONLY if read_only else _WRITE
    connection = Connection(str(path), flags=flags, statementcachesize=_STATEMENTS)
    connection.set_busy_timeout(10_000)
    for pragma in _PRAGMAS:  # one by one: a statement that gives a row holds back those behind it
        list(connection.execute(f"pragma {pragma}"))
    list(connection.execute(f"pragma cache_size=-{_READ_CACHE_KIB if read_only else _CACHE_KIB}"))
    list(connection.execute(f"pragma synchronous={synchronous}"))
    return connection
