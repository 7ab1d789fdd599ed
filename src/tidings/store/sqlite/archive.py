"""The file of a backup: a plain tar of `manifest.json`, `tidings.db` and, only where it was asked for, `keys.json`.

It appears under its name whole and on disk, or not at all: everything is written beside it first, synced, and renamed.
Mode 0600, as it holds (sealed) personal data.
"""

import contextlib
import io
import os
import tarfile
import tempfile
from collections.abc import Callable, Generator
from importlib.metadata import version
from pathlib import Path
from typing import IO, Final

import apsw
import msgspec

from tidings.domain.errors import StoreError
from tidings.kit.clock import rfc3339
from tidings.store.sqlite import backup
from tidings.store.sqlite.migrate import steps

FORMAT: Final = 1
DATABASE: Final = "tidings.db"
KEYS: Final = "keys.json"
MANIFEST: Final = "manifest.json"
_MANIFEST_BYTES: Final = 1 << 20  # a few hundred tables
_KEYS_BYTES: Final = 1 << 20
_CHUNK_BYTES: Final = 1 << 20


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup says of itself. `tables` are the rows of each table, `sha256` is the database's."""

    format: int
    tidings: str
    engine: str
    sqlite: str
    schema: int
    made_at: str
    size_bytes: int
    sha256: str
    tables: dict[str, int]
    live_jobs: int
    key_ids: list[str]
    keys_included: bool


def write(
    source: Path, target: Path, keys: Path | None, now_ms: int, progress: Callable[[int, int], None] | None = None
) -> Manifest:
    """Backs up the database `source`, running or not, to `target`; `keys` goes along if given. Raises StoreError."""
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
            copy = Path(folder) / DATABASE
            backup.snapshot(source, copy, progress)
            manifest = _describe(copy, keys, now_ms)
            whole = Path(folder) / "whole.tar"
            _pack(whole, manifest, copy, keys)
            whole.replace(target)
        backup.sync(target.parent)
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror or error}") from error
    return manifest


def _describe(copy: Path, keys: Path | None, now_ms: int) -> Manifest:
    with backup.opened(copy) as connection:
        found = backup.problems(connection, thorough=False)
        if found:
            raise StoreError("the database itself is damaged, nothing was written: " + "; ".join(found[:5]))
        return Manifest(
            format=FORMAT,
            tidings=version("tidings"),
            engine="sqlite",
            sqlite=apsw.sqlite_lib_version(),
            schema=backup.schema_of(connection),
            made_at=rfc3339(now_ms) or "",
            size_bytes=copy.stat().st_size,
            sha256=backup.checksum(copy),
            tables=backup.counts(connection),
            live_jobs=backup.live_jobs(connection),
            key_ids=backup.key_ids(connection),
            keys_included=keys is not None,
        )


def _pack(whole: Path, manifest: Manifest, copy: Path, keys: Path | None) -> None:
    fd = os.open(whole, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(fd, "wb") as out:
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
            _add(tar, MANIFEST, io.BytesIO(text), len(text))
            with copy.open("rb") as file:
                _add(tar, DATABASE, file, manifest.size_bytes)
            if keys is not None:
                ring = keys.read_bytes()
                _add(tar, KEYS, io.BytesIO(ring), len(ring))
        out.flush()
        os.fsync(out.fileno())


def _add(tar: tarfile.TarFile, name: str, file: IO[bytes], size: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o600
    tar.addfile(entry, file)


class Backup:
    """An opened backup file. `manifest` was read and can be restored by this program."""

    def __init__(self, path: Path, tar: tarfile.TarFile, manifest: Manifest) -> None:
        self.path, self._tar, self.manifest = path, tar, manifest

    def keys(self) -> bytes | None:
        """The key ring, if it was included. Raises StoreError."""
        return _small(self._tar, self.path, KEYS, _KEYS_BYTES) if self.manifest.keys_included else None

    def extract(self, target: Path) -> None:
        """Writes the database to the new file `target`, synced. Raises StoreError if it is not what was backed up."""
        file = _member(self._tar, self.path, DATABASE)
        fd = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(fd, "wb") as out:
            while chunk := file.read(_CHUNK_BYTES):
                out.write(chunk)
            out.flush()
            os.fsync(out.fileno())
        if target.stat().st_size != self.manifest.size_bytes or backup.checksum(target) != self.manifest.sha256:
            raise StoreError(f"{self.path} is damaged: the database in it does not have the checksum of its manifest")


@contextlib.contextmanager
def opened(path: Path) -> Generator[Backup]:
    """Reads a backup. Raises StoreError: no backup, damaged, or of a newer Tidings."""
    try:
        with tarfile.open(path, mode="r:") as tar:  # not compressed: nothing in it can swell
            manifest = msgspec.json.decode(_small(tar, path, MANIFEST, _MANIFEST_BYTES), type=Manifest)
            _check(path, manifest)
            yield Backup(path, tar, manifest)
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror or error}") from error
    except (tarfile.TarError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} is no backup of Tidings, or it is damaged: {error}") from error


def _check(path: Path, manifest: Manifest) -> None:
    known = steps()[-1][0]
    if manifest.format > FORMAT or manifest.engine != "sqlite":
        raise StoreError(f"{path} is a backup of another kind (format {manifest.format}, {manifest.engine})")
    if manifest.schema > known:
        raise StoreError(
            f"{path} was made by Tidings {manifest.tidings} with schema {manifest.schema}; this Tidings knows {known}:"
            " restore it with that version, or a newer one"
        )


def _member(tar: tarfile.TarFile, path: Path, name: str) -> IO[bytes]:
    try:
        file = tar.extractfile(name)
    except KeyError:
        file = None
    if file is None:
        raise StoreError(f"{path} is no backup of Tidings, or it is cut off: {name} is not in it")
    return file


def _small(tar: tarfile.TarFile, path: Path, name: str, most: int) -> bytes:
    data = _member(tar, path, name).read(most + 1)
    if len(data) > most:
        raise StoreError(f"{path}: {name} is larger than it can be")
    return data
