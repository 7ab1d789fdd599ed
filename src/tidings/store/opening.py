"""Opens the store that an operator chose: SQLite in the data directory, or PostgreSQL. Both at this version's schema."""

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

from tidings.store.sqlite.engine import Engine as SqliteEngine
from tidings.store.sqlite.migrate import migrate as migrate_sqlite
from tidings.store.store import Store


@contextlib.asynccontextmanager
async def opened(file: Path, url: str | None) -> AsyncGenerator[Store]:
    """The store, migrated and ready; closed at the end. `url`: postgresql://…, None for `file`. Raises StoreError."""
    if url is not None:
        from tidings.store.postgres.engine import PostgresEngine  # 4 MB, for those who have a PostgreSQL

        await migrate(file, url)
        server = await PostgresEngine.open(url)
        try:
            yield Store(server)
        finally:
            await server.close()
        return
    engine = SqliteEngine(file, apart=True)
    try:
        engine.open()
        migrate_sqlite(engine.writer)
        engine.start()
        yield Store(engine)
    finally:
        engine.close()


async def migrate(file: Path, url: str | None) -> list[str]:
    """Brings the database to this version's schema; the names of the steps applied. Raises StoreLocked, StoreError."""
    if url is not None:
        from tidings.store.postgres.migrate import migrate as migrate_postgres

        return await migrate_postgres(url)
    engine = SqliteEngine(file)
    engine.open()
    try:
        return migrate_sqlite(engine.writer)
    finally:
        engine.close()
