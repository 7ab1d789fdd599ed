"""From a backup to a data directory that a server can start in: checked, recounted, its live jobs held, then renamed."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final, Literal

import msgspec

from tidings.domain.errors import StoreError, StoreLocked
from tidings.kit.secrets import KeyRing
from tidings.store.sqlite import archive, backup, held
from tidings.store.sqlite.archive import Backup, Manifest
from tidings.store.sqlite.backup import Sealed
from tidings.store.sqlite.link import Connection

Choice = Literal["hold", "resume", "fail"]
#: What may lie in a directory that counts as empty.
_HARMLESS: Final = frozenset({"lock", archive.KEYS})
_BESIDE: Final = (f"{archive.DATABASE}-wal", f"{archive.DATABASE}-shm")
_LEFT_OVER: Final = (".restore-", "replaced-")


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a check or a restore found. `differences` are tables whose rows are not as many as the manifest says."""

    manifest: Manifest
    tables: dict[str, int]
    differences: dict[str, tuple[int, int]]
    problems: list[str]
    sealed: dict[str, Sealed] | None  # None: no key ring to try
    live_jobs: int
    held: int = 0
    resumed: int = 0
    failed: int = 0
    replaced: str | None = None

    @property
    def sound(self) -> bool:
        """The database is what was backed up."""
        return not self.differences and not self.problems

    @property
    def readable(self) -> bool:
        """Every sealed row opens."""
        return self.sealed is not None and all(table.ok for table in self.sealed.values())


