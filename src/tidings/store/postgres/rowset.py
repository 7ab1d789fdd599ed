"""Rows as parameters of a batch statement: one array for each column, put side by side again by `unnest`."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec


def rowset(alias: str, columns: str, first: int = 1) -> str:
    """`unnest(...) as alias (...)` of parameters from $first on. `columns`: "project text, n int", in their order."""
    pairs = [column.split() for column in columns.split(",")]
    arrays = ", ".join(f"${n}::{kind}[]" for n, (_, kind) in enumerate(pairs, first))
    return f"unnest({arrays}) as {alias} ({', '.join(name for name, _ in pairs)})"


def turned(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    """The columns of rows."""
    return [list(column) for column in zip(*rows, strict=True)]


def columns(items: Sequence[msgspec.Struct]) -> list[list[Any]]:
    """The columns of structs, by their fields."""
    astuple = msgspec.structs.astuple
    return turned([astuple(item) for item in items])
