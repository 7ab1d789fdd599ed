"""What the helper processes of the embedded server do not load: each of these is megabytes of every installation."""

from __future__ import annotations

import subprocess
import sys

import pytest

_WRITER = "tidings.store.sqlite.process, tidings.store.sqlite.accept, tidings.store.sqlite.webhooks"
_PUMPS = "tidings.webhooks.process, tidings.store.sqlite.webhooks"


@pytest.mark.parametrize(
    ("imported", "library"),
    [
        (_WRITER, "asyncio"), (_WRITER, "aiohttp"), (_WRITER, "structlog"), (_WRITER, "cryptography"),
        (_PUMPS, "aiohttp"),
    ],
)  # fmt: skip
def test_it_is_not_loaded(imported: str, library: str) -> None:
    code = f"import sys, {imported}\nsys.exit({library!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
