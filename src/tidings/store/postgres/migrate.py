"""Schema steps, applied in order, each in its own transaction; the table `schema_steps` says which are done."""

import asyncio
import time
from importlib import resources
from typing import Final

import asyncpg

from tidings.domain.errors import StoreError
from tidings.store.postgres.link import LOST, Raw, check, connect, store_error

_LOCK: Final = 0x7164696E6773  # an advisory lock: two processes that start at once apply each step once
_TABLE: Final = """
create table if not exists schema_steps (
  number integer primary key, name text not null, applied_at timestamptz not null default now()
)"""


def steps() -> list[tuple[int, str, str]]:
    """(number, name, SQL) of every step, in order."""
    folder = resources.files("tidings.store") / "migrations" / "postgres"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(int(name[:4]), name, (folder / name).read_text()) for name in names]


async def migrate(url: str, *, patience_s: float = 10.0) -> list[str]:
    """Applies what is missing; returns the names. Waits `patience_s` for a server that is away.

    Raises StoreError, also for a database of a newer Tidings.
    """
    raw = await _connected(url, time.monotonic() + patience_s)
    try:
        await check(raw)
        await raw.execute("set statement_timeout = 0")  # a step may rebuild a large table
        await raw.fetch("select pg_advisory_lock($1)", _LOCK, timeout=None)
        return await _apply(raw)
    except (asyncpg.PostgresError, *LOST) as error:
        raise store_error(error) from error
    finally:
        await raw.close()  # and with it the lock


async def _connected(url: str, until: float) -> Raw:
    while True:
        try:
            return await connect(url)
        except LOST as error:
            if time.monotonic() >= until:
                raise StoreError(f"PostgreSQL cannot be reached: {str(error) or type(error).__name__}") from error
            await asyncio.sleep(0.2)


async def _apply(raw: Raw) -> list[str]:
    await raw.execute(_TABLE)
    at = int(await raw.fetchval("select coalesce(max(number), 0) from schema_steps"))
    known = steps()
    if at > known[-1][0]:
        raise StoreError(f"the database has schema {at}, this Tidings knows {known[-1][0]}: use a newer Tidings")
    done: list[str] = []
    for number, name, sql in known:
        if number <= at:
            continue
        async with raw.transaction():
            await raw.execute(sql, timeout=None)
            await raw.execute("insert into schema_steps (number, name) values ($1, $2)", number, name)
        done.append(name)
    return done
