"""`python -m tidings.smppd KEY_ID [--data DIR]`: how a key logs in over SMPP. Needs the key ring, and nothing that runs."""

import argparse
import os
import sys
from pathlib import Path

from tidings.domain import smpp_login
from tidings.kit.ids import is_id
from tidings.kit.secrets import KeyRing


def main(arguments: list[str] | None = None) -> int:
    """Prints name and password. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tidings.smppd", description="How an API key logs in over SMPP.")
    parser.add_argument("key", metavar="KEY_ID", help="key_…, as `tidings keys list` shows it")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TIDINGS_DATA") or "tidings-data"))
    asked = parser.parse_args(arguments)
    ring = asked.data / "keys.json"
    if not is_id(asked.key, "key"):
        parser.error(f"{asked.key!r} is not the id of a key (key_…); `tidings keys list` shows them")
    if not ring.exists():
        parser.error(f"{ring} does not exist: --data names the data directory of the server")
    sys.stdout.write(f"system_id  {smpp_login.system_id(asked.key)}\n")
    sys.stdout.write(f"password   {smpp_login.password(KeyRing.load(ring), asked.key)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