@contextlib.contextmanager
def locked(data: Path) -> Generator[None]:
    """Owns the data directory as a server would. Raises StoreLocked."""
    data.mkdir(parents=True, exist_ok=True)
    fd = os.open(data / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise StoreLocked(f"a Tidings server runs in {data}; stop it first") from error
    try:
        yield
    finally:
        os.close(fd)


def verify(file: Path, keys: Path | None = None) -> Found:
    """Checks a backup in a scratch folder beside it and leaves nothing behind. Raises StoreError."""
    with (
        archive.opened(file) as found,
        tempfile.TemporaryDirectory(prefix=".tidings-verify-", dir=file.parent) as folder,
    ):
        database = Path(folder) / archive.DATABASE
        found.extract(database)
        with backup.opened(database) as connection:
            return _check(connection, found.manifest, _ring(found, keys, Path(folder)))


def restore(
    file: Path, data: Path, *, keys: Path | None, force: bool, unreadable: bool, choice: Choice, now: Callable[[], int]
) -> Found:
    """Puts a backup into `data`. Nothing there changes unless all is well. Raises StoreError, StoreLocked, OSError."""
    with archive.opened(file) as found, locked(data):
        _refuse_full(data, force)
        with tempfile.TemporaryDirectory(prefix=".restore-", dir=data) as folder:
            scratch = Path(folder)
            database = scratch / archive.DATABASE
            found.extract(database)
            ring = _ring(found, keys, scratch, data / archive.KEYS)
            with backup.opened(database, write=True) as connection:
                result = _check(connection, found.manifest, ring)
                _refuse_unsound(result, unreadable)
                result = _settle(connection, result, choice, now())
            backup.sync(database)
            return msgspec.structs.replace(result, replaced=_put(scratch, data, data / f"replaced-{now()}"))


def release(data: Path, choice: Choice, now_ms: int) -> tuple[int, int]:
    """What shall become of held jobs: (resumed, failed). The server is stopped. Raises StoreError, StoreLocked."""
    with locked(data), backup.opened(data / archive.DATABASE, write=True) as connection:
        connection.execute("begin immediate")
        failed = held.give_up(connection, now_ms) if choice == "fail" else 0
        resumed = held.resume(connection, now_ms) if choice == "resume" else 0
        connection.execute("commit")
        return resumed, failed


def _check(connection: Connection, manifest: Manifest, ring: KeyRing | None) -> Found:
    tables = backup.counts(connection)
    names = tables.keys() | manifest.tables.keys()
    pairs = {name: (manifest.tables.get(name, 0), tables.get(name, 0)) for name in sorted(names)}
    return Found(
        manifest=manifest,
        tables=tables,
        differences={name: pair for name, pair in pairs.items() if pair[0] != pair[1]},
        problems=backup.problems(connection),
        sealed=None if ring is None else backup.unseal_all(connection, ring),
        live_jobs=backup.live_jobs(connection),
    )


def _ring(found: Backup, keys: Path | None, scratch: Path, there: Path | None = None) -> KeyRing | None:
    """The key ring that was named, else the backup's own, else the one that is `there`; it then lies in `scratch`."""
    target = scratch / archive.KEYS
    included = keys.read_bytes() if keys is not None else found.keys()
    if included is None and there is not None and there.is_file():
        included = there.read_bytes()
    if included is None:
        return None
    fd = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(fd, "wb") as out:
        out.write(included)
        out.flush()
        os.fsync(out.fileno())
    try:
        return KeyRing.load(target)
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{keys or archive.KEYS} is no key ring of Tidings: {error}") from error


def _refuse_full(data: Path, force: bool) -> None:
    there = sorted(
        entry.name for entry in data.iterdir() if entry.name not in _HARMLESS and not entry.name.startswith(_LEFT_OVER)
    )
    if there and not force:
        raise StoreError(f"{data} is not empty ({', '.join(there[:5])}): choose another, or --force (it is kept aside)")


def _refuse_unsound(result: Found, unreadable: bool) -> None:
    if not result.sound:
        told = [f"{name}: {then} rows backed up, {now} here" for name, (then, now) in result.differences.items()]
        raise StoreError("the backup is not sound, nothing was changed: " + "; ".join((result.problems + told)[:5]))
    if unreadable or not result.manifest.key_ids:
        return
    if result.sealed is None:
        raise StoreError(
            f"the backup has no keys, and its rows were sealed with {', '.join(result.manifest.key_ids)}: give --keys"
            " keys.json (or --allow-unreadable, and addresses and texts are lost)"
        )
    if not result.readable:
        bad = {table: found for table, found in result.sealed.items() if not found.ok}
        told = ", ".join(f"{table}: {found.failed} of {found.opened + found.failed}" for table, found in bad.items())
        raise StoreError(f"these keys do not open the backup ({told} rows): give the key ring of that installation")


def _settle(connection: Connection, result: Found, choice: Choice, now_ms: int) -> Found:
    """`resume` leaves the jobs as a crash would have left them; the server then takes over by itself."""
    connection.execute("begin immediate")
    held.skip_numbers(connection)
    count = held.hold(connection, now_ms) if choice != "resume" else 0
    failed = held.give_up(connection, now_ms) if choice == "fail" else 0
    connection.execute("commit")
    resumed = result.live_jobs if choice == "resume" else 0
    return msgspec.structs.replace(result, held=count - failed, resumed=resumed, failed=failed)


def _put(scratch: Path, data: Path, aside: Path) -> str | None:
    """Old files go aside, nothing is deleted; the database changes with one rename. The folder with the old ones."""
    kept = False
    database, keys = data / archive.DATABASE, data / archive.KEYS
    fresh_keys = scratch / archive.KEYS
    if database.exists():
        aside.mkdir(mode=0o700)
        kept = True
        _fold_wal(database)
        for name in _BESIDE:  # what could not be folded in: another database must not find it beside itself
            if (data / name).exists():
                (data / name).replace(aside / name)
        os.link(database, aside / database.name)
    if fresh_keys.exists() and keys.exists() and keys.read_bytes() != fresh_keys.read_bytes():
        aside.mkdir(mode=0o700, exist_ok=True)
        kept = True
        os.link(keys, aside / keys.name)
    if kept:
        backup.sync(aside)
    if fresh_keys.exists():
        fresh_keys.replace(keys)
    (scratch / archive.DATABASE).replace(database)
    backup.sync(data)
    return aside.name if kept else None


def _fold_wal(database: Path) -> None:
    """Brings the WAL into the old database, so that it is one file. One that is damaged is kept as it is."""
    with contextlib.suppress(StoreError), backup.opened(database, write=True) as connection:
        list(connection.execute("pragma wal_checkpoint(truncate)"))
