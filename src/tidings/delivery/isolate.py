"""One bad item does not hold back its neighbours: a batch that is refused though the store takes writes is cut in half,
and again, until what is refused stands alone."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec

from tidings.domain.errors import StoreError, StoreFull

T = TypeVar("T")
R = TypeVar("R")


class Refused(msgspec.Struct, frozen=True):
    """This item cannot be written, today or tomorrow."""

    error: Exception


async def isolated(
    items: list[T], write: Callable[[list[T]], Awaitable[Sequence[R] | None]], probe: Callable[[], Awaitable[None]]
) -> list[R | Refused | StoreError | None]:
    """The answer of `write` for each item (None where it gives none); a StoreError where the store is away or full.

    `probe` raises StoreError where the store takes no writes.
    """
    try:
        answers = await write(items)
        return list(answers) if answers is not None else [None] * len(items)
    except Exception as error:
        away = await _away(error, probe)
        if away is not None:
            return [away] * len(items)
        if len(items) == 1:
            return [Refused(error)]
    half = len(items) // 2
    return await isolated(items[:half], write, probe) + await isolated(items[half:], write, probe)


async def _away(error: Exception, probe: Callable[[], Awaitable[None]]) -> StoreError | None:
    """The error, where the store is at fault and not what was to be written."""
    if not isinstance(error, StoreError):
        return None
    if error.doubtful or isinstance(error, StoreFull):
        return error
    try:
        await probe()
    except StoreError as away:
        return away
    return None
