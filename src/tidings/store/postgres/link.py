"""One connection to the server that comes back by itself, and what its errors mean."""

import asyncio
import time
from typing import Any, Final, TypeAlias

import asyncpg

from tidings.domain.errors import StoreAway, StoreError, StoreFull
from tidings.kit.ids import new_id

Raw: TypeAlias = "asyncpg.Connection[Any]"
#: The server or the way to it went away. What was not committed is rolled back by the server.
LOST: Final = (
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.ConnectionFailureError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,  # a fail-over: the server of before is a replica now
    OSError,  # TimeoutError too: the deadline of a statement
)
#: Two transactions were in each other's way, and the server chose this one to start again.
CROSSED: Final = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)

_OLDEST: Final = 140_000  # PostgreSQL 14
_CONNECT_S: Final = 5.0
_STATEMENT_S: Final = 30.0  # far beyond any statement of ours; a server that says nothing for so long is gone
_BACK_OFF_S: Final = (0.02, 0.05, 0.1, 0.2, 0.4)
_SETTINGS: Final = {
    "application_name": "tidings",
    "jit": "off",  # every statement is short
    "timezone": "UTC",
    "synchronous_commit": "on",  # a 202 is on disk, also where the database's default says otherwise
    "statement_timeout": "30s",
    # A node that hangs inside a transaction would hold rows, and the log, for everybody.
    "idle_in_transaction_session_timeout": "10s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
# Statements of writers go by keys, in batches of any size. Plans made once, without statistics, must not turn into scans
# while a young table grows from nothing to a million rows between two runs of analyze.
_WRITER: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
#: A reader may not use a plan that walks a table to save itself a sort.
_READER: Final = {"enable_seqscan": "off", "default_transaction_read_only": "on"}


async def connect(url: str, **settings: str) -> Raw:
    """A new connection. Raises StoreError where the server refuses us for good, one of LOST where it may come back."""
    try:
        return await asyncpg.connect(
            url, timeout=_CONNECT_S, command_timeout=_STATEMENT_S, server_settings={**_SETTINGS, **settings}
        )
    except LOST:
        raise
    except (asyncpg.PostgresError, ValueError) as error:
        raise StoreError(f"PostgreSQL refuses the connection: {error}") from error


async def check(raw: Raw) -> None:
    """Raises StoreError where the server cannot keep our promises."""
    version = int(await raw.fetchval("show server_version_num"))
    if version < _OLDEST:
        raise StoreError(f"this is PostgreSQL {version // 10_000}; Tidings needs 14 or later")
    for name in ("fsync", "full_page_writes"):
        if await raw.fetchval(f"show {name}") != "on":
            raise StoreError(
                f"the PostgreSQL server runs with {name}=off: what it accepts would not survive a power cut"
            )


class Link:
    """A place for one connection. It is made when it is needed, and again after it was lost."""

    def __init__(self, url: str, *, writer: bool) -> None:
        self.name = new_id("wrt")
        self._url = url
        self._writer = writer
        self._raw: Raw | None = None
        self.token = 0  # the number of this writer's last transaction

    async def raw(self, until: float) -> Raw:
        """The connection; a lost one is made anew, again and again until the monotonic time. Raises StoreError."""
        tries = 0
        while self._raw is None or self._raw.is_closed():
            try:
                self._raw = await self._connect()
            except LOST as error:
                pause = _BACK_OFF_S[min(tries, len(_BACK_OFF_S) - 1)]
                if time.monotonic() + pause >= until:
                    raise StoreAway(f"PostgreSQL cannot be reached: {str(error) or type(error).__name__}") from error
                await asyncio.sleep(pause)
                tries += 1
        return self._raw

    async def _connect(self) -> Raw:
        raw = await connect(self._url, **(_WRITER if self._writer else _READER))
        try:
            if self._writer:
                await check(raw)
                await raw.execute(REBASE)
                await raw.execute(_SWEEP_MARKS)
                await raw.execute(_MARK, self.name)
        except asyncpg.UndefinedTableError as error:
            raw.terminate()
            raise StoreError("the database has no schema of Tidings yet: run `tidings migrate`") from error
        except BaseException:
            raw.terminate()
            raise
        return raw

    def drop(self) -> None:
        """Forgets the connection at once: the server rolls back what was open on it."""
        if self._raw is not None:
            self._raw.terminate()
            self._raw = None

    async def close(self) -> None:
        """Says goodbye; a server that does not answer is left."""
        if self._raw is None:
            return
        try:
            await self._raw.close(timeout=2)
        except (*LOST, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._raw.terminate()
        self._raw = None


# A transaction that commits is known by its number here, so that it can be looked up: see engine.py.
_MARK: Final = "insert into marks (writer, token) values ($1, 0) on conflict do nothing"
_SWEEP_MARKS: Final = """
delete from marks where writer in (
  select writer from marks where since < now() - interval '30 days' order by writer for update skip locked)"""
#: See log.py. A copy of the database, restored into another server, meets a counter of transactions that may stand below
#: the one its events were numbered by: their numbers go on behind the highest one. Every writer looks, once, when it connects.
REBASE: Final = """
update log_base set base = e.top from (select max(seq) >> 14 as top from events) e
where e.top - base >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint"""


def lost(error: Exception, raw: Raw) -> bool:
    """Whether the connection is of no use any more; asyncpg has many words for one that has closed."""
    return isinstance(error, LOST) or raw.is_closed()


def store_error(error: Exception) -> Exception:
    """What a caller sees: StoreFull, StoreAway, StoreError, or the error itself where it is none of the database's."""
    if isinstance(error, asyncpg.DiskFullError):
        return StoreFull("no space is left for the database; nothing of this request was kept")
    if isinstance(error, LOST):
        return StoreAway(f"{type(error).__name__}: {error}")
    if isinstance(error, (asyncpg.PostgresError, asyncpg.InterfaceError)):
        return StoreError(f"{type(error).__name__}: {error}")
    return error
