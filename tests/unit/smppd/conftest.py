"""An office for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from unit.smppd.office import Office

Opener = Callable[..., Awaitable[Office]]


@pytest.fixture
async def open_office(tmp_path: Path) -> AsyncIterator[Opener]:
    """Opens one with other settings."""
    made: list[Office] = []

    async def opened(**settings: object) -> Office:
        office = Office(tmp_path, **settings)
        await office.open()
        made.append(office)
        return office

    yield opened
    for office in made:
        await office.close()


@pytest.fixture
async def office(open_office: Opener) -> Office:
    """One with the settings as they come."""
    return await open_office()
