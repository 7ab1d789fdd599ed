"""Several nodes on one PostgreSQL database."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from postgres_server import Server
from store_world import World
from tidings.store.postgres.engine import PostgresEngine
from tidings.store.postgres.migrate import migrate
from tidings.store.store import Store


@pytest.fixture
async def url(postgres_server: Server) -> str:
    """A database with the schema."""
    where = await postgres_server.database()
    await migrate(where)
    return where


@contextlib.asynccontextmanager
async def node(url: str, **options: Any) -> AsyncIterator[World]:
    """One more node on the database; the first one makes the project."""
    engine = await PostgresEngine.open(url, **options)
    world = World(Store(engine))
    await world.found()
    try:
        yield world
    finally:
        await engine.close()


@contextlib.asynccontextmanager
async def session(url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A stranger's connection."""
    raw = await asyncpg.connect(url)
    try:
        yield raw
    finally:
        await raw.close()
