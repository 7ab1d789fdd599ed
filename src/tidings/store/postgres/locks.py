"""Locks that rows cannot give: on what is not there yet. All end with the transaction.

Taken before any row, in the order of this file, each kind sorted: so no two transactions can wait for each other. Then
messages by (project, id) (`transitions.lock`), then what hangs on them; a lease skips what is locked and waits for nobody.
Keys share a limited number of locks, because the server's table of locks is small.
"""

import zlib
from collections.abc import Iterable
from typing import Final

from tidings.store.postgres.session import Session

_RECEIPTS: Final = 0x71D1
_PARTS: Final = 0x71D2
_SEQUENCES: Final = 0x71D3
_FIRST: Final = 0x71D4
_MARKS: Final = 0x71D5
_SLOTS: Final = 256

# The order of an array is the order of its locks: unnest gives it row by row.
_EXCLUSIVE = "select pg_advisory_xact_lock($1, k) from unnest($2::int[]) k"
_SHARED = "select pg_advisory_xact_lock_shared($1, k) from unnest($2::int[]) k"


def _slots(names: Iterable[str], most: int = _SLOTS) -> list[int]:
    return sorted({zlib.crc32(name.encode()) % most for name in names})


async def expect_receipts(session: Session, providers: Iterable[str]) -> None:
    """Held while a carrier's ids are written: no receipt is kept as unmatched between their look-up and this commit.
    Such writers do not keep each other out."""
    await session.fetch(_SHARED, _RECEIPTS, _slots(providers))


async def keep_receipts(session: Session, providers: Iterable[str]) -> None:
    """Held while receipts are found to be unmatched and kept: the ids they name cannot appear meanwhile."""
    await session.fetch(_EXCLUSIVE, _RECEIPTS, _slots(providers))


async def parts(session: Session, names: Iterable[str]) -> None:
    """Of two transactions that store parts of the same message, the second one sees what the first one stored."""
    await session.fetch(_EXCLUSIVE, _PARTS, _slots(names))


async def sequences(session: Session, names: Iterable[str]) -> None:
    """Who joins a sequence and who leaves it, one after the other."""
    await session.fetch(_EXCLUSIVE, _SEQUENCES, _slots(names))


async def first(session: Session) -> None:
    """Only one process makes the first project."""
    await session.fetch(_EXCLUSIVE, _FIRST, [0])


async def marks(session: Session, names: Iterable[str]) -> None:
    """Of two verifications with a mark in common the second one to begin sees the first one."""
    await session.fetch(_EXCLUSIVE, _MARKS, _slots(names))
