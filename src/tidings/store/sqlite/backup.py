"""A consistent copy of the database while a server writes it, and the proof that a copy is whole.

The copy is made page by page inside ONE read transaction (SQLite's online backup API). In WAL mode a reader never
holds up the writer, so the server goes on; only the WAL cannot shrink until the copy is done.
Source: sqlite.org/backup.html, sqlite.org/wal.html §2.2
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final

import apsw
import msgspec

from tidings.domain.errors import StoreError
from tidings.kit.secrets import KeyRing, NotSealed
from tidings.store.sqlite.link import Connection

_PAGES: Final = 4_096  # of one step: 16 MB between two looks at the progress
_CHUNK_BYTES: Final = 1 << 20
_SEALED: Final = (
    "select m.name from sqlite_schema m where m.type = 'table'"
    " and exists (select 1 from pragma_table_info(m.name) where name = 'sealed')"
)
#: What a sealed row is bound to, where it is not its `owner` or `id` (delivery/receive.py).
_OWNER_SQL: Final = {"personal": "owner", "inbound_parts": "provider || ':' || ref || ':' || part"}


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """Whether sealed rows open with a key ring. `unknown_keys` are the key ids that the ring does not have."""

    opened: int = 0
    failed: int = 0
    unknown_keys: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Every one opens."""
        return self.failed == 0


@contextlib.contextmanager
def opened(path: Path, *, write: bool = False) -> Generator[Connection]:
    """The file, without creating it. Raises StoreError."""
    flags = apsw.SQLITE_OPEN_READWRITE if write else apsw.SQLITE_OPEN_READONLY
    try:
        connection = Connection(str(path), flags=flags)
    except apsw.Error as error:
        raise StoreError(f"cannot open {path}: {error}") from error
    try:
        connection.set_busy_timeout(10_000)
        yield connection
    except apsw.Error as error:
        raise StoreError(f"{path}: {type(error).__name__}: {error}") from error
    finally:
        connection.close()


def snapshot(source: Path, target: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Copies `source` as it is at one moment into the new file `target`. `progress` hears (pages done, pages in all)."""
    with opened(source) as live:
        copy = Connection(str(target))
        try:
            live.execute("begin")
            live.execute("select count(*) from sqlite_schema").fetchone()  # the snapshot is taken with the first read
            with copy.backup("main", live, "main") as backup:
                while not backup.done:
                    backup.step(_PAGES)
                    if progress is not None:
                        progress(backup.page_count - backup.remaining, backup.page_count)
            live.execute("rollback")
            list(copy.execute("pragma journal_mode=delete"))  # one file: no -wal beside it
        finally:
            copy.close()


def counts(connection: Connection) -> dict[str, int]:
    """Rows of every table, by name."""
    names = connection.execute(
        "select name from sqlite_schema where type = 'table' and name not like 'sqlite\\_%' escape '\\' order by name"
    )
    return {name: int(_one(connection, f'select count(*) from "{name}"')) for name in [str(row[0]) for row in names]}


def schema_of(connection: Connection) -> int:
    """How far the schema is (`pragma user_version`)."""
    return int(_one(connection, "pragma user_version"))


def problems(connection: Connection, *, thorough: bool = True) -> list[str]:
    """What SQLite's own checks find; empty if the file is sound. `thorough` also compares every index with its table."""
    check = "integrity_check" if thorough else "quick_check"
    found = [f"{check}: {row[0]}" for row in connection.execute(f"pragma {check}") if row[0] != "ok"]
    found += [f"foreign_key_check: table {row[0]}" for row in connection.execute("pragma foreign_key_check")]
    return found


def key_ids(connection: Connection) -> list[str]:
    """The keys that sealed rows were made with."""
    found: set[str] = set()
    for table in _sealed_tables(connection):
        found |= {str(row[0]) for row in connection.execute(f'select distinct key_id from "{table}"')}
    return sorted(found)


def unseal_all(connection: Connection, ring: KeyRing) -> dict[str, Sealed]:
    """Opens every sealed row, by table: the only proof that a restored copy can be read. Nothing of it is kept."""
    return {table: _unseal(connection, table, ring) for table in _sealed_tables(connection)}


def live_jobs(connection: Connection) -> int:
    """Messages that still have to be handed over."""
    return int(_one(connection, "select count(*) from jobs"))


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Brings a file or a folder to the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _sealed_tables(connection: Connection) -> list[str]:
    return sorted(str(row[0]) for row in connection.execute(_SEALED))


def _unseal(connection: Connection, table: str, ring: KeyRing) -> Sealed:
    owner = _OWNER_SQL.get(table, "id")
    good, bad, missing = 0, 0, set[str]()
    for name, key_id, sealed in connection.execute(f'select {owner}, key_id, sealed from "{table}"'):
        try:
            ring.unseal(str(sealed), str(name), str(key_id))
        except KeyError:
            missing.add(str(key_id))
            bad += 1
        except NotSealed:
            bad += 1
        else:
            good += 1
    return Sealed(opened=good, failed=bad, unknown_keys=tuple(sorted(missing)))


def _one(connection: Connection, sql: str) -> int:
    row = connection.execute(sql).fetchone()
    assert row is not None
    return int(row[0])  # pyright: ignore[reportArgumentType]
