"""Both engines, open on an empty database with the schema in it: `store` runs every case once on each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postgres_server import Server, postgres_server
from store_world import ENGINES, World, opened

__all__ = ["postgres_server"]


@pytest.fixture(params=ENGINES)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """A store with one project and its key."""
    server: Server | None = request.getfixturevalue("postgres_server") if request.param == "postgres" else None
    async with opened(request.param, tmp_path, server) as store:
        made = World(store)
        await made.found()
        yield made
