"""What every engine can do. A store operation is a function of an engine's own connection, in its own dialect."""

import importlib
import socket
from collections.abc import Callable
from types import ModuleType
from typing import Any, Protocol


class Engine(Protocol):
    """Runs operations. `pending`: writes queued and not yet answered; `commits`: made since the start."""

    dialect: str
    commits: int

    @property
    def pending(self) -> int:
        """See the class."""
        ...

    @property
    def second_link(self) -> socket.socket | None:
        """Where the writer is a process apart: what one more process can reach it by."""
        ...

    async def write(self, fn: Callable[[Any, list[Any]], Any], items: list[Any]) -> list[Any]:
        """`fn(connection, items)` within the next group commit; its list, one result for each item, once durable."""
        ...

    async def read(self, fn: Callable[[Any], Any]) -> Any:
        """`fn(connection)` in one snapshot."""
        ...

    async def glance(self, fn: Callable[[Any], Any]) -> Any:
        """`read` for a little that is in memory, such as the end of the log: no thread is woken for it."""
        ...


class Aggregate:
    """The operations of one aggregate. The functions have the same names in every dialect (`store/<dialect>/`)."""

    module = ""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sql: Any = dialect_of(engine, self.module)


def dialect_of(engine: Engine, module: str) -> ModuleType:
    """The engine's own module of this name."""
    return importlib.import_module(f"tidings.store.{engine.dialect}.{module}")
