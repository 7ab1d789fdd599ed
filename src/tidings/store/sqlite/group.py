"""Group commit: whatever has piled up is one transaction, and one caller's error never aborts the others.

A write is a function over a list of items. In a group the items of the same function are handed over in one call, so that
a hundred callers cost one statement and one fsync, and a single caller waits for nobody. If a group fails, each caller's
part is run again in a transaction of its own.
"""

from collections.abc import Callable
from typing import Any

import apsw
import msgspec

from tidings.domain.errors import StoreError, StoreFull
from tidings.store.sqlite.link import Connection

WriteFn = Callable[[Connection, list[Any]], list[Any]]


Transaction = Callable[[Connection, "list[Write]"], "list[Written]"]


class Write(msgspec.Struct, frozen=True, array_like=True):
    """`fn(connection, items)`, wanted under this number."""

    number: int
    fn: WriteFn
    items: list[Any]


class Written(msgspec.Struct, frozen=True, array_like=True):
    """What became of the write of this number: one result for each item, or the error."""

    number: int
    results: list[Any]
    error: Exception | None = None


def commit(
    connection: Connection, group: list[Write], within: "Transaction | None" = None
) -> tuple[list[Written], int]:
    """Runs the writes; when it returns they are durable. Also says how many commits that took. `within`: see `transaction`."""
    try:
        return (within or transaction)(connection, group), 1
    except Exception as error:
        if len(group) == 1:
            return [Written(group[0].number, [], _store_error(error))], 0
    written: list[Written] = []
    commits = 0
    for write in group:
        one, done = commit(connection, [write], within)
        written += one
        commits += done
    return written, commits


def transaction(connection: Connection, group: list[Write]) -> list[Written]:
    """All of the group, or nothing of it and the error."""
    by_fn: dict[WriteFn, list[Write]] = {}
    for write in group:
        by_fn.setdefault(write.fn, []).append(write)
    written: list[Written] = []
    connection.execute("begin immediate")
    try:
        for fn, writes in by_fn.items():
            items = writes[0].items if len(writes) == 1 else [item for write in writes for item in write.items]
            results, at = fn(connection, items), 0
            for write in writes:
                written.append(Written(write.number, results[at : at + len(write.items)]))
                at += len(write.items)
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise
    return written


def _store_error(error: Exception) -> Exception:
    if isinstance(error, apsw.FullError):
        return StoreFull("no space is left for the database; nothing of this request was kept")
    if isinstance(error, apsw.Error):
        failure = StoreError(f"{type(error).__name__}: {error}")
        failure.__cause__ = error
        return failure
    return error
