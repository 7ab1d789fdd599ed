"""Prism, which others wrote, as a mock of a published OpenAPI document: it answers 4xx to a request that is not valid."""

from __future__ import annotations

import contextlib
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import PEERS_DIR, find_free_port, require_peer

SPECS = Path(__file__).resolve().parents[3] / "shared" / "specs"
START_S = 90


def spec(name: str) -> Path:
    """A published document; the test is skipped where the folder that holds it is absent."""
    found = SPECS / name
    if not found.is_file():
        pytest.skip(f"../shared/specs/{name} is absent: it is not part of the project")
    return found


@contextlib.contextmanager
def prism(document: Path) -> Iterator[str]:
    """`prism mock --errors` on an ephemeral port; its base URL."""
    require_peer("node")
    binary = PEERS_DIR / "node_modules" / "@stoplight" / "prism-cli" / "dist" / "index.js"
    if not binary.is_file():
        require_peer("@stoplight/prism-cli (run `make peers`)")
    url = f"http://127.0.0.1:{(port := find_free_port())}"
    command = ["node", str(binary), "mock", "-h", "127.0.0.1", "-p", str(port), "--errors", str(document)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(url, process)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        assert process.poll() is None, f"prism ended with {process.returncode}"
        try:
            urllib.request.urlopen(f"{url}/no-such-path", timeout=30).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("prism did not start")
